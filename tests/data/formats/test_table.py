"""Tables of photos: which column says what, rows that belong together, and rows and files that are wrong."""

import csv
import json
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mutations import mutated
from PIL import Image

from verydeep.data.annotations import Box, Instance
from verydeep.data.formats import detect, read_annotations, table
from verydeep.data.formats.table import ends_look_inclusive
from verydeep.data.untrusted import Root
from verydeep.errors import DatasetError, MissingExtraError, VerydeepError


def make_photos(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(folder / name)


def make(folder, text, name="labels.csv", photos=("a.jpg", "b.jpg", "c.jpg")):
    """A table and its photos -> what is read of it."""
    make_photos(folder, *photos)
    (folder / name).write_text(text, encoding="utf-8")
    return read_annotations(folder / name)


def known(annotated):
    """Of each photo by its file's name: labels, then objects."""
    return {
        Path(photo.photo.name).name: (photo.labels, [(instance.label, *instance.box) for instance in photo.instances])
        for photo in annotated.photos
    }


def test_a_row_without_a_box_tells_a_class_and_one_with_a_box_an_object(tmp_path):
    text = (
        "Image Path,Label,xmin,ymin,xmax,ymax\n"
        "a.jpg,cat;pet,,,,\n"
        "b.jpg,dog,1,2,11,12\n"
        "b.jpg,cat,3,4,5.5,6\n"
        "c.jpg,,,,,\n"
        "a.jpg,striped,,,,\n"
    )
    annotated = make(tmp_path, text)
    assert known(annotated) == {
        "a.jpg": (("cat", "pet", "striped"), []),
        "b.jpg": ((), [("dog", 1, 2, 11, 12), ("cat", 3, 4, 5.5, 6)]),
        "c.jpg": ((), []),
    }
    assert annotated.problems == ()
    assert annotated.photos[1].origin == f"{tmp_path / 'labels.csv'}:3"
    assert annotated.classes == ("cat", "dog", "pet", "striped")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_encodings_and_ends_of_lines_are_recognised(tmp_path, delimiter, encoding, end):
    make_photos(tmp_path, "a.jpg", "ü, b.jpg")
    rows = [["file", "class"], ["a.jpg", "cat|Käfer"], ['"ü, b.jpg"', '"a ""big"" dog"']]
    text = end.join(delimiter.join(row) for row in rows) + end
    (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
    assert known(read_annotations(tmp_path)) == {
        "a.jpg": (("cat", "Käfer"), []),
        "ü, b.jpg": (('a "big" dog',), []),
    }


@pytest.mark.parametrize(
    ("header", "cells", "label"),
    [
        ("path,label,class_name", "a.jpg,7,cat", "cat"),
        ("path,label,name", "a.jpg,7,IMG_0001", "7"),
        ("file,wnid,name", "a.jpg,n02123045,cat", "cat"),
        ("img,wnid", "a.jpg,n02123045", "n02123045"),
        ("file,cub_class,label", "a.jpg,001,cat", "cat"),
        (",filename,category", "0,a.jpg,cat", "cat"),
        ("path,labels,class", "a.jpg,,cat", "cat"),
    ],
)
def test_names_of_classes_are_preferred_to_their_codes(tmp_path, header, cells, label):
    assert known(make(tmp_path, f"{header}\n{cells}\n")) == {"a.jpg": ((label,), [])}


@pytest.mark.parametrize(
    ("columns", "numbers"),
    [
        ("xmin,ymin,xmax,ymax", "1,2,11,22"),
        ("x_min,y_min,x_max,y_max", "1,2,11,22"),
        ("XMin,XMax,YMin,YMax", "1,11,2,22"),
        ("x1,y1,x2,y2", "1,2,11,22"),
        ("x0,y0,x1,y1", "1,2,11,22"),
        ("left,top,right,bottom", "1,2,11,22"),
        ("x,y,w,h", "1,2,10,20"),
        ("x,y,width,height", "1,2,10,20"),
        ("bbox", '"[1, 2, 11, 22]"'),
        ("box", "1 2 11 22"),
    ],
)
def test_boxes_are_understood_by_the_names_of_their_columns(tmp_path, columns, numbers):
    annotated = make(tmp_path, f"path,label,{columns}\na.jpg,cat,{numbers}\n")
    assert annotated.photos[0].instances == (Instance("cat", Box(1, 2, 11, 22)),)
    assert annotated.photos[0].size is None


def test_width_and_height_are_the_photos_size_where_boxes_have_corners(tmp_path):
    text = "path,label,xmin,ymin,xmax,ymax,width,height\na.jpg,cat,1,2,3,4,40,30\nb.jpg,cat,1,2,3,4,40.0,?\n"
    assert [photo.size for photo in make(tmp_path, text).photos] == [(40, 30), None]


@pytest.mark.parametrize("name", ["classes.txt", "class_names.txt"])
def test_a_list_beside_a_table_names_the_numbers_of_its_classes(tmp_path, name):
    (tmp_path / name).write_text("0 background\n1 cat\n")
    annotated = make(tmp_path, "path,label\na.jpg,1\nb.jpg,2\n")
    assert known(annotated) == {"a.jpg": (("cat",), [])}
    assert f"labels.csv:3: the class 2 has no name in {tmp_path / name}" in annotated.problems[0].message


def test_json_lines_hold_lists(tmp_path):
    rows = [
        {"image": "a.jpg", "label": ["cat", "a;b"]},
        {"image": "b.jpg", "label": "dog", "bbox": [1, 2, 11, 12]},
        {"image": "c.jpg", "label": ["dog", 3], "bbox": [[1, 2, 11, 12], [0, 0, 5, 5]]},
        {"image": "a.jpg", "label": None, "bbox": None},
    ]
    annotated = make(tmp_path, "\n".join(map(json.dumps, rows)) + "\n\n", "labels.jsonl")
    assert known(annotated) == {
        "a.jpg": (("cat", "a;b"), []),
        "b.jpg": ((), [("dog", 1, 2, 11, 12)]),
        "c.jpg": ((), [("dog", 1, 2, 11, 12), ("3", 0, 0, 5, 5)]),
    }


def test_a_list_of_a_corner_and_a_size_is_not_taken_for_corners(tmp_path):
    row = {"path": "a.jpg", "label": "cat", "bbox": [40, 40, 10, 5]}
    annotated = make(tmp_path, json.dumps(row), "t.jsonl")
    (problem,) = annotated.problems
    assert (annotated.photos, "expected left, top, right, bottom" in problem.message) == ((), True)
    assert "width" in problem.hint


def test_parquet_is_read_with_lists_and_categories_and_photos_in_it_are_left_out(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    make_photos(tmp_path, "a.jpg", "b.jpg")
    columns = {
        "path": ["a.jpg", "b.jpg", "b.jpg"],
        "label": pyarrow.array(["cat", "dog", "dog"]).dictionary_encode(),
        "box": [None, [1.0, 2.0, 11.0, 12.0], [3.0, 4.0, 5.0, 6.0]],
        "image": [b"...", b"...", b"..."],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "labels.parquet")
    assert known(read_annotations(tmp_path)) == {
        "a.jpg": (("cat",), []),
        "b.jpg": ((), [("dog", 1, 2, 11, 12), ("dog", 3, 4, 5, 6)]),
    }


def test_parquet_without_its_library_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "labels.parquet").write_bytes(b"PAR1")
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'verydeep\[parquet\]'"):
        read_annotations(tmp_path / "labels.parquet")


START = """print('["columns", ["path", "label"]]', flush=True); """


@pytest.mark.parametrize(
    "program",
    ["import os; os.abort()", START + "import os; os.abort()", START + """print('["row", {', end='')""", "1/0"],
)
def test_a_reader_of_parquet_that_ends_early_is_a_problem_of_the_file(tmp_path, monkeypatch, program):
    """As pyarrow's does on some damaged files."""
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("verydeep.data.tabular._RUN_FILE", program)
    (tmp_path / "labels.parquet").write_bytes(b"PAR1")
    (problem,) = read_annotations(tmp_path / "labels.parquet").problems
    assert "labels.parquet is not Parquet that can be read: its reader fails" in problem.message


def test_the_reader_of_parquet_imports_nothing_from_the_current_folder(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    make_photos(tmp_path, "a.jpg")
    parquet.write_table(pyarrow.table({"path": ["a.jpg"], "label": ["cat"]}), tmp_path / "labels.parquet")
    for name in ("pyarrow.py", "json.py", "verydeep.py"):
        (tmp_path / name).write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    assert known(read_annotations("labels.parquet")) == {"a.jpg": (("cat",), [])}


def test_parquet_that_is_damaged_or_holds_no_paths_is_told(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 and then nothing")
    (problem,) = read_annotations(tmp_path / "damaged.parquet").problems
    assert "damaged.parquet is not Parquet that can be read" in problem.message
    image = [{"bytes": b"...", "path": "a.jpg"}]
    parquet.write_table(pyarrow.table({"image": image, "label": ["cat"]}), tmp_path / "photos.parquet")
    (problem,) = read_annotations(tmp_path / "photos.parquet").problems
    assert "photos.parquet has the columns label; expected one with paths of photos" in problem.message


def test_parquet_whose_rows_share_a_long_text_is_refused_at_the_first(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    text = pyarrow.array(["x" * (5 << 20)] * 200).dictionary_encode()
    columns = {"path": ["a.jpg"] * 200, "label": ["cat"] * 200, "note": text}
    parquet.write_table(pyarrow.table(columns), tmp_path / "labels.parquet")
    (problem,) = read_annotations(tmp_path / "labels.parquet").problems
    assert "it unpacks to too much" in problem.message


def test_a_table_without_a_header_has_paths_and_labels(tmp_path):
    assert known(make(tmp_path, "a.jpg,cat\nb.jpg,dog;pet\n")) == {
        "a.jpg": (("cat",), []),
        "b.jpg": (("dog", "pet"), []),
    }
    assert detect(tmp_path).format == "table"


def test_the_split_is_told_by_a_column_or_by_the_files_name(tmp_path):
    make_photos(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "boxes_train.csv").write_text("path,label\na.jpg,cat\n")
    (tmp_path / "boxes_val.csv").write_text("path,label\nb.jpg,cat\n")
    (tmp_path / "other.csv").write_text("path,label,Split\nc.jpg,cat,Training\na.jpg,pet,\n")
    (tmp_path / "classes.csv").write_text("id,name\n0,cat\n")
    annotated = read_annotations(tmp_path)
    assert annotated.found == "3 tables: boxes_train.csv, boxes_val.csv, other.csv"
    assert [(Path(photo.photo.name).name, photo.split, photo.labels) for photo in annotated.photos] == [
        ("a.jpg", "train", ("cat", "pet")),
        ("b.jpg", "val", ("cat",)),
        ("c.jpg", "train", ("cat",)),
    ]


def test_a_photo_on_both_sides_stays_on_both_to_be_found(tmp_path):
    annotated = make(tmp_path, "path,label,split\na.jpg,cat,train\na.jpg,cat,val\n")
    assert [photo.split for photo in annotated.photos] == ["train", "val"]


def test_photos_for_a_test_are_left_out_where_others_validate(tmp_path):
    rows = "path,label,split\na.jpg,cat,train\nb.jpg,cat,test\n"
    assert [photo.split for photo in make(tmp_path, rows).photos] == ["train", "val"]
    annotated = make(tmp_path, rows + "c.jpg,cat,val\n")
    assert [Path(photo.photo.name).name for photo in annotated.photos] == ["a.jpg", "c.jpg"]
    assert annotated.passed_over == {"photo to test on": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b.jpg", "has 1 cell; expected 7"),
        ("b.jpg,dog,1,2,3,4,train,more", "has 8 cells; expected 7"),
        ("b.jpg,dog,1,2,,4,", "has the box ['1', '2', '', '4']; expected four numbers"),
        ("b.jpg,dog,1,2,x,4,", "a coordinate is 'x'; expected a number"),
        ("b.jpg,dog,1,2,nan,4,", "a coordinate is nan"),
        ("b.jpg,,1,2,3,4,", "has a box without a label"),
        ("b.jpg,dog,,,,,later", "is of the split 'later'; expected train,"),
        ("missing.jpg,dog,,,,,", "names missing.jpg, which is not there"),
        ("../outside.jpg,dog,,,,,", "names ../outside.jpg, which is outside"),
        ("/etc/passwd,dog,,,,,", "names /etc/passwd, which is outside"),
        (",dog,,,,,", "names no photo"),
        (f"b.jpg,{'x' * 201},,,,,", "has the label 'xxx"),
        ("b.jpg,a\x07b,,,,,", "has the label 'a\\x07b'"),
        ('b.jpg,"dog,,,,,', "is no row of CSV"),
        ('b.jpg,"do"g,,,,,', "is no row of CSV"),
    ],
)
def test_a_row_that_is_wrong_is_told_by_its_line_and_the_others_are_read(tmp_path, row, message):
    (tmp_path / "outside.jpg").touch()
    folder = tmp_path / "data"
    text = f"path,label,xmin,ymin,xmax,ymax,split\na.jpg,cat,,,,,\n{row}\nc.jpg,cat,,,,,\n"
    annotated = make(folder, text)
    assert list(known(annotated)) == ["a.jpg", "c.jpg"]
    (problem,) = annotated.problems
    assert message in problem.message
    assert f"{folder / 'labels.csv'}:3" in problem.message
    assert problem.hint


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "t.csv", "has no rows"),
        ("id,label\n1,cat\n", "t.csv", "has the columns id, label; expected one with paths of photos: path, file,"),
        ("path,id\na.jpg,1\n", "t.csv", "has the columns path, id; expected one with labels: label,"),
        ("path,label,x1,y1,x2,y2\na.jpg,cat,0.1,0.2,0.5,1\n", "t.csv", "boxes in parts of the photo; expected pixels"),
        ("[1]\n", "t.jsonl", "is no JSON object"),
        ('{"path": "a.jpg", \n', "t.jsonl", "is not JSON"),
    ],
)
def test_a_file_that_is_no_table_of_photos_is_told(tmp_path, text, name, message):
    annotated = make(tmp_path, text, name)
    assert annotated.photos == ()
    assert message in annotated.problems[0].message


def test_a_quote_that_is_never_closed_does_not_take_in_the_rest(tmp_path):
    photos = [f"{i:03}.jpg" for i in range(300)]
    rows = [f'{name},"cat' if name == "100.jpg" else f"{name},cat" for name in photos]
    annotated = make(tmp_path, "path,label\n" + "\n".join(rows), photos=photos)
    assert len(annotated.photos) == 299
    assert [problem.message.split(" is ")[0] for problem in annotated.problems] == [f"{tmp_path / 'labels.csv'}:102"]
    everywhere = "path,label\n" + "\n".join(f'{name},"cat' for name in photos[:299])
    start = time.monotonic()
    assert "over 100 lines that are no CSV" in make(tmp_path, everywhere, photos=()).problems[-1].message
    assert time.monotonic() - start < 5


def test_of_many_problems_the_first_thousand_are_told(tmp_path):
    problems = make(tmp_path, "path,label\n" + "missing.jpg,cat\n" * 1500).problems
    assert len(problems) == 1001
    assert problems[-1].message.endswith("labels.csv has 500 more problems.")


def test_paths_may_go_from_the_root_on(tmp_path):
    make_photos(tmp_path, "photos/a.jpg")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "t.csv").write_text("path,label\nphotos/a.jpg,cat\n../photos/a.jpg,pet\nphotos\\a.jpg,x\n")
    annotated = read_annotations(tmp_path / "tables" / "t.csv", root=tmp_path)
    assert known(annotated) == {"a.jpg": (("cat", "pet", "x"), [])}
    assert len(read_annotations(tmp_path / "tables" / "t.csv").problems) == 3


