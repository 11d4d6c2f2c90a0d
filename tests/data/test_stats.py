"""`data stats`: the numbers are those of the files, and the sheet shows what is said of the photos."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from planted import annotated, box, circle, clean_set, photo, photo_file, polygon

from verydeep.data.annotations import BACKGROUND, IGNORE, Bitmap, Instance
from verydeep.data.formats import read_annotations
from verydeep.data.pictured import mask_classes
from verydeep.data.sheet import choose, draw_fits, draw_sheet
from verydeep.data.stats import BOX_SIZES, Spread, measure
from verydeep.image.draw_objects import CARD_WIDTH, Drawn, class_colours, draw_objects, object_card


def test_photos_are_counted_by_class_and_side_and_measured(tmp_path):
    clean = clean_set(tmp_path)
    wide = photo(photo_file(tmp_path, "wide.png", size=(300, 100)), "cat", split="val")
    measured = measure(replace(clean, photos=(*clean.photos, wide)))
    assert measured.photos == {"train": 8, "val": 5}
    assert [(row.label, dict(row.photos), row.objects, row.pixel_share) for row in measured.classes] == [
        ("cat", {"train": 4, "val": 3}, 0, None),
        ("dog", {"train": 4, "val": 2}, 0, None),
    ]
    assert (measured.shorter_side, measured.width) == (Spread(40, 40, 100), Spread(60, 60, 300))
    assert measured.aspect == Spread(1.5, 1.5, 3.0)
    assert measured.fits is not None
    assert (measured.fits.suggested, measured.fits.stretched) == ("crop", 1.5)
    assert (measured.objects, measured.objects_per_photo, measured.box_sizes, measured.unreadable) == (0, None, {}, 0)


def test_a_photo_on_its_side_has_the_size_that_it_is_seen_with(tmp_path):
    path = photo_file(tmp_path, "lying.jpg", size=(90, 60))
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.open(path).save(path, exif=exif)
    assert measure(annotated(tmp_path, photo(path, "a"))).width == Spread(60, 60, 60)


def test_boxes_are_counted_by_their_share_of_the_photo(tmp_path):
    instances = (box("a", 0, 0, 4, 4), box("a", 0, 0, 12, 20), box("b", 0, 0, 30, 20), box("b", 0, 0, 60, 40))
    two = photo(photo_file(tmp_path, "two.png"), instances=instances)
    measured = measure(annotated(tmp_path, two, photo(tmp_path / "gone.png", instances=instances[:1])))
    assert (measured.objects, measured.objects_per_photo) == (5, Spread(1, 2.5, 4))
    assert measured.box_sizes == dict(zip(BOX_SIZES, (1, 0, 2, 1), strict=True)) | {"1 to 10 %": 0}
    assert measured.box_side == Spread(4, pytest.approx(240**0.5), pytest.approx(2400**0.5))
    assert measured.unreadable == 1


def test_photos_are_drawn_as_squares_the_longest_first(tmp_path):
    bad = photo(tmp_path / "bad.png", "cat")
    (tmp_path / "bad.png").write_text("no picture")
    photos = [photo(photo_file(tmp_path, f"{width}.png", size=(width, 40)), "cat") for width in (50, 400, 90)]
    sheet = draw_fits(annotated(tmp_path, bad, *photos))
    assert sheet is not None
    cards = np.asarray(sheet)[:, 24:1026]  # a gap, four tiles
    first = draw_fits(annotated(tmp_path, photos[1]))
    assert np.array_equal(np.asarray(first)[:280, 24:1026], cards[:280])
    last = draw_fits(annotated(tmp_path, photos[0]))
    assert np.array_equal(np.asarray(last)[-280:, 24:1026], cards[-280:])
    assert draw_fits(annotated(tmp_path, bad)) is None


def test_objects_that_a_crop_would_lose_are_counted_in_the_upright_photo(tmp_path):
    """Of 60 x 40 pixels a central crop keeps 12.5 to 47.5 across, 2.5 to 37.5 down."""
    instances = (box("a", 0, 0, 10, 10), box("a", 0, 10, 24, 20), box("a", 0, 10, 26, 20), box("b", 20, 10, 30, 20))
    path = photo_file(tmp_path, "lying.jpg", size=(60, 40))
    assert measure(annotated(tmp_path, photo(path, instances=instances))).fits.lost_objects == 0.5
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)  # seen with 40 x 60 pixels; annotated as it is stored
    stored = photo(path, instances=instances, size=(60, 40))
    assert measure(annotated(tmp_path, stored)).fits.lost_objects == 0.5
    seen = photo(path, instances=instances, size=(40, 60))
    assert measure(annotated(tmp_path, seen)).fits.lost_objects == 0.25


def test_pixels_of_classes_are_those_of_masks_and_shapes(tmp_path):
    numbers = np.zeros((40, 60), np.uint8)
    numbers[:20] = 1
    numbers[30:] = 255
    Image.fromarray(numbers).save(tmp_path / "mask.png")
    one = photo(photo_file(tmp_path, "one.png"), mask=tmp_path / "mask.png")
    measured = measure(annotated(tmp_path, one, mask_classes=(BACKGROUND, "sky")))
    assert [(row.label, row.pixel_share) for row in measured.classes] == [("sky", pytest.approx(2 / 3))]
    assert measured.ignored_pixels == pytest.approx(1 / 4)
    assert measured.fits is None

    square = polygon("tile", (0, 0), (29.4, 0), (29.4, 39.4), (0, 39.4))
    other_size = photo(photo_file(tmp_path, "two.png", size=(50, 50)), mask=tmp_path / "mask.png")
    drawn = measure(annotated(tmp_path, photo(tmp_path / "one.png", instances=(square,)), other_size))
    assert (drawn.uncounted, measured.uncounted) == (1, 0)
    assert drawn.classes[0].pixel_share == pytest.approx(0.5)


def test_pixels_are_counted_where_there_are_more_classes_than_numbers_in_a_mask(tmp_path):
    Image.new("L", (60, 40), 7).save(tmp_path / "mask.png")
    path = photo_file(tmp_path, "one.png")
    names = tuple(f"class {number}" for number in range(255))
    others = [photo(path, f"label {number}") for number in range(100)]
    masked = annotated(tmp_path, photo(path, mask=tmp_path / "mask.png"), *others, mask_classes=names)
    assert {row.label: row.pixel_share for row in measure(masked).classes}["class 7"] == 1
    square = polygon("tile", (0, 0), (29.4, 0), (29.4, 39.4), (0, 39.4))
    drawn = annotated(tmp_path, photo(path, instances=(square,)), *(photo(path, name) for name in names))
    assert {row.label: row.pixel_share for row in measure(drawn).classes}["tile"] == pytest.approx(0.5)
    found = dict(mask_classes(masked.photos[0], masked, (60, 40)))
    assert list(found) == ["class 7"]
    assert found["class 7"].all()


def test_camvids_shares_are_those_that_its_page_tells(shared_data):
    names = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
    measured = measure(replace(read_annotations(shared_data / "camvid", "masks"), mask_classes=(*names, IGNORE)))
    shares = {row.label: row.pixel_share for row in measured.classes}
    assert measured.photos == {"train": 367, "val": 101}
    assert shares["road"] == pytest.approx(0.293 / 0.964, abs=0.03)  # 29.3 % of all pixels, 3.6 % of them ignored
    assert shares["bicyclist"] == pytest.approx(0.005, abs=0.005)
    assert measured.ignored_pixels == pytest.approx(0.036, abs=0.01)


# The sheet


def test_photos_are_chosen_from_all_classes_in_turn(tmp_path):
    photos = [photo(tmp_path / f"{label}{i:03}.png", label) for label in "abcdef" for i in range(50)]
    found = annotated(tmp_path, *photos, photo(tmp_path / "nothing.png"))
    chosen = choose(found, 12)
    assert [one.labels[0] for one in chosen] == list("aabbccddeeff")
    assert len(set(choose(found, 1000))) == 301
    few = [one.labels[0] for one in choose(found, 3)]
    assert len(set(few)) == 3
    assert few != list("abc")  # from all over the classes, not their beginning


def test_a_sheet_shows_the_photos_that_can_be_read(tmp_path):
    clean = clean_set(tmp_path)
    sheet = draw_sheet(replace(clean, photos=(*clean.photos, photo(tmp_path / "gone.png", "emu"))))
    assert sheet.width > 6 * CARD_WIDTH
    assert draw_sheet(annotated(tmp_path, photo(tmp_path / "gone.png", "emu"))) is None


def test_boxes_are_outlines_in_the_colour_of_their_class(tmp_path):
    colours = class_colours(["cat"])
    image = np.full((200, 300, 3), 255, np.uint8)
    drawn = np.asarray(draw_objects(image, [Drawn("cat", (100, 60, 200, 160))], colours))
    assert tuple(drawn[100, 100]) == tuple(drawn[160, 150]) == colours["cat"]
    assert tuple(drawn[110, 150]) == (255, 255, 255)  # inside
    assert tuple(drawn[42, 102]) == colours["cat"]  # the label's ground, over the box


def test_boxes_over_the_edge_and_without_a_label_that_fits_are_drawn():
    image = np.zeros((20, 30, 3), np.uint8)
    edges = {"a very long name of a class": (-50, -50, 500, 500), "b": (40, 40, 60, 60), "": (3, 3, 2, 2)}
    boxes = [Drawn(label, four) for label, four in edges.items()]
    colours = class_colours(edges)
    drawn = np.asarray(draw_objects(image, boxes, colours, 2.0))
    for label in ("a very long name of a class", "b"):
        assert (drawn == colours[label]).all(axis=-1).sum() > 20  # its outline, or the ground of its name
    assert object_card(image, boxes, colours).width == CARD_WIDTH


def test_of_very_many_boxes_a_hundred_are_named(monkeypatch):
    written = []
    monkeypatch.setattr("verydeep.image.draw_objects.write", lambda *args, **more: written.append(args))
    boxes = [Drawn("cat", (i % 50, i // 50, i % 50 + 5, i // 50 + 5)) for i in range(2000)]
    draw_objects(np.zeros((60, 60, 3), np.uint8), boxes, class_colours(["cat"]))
    assert len(written) == 100


def test_masks_are_half_transparent_and_named_below():
    colours = class_colours(["sky"])
    image = np.full((200, 400, 3), 255, np.uint8)
    mask = np.zeros((200, 400), bool)
    mask[50:150, 100:300] = True
    card = np.asarray(object_card(image, [Drawn("sky", mask=mask)], colours, "a caption", "val"))
    half = np.mean([(255, 255, 255), colours["sky"]], axis=0)
    assert np.abs(card[100, 200] - half).max() <= 2
    assert tuple(card[20, 20]) == (255, 255, 255)
    assert card.shape[0] > 240  # the caption and the legend
    assert (card[200:] == colours["sky"]).all(axis=-1).sum() > 50


def test_colours_follow_from_names_and_differ():
    many = [f"class {number}" for number in range(50)]
    colours = class_colours(many)
    assert len(set(colours.values())) == 50
    assert colours == class_colours(reversed(many))
    assert class_colours(["cat"])["cat"] == class_colours(["cat", "dog"])["cat"]


def test_a_long_legend_ends_with_how_many_more_there_are():
    mask = np.ones((50, 50), bool)
    objects = [Drawn(f"a class with a long name {number}", mask=mask) for number in range(20)]
    card = object_card(np.zeros((50, 50, 3), np.uint8), objects, class_colours(one.label for one in objects))
    assert card.width == CARD_WIDTH


def test_objects_are_drawn_as_small_as_their_card(tmp_path, monkeypatch):
    """Each mask takes a byte for each pixel of the picture."""
    given: dict[str, Drawn] = {}

    def card(image, objects, *_):
        given.update({one.label: one for one in objects})
        return Image.fromarray(image)

    monkeypatch.setattr("verydeep.data.sheet.object_card", card)
    Image.fromarray(np.eye(2, dtype=np.uint8)).resize((2000, 1000), 0).save(tmp_path / "mask.png")
    bits = Bitmap(400, 200, 1000, 600, np.packbits(np.ones((600, 1000), bool)).tobytes())
    shapes = (
        polygon("kite", (0, 0), (1000, 0), (1000, 500), (0, 500)),
        circle("ball", 1000, 500, 250),
        Instance("bits", bits.box(), bits),
        box("box", 100, 100, 300, 500),
    )
    big = photo(photo_file(tmp_path, "big.png", size=(2000, 1000)), instances=shapes, mask=tmp_path / "mask.png")
    draw_sheet(annotated(tmp_path, big, mask_classes=("sky", "sea")))
    assert {one.mask.shape for one in given.values() if one.mask is not None} == {(200, 400)}
    shares = {label: one.mask.mean() for label, one in given.items() if one.mask is not None}
    told = {"kite": 0.25, "ball": np.pi * 250**2 / 2e6, "bits": 0.3, "sky": 0.5, "sea": 0.5}
    assert shares == pytest.approx(told, abs=0.01)
    assert given["box"].box == pytest.approx((20, 20, 60, 100))


def test_all_kinds_of_shapes_are_drawn(tmp_path):
    shapes = (circle("ball", 20, 20, 8), polygon("kite", (40, 5), (50, 20), (40, 35)), box("box", 2, 2, 12, 12))
    assert draw_sheet(annotated(tmp_path, photo(photo_file(tmp_path, "one.png"), instances=shapes))).width > 300


def test_of_very_many_outlines_the_largest_are_drawn_and_the_others_are_told(tmp_path, monkeypatch):
    """Each takes a mask as large as the card: a hundred thousand of them took 19 GB."""
    monkeypatch.setattr("verydeep.data.sheet._MOST_OUTLINES", 3)
    drawn, captions = [], []

    def card(image, objects, colours, caption, aside):
        drawn.extend(objects)
        captions.append(caption)
        return Image.new("RGB", (CARD_WIDTH, 10))

    monkeypatch.setattr("verydeep.data.sheet.object_card", card)
    outlines = [circle(f"of {radius}", 30, 20, radius) for radius in (4, 9, 2, 8, 6)]
    shapes = (box("a box", 1, 1, 2, 2), *outlines)
    draw_sheet(annotated(tmp_path, photo(photo_file(tmp_path, "one.png"), "cat", instances=shapes)), threads=1)
    assert [one.label for one in drawn] == ["a box", "of 9", "of 8", "of 6"]
    assert captions == ["cat, 2 smaller outlines are not drawn"]
