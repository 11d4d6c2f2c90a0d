"""The picture: every layer is in it, nothing hangs over its edge, and both files open."""

from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from verydeep.accounting.picture import Polygon, Text, draw, to_png, to_svg
from verydeep.architecture import CONFIGURATIONS, Architecture

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SVG = "{http://www.w3.org/2000/svg}"


PAPERS = [name for name in CONFIGURATIONS if name not in ("SegNet-Basic", "toy")]


@pytest.mark.parametrize(
    ("configuration", "head"),
    [*((name, "fc") for name in (*PAPERS, "toy")), ("D", "segnet"), ("SegNet-Basic", "segnet"), ("A", "embedding")],
)
def test_every_layer_is_a_box_of_three_faces(configuration: str, head: str) -> None:
    architecture = Architecture(configuration, head)
    tips = [shape.tip.split("\n")[0] for shape in draw(architecture).shapes if isinstance(shape, Polygon) and shape.tip]
    names = ["input", *(layer.name for layer in architecture.layers)]
    assert tips == [name for name in names for _ in range(3)]


def test_the_sizes_of_the_article_are_written_under_the_boxes() -> None:
    texts = {shape.text for shape in draw(Architecture("D")).shapes if isinstance(shape, Text)}
    sizes = {"224x224x3", "224x224x64", "112x112x128", "56x56x256", "28x28x512", "14x14x512", "1x1x4096", "1x1x1000"}
    assert sizes | {"pool5 7x7x512", "VGG D"} <= texts


def test_the_legend_names_what_is_there_and_no_more() -> None:
    def texts(configuration: str) -> set[str]:
        return {shape.text for shape in draw(Architecture(configuration)).shapes if isinstance(shape, Text)}

    assert "1x1 convolution + ReLU" in texts("C") - texts("D")
    assert "local response normalisation" in texts("A-LRN") - texts("A")


def test_a_decoder_is_drawn_block_by_block_with_its_unpools() -> None:
    texts = {shape.text for shape in draw(Architecture("D", "segnet", 11)).shapes if isinstance(shape, Text)}
    assert {"conv5_3_D ... 5_1_D", "conv1_2_D ... 1_1_D", "unpool5 14x14x512", "unpool1 224x224x64"} <= texts
    assert "convolution: a score for each class at each pixel" in texts
    texts = {shape.text for shape in draw(Architecture("SegNet-Basic", "segnet")).shapes if isinstance(shape, Text)}
    assert {"SegNet-Basic-segnet", "7x7 convolution + ReLU", "7x7 convolution", "score"} <= texts


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_nothing_hangs_over_the_edge(architectures: st.SearchStrategy[Architecture], data: st.DataObject) -> None:
    drawing = draw(data.draw(architectures))
    points = [point for shape in drawing.shapes if isinstance(shape, Polygon) for point in shape.points]
    points += [(shape.x, shape.y) for shape in drawing.shapes if isinstance(shape, Text)]
    assert all(0 < x < drawing.width and 0 < y < drawing.height for x, y in points)


def test_an_svg_is_xml_with_all_shapes() -> None:
    drawing = draw(Architecture("C"))
    root = ElementTree.fromstring(to_svg(drawing))  # noqa: S314, our own
    assert len(root.findall(f"{SVG}polygon")) + len(root.findall(f"{SVG}text")) == len(drawing.shapes)
    assert [text.text for text in root.iter(f"{SVG}text")] == [s.text for s in drawing.shapes if isinstance(s, Text)]


def test_a_png_has_the_colours_of_the_boxes() -> None:
    drawing = draw(Architecture("toy", head="gap"))
    image = Image.open(BytesIO(to_png(drawing, scale=1)))
    assert image.size == (round(drawing.width), round(drawing.height))
    for shape in drawing.shapes:
        if isinstance(shape, Polygon) and not shape.tip:  # the squares of the legend
            x, y = (sum(corner) / 4 for corner in zip(*shape.points, strict=True))
            assert image.getpixel((round(x), round(y))) == shape.fill


@pytest.mark.parametrize("configuration", PAPERS)
def test_the_pictures_in_the_documents_are_these(configuration: str) -> None:
    path = PICTURES / f"vgg-{configuration.lower()}.svg"
    assert path.read_text(encoding="utf-8") == to_svg(draw(Architecture(configuration)))


def test_the_image_drawn_is_the_one_asked_for() -> None:
    drawing = draw(Architecture("D", head="conv"), (384, 512))
    texts = [shape.text for shape in drawing.shapes if isinstance(shape, Text)]
    assert "384x512x3" in texts
    assert "6x10x1000" in texts
    assert max(y for shape in drawing.shapes if isinstance(shape, Polygon) for _, y in shape.points) < drawing.height
