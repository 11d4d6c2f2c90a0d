"""The pictures: what is hot is bright, whatever the photo's size; SVG and pages hold all that they show."""

import io
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from verydeep.explain import METHODS, Settings, explain
from verydeep.explain.drawing import to_png, to_svg
from verydeep.explain.explanation import Explanation
from verydeep.explain.page import Page
from verydeep.explain.picture import PANEL, coloured, cut_out, draw, panel, title
from verydeep.image import crop_box, fill_colour, fit
from verydeep.image.draw import TRACK
from verydeep.nouns import FITS, Fit, Preprocessing
from verydeep.runtime import OpenedModel, open_model

QUICK = Settings(steps=2, window=12, stride=12)


@pytest.fixture(scope="module")
def model(toy_model: Path) -> OpenedModel:
    return open_model(toy_model, engine="reference")


def make_photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (1, 900), (700, 30), (300, 401)])
def test_a_picture_is_of_one_size_whatever_the_photos(shape: tuple[int, int], model: OpenedModel) -> None:
    photo = make_photo(*shape)
    drawing = draw(photo, [explain(model, photo, method, settings=QUICK) for method in ("gradcam", "guided")])
    with Image.open(io.BytesIO(to_png(drawing))) as picture:
        assert picture.size == (drawing.width, drawing.height)
    assert drawing.width == 2 * 20 + 3 * PANEL + 2 * 16


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_panel_as_large_as_what_the_network_saw(method: str, model: OpenedModel) -> None:
    photo = make_photo(50, 70)
    found = explain(model, photo, method, settings=QUICK)
    seen = cut_out(photo, found.box, found.map.heat.shape)
    drawn = panel(seen, found)
    assert drawn.size == seen.size == (PANEL, PANEL)
    assert len(np.unique(np.asarray(drawn))) > 20


@pytest.mark.parametrize("fit_name", FITS)
@pytest.mark.parametrize("shape", [(60, 90), (90, 40)])
def test_what_the_network_saw_is_what_fit_makes_and_grey_beyond_the_photo(
    shape: tuple[int, int], fit_name: Fit
) -> None:
    photo = np.asarray(Image.fromarray(make_photo(4, 5)).resize(shape[::-1], Image.Resampling.BICUBIC))
    preprocessing = Preprocessing(36, 32, fit=fit_name)
    square = fit(photo, preprocessing).astype(int)
    seen = np.asarray(
        cut_out(photo, crop_box(photo.shape, preprocessing), (32, 32)).resize((32, 32), Image.Resampling.BOX), int
    )
    is_filled = (square == fill_colour(preprocessing)).all(axis=2)
    is_grey = np.abs(seen - TRACK).max(axis=2) <= 2
    assert is_filled.any() == (fit_name == "letterbox")
    assert (is_grey != is_filled).sum() <= 2 * 32  # the rows beside the photo
    assert np.abs(seen - square)[~is_filled].mean() < 4


def hot_at(place: tuple[slice, slice], found: Explanation) -> Explanation:
    heat = np.zeros((32, 32), np.float32)
    heat[place] = 1
    object.__setattr__(found.map, "heat", heat)
    return found


@pytest.mark.parametrize("method", ["gradcam", "gradient"])
def test_the_hottest_place_is_the_brightest_and_nothing_is_no_error(method: str, model: OpenedModel) -> None:
    photo = np.full((36, 36, 3), 90, np.uint8)
    found = hot_at(np.s_[4:8, 20:24], explain(model, photo, method))
    pixels = np.asarray(panel(cut_out(photo, found.box, found.map.heat.shape), found)).astype(int).sum(axis=2)
    scale = PANEL / 32
    inside = pixels[int(5 * scale) : int(7 * scale), int(21 * scale) : int(23 * scale)]
    assert inside.min() > 2 * np.median(pixels)
    nothing = hot_at(np.s_[:0, :0], found)
    assert "nothing in the photo speaks for it" in to_svg(draw(photo, [nothing]))
    to_png(draw(photo, [nothing]))


def test_the_colours_become_brighter_all_the_way() -> None:
    luma = coloured(np.linspace(0, 1, 100)) @ [0.299, 0.587, 0.114]
    assert (np.diff(luma) > 0).all()


def test_an_svg_holds_its_pictures_and_its_words(model: OpenedModel) -> None:
    photo = make_photo(40, 40)
    found = explain(model, photo, label="cat")
    root = ElementTree.fromstring(to_svg(draw(photo, [found])))  # noqa: S314, we wrote it
    images = [part for part in root if part.tag.endswith("image")]
    assert len(images) == 3  # what was seen, the map, and the scale
    assert all(part.attrib["href"].startswith("data:image/jpeg;base64,") for part in images)
    texts = [part.text for part in root if part.tag.endswith("text")]
    assert title(found) in texts
    assert "Grad-CAM at relu2_1" in texts


def test_a_title_says_what_is_explained_and_what_the_model_answered(model: OpenedModel) -> None:
    photo = make_photo(40, 40)
    best = explain(model, photo).label
    others = [label for label in model.info.classes if label != best]
    assert re.fullmatch(rf"{best}, \d+\.\d %", title(explain(model, photo)))
    assert title(explain(model, photo, label=others[0])).endswith(f"; the model's answer is {best}")
    assert title(explain(model, photo, "guided", layer="relu1_2", channel=3)) == "channel 3 of relu1_2"


def test_a_page_needs_no_other_file_and_no_name_can_write_into_it(model: OpenedModel) -> None:
    photo = make_photo(40, 40)
    page = Page("What <toy> looks at", "Method: gradcam.")
    page.add("<script>alert(1)</script>\n.jpg", draw(photo, [explain(model, photo)]))
    text = page.render()
    assert "<script" not in text
    assert "What &lt;toy&gt; looks at" in text
    assert set(re.findall(r'(?:src|href)="(\w+):', text)) == {"data"}
    assert "default-src 'none'" in text
