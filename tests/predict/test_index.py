"""What is kept of a folder's photos: kept up with every change, never trusted where it is not whole."""

import json
import os
import shutil
import stat
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from verydeep.errors import StorageError, UsageError
from verydeep.nouns import Failure
from verydeep.predict import Embedder, index
from verydeep.predict.index import Entry, IndexFile, Maker, compare, complete, index_file, known, maker_of

MAKER = Maker(model="0" * 64, output="gap", precision="float32", dimensions=3)
ENTRIES = {
    "a.jpg": Entry(10, 2**60, b"0123456789abcdef", np.array([1, 0, 0], np.float32)),
    "b/\udcff\n.jpg": Entry(20, -1, b"fedcba9876543210", np.array([0, 0.6, 0.8], np.float32)),
}


@pytest.fixture
def file(tmp_path: Path) -> IndexFile:
    return IndexFile(tmp_path / "photos.index", is_ours=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five photos in two folders."""
    for seed, name in enumerate(("a.png", "b.png", "c/a.png", "c/b.png", "d.png")):
        save(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


@pytest.fixture(scope="module")
def embedder(toy_model: Path) -> Embedder:
    return Embedder(toy_model, engine="reference")


@pytest.fixture
def update(
    folder: Path, file: IndexFile, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], "Update"]:
    """A function () -> what a search does with the folder as it is now."""
    return lambda: Update(folder, file, embedder, monkeypatch)


class Update:
    """One search's work on the index."""

    def __init__(self, folder: Path, file: IndexFile, embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.notes: list[str] = []
        self.computed: list[str] = []
        run = embedder.embed_many

        def noting(photos, batch_size):
            photos = list(photos)
            self.computed += [photo.below for photo in photos]
            return run(photos, batch_size)

        maker = maker_of(embedder.model.path, "float32")
        paths = sorted(str(path) for path in folder.rglob("*.png"))
        photos = compare(known(file, maker, self.notes.append), str(folder), paths)
        with monkeypatch.context() as patch:
            patch.setattr(embedder, "embed_many", noting)
            self.entries, self.failures = complete(file, maker, photos, embedder, batch_size=2, note=self.notes.append)


def save(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    Image.fromarray(coarse).resize((50, 40)).save(path)
    return path


def same(one: Entry, other: Entry) -> bool:
    return one[:3] == other[:3] and np.array_equal(one.vector, other.vector)


# The file


@pytest.mark.parametrize("entries", [ENTRIES, {}], ids=["two", "none"])
def test_what_is_written_is_read(file: IndexFile, entries: dict[str, Entry]) -> None:
    file.write(MAKER, entries)
    found, fault = file.read(MAKER)
    assert (list(found), fault) == (list(entries), "")
    assert all(same(found[name], entry) for name, entry in entries.items())
    assert all(entry.vector.dtype == np.float32 for entry in found.values())


@pytest.mark.parametrize("content", [None, b""], ids=["none", "empty"])
def test_without_a_file_or_with_an_empty_one_nothing_is_known(file: IndexFile, content: bytes | None) -> None:
    if content is not None:
        file.path.write_bytes(content)
    assert file.read(MAKER)[0] == {}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"model": "1" * 64}, "is of another model"),
        ({"output": "relu7"}, "is of another layer"),
        ({"precision": "int8"}, "is of another precision"),
        ({"dimensions": 4}, "is damaged"),
    ],
)
def test_an_index_of_another_maker_is_of_no_use(file: IndexFile, changes: dict[str, object], fault: str) -> None:
    file.write(MAKER, ENTRIES)
    assert file.read(replace(MAKER, **changes)) == ({}, fault)


def test_every_byte_that_is_cut_off_or_flipped_is_noticed(file: IndexFile) -> None:
    file.write(MAKER, ENTRIES)
    whole = file.path.read_bytes()
    random = np.random.default_rng(0)
    start = whole.index(b'"verydeep index"') + len(b'"verydeep index"')
    for place in random.choice(np.arange(start, len(whole)), 150, replace=False).tolist():
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(random.integers(8))
        for content in (bytes(flipped), whole[:place]):
            file.path.write_bytes(content)
            found, fault = file.read(MAKER)
            assert not found or all(same(found[name], ENTRIES[name]) for name in ENTRIES), place
            assert found or fault, place


