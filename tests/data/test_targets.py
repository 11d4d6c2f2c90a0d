"""What a network is taught with: masks as Labelme draws them, boxes, and photos stored lying on their side."""

import json
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from verydeep.data.annotations import (
    BACKGROUND,
    IGNORE,
    AnnotatedPhoto,
    AnnotatedSet,
    Bitmap,
    Box,
    Circle,
    Instance,
    PhotoFile,
    Polygons,
)
from verydeep.data.formats import coco, labelme, masks, voc
from verydeep.data.targets import (
    IGNORED,
    LARGEST_ELLIPSE,
    boxes,
    class_mask,
    outside,
    read_mask,
    turned,
    unnamed,
    upright,
)
from verydeep.data.untrusted import Root
from verydeep.errors import DatasetError, ImageError
from verydeep.image import read_image
from verydeep.image.orientation import UPRIGHT

SQUARE = Polygons((((1, 1), (3, 1), (3, 3), (1, 3)),))
CLASSES = (BACKGROUND, "cat", "dog")


def thing(label="cat", shape=SQUARE, box=None):
    return Instance(label, box or shape.box(), shape)


def photo(*instances, size=(8, 6), **fields):
    return AnnotatedPhoto(PhotoFile("a.jpg"), "a.json", instances=instances, size=size, **fields)


def bits(pixels, left=0, top=0):
    pixels = np.array(pixels, bool)
    return Bitmap(left, top, pixels.shape[1], pixels.shape[0], np.packbits(pixels).tobytes())


def mask_file(path, pixels):
    Image.fromarray(np.array(pixels, np.uint8)).save(path)
    return path


def palette(example):
    """The classes of Labelme's example in the order of their numbers."""
    return tuple((example / "data_dataset_voc" / "class_names.txt").read_text().splitlines())


def drawn_by_labelme(path, classes):
    """As its converter does it: each shape in a picture of its own, then pasted."""
    document = json.loads(path.read_text())
    mask = np.zeros((document["imageHeight"], document["imageWidth"]), np.int32)
    for shape in document["shapes"]:
        picture = Image.fromarray(np.zeros(mask.shape, np.uint8))
        ImageDraw.Draw(picture).polygon(xy=[tuple(point) for point in shape["points"]], outline=1, fill=1)
        mask[np.array(picture, bool)] = -1 if shape["label"] == IGNORE else classes.index(shape["label"])
    return mask.astype(np.uint8)


@pytest.mark.parametrize("kind", ["semantic_segmentation", "instance_segmentation"])
def test_masks_are_labelmes_own_to_the_pixel(shared_data, kind):
    example = shared_data / "labelme-examples" / kind
    found = labelme.read(example / "data_annotated", Root(example))
    differing = 0
    for annotated in found.photos:
        mask = class_mask(annotated, palette(example), annotated.size)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, drawn_by_labelme(Path(annotated.origin), palette(example)))
        shipped = example / "data_dataset_voc" / "SegmentationClass" / f"{annotated.photo.path.stem}.png"
        differing += (mask != np.asarray(Image.open(shipped))).sum()
    assert differing <= 1  # a corner of a sofa: some versions of Pillow round it as the one of 2020, and others do not


def test_a_mask_is_the_same_from_labelme_and_from_its_export_to_voc(shared_data, tmp_path):
    example = shared_data / "labelme-examples" / "instance_segmentation"
    shutil.copytree(example / "data_dataset_voc", tmp_path, dirs_exist_ok=True)
    shutil.copytree(example / "data_annotated", tmp_path / "JPEGImages", ignore=shutil.ignore_patterns("*.json"))
    of_masks, of_shapes = masks.read(tmp_path, Root(tmp_path)), labelme.read(example, Root(example))
    drawn = {each.photo.path.name: each for each in of_shapes.photos}
    classes = palette(example)
    for each in of_masks.photos:
        size = drawn[each.photo.path.name].size
        expected = class_mask(drawn[each.photo.path.name], classes, size)
        assert (class_mask(each, classes, size, of_masks) != expected).sum() <= 1  # as above


def test_masks_from_labelme_and_coco_are_the_same_where_nothing_is_ignored(shared_data, tmp_path):
    example = shared_data / "labelme-examples" / "instance_segmentation"
    shutil.copytree(example / "data_dataset_coco", tmp_path, dirs_exist_ok=True)
    shutil.copytree(example / "data_annotated", tmp_path / "JPEGImages", ignore=shutil.ignore_patterns("*.json"))
    of_coco, of_labelme = coco.read(tmp_path, Root(tmp_path)), labelme.read(example, Root(example))
    drawn = {each.photo.path.name: each for each in of_labelme.photos}
    for each in of_coco.photos:
        expected = class_mask(drawn[each.photo.path.name], palette(example), each.size)
        found = class_mask(each, palette(example), each.size)
        kept = expected != IGNORED  # that export leaves those shapes out
        np.testing.assert_array_equal(found[kept], expected[kept])