def test_a_table_that_is_a_link_out_of_the_root_is_not_read(tmp_path):
    make_photos(tmp_path / "data", "a.jpg")
    (tmp_path / "outside.csv").write_text("path,label\na.jpg,cat\n")
    (tmp_path / "data" / "t.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(DatasetError) as caught:
        read_annotations(tmp_path / "data", "table")
    assert "t.csv leads out of" in caught.value.hint


def test_a_table_that_names_photos_beside_its_folder_is_found_by_the_root(tmp_path, monkeypatch):
    make_photos(tmp_path / "images", "1.png", "2.png")
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "l.csv").write_text("path,label\n../images/1.png,cat\nimages/2.png,dog\n")
    with pytest.raises(DatasetError, match="none of the formats"):
        read_annotations(tmp_path / "ann")
    monkeypatch.chdir(tmp_path)
    for root in (".", tmp_path):
        annotated = read_annotations("ann", root=root)
        assert (annotated.format, annotated.problems) == ("table", ())
        assert [photo.labels for photo in annotated.photos] == [("cat",), ("dog",)]
    (tmp_path / "ann" / "l.csv").write_text("path,label\nimages/2.png,dog\n")  # from the root on
    assert read_annotations("ann", root=".").format == "table"


def test_a_folder_is_looked_at_for_tables_whose_photos_are_there(tmp_path):
    make_photos(tmp_path, "a.jpg")
    (tmp_path / "results.csv").write_text("path,label\nelsewhere/a.jpg,cat\n")
    (tmp_path / "names.csv").write_text("id,name\n1,cat\n")
    (tmp_path / "list.csv").write_text("path\na.jpg\n")
    (tmp_path / "bad.jsonl").write_text("{")
    (tmp_path / "bad.parquet").write_text("PAR")
    assert table.detect(tmp_path, Root(tmp_path)) is None
    (tmp_path / "labels.csv").write_text("path,label\na.jpg,cat\n")
    found = table.detect(tmp_path, Root(tmp_path))
    assert found.startswith("4 tables: ")  # those that may be tables, too: what is wrong is told
    annotated = read_annotations(tmp_path, "table")
    assert known(annotated) == {"a.jpg": (("cat",), [])}
    assert {Path(problem.path).name for problem in annotated.problems} >= {"results.csv", "bad.jsonl"}


