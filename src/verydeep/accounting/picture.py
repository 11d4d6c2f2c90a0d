"""The picture of a network that everyone knows: its layers as boxes, drawn from the table for any architecture.

A box is one output: as high and deep as the map, as thick as it has channels, both on a square-root scale, since
224 and 1, or 3 and 4096, cannot be seen side by side on a linear one. `draw` makes a list of shapes; `to_svg` and
`to_png` write them down.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from itertools import groupby
from math import sqrt

from verydeep.accounting.layers import LayerAccount, account_layers, total
from verydeep.architecture import Architecture, Layer

Point = tuple[float, float]
Color = tuple[int, int, int]

INK: Color = (38, 45, 56)
FAINT_INK: Color = (112, 121, 134)
PAPER: Color = (255, 255, 255)

# What is told apart in the picture: its colour, and its line in the legend.
STYLES: dict[str, tuple[Color, str]] = {
    "input": ((205, 210, 218), "image"),
    "conv": ((86, 139, 205), "3x3 convolution + ReLU"),
    "conv1x1": ((72, 187, 186), "1x1 convolution + ReLU"),
    "lrn": ((243, 177, 71), "local response normalisation"),
    "conv7x7": ((64, 105, 178), "7x7 convolution + ReLU"),
    "linear7x7": ((120, 150, 206), "7x7 convolution"),
    "pool": ((231, 98, 90), "2x2 max pool"),
    "unpool": ((247, 172, 132), "2x2 unpool: back to where the maximum was"),
    "gap": ((157, 121, 204), "global average pool"),
    "fc": ((104, 176, 108), "fully connected + ReLU"),
    "logits": ((60, 128, 79), "fully connected: a score for each class"),
    "boxes": ((60, 128, 79), "fully connected: a score for each class, and edges of boxes"),
    "pixels": ((60, 128, 79), "convolution: a score for each class at each pixel"),
    "embedding": ((60, 128, 79), "fully connected: a vector"),
    "unit": ((157, 121, 204), "divided by its length"),
}

LARGEST_SIDE = 250.0  # px for the height of the image
CHANNEL_SCALE = 0.95  # px for the square root of a channel
DEPTH: Point = (0.40, -0.29)  # where the far corner lies, in units of the height
GAP = 4.0  # px between the boxes of a group
GROUP_GAP = 26.0  # px between groups
MARGIN = 36.0
TITLE_HEIGHT = 92.0
LABEL_SIZE = 13.0
CHARACTER = 0.5  # mean width of a letter, in units of its size


@dataclass(frozen=True)
class Polygon:
    """A filled area; `tip` is what a browser shows when the mouse rests on it."""

    points: tuple[Point, ...]
    fill: Color
    tip: str = ""


@dataclass(frozen=True)
class Text:
    """A line of text; x is its start, its middle or its end by `anchor`, y its base line."""

    x: float
    y: float
    text: str
    size: float = LABEL_SIZE
    color: Color = INK
    is_bold: bool = False
    anchor: str = "middle"


@dataclass(frozen=True)
class Drawing:
    """Shapes in the order in which they are painted, on a sheet of width x height px."""

    width: float
    height: float
    shapes: tuple[Polygon | Text, ...]


@dataclass(frozen=True)
class Box:
    """A layer's output as the picture shows it."""

    account: LayerAccount
    style: str
    side: float  # px
    thickness: float  # px

    @property
    def tip(self) -> str:
        account = self.account
        lines = [account.name, _size(account)]
        if account.weights:
            lines += [f"{account.weights:,} weights", f"{account.macs:,} MACs"]
        return "\n".join(lines)


def draw(architecture: Architecture, image_size: tuple[int, int] | None = None) -> Drawing:
    """The boxes picture of an architecture.

    image_size: (height, width) in pixels, by default the input size; a box is as high and deep as the map is high.
    """
    accounts = account_layers(architecture, image_size)
    groups = _groups(architecture, accounts)
    half_height = max(_half_height(box.side) for group in groups for box in group)
    axis = MARGIN + TITLE_HEIGHT + half_height
    labels_y = axis + half_height + 34
    shapes: list[Polygon | Text] = []
    x = MARGIN
    for group in groups:
        labels = _labels(group)
        group_width = max(_reach(group), *(_text_width(label) for label, _ in labels))
        shapes += _draw_group(group, x + (group_width - _reach(group)) / 2, axis)
        for line, (label, color) in enumerate(labels):
            shapes.append(Text(x + group_width / 2, labels_y + 19 * line, label, color=color, is_bold=line == 0))
        x += group_width + GROUP_GAP
    legend_y = labels_y + 86
    legend, legend_end = _legend(groups, legend_y)
    title = _title(architecture, accounts)
    width = max(x - GROUP_GAP, legend_end, *(MARGIN + _text_width(text.text, text.size) for text in title)) + MARGIN
    return Drawing(width, legend_y + MARGIN, (*title, *shapes, *legend))