def test_boxes_of_birds_are_the_same_from_voc_and_labelme(shared_data):
    birds = shared_data / "cub-birds-loc"
    found = [
        {each.photo.path.name: boxes(each) for each in module.read(birds, Root(birds)).photos}
        for module in (voc, labelme)
    ]
    assert found[0].keys() == found[1].keys()
    for name, (edges, labels) in found[0].items():
        np.testing.assert_array_equal(edges, found[1][name][0])
        assert labels == found[1][name][1]
        assert (edges.shape, edges.dtype) == ((1, 4), np.float32)


def test_shapes_are_drawn_one_over_the_other_with_their_outlines():
    later = thing("dog", Polygons((((3, 3), (5, 3), (5, 5), (3, 5)),)))
    mask = class_mask(photo(thing(), later), CLASSES, (8, 6))
    expected = np.zeros((6, 8), np.uint8)
    expected[1:4, 1:4] = 1
    expected[3:6, 3:6] = 2
    np.testing.assert_array_equal(mask, expected)


def test_an_object_in_parts_is_all_of_them_and_a_box_alone_is_not_drawn():
    parts = Polygons((SQUARE.rings[0], ((5, 1), (6, 1), (6, 2))))
    mask = class_mask(photo(thing(shape=parts), Instance("dog", Box(0, 0, 8, 6))), CLASSES, (8, 6))
    assert (mask[2, 2], mask[1, 6], mask[5, 0]) == (1, 1, 0)


def test_a_circle_is_drawn_as_labelme_does():
    canvas = Image.new("L", (20, 20))
    ImageDraw.Draw(canvas).ellipse([10 - 5, 10 - 5, 10 + 5, 10 + 5], outline=1, fill=1)
    mask = class_mask(photo(thing(shape=Circle((10, 10), 5))), CLASSES, (20, 20))
    np.testing.assert_array_equal(mask, np.asarray(canvas))


def test_a_bitmap_is_drawn_where_it_lies_and_cut_off_at_the_edge():
    mask = class_mask(photo(thing(shape=bits([[1, 0], [1, 1]], 2, 1))), CLASSES, (8, 6))
    assert np.argwhere(mask).tolist() == [[1, 2], [2, 2], [2, 3]]
    mask = class_mask(photo(thing(shape=bits([[0, 1], [1, 1]], 7, -1))), CLASSES, (8, 6))
    assert np.argwhere(mask).tolist() == [[0, 7]]


def test_a_class_of_a_single_pixel_is_kept():
    mask = class_mask(photo(thing(), thing("dog", bits([[1]], 4, 4))), CLASSES, (8, 6))
    assert (mask == 2).sum() == 1


def test_pixels_to_be_ignored_are_255_and_without_a_background_so_are_those_of_no_object():
    mask = class_mask(photo(thing(), thing(IGNORE, bits([[1]], 7, 5))), CLASSES, (8, 6))
    assert (mask[5, 7], mask[0, 0]) == (IGNORED, 0)
    mask = class_mask(photo(thing("dog")), ("cat", "dog"), (8, 6))
    assert (mask[2, 2], mask[0, 0]) == (1, IGNORED)


def test_a_class_that_is_not_among_them_is_told():
    with pytest.raises(DatasetError, match=r"a.json has the class 'wolf', which is not one of _background_, cat, dog"):
        class_mask(photo(thing("wolf")), CLASSES, (8, 6))
    with pytest.raises(DatasetError, match="256 classes"):
        class_mask(photo(), tuple(map(str, range(256))), (8, 6))


def test_the_numbers_of_a_mask_are_those_of_the_classes_by_their_names(tmp_path):
    path = mask_file(tmp_path / "a.png", [[0, 1, 2, 3, 254, 255]])
    annotated = AnnotatedSet("masks", tmp_path, (), "", mask_classes=("sky", IGNORE, "road"))
    mask = class_mask(photo(mask=path), (BACKGROUND, "road", "sky"), (6, 1), annotated)
    assert mask.tolist() == [[2, IGNORED, 1, IGNORED, IGNORED, IGNORED]]
    assert unnamed(photo(mask=path), annotated) == {"3": 1, "254": 1}
    assert unnamed(photo(), annotated) == {}
    with pytest.raises(DatasetError, match="'road'"):
        class_mask(photo(mask=path), (BACKGROUND, "sky"), (6, 1), annotated)


def test_without_their_names_the_numbers_are_positions(tmp_path):
    path = mask_file(tmp_path / "a.png", [[0, 1, 2, 3, 255]])
    assert class_mask(photo(mask=path), CLASSES, (5, 1)).tolist() == [[0, 1, 2, IGNORED, IGNORED]]