def test_numbers_that_are_none_are_no_vectors(file: IndexFile) -> None:
    bad = {"a.jpg": ENTRIES["a.jpg"]._replace(vector=np.array([1, np.nan, 0], np.float32))}
    file.write(MAKER, bad)
    assert file.read(MAKER) == ({}, "is damaged")


def test_a_file_of_something_else_is_left_alone(file: IndexFile, toy_model: Path) -> None:
    foreign = safetensors.numpy.save({"vectors": np.zeros(3)}, {"other": "x"})
    for content in (b"\xff\xd8\xff\xe0 a photo", toy_model.read_bytes(), foreign):
        file.path.write_bytes(content)
        with pytest.raises(UsageError, match=r"photos\.index is no index of photos"):
            file.read(MAKER)
        assert file.path.read_bytes() == content
        assert replace(file, is_ours=True).read(MAKER) == ({}, "is damaged")  # in the cache there is nothing to lose


def test_an_index_of_a_later_version_is_made_anew(file: IndexFile) -> None:
    file.write(MAKER, ENTRIES)
    content = file.path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    fields = json.loads(header["__metadata__"]["verydeep index"]) | {"format_version": 99}
    arrays = safetensors.numpy.load(content)
    file.path.write_bytes(safetensors.numpy.save(arrays, {"verydeep index": json.dumps(fields)}))
    assert file.read(MAKER) == ({}, "is of another version of verydeep")


def test_each_folder_and_model_has_a_file_of_its_own_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "one")
    names = ("one", "one/", "./one", str(tmp_path / "one"), "link")
    assert len({index_file(name, MAKER).path for name in names}) == 1
    others = [index_file("two", MAKER), index_file("one", replace(MAKER, model="1" * 64))]
    assert len({index_file("one", MAKER).path, *(other.path for other in others)}) == 3
    assert others[0].path.parent == tmp_path / "cache" / "search"
    others[0].write(MAKER, ENTRIES)
    if os.name == "posix":
        assert stat.S_IMODE(others[0].path.stat().st_mode) == 0o600
    assert index_file("one", MAKER, "mine.index") == IndexFile(Path("mine.index"), is_ours=False)


def test_in_the_cache_the_oldest_indexes_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "FOLDER_BYTES", 4000)
    files = [IndexFile(tmp_path / f"{number}.index", is_ours=True) for number in range(8)]
    for number, file in enumerate(files):
        file.write(MAKER, ENTRIES)
        os.utime(file.path, (number, number))
    left = sorted(path.name for path in tmp_path.iterdir())
    assert 1 < len(left) < 8
    assert left[-1] == "7.index"


# Keeping up


def test_a_second_search_computes_nothing(update: Callable[[], Update], file: IndexFile) -> None:
    first = update()
    assert sorted(first.computed) == list(first.entries) == ["a.png", "b.png", "c/a.png", "c/b.png", "d.png"]
    written = file.path.stat().st_mtime_ns
    second = update()
    assert (second.computed, second.notes) == ([], [])
    assert file.path.stat().st_mtime_ns == written
    assert all(same(second.entries[name], entry) for name, entry in first.entries.items())


def test_new_changed_and_removed_photos_are_noticed(update: Callable[[], Update], folder: Path) -> None:
    before = update().entries
    save(folder / "c" / "b.png", seed=77)
    save(folder / "e.png", seed=78)
    (folder / "a.png").unlink()
    after = update()
    assert after.computed == ["c/b.png", "e.png"]
    assert list(after.entries) == ["b.png", "c/a.png", "c/b.png", "d.png", "e.png"]
    assert not same(after.entries["c/b.png"], before["c/b.png"])
    assert same(after.entries["b.png"], before["b.png"])
    assert update().computed == []


def test_a_photo_of_the_same_size_and_another_content_is_noticed_by_its_time(
    update: Callable[[], Update], folder: Path
) -> None:
    for seed in (5, 6):
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "a.png", compress_level=0)
        assert update().computed == (["a.png", "b.png", "c/a.png", "c/b.png", "d.png"] if seed == 5 else ["a.png"])


