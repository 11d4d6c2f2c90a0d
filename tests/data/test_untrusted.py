"""Annotations that nobody vouches for: read within limits, never a way to a file outside; walks, splits, numbers."""

import base64
import json
import os
import time
from collections import Counter

import pytest

from verydeep.data import untrusted
from verydeep.data.annotations import (
    AnnotatedPhoto,
    AnnotatedSet,
    Box,
    EmbeddedPhoto,
    Instance,
    PhotoFile,
    PhotoPart,
    Polygons,
    make_box,
    make_polygon,
    make_size,
)
from verydeep.data.formats import read_annotations
from verydeep.data.formats.find import PhotoFinder, tails
from verydeep.data.formats.splits import settle_splits
from verydeep.data.untrusted import (
    DEEPEST,
    Root,
    parse_json,
    parse_xml,
    read_bytes,
    read_ends,
    read_json,
    read_text,
    read_xml,
)
from verydeep.data.walk import SPLIT_NAMES, files_below, split_name, walk
from verydeep.errors import DatasetError, ImageError


def test_text_is_utf_8_with_its_mark_or_without_and_utf_16_by_its_mark(tmp_path):
    path = tmp_path / "a.txt"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_text("Vögel", encoding=encoding)
        assert read_text(path) == "Vögel"
    path.write_bytes(b"V\xf6gel")
    with pytest.raises(DatasetError, match="byte 1"):
        read_text(path)


@pytest.mark.parametrize("name", ["gone.json", "", "folder", "a\0b", "x" * 5000])
def test_what_is_no_file_is_told(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatasetError, match="no file|cannot be read"):
        read_bytes(tmp_path / name, 10)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(DatasetError, match="no file"):
        read_json(tmp_path / "a.json")
    assert read_ends(tmp_path / "a.json", 5) == (b"", b"")


def test_the_ends_of_a_file_tell_what_it_is(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    assert read_ends(tmp_path / "a", 3) == (b"012", b"789")
    assert read_ends(tmp_path / "a", 30) == (b"0123456789",) * 2
    for name in ("gone", "", "x" * 5000, "a\0b"):
        assert read_ends(tmp_path / name, 3) == (b"", b"")


def test_a_file_larger_than_allowed_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(bytes(101))
    assert read_bytes(tmp_path / "a", 101) == bytes(101)
    with pytest.raises(DatasetError, match="more than 0 MiB"):
        read_bytes(tmp_path / "a", 100)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"a": NaN}',
        "[Infinity]",
        "[-Infinity]",
        "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1),
        '{"a":' * 100_000,
        "[" + "9" * 5000 + "]",
        '"\udc80"',
        "\0",
        '{"a": 1} x',
    ],
)
def test_json_that_is_none_or_costs_too_much_is_refused(text):
    with pytest.raises(DatasetError, match="evil.json"):
        parse_json(text.encode(errors="surrogateescape"), "evil.json")


def test_brackets_within_texts_are_no_levels():
    document = {"a": "[" * 100, 'b"\\': ["{" * 100, '"[["' * 20]}
    assert parse_json(json.dumps(document).encode(), "a") == document
    nested = b"[" * DEEPEST + b"]" * DEEPEST
    assert parse_json(nested, "a") is not None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not XML"),
        ("<a>", "not XML"),
        ("<a></b>", "not XML"),
        ("<!DOCTYPE a><a/>", "document type"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
        ('<!DOCTYPE a SYSTEM "http://evil/a.dtd"><a/>', "document type"),
        ("<a>&b;</a>", "not XML"),
        ("<a>" * (DEEPEST + 1) + "</a>" * (DEEPEST + 1), "elements or levels"),
        ("<a>" + "<b/>" * 200_000 + "</a>", "elements or levels"),
        ('<?xml version="1.0" encoding="utf-7"?><a/>', "not XML"),
        ('<?xml version="1.0" encoding="nonsense"?><a/>', "not XML"),
    ],
)
def test_xml_that_is_none_or_costs_too_much_is_refused(text, told):
    with pytest.raises(DatasetError, match=told) as error:
        parse_xml(text.encode(), "evil.xml")
    assert "evil.xml" in str(error.value)