def to_svg(drawing: Drawing) -> str:
    """The drawing as an SVG document."""
    width, height = round(drawing.width), round(drawing.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Helvetica Neue, Helvetica, Arial, sans-serif">',
        f'<rect width="{width}" height="{height}" rx="8" fill="{_hex(PAPER)}"/>',
    ]
    lines += [_svg_polygon(shape) if isinstance(shape, Polygon) else _svg_text(shape) for shape in drawing.shapes]
    return "\n".join([*lines, "</svg>", ""])


def to_png(drawing: Drawing, scale: int = 2) -> bytes:
    """The drawing as a PNG file, `scale` pixels to a px."""
    from PIL import Image, ImageDraw, ImageFont  # only a PNG needs Pillow

    fine = 2 * scale  # drawn at twice the size and shrunk: Pillow's polygons have hard edges
    image = Image.new("RGB", (round(drawing.width * fine), round(drawing.height * fine)), PAPER)
    canvas = ImageDraw.Draw(image)
    for shape in drawing.shapes:
        if isinstance(shape, Polygon):
            points = [(x * fine, y * fine) for x, y in shape.points]
            canvas.polygon(points, fill=shape.fill)
            canvas.line([*points, points[0]], fill=_edge(shape.fill), width=fine, joint="curve")
        else:
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
            font = ImageFont.load_default(shape.size * fine)
            stroke = shape.size * fine / 40 if shape.is_bold else 0  # Pillow's own font has no bold face
            canvas.text((shape.x * fine, shape.y * fine), shape.text, shape.color, font, anchor, stroke_width=stroke)
    size = (round(drawing.width * scale), round(drawing.height * scale))
    buffer = BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _groups(architecture: Architecture, accounts: Sequence[LayerAccount]) -> list[list[Box]]:
    """The boxes that stand together: the input, every block with its pool, every layer of the head."""
    rows = zip(architecture.layers, accounts[1:], strict=True)
    scale = LARGEST_SIDE / sqrt(accounts[0].output_shape[1])
    boxes = [_box(accounts[0], "input", scale)]
    boxes += [_box(account, _style(architecture, layer), scale) for layer, account in rows]
    return [list(group) for _, group in groupby(boxes, key=lambda box: _group_name(box.account))]


def _group_name(account: LayerAccount) -> str:
    """conv3_2, lrn3 and pool3 -> "3"; unpool3 and conv3_2_D -> "3_D"; any other layer is its own group."""
    if account.kind in ("pool", "lrn", "unpool") or account.name.startswith("conv"):
        block = next(character for character in account.name if character.isdigit())
        return block + ("_D" if account.kind == "unpool" or account.name.endswith("_D") else "")
    return account.name


def _style(architecture: Architecture, layer: Layer) -> str:
    *_, last = (row for row in architecture.layers if row.has_weights)
    if layer == last:
        return {"classify": "logits", "localize": "boxes", "segment": "pixels", "embed": "embedding"}[architecture.task]
    if layer.name.startswith("fc"):
        return "fc"
    if layer.kind == "conv" and layer.kernel == 7:
        return "conv7x7" if layer.has_relu else "linear7x7"
    return "conv1x1" if layer.kind == "conv" and layer.kernel == 1 else layer.kind


def _box(account: LayerAccount, style: str, map_scale: float) -> Box:
    channels, height, _ = account.output_shape
    return Box(account, style, map_scale * sqrt(height), max(3.0, CHANNEL_SCALE * sqrt(channels)))


def _draw_group(group: Sequence[Box], left: float, axis: float) -> Iterator[Polygon]:
    for box in group:
        yield from _faces(box, left, axis)
        left += box.thickness + GAP


def _faces(box: Box, left: float, axis: float) -> Iterator[Polygon]:
    """Front, top and right side of a box whose middle is on the axis; the rest of it cannot be seen."""
    color = STYLES[box.style][0]
    right = left + box.thickness
    right_far, left_far = right + DEPTH[0] * box.side, left + DEPTH[0] * box.side
    bottom = axis + _half_height(box.side)
    top = bottom - box.side
    top_far, bottom_far = top + DEPTH[1] * box.side, bottom + DEPTH[1] * box.side
    yield Polygon(((left, top), (right, top), (right, bottom), (left, bottom)), color, box.tip)
    yield Polygon(((left, top), (left_far, top_far), (right_far, top_far), (right, top)), _mix(color, 0.45), box.tip)
    yield Polygon(
        ((right, top), (right_far, top_far), (right_far, bottom_far), (right, bottom)), _mix(color, 0.72), box.tip
    )


