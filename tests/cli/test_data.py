"""`verydeep data`: what is printed of findings and figures, as text, JSON and CSV; exit codes; hostile names."""

import csv
import io
import json
import shlex
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from verydeep.cli.data import WRITERS
from verydeep.cli.spreadsheet import csv_row
from verydeep.data import writers

Run = Callable[..., Any]


def save(path: Path, seed: int, size: tuple[int, int] = (60, 40)) -> Path:
    """Soft patches, others for each seed."""
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 7, 3), np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse.resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Class folders on two sides, without a fault; the working directory is beside them."""
    for number in range(12):
        side, label = "val" if number > 7 else "train", ("cat", "dog")[number % 2]
        save(tmp_path / "photos" / side / label / f"{number}.png", number)
    for number in range(12, 20):
        save(tmp_path / "photos" / "train" / ("cat", "dog")[number % 2] / f"{number}.png", number)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def labelme(path: Path, seed: int, label: str, points: list[list[float]], **more: object) -> None:
    """A photo and its JSON beside it, with a rectangle."""
    save(path.with_suffix(".png"), seed)
    shape = {"label": label, "points": points, "shape_type": "rectangle", "flags": {}, "group_id": None}
    document = {"version": "5.5.0", "flags": {}, "shapes": [shape], "imagePath": f"{path.stem}.png", "imageData": None}
    path.write_text(json.dumps(document | {"imageHeight": 40, "imageWidth": 60} | more))


# check


def test_a_clean_set_is_told_with_commands_to_copy_and_exit_code_0(run: Run, folders: Path) -> None:
    done = run("data", "check", folders.name)
    assert done.code == 0
    assert done.out.splitlines() == [
        "20 photos, 2 class folders in train and 2 class folders in val: nothing to find fault with",
        "would train a classifier of 2 classes on 16 photos and validate on 4: few photos, of which a trained network "
        "learns more than a new one",
        "    verydeep train photos --recipe finetune --from cifar10",
        "or an embedding of 2 classes on 16 photos and validate on 4: photos of a class become alike for "
        "`verydeep search`, also those of other classes",
        "    verydeep train photos --recipe embed --from imagenette",
    ]
    assert done.err.splitlines()[0] == "reads folders: 2 class folders in train and 2 class folders in val"
    assert done.err.splitlines()[-1] == "looked at: 20 of 20"


def test_errors_come_first_with_their_files_and_exit_code_3(run: Run, folders: Path) -> None:
    (folders / "val" / "cat" / "bad.png").write_text("no picture")
    (folders / "train" / "dog" / "leak.png").write_bytes((folders / "val" / "dog" / "9.png").read_bytes())
    done = run("data", "check", folders)
    assert done.code == 3
    lines = done.out.splitlines()
    assert lines[0] == "error   1 photo cannot be read"
    assert "bad.png" in lines[1]
    assert "error   1 pair of photos is the same to the byte and on both sides, in train and in val" in lines
    assert "          train/dog/leak.png = val/dog/9.png: train | val" in lines
    assert "2 errors" in next(line for line in lines if line.startswith("22 photos, "))


def test_warnings_and_notes_alone_leave_the_exit_code_0(run: Run, folders: Path) -> None:
    save(folders / "train" / "emu" / "1.png", 99)
    done = run("data", "check", folders)
    assert done.code == 0
    assert "warning 1 class has fewer than 5 photos" in done.out
    assert "          emu: 1 photo" in done.out


def test_of_many_places_the_first_are_shown_and_json_has_all(run: Run, folders: Path) -> None:
    for number in range(9):
        (folders / "train" / "cat" / f"bad{number}.png").write_text("no picture")
    done = run("data", "check", folders)
    assert "          ... and 4 more" in done.out.splitlines()
    done = run("data", "check", folders, "--json")
    document = json.loads(done.out)
    assert (done.code, document["errors"], document["photos"], document["classes"]) == (3, 1, 29, ["cat", "dog"])
    finding = document["findings"][0]
    assert (finding["kind"], finding["severity"], finding["count"]) == ("unreadable-photo", "error", 9)
    assert finding["places"][8]["files"] == ["train/cat/bad8.png"]
    assert document["trainings"] == []
    assert document["refusals"][0].startswith("would train no classifier: 9 of ")


def test_the_commands_name_the_photos_as_they_were_given_and_train_them(run: Run, tmp_path: Path) -> None:
    for number in range(6):
        labelme(tmp_path / "my set" / f"{number}.json", number, ("cat", "dog")[number % 2], [[5, 5], [25, 25]])
    done = run("data", "check", tmp_path / "my set", "--format", "labelme", "--root", tmp_path, "--json")
    commands = [training["command"] for training in json.loads(done.out)["trainings"]]
    named = f"'{tmp_path}/my set' --format labelme --root {tmp_path}"
    assert commands[0] == f"verydeep train {named} --recipe localize --from imagenette"
    for command in commands:
        assert run(*shlex.split(command)[1:], "--show-recipe").code == 0


def test_the_table_has_a_row_for_each_file_and_no_formulas(run: Run, tmp_path: Path) -> None:
    label = "=HYPERLINK(1)"
    for number in range(2):
        labelme(tmp_path / "set" / f"{number}.json", number, label, [[70, 50], [90, 60]])
    done = run("data", "check", tmp_path / "set", "--csv")
    assert done.code == 3
    rows = list(csv.DictReader(io.StringIO(done.out)))
    outside = [row for row in rows if row["kind"] == "box-outside"]
    assert [row["file"] for row in outside] == ["0.json", "1.json"]
    assert outside[0]["note"].startswith("'=HYPERLINK(1): left 70")
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]


def test_a_cell_that_looks_like_a_formula_gets_a_quote() -> None:
    assert csv_row(("=1", "+1", "-1", "@a", "'a", "-", "a=1", "a\nb", "a,b")) == (
        "'=1,'+1,'-1,'@a,''a,-,a=1,a\\nb,\"a,b\""
    )


def test_json_and_csv_exclude_each_other(run: Run, folders: Path) -> None:
    done = run("data", "check", folders, "--json", "--csv")
    assert (done.code, done.err.splitlines()[0]) == (2, "error: --json and --csv exclude each other.")


HOSTILE = "\x1b[31mred\x1b[0m\r\n\u202egnp\x07"


@pytest.mark.parametrize("arguments", [["check"], ["check", "--csv"], ["check", "--json"], ["stats"]])
def test_hostile_labels_and_names_move_no_cursor(arguments: list[str], run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    labelme(folder / "a.json", 1, HOSTILE, [[70, 50], [90, 60]], flags={HOSTILE: True})
    (folder / "b\x1b[2J\n.json").write_text('{"shapes": 1, "flags": {}}')
    save(folder / "c.png", 3)
    done = run("data", *arguments, folder, *(["--out", tmp_path / "sheet.png"] if arguments == ["stats"] else []))
    text = done.out + done.err
    assert not [
        letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp") and letter != "\n"
    ]
    assert "Traceback" not in text
    if arguments[0] == "check":  # which tells why such a label is none
        assert "x1b[31mred" in done.out or "u001b[31mred" in done.out


def test_what_is_no_set_is_told(run: Run, tmp_path: Path) -> None:
    assert run("data", "check", tmp_path / "nowhere").code == 3
    (tmp_path / "empty").mkdir()
    done = run("data", "check", tmp_path / "empty")
    assert done.code == 3
    assert "none of the formats that are known" in done.err
    assert run("data", "check", tmp_path / "empty", "--format", "yolo").code == 2
    assert run("data", "check", tmp_path / "empty", "--format", "voc").code == 3


def test_annotations_may_name_photos_within_the_root(run: Run, tmp_path: Path) -> None:
    labelme(tmp_path / "boxes" / "a.json", 1, "cat", [[1, 1], [20, 20]], imagePath="../photos/a.png")
    (tmp_path / "photos").mkdir()
    (tmp_path / "boxes" / "a.png").rename(tmp_path / "photos" / "a.png")
    done = run("data", "check", tmp_path / "boxes")
    assert done.code == 3
    assert "--root FOLDER" in done.out
    done = run("data", "check", tmp_path / "boxes", "--root", tmp_path)
    assert done.code == 0
    assert "would train no localiser: the photos are of one class only" in done.out


# stats


def test_figures_and_a_sheet(run: Run, folders: Path, tmp_path: Path) -> None:
    done = run("data", "stats", folders)
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines()]
    assert ["photos", "20", "(train", "16,", "val", "4)"] in lines
    assert ["class", "train", "val", "together"] in lines
    assert ["cat", "8", "2", "10"] in lines
    assert ["shorter", "side", "40", "to", "40,", "median", "40", "pixels"] in lines
    assert done.err.splitlines()[-1] == "wrote photos-sheet.jpg"
    with Image.open(tmp_path / "photos-sheet.jpg") as sheet:
        assert sheet.width > 2000


def test_without_out_no_file_is_replaced(run: Run, folders: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "photos-sheet.jpg"
    theirs.write_text("mine")
    done = run("data", "stats", folders)
    assert (done.code, theirs.read_text()) == (0, "mine")
    assert "note: no sheet is drawn, for photos-sheet.jpg is there; --out photos-sheet.jpg replaces it" in done.err
    assert "photos" in done.out
    assert run("data", "stats", folders, "--photos", 2, "--out", "photos-sheet.jpg").code == 0
    assert theirs.read_bytes()[:2] == b"\xff\xd8"


def test_figures_as_json_draw_no_sheet_unless_asked(run: Run, folders: Path, tmp_path: Path) -> None:
    document = json.loads(run("data", "stats", folders, "--json").out)
    assert document["photos"] == {"train": 16, "val": 4}
    assert document["classes"][0] == {
        "label": "cat",
        "photos": {"train": 8, "val": 2},
        "objects": 0,
        "pixel_share": None,
    }
    assert not list(tmp_path.glob("*sheet*"))
    run("data", "stats", folders, "--json", "--out", tmp_path / "s.png", "--photos", 3)
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.format == "PNG"


def test_a_sheet_is_a_jpeg_or_png_and_may_be_left_out(run: Run, folders: Path, tmp_path: Path) -> None:
    done = run("data", "stats", folders, "--out", "sheet.gif")
    assert (done.code, done.out) == (2, "")
    run("data", "stats", folders, "--photos", 0)
    assert not list(tmp_path.glob("*sheet*"))


def test_photos_as_squares_are_told_and_drawn(run: Run, folders: Path, tmp_path: Path) -> None:
    done = run("data", "stats", folders, "--fits", "squares.png", "--photos", 3)
    text = " ".join(done.out.split())
    assert "as squares crop: 49% cut away; letterbox: 33% filled up; squash: 1.5 times as narrow or flat" in text
    assert "suggested fit=crop: half of the photos are at most 1.5 times as long as wide" in text
    assert done.err.splitlines()[-1] == "wrote squares.png"
    assert not list(tmp_path.glob("*sheet*"))
    with Image.open(tmp_path / "squares.png") as sheet:
        assert sheet.height > 3 * 224
    fits = json.loads(run("data", "stats", folders, "--json").out)["fits"]
    assert (fits["suggested"], fits["stretched"]) == ("crop", 1.5)
    refused = run("data", "stats", folders, "--fits", "squares.gif")
    assert (refused.code, refused.out) == (2, "")
    assert "--fits is squares.gif; expected a file .jpg or .png" in refused.err


def test_objects_are_in_the_figures(run: Run, tmp_path: Path) -> None:
    for number in range(3):
        labelme(tmp_path / "set" / f"{number}.json", number, "cat", [[0, 0], [30, 20]])
    done = run("data", "stats", tmp_path / "set", "--photos", 0)
    text = " ".join(done.out.split())
    assert "objects 3" in text
    assert "boxes, of the photo under 1 %: 0%, 1 to 10 %: 0%, 10 to 50 %: 100%, over 50 %: 0%" in text


# convert


def test_a_set_is_written_in_another_format_and_what_is_lost_told(run: Run, tmp_path: Path) -> None:
    for number in range(3):
        labelme(tmp_path / "set" / f"{number}.json", number, "cat", [[0, 0], [30, 20]], flags={"indoors": True})
    done = run("data", "convert", tmp_path / "set", tmp_path / "voc", "--to", "voc")
    assert done.code == 0
    assert done.out == f"wrote 3 photos as voc into {tmp_path / 'voc'}\n"
    assert "note: voc holds no labels of whole photos: those of 3 photos are lost" in done.err.splitlines()
    assert run("data", "check", tmp_path / "voc").code == 0
    done = run("data", "convert", tmp_path / "set", tmp_path / "voc", "--to", "voc")
    assert (done.code, "not empty" in done.err) == (2, True)


def test_what_is_left_out_of_a_conversion_is_told_with_exit_code_3(run: Run, tmp_path: Path) -> None:
    labelme(tmp_path / "set" / "a.json", 1, "cat", [[0, 0], [30, 20]])
    (tmp_path / "set" / "b.json").write_text('{"shapes": 3, "flags": {}}')
    done = run("data", "convert", tmp_path / "set", tmp_path / "to", "--to", "coco", "--json")
    assert done.code == 3
    assert json.loads(done.out)["photos"] == 1
    assert "error: left out: " in done.err


def test_link_and_no_photos_exclude_each_other(run: Run, folders: Path, tmp_path: Path) -> None:
    assert run("data", "convert", folders, tmp_path / "to", "--to", "table", "--link", "--no-photos").code == 2
    assert run("data", "convert", folders, tmp_path / "to").code == 2
    assert run("data", "convert", folders, tmp_path / "to", "--to", "yolo").code == 2


def test_the_formats_are_those_that_there_are() -> None:
    assert tuple(writers.WRITERS) == WRITERS


# The group


def test_help_imports_neither_numpy_nor_rich() -> None:
    program = (
        "import sys, atexit\n"
        "from verydeep.cli.main import main\n"
        "atexit.register(lambda: print({'numpy', 'PIL', 'rich'} & set(sys.modules), file=sys.stderr))\n"
        "main()"
    )
    for arguments in (["data", "--help"], ["data", "check", "--help"], ["data", "convert", "--help"]):
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr.splitlines()[-1] == "set()"


def test_the_group_alone_shows_its_help(run: Run) -> None:
    done = run("data")
    assert done.code == 2
    assert "check" in done.err
    assert run("data", "chek").code == 2


@pytest.mark.parametrize("command", [("check",), ("stats", "--json")])
def test_how_masks_of_0_and_255_are_read_is_told(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "photos" / "masks").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "b.png")):
        save(tmp_path / "photos" / "images" / name, seed)
        mask = Image.new("L", (60, 40))
        mask.paste(255, (0, 0, 30, 40))
        mask.save(tmp_path / "photos" / "masks" / name)
    done = run("data", command[0], tmp_path / "photos", *command[1:])
    assert done.code == 0
    assert "the masks hold 0 and 255 alone, which are read as background and as the class 'object'" in done.err