def test_a_photo_that_was_moved_or_copied_is_known_by_its_content(update: Callable[[], Update], folder: Path) -> None:
    before = update().entries
    (folder / "a.png").rename(folder / "c" / "z.png")
    shutil.copy(folder / "b.png", folder / "copy.png")
    os.utime(folder / "d.png", (1, 1))  # touched
    after = update()
    assert after.computed == []
    for name, old in (("c/z.png", "a.png"), ("copy.png", "b.png"), ("d.png", "d.png")):
        assert np.array_equal(after.entries[name].vector, before[old].vector)
    assert list(after.entries) == sorted(after.entries)
    again = update()
    assert (again.computed, list(again.entries)) == ([], list(after.entries))


def test_a_folder_that_was_moved_as_a_whole_keeps_its_index(
    folder: Path, file: IndexFile, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    Update(folder, file, embedder, monkeypatch)
    moved = folder.rename(folder.with_name("elsewhere"))
    assert Update(moved, file, embedder, monkeypatch).computed == []


def test_unreadable_photos_are_told_each_time_and_taken_in_once_they_can_be_read(
    update: Callable[[], Update], folder: Path
) -> None:
    whole = (folder / "b.png").read_bytes()
    (folder / "b.png").write_bytes(whole[:100])
    (folder / "gone.png").symlink_to("nowhere")
    for _ in range(2):
        done = update()
        assert [Path(failure.path).name for failure in done.failures] == ["b.png", "gone.png"]
        assert all(failure.path in failure.reason for failure in done.failures)
        assert "b.png" not in done.entries
    (folder / "b.png").write_bytes(whole)
    assert update().computed == ["b.png", "gone.png"]


def test_what_was_done_before_an_interruption_is_kept(
    update: Callable[[], Update], embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = embedder._vectors

    def stop_at_the_second_batch(images: np.ndarray) -> np.ndarray:
        monkeypatch.setattr(embedder, "_vectors", interrupt)
        return run(images)

    def interrupt(_: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr(embedder, "_vectors", stop_at_the_second_batch)
    with pytest.raises(KeyboardInterrupt):
        update()
    monkeypatch.setattr(embedder, "_vectors", run)
    assert update().computed == ["c/a.png", "c/b.png", "d.png"]


def test_a_damaged_index_is_told_and_made_anew(update: Callable[[], Update], file: IndexFile) -> None:
    update()
    file.path.write_bytes(file.path.read_bytes()[:-5])
    again = update()
    assert len(again.computed) == 5
    assert again.notes == [f"the index {file.path} is damaged: it is made anew"]
    assert update().notes == []


def test_a_file_that_cannot_be_written_is_an_error_where_it_was_named_and_a_note_in_the_cache(
    folder: Path, tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_MUCH", 1)
    (tmp_path / "file").touch()
    blocked = IndexFile(tmp_path / "file" / "photos.index", is_ours=False)
    with pytest.raises(StorageError):
        Update(folder, blocked, embedder, monkeypatch)
    done = Update(folder, replace(blocked, is_ours=True), embedder, monkeypatch)
    assert len(done.entries) == 5
    assert [note for note in done.notes if note.startswith("the next search begins anew: cannot write ")]


def test_the_photos_of_a_real_collection_are_found_again(
    shared_data: Path, file: IndexFile, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared_data / "hymenoptera" / "val" / "ants"
    paths = sorted(str(path) for path in folder.glob("*.jpg"))[:12]
    maker = maker_of(embedder.model.path, "float32")
    entries, failures = complete(file, maker, compare({}, str(folder), paths), embedder, batch_size=5)
    assert (len(entries), failures) == (12, [])
    again = compare(known(file, maker, pytest.fail), str(folder), paths)
    assert (again.new, again.has_others) == ((), False)


def test_a_photo_is_what_errors_call_it(folder: Path, embedder: Embedder) -> None:
    (folder / "text.png").write_text("no picture")
    (photo,) = compare({}, str(folder), [str(folder / "text.png")]).new
    (answer,) = embedder.embed_many([photo])
    assert isinstance(answer, Failure)
    assert answer.path == photo.path
    assert answer.reason.startswith(f"{folder / 'text.png'} is not a picture")