def test_colours_are_looked_up_and_others_ignored(tmp_path):
    colors = {(64, 128, 64): 0, (192, 0, 128): 1, (0, 0, 0): 2}
    annotated = AnnotatedSet("masks", tmp_path, (), "", mask_classes=("cat", "dog", IGNORE), mask_colors=colors)
    path = mask_file(tmp_path / "a.png", [[(192, 0, 128), (64, 128, 64), (0, 0, 0), (1, 2, 3), (255, 255, 255)]])
    mask = class_mask(photo(mask=path), CLASSES, (5, 1), annotated)
    assert mask.tolist() == [[2, 1, IGNORED, IGNORED, IGNORED]]
    assert unnamed(photo(mask=path), annotated) == {"#010203": 1, "#ffffff": 1}


@pytest.mark.parametrize("bit_depth", [1, 2, 4, 8])
@pytest.mark.parametrize("mode", ["L", "P"])
def test_a_mask_of_fewer_bits_holds_the_numbers_that_were_written(tmp_path, bit_depth, mode):
    numbers = np.arange(min(2**bit_depth, 255), dtype=np.uint8)[None].repeat(2, axis=0)
    path = tmp_path / "a.png"
    if mode == "P":
        picture = Image.fromarray(numbers)
        picture.putpalette([value for number in range(256) for value in (number, 0, 255 - number)])
        picture.save(path, bits=bit_depth)
    else:
        path.write_bytes(grey_png(numbers, bit_depth))
    np.testing.assert_array_equal(read_mask(path, {}), numbers)


def grey_png(numbers, bit_depth):
    """Pillow writes no grey of two or four bits."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = numbers.shape
    places = np.arange(bit_depth)[::-1]
    lines = [np.packbits((row[:, None] >> places) & 1).tobytes() for row in numbers]
    header = struct.pack(">IIBBBBB", width, height, bit_depth, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + line for line in lines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_a_mask_that_holds_no_numbers_of_8_bits_is_refused_in_words(tmp_path, mode):
    path = tmp_path / "a.png"
    Image.new(mode, (4, 3)).save(path)
    with pytest.raises(ImageError, match=f"{path}.*expected a number of 8 bits"):
        read_mask(path, {})


def test_a_mask_of_another_size_than_its_photo_is_told(tmp_path):
    path = mask_file(tmp_path / "a.png", np.zeros((3, 4)))
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg")
    with pytest.raises(DatasetError, match=r"a.png has 4 x 3 pixels; the photo .*a.jpg has\s+8 x 6"):
        class_mask(AnnotatedPhoto(PhotoFile(tmp_path / "a.jpg"), "a", mask=path), CLASSES, (8, 6))


def test_boxes_end_with_the_photo_and_those_outside_are_left_out_and_told():
    inside = [Instance("cat", Box(-3, 2, 5, 9)), Instance(IGNORE, Box(1, 1, 2, 2)), Instance("dog", Box(7, 0, 30, 1))]
    gone = Instance("cat", Box(8, 0, 12, 4))
    edges, labels = boxes(photo(*inside, gone))
    assert edges.tolist() == [[0, 2, 5, 6], [7, 0, 8, 1]]
    assert labels == ("cat", "dog")
    assert outside(photo(*inside, gone)) == (gone,)
    assert boxes(photo())[0].shape == (0, 4)
    flat = Instance("cat", Box(2, 3, 2, 5))
    assert (boxes(photo(flat))[1], outside(photo(flat))) == ((), ())
    assert boxes(photo(gone, size=None))[0].tolist() == [[8, 0, 12, 4]]
    assert boxes(photo(gone, size=None), (10, 3))[0].tolist() == [[8, 0, 10, 3]]


def stored(path, turn, size=(8, 6)):
    """A photo with the orientation `turn`."""
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.new("RGB", size).save(path, exif=exif)
    return PhotoFile(path)


EVERY_SHAPE = (
    thing("cat", Polygons((((1, 0), (5, 0), (5, 2)), ((6, 4), (7, 4), (7, 5), (6, 5))))),
    thing("dog", bits([[1, 0, 0], [1, 1, 0]], 2, 3)),
)


@pytest.mark.parametrize("turn", range(2, 9))
def test_shapes_are_turned_as_the_picture_is(turn):
    """A bitmap's pixels land where those of the picture do; points where the edges of those pixels do."""
    before = photo(EVERY_SHAPE[1])
    after = turned(before, turn)
    picture = Image.fromarray(class_mask(before, CLASSES, (8, 6))).transpose(UPRIGHT[turn])
    assert after.size == picture.size
    np.testing.assert_array_equal(class_mask(after, CLASSES, after.size), np.asarray(picture))
    assert after.instances[0].box == after.instances[0].shape.box()
    outlined = turned(photo(EVERY_SHAPE[0], Instance("cat", Box(2, 3, 5, 5))), turn)
    assert outlined.instances[0].box == outlined.instances[0].shape.box()
    assert outlined.instances[1].box == after.instances[0].box  # as the bitmap lies
    circle = turned(photo(thing(shape=Circle((2, 3), 1))), turn).instances[0]
    assert circle.box == circle.shape.box()


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_coordinates_follow_a_photo_that_was_annotated_as_it_is_stored(tmp_path, turn, suffix):
    path = tmp_path / f"a.{suffix}"
    seen_stored = AnnotatedPhoto(stored(path, turn), "a.json", instances=EVERY_SHAPE, size=(8, 6))
    found = upright(seen_stored)
    height, width = read_image(path).shape[:2]
    assert found.size == (width, height)
    if turn > 4:
        assert found == turned(seen_stored, turn)
    else:  # both sizes are the same: nothing shows that the tool saw it as it is stored
        assert found is seen_stored


