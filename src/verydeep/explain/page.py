"""Many explanations on one HTML page, which holds all that it shows: it opens without a network, from any folder."""

import html
from string import Template

from verydeep.errors import printable
from verydeep.explain.drawing import Drawing, to_svg

# Should a text from outside slip by `_text`, the page forbids itself to run scripts or to load anything.
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 120rem; font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
main { display: grid; gap: 1.25rem; margin-top: 1.25rem;
  grid-template-columns: repeat(auto-fill, minmax(min($least, 100%), 1fr)); }
figure { margin: 0; border: 1px solid #8886; border-radius: .4rem; overflow: hidden; }
figcaption { padding: .4rem .8rem; font-size: .85rem; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; }
</style>
</head>
<body>
<h1>$title</h1>
<p>$about</p>
<main>
$figures
</main>
</body>
</html>
""")


class Page:
    """The page as it grows: a heading, a sentence about it, and each photo's drawing with its path below."""

    def __init__(self, title: str, about: str) -> None:
        self.title, self.about = title, about
        self._figures: list[str] = []  # written down at once: a drawing takes thirty times the memory
        self._widest = 0

    def add(self, path: str, drawing: Drawing) -> None:
        self._widest = max(self._widest, drawing.width)
        self._figures.append(f"<figure>\n{to_svg(drawing)}<figcaption>{_text(path)}</figcaption>\n</figure>")

    def render(self) -> str:
        """The page, HTML."""
        least = f"{max(20, self._widest // 32)}rem"  # 16 pixels a rem: a drawing is shown at half its size or more
        figures = "\n".join(self._figures)
        return _PAGE.substitute(title=_text(self.title), about=_text(self.about), least=least, figures=figures)


def _text(text: str) -> str:
    return html.escape(printable(text))