def test_finding_out_what_a_large_table_is_does_not_read_it(tmp_path, monkeypatch):
    make(tmp_path, "path,label\n" + "a.jpg,cat\n" * 50_000)
    monkeypatch.setattr("verydeep.data.tabular.read_text", None)
    assert table.detect(tmp_path, Root(tmp_path)) == "the table labels.csv"


# Real tables


def test_the_birds_table_says_what_their_labelme_files_say(shared_data):
    folder = shared_data / "cub-birds-loc"
    annotated = read_annotations(folder, "table")
    assert (annotated.found, annotated.problems) == ("2 tables: boxes_train.csv, boxes_val.csv", ())
    assert Counter(photo.split for photo in annotated.photos) == {"train": 450, "val": 90}
    assert len(annotated.classes) == 15
    drawn = read_annotations(folder / "labelme", root=folder)

    def said(annotations):
        return {
            Path(photo.photo.name).resolve(): (sorted(photo.labels), sorted(photo.instances), photo.size)
            for photo in annotations.photos
        }

    assert said(annotated) == said(drawn)
    assert not ends_look_inclusive(annotated)


def test_the_ends_of_tiny_imagenets_boxes_are_found_to_be_inclusive(shared_data):
    annotated = read_annotations(shared_data / "tiny-imagenet-loc", "table")
    assert Counter(photo.split for photo in annotated.photos) == {"train": 2492, "val": 375}
    assert (annotated.problems, len(annotated.classes), annotated.photos[0].size) == ((), 25, None)
    assert "abacus" in annotated.classes
    assert annotated.found.endswith("; its boxes end with their last pixel")
    assert not ends_look_inclusive(annotated)
    assert max(instance.box.right for photo in annotated.photos for instance in photo.instances) == 64


