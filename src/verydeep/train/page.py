"""Pieces of the page of a run's report: text, tables and bars as HTML.

Every text from outside passes `text`.
"""

import html
import re
from collections.abc import Callable, Iterable, Sequence

from verydeep.errors import ImageError, printable
from verydeep.evaluate.report import Proportion
from verydeep.train.card import share


def text(value: object) -> str:
    """A text from outside, for the page: on one line, no control characters, nothing that HTML takes for its own."""
    return html.escape(printable(str(value)))


def prose(sentence: str) -> str:
    """A sentence, in which `backquotes` mark what is to be typed; what stands before a colon is its gist."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", text(sentence))
    return re.sub(r"^([\w ,-]{1,50}):", r"<strong>\1:</strong>", marked)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Cells are HTML; the first of each row is its name."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = [f'<tr><th scope="row">{first}</th>{"".join(f"<td>{c}</td>" for c in rest)}</tr>' for first, *rest in rows]
    return (
        f'<div class="scroll"><table class="{kind}">'
        f"{f'<thead><tr>{top}</tr></thead>' if head else ''}<tbody>{''.join(lines)}</tbody></table></div>"
    )


def bar(proportion: Proportion) -> str:
    width = 100 * (proportion.value or 0.0)
    return f'<span class="bar"><i style="width:{width:.1f}%"></i></span>{counted(proportion)}'


def counted(proportion: Proportion) -> str:
    percent = f"{proportion.value:.0%} " if proportion.value is not None else ""
    return f"{percent}<small>{share(proportion)}</small>"


def figure(picture: Callable[[], str], told: str, name: str) -> str:
    """A photo with what is told of it. picture: makes the HTML of the photo, or raises ImageError where it has gone."""
    try:
        shown = picture()
    except ImageError as error:
        shown = f'<div class="gone">The photo can no longer be shown. {text(error.message)}</div>'
    small = f'<small title="{text(name)}">{text(name)}</small>'
    return f"<figure>{shown}<figcaption>{told}{small}</figcaption></figure>"
