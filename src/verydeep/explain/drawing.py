"""A drawing: pictures and lines of text at their places, and how it is written down as PNG and as SVG."""

import io
from dataclasses import dataclass
from html import escape

from PIL import Image, ImageDraw

from verydeep.errors import printable
from verydeep.image.draw import INK, PAPER, Colour, data_uri, write

MARGIN, GAP = 20, 16  # pixels, as all lengths here
TITLE, LETTERS, SMALL = 26, 17, 12  # the size of letters
FAINT: Colour = (96, 105, 117)


@dataclass(frozen=True)
class Placed:
    """A picture in a picture."""

    left: int
    top: int
    image: Image.Image


@dataclass(frozen=True)
class Text:
    """A line of text; x is its start, y the middle of its height."""

    x: int
    y: int
    text: str
    size: int
    room: int  # pixels
    colour: Colour = INK


@dataclass(frozen=True)
class Drawing:
    """What is drawn where, in pixels."""

    width: int
    height: int
    parts: tuple["Placed | Text", ...]


def to_png(drawing: Drawing) -> bytes:
    """The drawing as a PNG file."""
    sheet = Image.new("RGB", (drawing.width, drawing.height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for part in drawing.parts:
        if isinstance(part, Placed):
            sheet.paste(part.image, (part.left, part.top))
        else:
            write(pen, (part.x, part.y), part.text, part.size, room=part.room, colour=part.colour)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def to_svg(drawing: Drawing) -> str:
    """The drawing as an SVG file that holds its pictures and needs no other; its text can be searched."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {drawing.width} {drawing.height}" '
        f'width="{drawing.width}" height="{drawing.height}" font-family="system-ui, sans-serif">',
        f'<rect width="100%" height="100%" fill="rgb{PAPER}"/>',
    ]
    for part in drawing.parts:
        if isinstance(part, Placed):
            lines.append(
                f'<image x="{part.left}" y="{part.top}" width="{part.image.width}" height="{part.image.height}" '
                f'href="{data_uri(part.image, "JPEG", quality=88)}"/>'
            )
        else:
            lines.append(
                f'<text x="{part.x}" y="{part.y}" font-size="{part.size}" fill="rgb{part.colour}" '
                f'dominant-baseline="central">{escape(printable(part.text))}</text>'
            )
    return "\n".join([*lines, "</svg>", ""])