def test_xml_is_found_by_its_tags(tmp_path):
    (tmp_path / "a.xml").write_text('<a x="1"><b> one <c>two</c> three</b><b>four</b></a>', encoding="utf-16")
    top = read_xml(tmp_path / "a.xml")
    assert (top.tag, top.attributes, len(top.children)) == ("a", {"x": "1"}, 2)
    assert (top.value("b"), top.value("b", "c"), top.value("b", "d"), top.find("d")) == ("one  three", "two", "", None)


def test_text_in_many_pieces_is_put_together_at_once():
    """Each of 90,000 pieces added to all before would take minutes."""
    start = time.process_time()
    top = parse_xml(b"<a>" + (b"x" * 90 + b"<b/>") * 90_000 + b"</a>", "a")
    assert (len(top.text), time.process_time() - start < 10) == (8_100_000, True)


@pytest.fixture
def root(tmp_path):
    """A folder with a file, beside one that is a secret."""
    (tmp_path / "set" / "sub").mkdir(parents=True)
    (tmp_path / "set" / "a.jpg").write_bytes(b"a")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    return Root(tmp_path / "set")


@pytest.mark.parametrize("named", ["a.jpg", "./a.jpg", "sub/../a.jpg", "sub\\..\\a.jpg", "../set/a.jpg"])
def test_a_name_leads_to_a_file_within_the_root(root, named):
    assert root.path(root.folder, named, "a.json") == root.folder / "a.jpg"
    assert root.path(root.folder, str(root.folder / "a.jpg"), "a.json") == root.folder / "a.jpg"


@pytest.mark.parametrize(
    "named",
    [
        "../secret.jpg",
        "/etc/passwd",
        "sub/../../secret.jpg",
        "..\\secret.jpg",
        "//server/share/a.jpg",
        "\\\\server\\a.jpg",
    ],
)
def test_a_name_that_leads_out_is_refused(root, named):
    with pytest.raises(DatasetError, match=r"a.json names .*which is outside") as error:
        root.path(root.folder, named, "a.json")
    assert "--root" in error.value.hint


@pytest.mark.parametrize("named", ["", "a\0.jpg"])
def test_a_name_of_no_file_is_refused(root, named):
    with pytest.raises(DatasetError, match=r"a.json names"):
        root.path(root.folder, named, "a.json")


@pytest.mark.parametrize("named", ["gone.jpg", "x" * 5000, "sub", "\ud800.jpg", "a.jpg/b"])
def test_a_name_of_what_is_not_there_leads_into_the_root_all_the_same(root, named):
    assert root.path(root.folder, named, "a.json") == root.folder / named


def test_links_count_by_where_they_lead(root):
    (root.folder / "out.jpg").symlink_to(root.folder.parent / "secret.jpg")
    (root.folder / "out").symlink_to(root.folder.parent)
    (root.folder / "in.jpg").symlink_to(root.folder / "a.jpg")
    assert root.path(root.folder, "in.jpg", "a") == root.folder / "in.jpg"
    for named in ("out.jpg", "out/secret.jpg"):
        with pytest.raises(DatasetError, match="outside"):
            root.path(root.folder, named, "a")
    assert not root.holds(root.folder / "out" / "..")


def test_a_root_that_is_a_link_itself_holds_what_is_in_it(root, tmp_path):
    (tmp_path / "link").symlink_to(root.folder)
    linked = Root(tmp_path / "link")
    assert linked.holds(tmp_path / "link" / "a.jpg")
    assert linked.holds(root.folder / "a.jpg")
    assert linked.holds(tmp_path / "link")
    assert not linked.holds(tmp_path)