def test_boxes_that_end_with_their_last_pixel_are_read_so_and_may_have_only_one(tmp_path):
    head, rows = "path,label,x1,y1,x2,y2\nb.jpg,dog,5,6,5,6\n", "a.jpg,cat,1,2,39,20\n"
    read = known(make(tmp_path, head + 11 * rows))
    assert read == {"a.jpg": ((), 11 * [("cat", 1, 2, 40, 21)]), "b.jpg": ((), [("dog", 5, 6, 6, 7)])}
    assert known(make(tmp_path, head + 10 * rows))["a.jpg"] == ((), 10 * [("cat", 1, 2, 39, 20)])  # by chance
    annotated = make(tmp_path, "path,label,x,y,w,h\n" + 11 * "a.jpg,cat,1,2,38,18\n")
    assert known(annotated) == {"a.jpg": ((), 11 * [("cat", 1, 2, 39, 20)])}


def test_the_last_pixel_is_that_of_the_upright_photo(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # it lies on its side: 40 x 30 pixels are stored
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=turned)
    for right, bottom, is_shifted in ((29, 30, True), (20, 39, True), (30, 20, False), (20, 29, False)):
        (tmp_path / "t.csv").write_text("path,label,x1,y1,x2,y2\n" + 11 * f"a.jpg,cat,1,2,{right},{bottom}\n")
        (photo,) = read_annotations(tmp_path / "t.csv").photos
        assert photo.instances[0].box == Box(1, 2, right + is_shifted, bottom + is_shifted), (right, bottom)


