"""`verydeep search`: which photos it finds, what it prints and draws, and what it says of what it cannot read."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from verydeep.cli import search_output
from verydeep.errors import ImageError
from verydeep.image.stream import load
from verydeep.predict import Embedder, index
from verydeep.predict.index import index_file, maker_of

Run = Callable[..., Any]
REFERENCE = ("--engine", "reference")


@pytest.fixture
def search(run: Run, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`verydeep search` with the toy model and a cache of its own, in an empty folder."""
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return lambda *arguments: run("search", *arguments, "--model", toy_model, *REFERENCE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six photos, the last one a copy of the first, and what is none."""
    for seed, name in enumerate(("a.png", "b.png", "c/d.png", "e.png", "f.png")):
        save(tmp_path / "photos" / name, seed)
    shutil.copy(tmp_path / "photos" / "a.png", tmp_path / "photos" / "z.png")
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    return tmp_path / "photos"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Elsewhere, and the same as c/d.png, saved in another way."""
    return save(tmp_path / "photo.png", 2, optimize=True)


def save(path: Path, seed: int, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    Image.fromarray(coarse).resize((50, 40)).save(path, **options)
    return path


def names(done: Any) -> list[str]:
    """The names of the photos that were found for the first one."""
    return [Path(one["path"]).name for one in json.loads(done.out)["photos"][0]["alike"]]


def test_the_most_alike_are_listed_with_their_cosines(search: Run, photo: Path, folder: Path, toy_model: Path) -> None:
    done = search(photo, "--in", folder, "-k", 3)
    assert (done.code, done.err) == (0, "")
    title, *lines = done.out.strip().splitlines()
    assert title == str(photo)
    paths = sorted(path for path in folder.rglob("*.png"))
    vectors = dict(zip(paths, Embedder(toy_model, engine="reference").embed_many(paths), strict=True))
    asked = vectors[folder / "c" / "d.png"]
    best = sorted(paths, key=lambda path: -float(vectors[path] @ asked))[:3]
    assert lines == [f"  {float(vectors[path] @ asked):.3f}  {path}" for path in best]
    assert lines[0] == f"  1.000  {folder / 'c' / 'd.png'}"


def test_a_photo_is_not_its_own_answer_and_its_copy_is_also_by_a_link(search: Run, folder: Path) -> None:
    for asked in ("a.png", "link.png"):
        if asked == "link.png":
            (folder / "link.png").symlink_to(folder / "a.png")
        done = search(folder / asked, "--in", folder, "--json")
        assert names(done)[0] == "z.png"
        assert not {"a.png", "link.png"} & set(names(done))
        assert json.loads(done.out)["photos"][0]["alike"][0]["similarity"] == 1


def test_json_is_one_document_of_photos_and_failures(search: Run, photo: Path, folder: Path, toy_model: Path) -> None:
    (folder / "bad.jpg").write_bytes(b"")
    done = search(photo, folder / "a.png", "missing.jpg", "--in", folder, "--json", "-k", 2)
    assert done.code == 3
    document = json.loads(done.out)
    assert document["model"] == str(toy_model)
    kept = index_file(str(folder), maker_of(toy_model, "float32"))
    facts = {"layer": "gap", "folder": str(folder), "indexed": 6, "index": str(kept.path)}
    assert {name: document[name] for name in facts} == facts
    assert kept.path.is_file()
    assert [entry["path"] for entry in document["photos"]] == [str(photo), str(folder / "a.png")]
    assert [len(entry["alike"]) for entry in document["photos"]] == [2, 2]
    assert [Path(failure["path"]).name for failure in document["failures"]] == ["bad.jpg", "missing.jpg"]
    assert "error: 2 of 10 photos could not be read:" in done.err


def test_the_second_search_reads_no_photo_of_the_folder(
    search: Run, photo: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = search(photo, "--in", folder)
    monkeypatch.setattr(index.NewPhoto, "read", pytest.fail)
    second = search(photo, "--in", f"{folder}/")
    assert second.out == first.out
    assert (second.code, second.err) == (0, "")


def test_an_index_lies_where_it_is_named_and_nowhere_else(
    search: Run, run: Run, folder: Path, tmp_path: Path, opinionated_model: Path
) -> None:
    before = sorted(folder.rglob("*"))
    words = (folder / "b.png", "--in", folder, "--index", "my.index")
    first = search(*words)
    assert [path.name for path in Path().iterdir()] == ["my.index"]
    assert not (tmp_path / "cache" / "search").exists()
    assert sorted(folder.rglob("*")) == before
    other = run("search", *words, "--model", opinionated_model, *REFERENCE)
    assert other.err.startswith("note: the index my.index is of another model: it is made anew\n")
    search(*words)
    Path("my.index").write_bytes(Path("my.index").read_bytes()[:-9])
    again = search(*words)
    assert again.err.startswith("note: the index my.index is damaged: it is made anew\n")
    assert again.out == first.out


def test_a_sheet_shows_the_photo_and_those_like_it(search: Run, photo: Path, folder: Path) -> None:
    done = search(photo, folder / "a.png", "--in", folder, "--out", folder / "alike")
    for name in ("photo-alike.jpg", "a-alike.jpg"):
        assert f"  {folder / 'alike' / name}" in done.out.splitlines()
        with Image.open(folder / "alike" / name) as sheet:
            sheet.load()
            assert min(sheet.size) > 700  # three columns of 400 pixels, two rows
    again = search(photo, "--in", folder, "--json")
    assert json.loads(again.out)["indexed"] == 6
    assert again.err.startswith(
        "note: passed over 2 called *-predicted.jpg, *-predicted-mask.png, *-alike.jpg or *-explained-*.png"
    )


def test_a_photo_that_is_gone_when_the_sheet_is_drawn_is_told(
    search: Run, photo: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_unless_gone(source: Any, formats: Any) -> Any:
        if Path(source).name == "d.png":
            raise ImageError(f"{source} cannot be read: No such file or directory.")
        return load(source, formats)

    monkeypatch.setattr(search_output, "load", load_unless_gone)
    done = search(photo, "--in", folder, "--out", "sheets")
    assert (done.code, done.err) == (
        3,
        f"error: 1 of 7 photos could not be read:\n  {folder / 'c' / 'd.png'} cannot be "
        "read: No such file or directory.\n",
    )
    assert Path("sheets/photo-alike.jpg").is_file()


def test_a_long_work_shows_how_far_it_is(search: Run, photo: Path, folder: Path) -> None:
    for seed in range(10, 20):
        save(folder / f"{seed}.png", seed)
    done = search(photo, "--in", folder)
    assert done.err.splitlines()[-1] == "indexed: 16 of 16"
    assert search(photo, "--in", folder).err == ""


def test_a_folder_and_standard_input_can_be_asked_about(
    search: Run, photo: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = json.loads(search(folder, "--in", folder, "--json", "-k", 1).out)["photos"]
    assert [Path(entry["path"]).name for entry in asked] == ["a.png", "b.png", "d.png", "e.png", "f.png", "z.png"]
    named = json.loads(search(photo, "--in", folder, "--json").out)["photos"][0]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(photo.read_bytes())))
    assert json.loads(search("-", "--in", folder, "--json").out)["photos"][0] == named | {"path": "-"}


def test_where_there_is_no_other_photo_it_is_said(search: Run, tmp_path: Path) -> None:
    alone = save(tmp_path / "alone" / "a.png", 0)
    done = search(alone, "--in", alone.parent)
    assert (done.code, done.out) == (0, f"{alone}\n  there is no other photo in {alone.parent}\n\n")
    (tmp_path / "alone" / "a.png").write_bytes(b"none")
    done = search(save(tmp_path / "b.png", 1), "--in", alone.parent)
    assert (done.code, "there is no other photo" in done.out) == (3, True)


def test_names_from_outside_are_spelt_out(search: Run, photo: Path, folder: Path) -> None:
    shutil.copy(photo, folder / "\x1b[2J\n.png")
    done = search(photo, "--in", folder, "-k", 2)
    assert "\x1b" not in done.out
    assert r"\x1b[2J\n.png" in done.out


def test_a_cache_that_cannot_be_written_is_a_note(
    search: Run, photo: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").touch()
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "full"))
    done = search(photo, "--in", folder)
    assert done.code == 0
    assert done.out.splitlines()[1].startswith("  1.000  ")
    (note,) = done.err.splitlines()
    assert note.startswith("note: the next search begins anew: cannot write ")


def test_ten_thousand_photos_are_searched_in_well_under_a_second(photo: Path, toy_model: Path, tmp_path: Path) -> None:
    """As a process of its own: all files are one by hard links, so that the disk is not what is measured."""
    source = save(tmp_path / "photos" / "0.png", 0)
    for number in range(1, 10_000):
        (tmp_path / "photos" / f"{number}.png").hardlink_to(source)
    maker = maker_of(toy_model, "float32")
    file = index_file(str(tmp_path / "photos"), maker, str(tmp_path / "large.index"))
    random = np.random.default_rng(0).normal(size=(10_000, maker.dimensions)).astype(np.float32)
    status = source.stat()
    vectors = random / np.linalg.norm(random, axis=1, keepdims=True)
    entries = {
        f"{number}.png": index.Entry(status.st_size, status.st_mtime_ns, bytes(16), vectors[number])
        for number in range(10_000)
    }
    file.write(maker, entries)
    words = (photo, "--in", tmp_path / "photos", "--index", file.path, "--model", toy_model, *REFERENCE)
    program = (
        "import time; start = time.process_time()\n"
        "from verydeep.cli.main import cli\n"
        "import sys; cli.main(['search', *sys.argv[1:]], standalone_mode=False)\n"
        "print(time.process_time() - start)"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert float(done.stdout.splitlines()[-1]) < 2.5  # about 0.5 on an idle core, with its start


def test_search_imports_no_torch(photo: Path, folder: Path, toy_model: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from verydeep.cli.main import cli\n"
        "cli.main(['search', *sys.argv[1:]], standalone_mode=False)"
    )
    words = (photo, "--in", folder, "--model", toy_model, *REFERENCE, "--out", tmp_path / "out")
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "photo-alike.jpg").is_file()