def test_a_walk_is_in_order_without_hidden_files_runs_and_circles(tmp_path):
    for name in (
        "b/2.jpg",
        "b/1.jpg",
        "a/1.jpg",
        ".git/x.jpg",
        "b/.hidden.jpg",
        "run/recipe.json",
        "run/training/x.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    found = [(folder.name, names) for folder, names in walk(tmp_path)]
    assert found == [(tmp_path.name, []), ("a", ["1.jpg"]), ("b", ["1.jpg", "2.jpg"])]
    assert [path.name for path in files_below(tmp_path, (".jpg",))] == ["1.jpg", "1.jpg", "2.jpg"]
    assert files_below(tmp_path / "a" / "1.jpg", (".jpg",)) == [tmp_path / "a" / "1.jpg"]
    assert files_below(tmp_path / "a" / "1.jpg", (".png",)) == []


@pytest.mark.parametrize(
    ("name", "split", "by_name_alone"),
    [
        ("train/a.json", "train", None),
        ("Valid/deep/a.json", "val", None),
        ("boxes_val.csv", None, "val"),
        ("instances_train2017.json", None, "train"),
        ("train.txt", None, "train"),
        ("trained.json", None, None),
        ("test/a.json", "val", None),
        ("a.json", None, None),
    ],
)
def test_folders_and_names_tell_the_split(tmp_path, name, split, by_name_alone):
    def side(**options):
        return SPLIT_NAMES.get(split_name(tmp_path / name, tmp_path, **options))

    assert side() == (split or by_name_alone)
    assert side(by_name=False) == split


def test_photos_to_test_on_are_validated_on_where_no_others_are():
    def photos(*words):
        return [AnnotatedPhoto(PhotoFile(word), word or "", split=word) for word in words]

    passed_over = Counter()
    assert [photo.split for photo in settle_splits(photos("train", "test", None), passed_over)] == [
        "train",
        "val",
        None,
    ]
    assert not passed_over
    assert [photo.split for photo in settle_splits(photos("train", "valid", "test"), passed_over)] == ["train", "val"]
    assert passed_over == {"photo to test on": 1}


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (20, 10, (20, 10)),
        (20.0, 10, (20, 10)),
        (20.5, 10, None),
        (0, 10, None),
        (-1, 10, None),
        (10**400, 10, None),
        (float("inf"), 10, None),
        (float("nan"), 10, None),
        (True, 10, None),
        ("20", 10, None),
        (None, 10, None),
    ],
)
def test_a_size_is_two_numbers_that_a_photo_can_have(width, height, expected):
    assert make_size(width, height) == expected
    assert make_size(height, width) == (expected and expected[::-1])


@pytest.mark.parametrize("wrong", [True, None, "1", [], float("nan"), float("inf"), 10**400, -2e6])
def test_a_coordinate_is_a_number_within_reason(wrong):
    with pytest.raises(DatasetError, match="a.json: a coordinate is"):
        make_box(0, wrong, 10, 10, "a.json")
    with pytest.raises(DatasetError, match="a.json: a coordinate is"):
        make_polygon([(0, 0), (wrong, 1), (2, 2)], "a.json")


def test_json_of_too_many_values_and_tables_of_too_many_lines_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted, "_MOST_VALUES", 100)
    assert len(parse_json(b"[" + b"1," * 90 + b"1]", "a")) == 91
    for value in (b"{},", b"[],", b'"",', b'{"a":1},'):
        with pytest.raises(DatasetError, match="a has over 100 values"):
            parse_json(b"[" + value * 60 + b"1]", "a")
    monkeypatch.setattr(untrusted, "_MOST_LINES", 3)
    (tmp_path / "a.csv").write_text("path,label\n\n\n\na.jpg,cat\n")
    assert "a.csv has over 3 lines" in read_annotations(tmp_path / "a.csv").problems[0].message


def test_a_label_is_one_in_every_format(tmp_path):
    """The letter written as two and as one, with spaces around; and one that no terminal should be sent."""
    wrote = ["  caf\u0065\u0301 ", "a\x1bb"]
    read_label = {"labelme": [], "coco": [], "voc": []}
    for number, label in enumerate(wrote):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a.jpg").touch()
        box = [[1, 1], [5, 5]]
        shapes = [{"label": label, "shape_type": "rectangle", "points": box}]
        (folder / "a.json").write_text(json.dumps({"version": "5", "flags": {}, "shapes": shapes}))
        image, category = {"id": 1, "file_name": "a.jpg"}, {"id": 1, "name": label}
        thing = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}
        document = {"images": [image], "annotations": [thing], "categories": [category]}
        (folder / "instances.json").write_text(json.dumps(document))
        edges = "".join(f"<{edge}>{value}</{edge}>" for edge, value in zip(EDGES, (1, 1, 5, 5), strict=True))
        named = label.replace("\x1b", "\x85")  # which XML 1.0 lets through
        thing = f"<object><name>{named}</name><bndbox>{edges}</bndbox></object>"
        (folder / "a.xml").write_text(f"<annotation><filename>a.jpg</filename>{thing}</annotation>", encoding="utf-8")
        for name, found in read_label.items():
            annotated = read_annotations(folder, name)
            found.append(
                (annotated.classes, [problem.message.count("has the label") for problem in annotated.problems])
            )
    assert all(found == [(("caf\u00e9",), []), ((), [1])] for found in read_label.values()), read_label