@pytest.mark.parametrize("turn", range(1, 9))
def test_coordinates_of_a_photo_that_was_seen_upright_stay(tmp_path, turn):
    size = (6, 8) if turn > 4 else (8, 6)
    seen_upright = AnnotatedPhoto(stored(tmp_path / "a.jpg", turn), "a.json", instances=EVERY_SHAPE, size=size)
    assert upright(seen_upright) is seen_upright
    assert upright(seen_upright, (tmp_path / "a.jpg").read_bytes()) is seen_upright


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_square_photo_and_one_whose_size_is_not_told_stay(tmp_path, turn):
    square = AnnotatedPhoto(stored(tmp_path / "a.jpg", turn, (8, 8)), "a", instances=EVERY_SHAPE, size=(8, 8))
    assert upright(square) is square
    untold = AnnotatedPhoto(stored(tmp_path / "b.jpg", turn), "a", instances=EVERY_SHAPE)
    assert upright(untold) is untold


def test_annotations_of_a_picture_of_another_size_are_told(tmp_path):
    scaled = AnnotatedPhoto(stored(tmp_path / "a.jpg", 1), "a.json", size=(80, 60))
    with pytest.raises(DatasetError, match=r"a.json is of a picture of 80 x 60 pixels; .*a.jpg has 8 x 6"):
        upright(scaled)


@pytest.mark.parametrize("turn", range(5, 9))
def test_a_mask_made_of_a_photo_as_it_is_stored_is_turned_as_the_photo_is(tmp_path, turn):
    numbers = np.arange(48, dtype=np.uint8).reshape(6, 8) % 3
    path = mask_file(tmp_path / "a.png", numbers)
    annotated = AnnotatedPhoto(stored(tmp_path / "a.jpg", turn), "a", mask=path)
    expected = np.asarray(Image.fromarray(numbers).transpose(UPRIGHT[turn]))
    np.testing.assert_array_equal(class_mask(annotated, CLASSES, (6, 8)), expected)


@pytest.mark.parametrize("radius", [LARGEST_ELLIPSE, 400_000.0, 700_000.0, 1_000_000.0])
def test_a_circle_as_large_as_numbers_go_is_drawn_at_once(radius):
    """In a process of its own: of some radii Pillow's ellipse does not return."""
    program = (
        "from verydeep.data.annotations import AnnotatedPhoto, Circle, Instance, PhotoFile\n"
        "from verydeep.data.targets import class_mask\n"
        f"shape = Circle((4, 3), {radius})\n"
        "photo = AnnotatedPhoto(PhotoFile('a'), 'a', instances=(Instance('cat', shape.box(), shape),))\n"
        "print((class_mask(photo, ('_background_', 'cat'), (8, 6)) == 1).all())"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize("center", [(-9940, 15), (45.25, -9960.5), (-7040.5, -7040)])
def test_a_circle_too_large_for_pillow_is_drawn_as_one_of_the_largest_that_is_not(center):
    """But for its edge: Pillow rounds centre and radius to whole pixels."""
    circles = [Circle(center, radius) for radius in (LARGEST_ELLIPSE, np.nextafter(LARGEST_ELLIPSE, np.inf))]
    pillows, ours = (class_mask(photo(thing(shape=circle)), CLASSES, (90, 70)) for circle in circles)
    assert 0 < ours.sum() < ours.size
    assert (pillows != ours).sum() <= 90 + 70
    rows, columns = np.indices((70, 90))
    np.testing.assert_array_equal(ours == 1, np.hypot(columns - center[0], rows - center[1]) <= LARGEST_ELLIPSE)