def _half_height(side: float) -> float:
    """px from the middle of a box to its highest corner."""
    return side * (1 - DEPTH[1]) / 2


def _reach(group: Sequence[Box]) -> float:
    """px from a group's left edge to its farthest corner on the right."""
    left, reach = 0.0, 0.0
    for box in group:
        reach = max(reach, left + box.thickness + DEPTH[0] * box.side)
        left += box.thickness + GAP
    return reach


def _labels(group: Sequence[Box]) -> list[tuple[str, Color]]:
    """Names and sizes, for under a group: of its first layers, and of its pool or unpool where it has one."""
    layers = [box.account for box in group if box.style not in ("pool", "unpool", "lrn")]
    names = [layer.name for layer in layers]
    title = names[0] if len(names) == 1 else f"{names[0]} ... {names[-1].removeprefix('conv')}"
    labels = [(title, INK), (_size(layers[0]), FAINT_INK)]
    pools = [box for box in group if box.style in ("pool", "unpool")]
    return labels + [(f"{box.account.name} {_size(box.account)}", _edge(STYLES[box.style][0])) for box in pools]


def _size(account: LayerAccount) -> str:
    channels, height, width = account.output_shape
    return f"{height}x{width}x{channels}"


def _title(architecture: Architecture, accounts: Sequence[LayerAccount]) -> list[Text]:
    totals = total(accounts)
    title = architecture.name if architecture.configuration == "SegNet-Basic" else f"VGG {architecture.name}"
    answer = f"{architecture.classes:,} {'class' if architecture.classes == 1 else 'classes'}"
    if architecture.task == "embed":
        answer = f"{architecture.dimensions:,} dimensions"
    facts = (
        f"{totals.weight_layers} weight layers, {_short(totals.parameters)} parameters, "
        f"{_short(totals.macs)} multiply-adds for an image, {answer}"
    )
    return [
        Text(MARGIN, MARGIN + 20, title, size=26, is_bold=True, anchor="start"),
        Text(MARGIN, MARGIN + 46, facts, size=15, color=FAINT_INK, anchor="start"),
    ]


def _short(number: int) -> str:
    """138357544 -> "138.4 million"."""
    for unit, name in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return str(number)


def _legend(groups: Sequence[Sequence[Box]], y: float) -> tuple[list[Polygon | Text], float]:
    """One square and one line of text for each style in the picture, and where they end."""
    used = {box.style for group in groups for box in group} - {"input"}
    shapes: list[Polygon | Text] = []
    x = MARGIN
    for style in (style for style in STYLES if style in used):
        color, text = STYLES[style]
        shapes.append(Polygon(((x, y - 11), (x + 13, y - 11), (x + 13, y + 2), (x, y + 2)), color))
        shapes.append(Text(x + 20, y, text, color=FAINT_INK, anchor="start"))
        x += 20 + _text_width(text) + 22
    scale = "sizes on a square-root scale"
    shapes.append(Text(x, y, scale, color=FAINT_INK, anchor="start"))
    return shapes, x + _text_width(scale)


def _text_width(text: str, size: float = LABEL_SIZE) -> float:
    """px, about: fonts differ from machine to machine."""
    return len(text) * size * CHARACTER


def _mix(color: Color, share: float) -> Color:
    """`share` of the colour, the rest white."""
    red, green, blue = (round(part * share + 255 * (1 - share)) for part in color)
    return red, green, blue


def _edge(fill: Color) -> Color:
    red, green, blue = (round(part * 0.72) for part in fill)
    return red, green, blue


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _svg_polygon(polygon: Polygon) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in polygon.points)
    tip = f"<title>{escape(polygon.tip)}</title>" if polygon.tip else ""
    return (
        f'<polygon points="{points}" fill="{_hex(polygon.fill)}" stroke="{_hex(_edge(polygon.fill))}" '
        f'stroke-linejoin="round">{tip}</polygon>'
    )


def _svg_text(text: Text) -> str:
    weight = ' font-weight="600"' if text.is_bold else ""
    return (
        f'<text x="{text.x:.1f}" y="{text.y:.1f}" font-size="{text.size:g}" fill="{_hex(text.color)}" '
        f'text-anchor="{text.anchor}"{weight}>{escape(text.text)}</text>'
    )
