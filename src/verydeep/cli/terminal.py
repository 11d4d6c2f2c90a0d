"""What standard output can show, and how wide text is there."""

import sys
import unicodedata

ELLIPSIS = "…"
BAR_LENGTH = 24  # characters, of a share of 1


def can_print(text: str) -> bool:
    """Whether the encoding of standard output has these letters; where output is closed, nothing has."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def columns(text: str) -> int:
    """How many columns of a terminal the text takes: two for a Chinese letter, none for an accent of its own."""
    return sum(map(_columns, text))


def shortened(text: str, limit: int) -> str:
    """The text, or as much of its beginning as fits into `limit` columns with an ellipsis."""
    if columns(text) <= limit:
        return text
    ellipsis = ELLIPSIS if can_print(ELLIPSIS) else "..."
    while columns(text) > limit - len(ellipsis):
        text = text[:-1]
    return text + ellipsis


def padded(text: str, width: int) -> str:
    """The text with spaces after it, `width` columns in all."""
    return text + " " * (width - columns(text))


def bar(share: float) -> str:
    """Blocks where the terminal has them, in eighths of a character; # where it has not. share: 0 to 1."""
    if not can_print("█▏"):
        return "#" * round(BAR_LENGTH * share)
    whole, eighths = divmod(round(BAR_LENGTH * 8 * share), 8)
    return "█" * whole + " ▏▎▍▌▋▊▉"[eighths]


def _columns(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