EDGES = ("xmin", "ymin", "xmax", "ymax")


def test_corners_may_come_in_any_order_and_on_one_line():
    assert make_box(5, 6, 1, 2, "a") == Box(1, 2, 5, 6)
    assert make_box(1, 6, 1, 2, "a") == Box(1, 2, 1, 6)


@pytest.mark.parametrize("points", [[], [(0, 0), (1, 1)], [(0, 0), (1, 1), (2,)], [(0, 0), (1, 1), "ab"], [1, 2, 3]])
def test_a_polygon_has_three_points(points):
    with pytest.raises(DatasetError, match="expected"):
        make_polygon(points, "a")


def test_a_part_of_a_larger_file_is_read_as_it_is(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"0123456789")
    assert PhotoPart(tmp_path / "a.tar", "a.jpg", 2, 3).read() == b"234"
    for wrong in ((8, 3), (2, 0), (2, 1 << 40)):
        with pytest.raises(ImageError, match=r"a.tar:a.jpg"):
            PhotoPart(tmp_path / "a.tar", "a.jpg", *wrong).read()
    with pytest.raises(ImageError, match="cannot be read"):
        PhotoPart(tmp_path / "b.tar", "a.jpg", 2, 3).read()


@pytest.mark.parametrize("text", ['{"b": "AA=="}', '{"a": "A"}', '{"a": "Ä"}', '{"a": 5}', "[1]", "{", '"a"'])
def test_an_embedded_photo_that_is_none_is_told(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ImageError, match=r"a\.json:a (is not base64 of a photo|cannot be read: .* is not JSON)"):
        EmbeddedPhoto(path, "a").read()
    path.write_text(json.dumps({"a": base64.b64encode(b"photo").decode()}))
    assert EmbeddedPhoto(path, "a").read() == b"photo"


def test_a_set_tells_its_classes_and_what_it_has(tmp_path):
    outline = Polygons((((0, 0), (1, 0), (1, 1)),))
    photos = (
        AnnotatedPhoto(PhotoFile(tmp_path), "a", labels=("dog",)),
        AnnotatedPhoto(PhotoFile(tmp_path), "b", instances=(Instance("cat", outline.box(), outline),) * 2),
    )
    found = AnnotatedSet("labelme", tmp_path, photos, "", mask_classes=("_background_", "cow", "__ignore__"))
    assert found.classes == ("cat", "cow", "dog")
    assert found.counts() == {"cat": 1, "dog": 1}
    assert [found.has(what) for what in ("labels", "boxes", "shapes", "masks")] == [True, True, True, False]


def test_paths_of_another_machine_end_as_they_may_here():
    assert tails("C:\\data\\train\\a.jpg") == ["C:/data/train/a.jpg", "data/train/a.jpg", "train/a.jpg", "a.jpg"]
    assert tails("/a.jpg") == ["/a.jpg", "a.jpg"]
    assert tails("") == [""]
    assert len(tails("a/" * 100_000)) == 9


def test_a_photo_is_found_by_its_name_before_its_stem_and_in_the_first_folder(tmp_path):
    for name in ("one/a.png", "two/a.jpg", "two/B.JPG", "two/c.v2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    finder, folders = PhotoFinder(Root(tmp_path)), [tmp_path / "one", tmp_path / "two"]
    assert finder.find(folders, ["a.jpg"], "x") == tmp_path / "two" / "a.jpg"
    assert finder.find(folders, ["a"], "x") == tmp_path / "one" / "a.png"
    assert finder.find(folders, ["b.jpg"], "x") == tmp_path / "two" / "B.JPG"
    assert finder.find(folders, ["c.v2"], "x") == tmp_path / "two" / "c.v2.jpg"
    for names in (["c.v1"], ["d.jpg"], [], [""], ["."], [".."], ["two"]):
        with pytest.raises(DatasetError, match="x names"):
            finder.find(folders, names, "x")