def test_the_main_objects_of_coco_are_read(shared_data):
    annotated = read_annotations(shared_data / "coco128" / "main_object_train.csv")
    with (shared_data / "coco128" / "main_object_train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (len(annotated.photos), annotated.problems) == (len(rows), ())
    assert {photo.split for photo in annotated.photos} == {"train"}
    first = annotated.photos[0]
    assert (first.instances, first.size) == ((Instance("bowl", Box(0.67, 117.31, 382.92, 295.96)),), (400, 300))
    assert not ends_look_inclusive(annotated)


def test_ends_are_not_inclusive_where_nothing_tells(tmp_path):
    assert not ends_look_inclusive(make(tmp_path, "path,label\na.jpg,cat\n"))
    assert not ends_look_inclusive(make(tmp_path, "path,label,x1,y1,x2,y2\na.jpg,cat,1,2,20,20\n"))


# Hostile tables

CSV = b'path,label,split,xmin,ymin,xmax,ymax\na.jpg,cat;pet,train,,,,\n"b.jpg",dog,val,1,2,11.5,12\nb.jpg,,,,,,\n'
JSONL = (
    b'{"path": "a.jpg", "label": ["cat", 3], "split": "train", "width": 40, "height": 30}\n'
    b'{"path": "b.jpg", "label": "dog", "bbox": [1, 2, 11.5, 12]}\n'
    b'{"path": "b.jpg", "bbox": [[1, 2, 3, 4]], "label": 1}'
)


def parquet_bytes(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"path": ["a.jpg", "b.jpg"], "label": ["cat", "dog"], "bbox": [None, [1, 2, 3, 4]], "width": [40, 40]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "made.parquet")
    return (tmp_path / "made.parquet").read_bytes()


@pytest.mark.parametrize(
    ("suffix", "data", "count"),
    [(".csv", CSV, 400), (".jsonl", JSONL, 400), (".tsv", CSV, 100), (".parquet", None, 8)],
)
def test_mutated_tables_end_in_our_errors_and_name_no_file_outside(tmp_path, suffix, data, count):
    folder = tmp_path / "data"
    make_photos(folder, "a.jpg", "b.jpg")
    data = parquet_bytes(tmp_path) if data is None else data
    random = np.random.default_rng(5)
    path = folder / f"t{suffix}"
    for _ in range(count):
        path.write_bytes(mutated(data, random))
        table.detect(folder, Root(folder))
        try:
            annotated = table.read(path, Root(folder))
        except VerydeepError as error:
            pytest.fail(f"{error!r} of {path.read_bytes()!r}")
        for photo in annotated.photos:
            assert photo.photo.path.resolve().is_relative_to(folder.resolve())
            assert all(label.isprintable() or not label.isascii() for label in photo.classes)


def test_the_format_can_be_asked_for_by_name(tmp_path):
    make_photos(tmp_path, "cat/a.jpg", "dog/b.jpg")
    (tmp_path / "labels.csv").write_text("path,label\ncat/a.jpg,lion\n")
    detection = detect(tmp_path)
    assert detection.line() == "reads table: the table labels.csv; there are also 2 class folders (--format folders)"
    assert read_annotations(tmp_path, "folders").classes == ("cat", "dog")
    with pytest.raises(DatasetError, match="has nothing of the format imagefolder"):
        read_annotations(tmp_path, "imagefolder")
