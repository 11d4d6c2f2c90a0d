"""The file of decoded photos: it holds what reading them gives, notices every change, and is never in anybody's way."""

import errno
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.data import cache as cache_module
from verydeep.data.cache import PhotoCache, open_cache
from verydeep.data.datasets import Dataset
from verydeep.data.reading import read_training_photo
from verydeep.errors import ImageError, StorageError
from verydeep.files import cache_folder

SIDE = 24
IN_MEMORY = Path("/dev/shm")  # noqa: S108, it is looked at only
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows deletes and replaces no file that is open")


@pytest.fixture
def photos(tmp_path) -> Dataset:
    """Twelve photos of several shapes and formats, one of which is none."""
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    paths = []
    for i in range(12):
        paths.append(tmp_path / "photos" / f"{i}.{'jpg' if i % 2 else 'png'}")
        pixels = random.integers(0, 256, [(20, 30, 3), (90, 60, 3), (24, 24, 3)][i % 3], np.uint8)
        Image.fromarray(pixels).save(paths[-1])
    paths[7].write_bytes(b"not a picture")
    return Dataset(("a", "b"), tuple(paths), tuple(i % 2 for i in range(12)))


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "cache"


class Decoded:
    """Counts the photos that are decoded for the cache."""

    def __init__(self) -> None:
        self.done: list[int] = []

    def __call__(self, done: int, of: int) -> None:
        assert of == 12
        self.done += [done] if done else []


def opened(photos: Dataset, folder: Path, **options) -> PhotoCache:
    cache = open_cache(photos, SIDE, folder=folder, note=pytest.fail, **options)
    assert cache is not None
    return cache


def was_built(photos: Dataset, folder: Path) -> bool:
    progress = Decoded()
    opened(photos, folder, progress=progress)
    return bool(progress.done)


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_a_cached_photo_is_the_photo_as_training_reads_it(photos, folder):
    for _ in ("built", "opened"):
        cache = opened(photos, folder)
        assert len(cache) == 12
        for position, path in enumerate(photos.paths):
            if position != 7:
                photo = cache.read(position, path)
                assert np.array_equal(photo, read_training_photo(path, SIDE))
                assert not photo.flags.writeable


def test_a_photo_that_cannot_be_read_fails_as_reading_it_does_wherever_the_folder_has_moved(photos, folder, tmp_path):
    opened(photos, folder)
    (tmp_path / "photos").rename(tmp_path / "moved\n")
    moved = Dataset(photos.classes, tuple(tmp_path / "moved\n" / path.name for path in photos.paths), photos.labels)
    assert not was_built(moved, folder)
    with pytest.raises(ImageError) as read:
        read_training_photo(moved.paths[7], SIDE)
    with pytest.raises(ImageError) as cached:
        opened(moved, folder).read(7, moved.paths[7])
    assert (cached.value.message, cached.value.hint) == (read.value.message, read.value.hint)


def test_it_is_built_once_and_progress_is_told(photos, folder):
    progress = Decoded()
    opened(photos, folder, progress=progress)
    assert progress.done == list(range(1, 13))
    assert not was_built(photos, folder)
    assert len(files(folder)) == 1


def test_a_changed_photo_of_the_same_size_and_time_makes_a_new_cache(photos, folder):
    path = photos.paths[4]
    before, status = path.read_bytes(), path.stat()
    opened(photos, folder)
    changed = bytearray(before)
    changed[-20] ^= 1
    path.write_bytes(changed)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert was_built(photos, folder)
    path.write_bytes(before)
    assert not was_built(photos, folder), "the first one is still there"


def test_side_order_decoder_and_rules_of_reading_make_caches_of_their_own(photos, folder, monkeypatch):
    opened(photos, folder)
    assert open_cache(photos, SIDE + 1, folder=folder).path != opened(photos, folder).path
    assert was_built(photos.take(range(11, -1, -1)), folder)
    monkeypatch.setattr(cache_module, "READING_RULES", -1)
    assert was_built(photos, folder)
    monkeypatch.setattr(cache_module.PIL, "__version__", "0.0.0")
    assert was_built(photos, folder)


def test_a_photo_that_becomes_readable_makes_a_new_cache(photos, folder):
    data = photos.paths[2].read_bytes()
    photos.paths[2].unlink()
    opened(photos, folder)
    photos.paths[2].write_bytes(data)
    assert was_built(photos, folder)
    assert np.array_equal(opened(photos, folder).read(2, photos.paths[2]), read_training_photo(photos.paths[2], SIDE))


@POSIX
@pytest.mark.parametrize("where", ["pixels", "index", "failures", "trailer", "end", "nothing left", "longer"])
def test_a_damaged_cache_is_built_anew(photos, folder, where):
    cache = opened(photos, folder)
    pixels = 3 * sum(cache.read(i, "").shape[0] * cache.read(i, "").shape[1] for i in range(12) if i != 7)
    path = cache.path
    del cache
    whole = path.read_bytes()
    assert pixels < len(whole) - 12 * 32 - 64
    damaged = bytearray(whole)
    flipped = {"pixels": pixels // 2, "index": pixels + 5, "failures": pixels + 12 * 32 + 3, "trailer": -50}
    if where in flipped:
        damaged[flipped[where]] ^= 4
    content = {"end": whole[:-1], "nothing left": b"", "longer": whole + b"\0"}.get(where, bytes(damaged))
    path.write_bytes(content)
    assert was_built(photos, folder)
    assert path.read_bytes() == whole
    assert not was_built(photos, folder)


def is_whole(path: Path, key: bytes) -> bool:
    try:
        return PhotoCache(path, key).is_whole()
    except StorageError:
        return False


def test_every_flipped_byte_is_noticed(photos, folder):
    path = opened(photos, folder).path
    whole = path.read_bytes()
    key = bytes.fromhex(path.stem)
    copy = path.with_name("copy")
    for place in range(0, len(whole), 101):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        copy.write_bytes(damaged)
        assert not is_whole(copy, key)
    copy.write_bytes(whole)
    assert is_whole(copy, key)


def test_a_set_that_is_too_large_is_told_from_the_headers(photos, folder, monkeypatch):
    monkeypatch.setattr(cache_module, "training_photo", lambda *_: pytest.fail("a photo was decoded"))
    notes = []
    assert open_cache(photos, SIDE, folder=folder, limit_bytes=9000, note=notes.append) is None
    assert len(notes) == 1
    assert notes[0].startswith("the photos are decoded anew in every epoch: kept, they would take about ")
    assert not folder.exists()


def test_the_size_is_expected_from_a_sample_of_headers(photos, monkeypatch):
    exact = sum(read_training_photo(path, SIDE).nbytes for path in photos.paths if path != photos.paths[7])
    assert cache_module._expected_bytes(photos, SIDE) == pytest.approx(exact, rel=0.02)
    monkeypatch.setattr(cache_module, "_SAMPLE", 5)
    read = []
    measure = cache_module.training_bytes
    monkeypatch.setattr(cache_module, "training_bytes", lambda *args: read.append(args) or measure(*args))
    assert cache_module._expected_bytes(photos, SIDE) == pytest.approx(exact, rel=0.5)
    assert len(read) <= 5


def test_headers_that_lie_do_not_fill_the_disk(photos, folder, monkeypatch):
    monkeypatch.setattr(cache_module, "training_bytes", lambda *_: 1)
    notes = []
    assert open_cache(photos, SIDE, folder=folder, limit_bytes=9000, note=notes.append) is None
    assert "the limit is" in notes[0]
    assert files(folder) == []


def test_never_more_than_half_of_the_free_disk_is_taken(photos, folder, monkeypatch):
    monkeypatch.setattr(cache_module, "_free_bytes", lambda _: 18_000)
    notes = []
    assert open_cache(photos, SIDE, folder=folder, note=notes.append) is None
    assert f"half of what is free in {folder} is" in notes[0]


@pytest.mark.skipif(not IN_MEMORY.is_mount(), reason="needs a file system in memory")
def test_a_file_system_in_memory_counts_as_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("verydeep.machine.memory_bytes", lambda: 1000)
    assert cache_module._free_bytes(IN_MEMORY) == 1000
    if not cache_module._is_in_memory(tmp_path):
        assert cache_module._free_bytes(tmp_path) > 1000


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own at `folder`, in memory."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@POSIX
def test_a_full_disk_leaves_training_without_a_cache(photos, folder, monkeypatch):
    monkeypatch.setattr(cache_module, "_free_bytes", lambda _: 1 << 30)  # somebody else fills it in the meantime
    notes = []
    with small_disk(folder, "16k"):
        assert open_cache(photos, SIDE, folder=folder, note=notes.append) is None
        assert files(folder) == []
    (note,) = notes
    assert note.startswith("the photos are decoded anew in every epoch: cannot write ")
    assert ": the disk is full. " in note


def test_a_folder_that_cannot_be_made_leaves_training_without_a_cache(photos, tmp_path):
    (tmp_path / "file").touch()
    notes = []
    assert open_cache(photos, SIDE, folder=tmp_path / "file" / "cache", note=notes.append) is None
    assert "cannot write" in notes[0]
    assert "\n" not in notes[0]


def test_photos_that_change_while_they_are_read_are_not_kept(photos, folder):
    calls = []

    def change(done: int, of: int) -> None:
        calls.append(done)
        if calls == [0] * of:  # all contents are known, and no photo is decoded
            photos.paths[9].write_bytes(b"something else")

    notes = []
    assert open_cache(photos, SIDE, folder=folder, note=notes.append, progress=change) is None
    assert f"{photos.paths[9]} was changed while it was read." in notes[0]
    assert files(folder) == []


def test_a_decoder_without_memory_is_no_damaged_photo(photos, folder, monkeypatch):
    def decode(data, name, side):
        raise ImageError("no memory") from MemoryError()

    monkeypatch.setattr(cache_module, "training_photo", decode)
    notes = []
    assert open_cache(photos, SIDE, folder=folder, note=notes.append) is None
    assert "no memory; that may pass, and says nothing about the photo" in notes[0]


def test_a_disk_that_fails_for_a_moment_makes_no_cache_without_the_photo(photos, folder, monkeypatch):
    monkeypatch.setattr(Path, "open", failing(Path.open, photos.paths[3]))
    notes = []
    assert open_cache(photos, SIDE, folder=folder, note=notes.append) is None
    assert f"{photos.paths[3]} cannot be read: Input/output error; that may pass" in notes[0]
    assert not folder.exists()


def failing(open_file, path: Path):
    """`Path.open`, but for one path, at which the disk fails."""

    def open_or_fail(self, *arguments, **named):
        if self == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return open_file(self, *arguments, **named)

    return open_or_fail


def test_what_progress_raises_ends_the_build_and_leaves_nothing(photos, folder):
    def stop(done: int, of: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_cache(photos, SIDE, folder=folder, progress=stop)
    assert files(folder) == []
    assert was_built(photos, folder)


def build_until_killed(photos: Dataset, folder: Path) -> None:
    def stop(done: int, of: int) -> None:
        if done == 6:
            os.kill(os.getpid(), signal.SIGKILL)

    open_cache(photos, SIDE, folder=folder, progress=stop)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no processes by fork here")
def test_a_build_that_is_killed_leaves_nothing_half_valid_and_its_remains_are_cleared_away(photos, folder):
    process = multiprocessing.get_context("fork").Process(target=build_until_killed, args=(photos, folder))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (remains,) = files(folder)
    assert remains.suffix == ".tmp"
    assert was_built(photos, folder)
    assert [path.suffix for path in files(folder)] == [".photos"]


@POSIX
def test_what_another_run_is_building_is_left_alone(photos, folder):
    def look(done: int, of: int) -> None:
        if done == 6:
            opened(photos.take(range(6)), folder)
            assert len(files(folder)) == 2

    opened(photos, folder, progress=look)
    assert [path.suffix for path in files(folder)] == [".photos", ".photos"]


def test_the_folder_is_kept_small_by_deleting_what_was_not_used_for_longest(photos, folder, monkeypatch):
    sets = [photos.take(range(first, first + 3)) for first in (0, 3, 8)]
    paths = [opened(dataset, folder).path for dataset in sets]
    for age, path in zip((30, 20, 10), paths, strict=True):
        os.utime(path, (time.time() - age, time.time() - age))
    opened(sets[0], folder)  # the oldest one is used again
    sizes = [path.stat().st_size for path in paths]
    monkeypatch.setattr(cache_module, "FOLDER_BYTES", sum(sizes) + 1000)
    new = opened(photos.take(range(4)), folder).path
    assert [path.exists() for path in (*paths, new)] == [True, False, False, True]


@POSIX
def test_a_cache_in_use_is_never_deleted(photos, folder, monkeypatch):
    used = opened(photos, folder)
    unused = opened(photos.take(range(11)), folder).path
    monkeypatch.setattr(cache_module, "FOLDER_BYTES", 0)
    opened(photos.take(range(4)), folder)
    assert used.path.exists()
    assert not unused.exists()
    path = used.path
    del used
    opened(photos.take(range(5)), folder)
    assert not path.exists()


@POSIX
def test_a_process_of_its_own_maps_the_file_or_does_without(photos, folder):
    cache = opened(photos, folder)
    pickled = pickle.dumps(cache)
    assert len(pickled) < 1000, "the path travels, not the photos"
    assert np.array_equal(pickle.loads(pickled).read(3, ""), cache.read(3, ""))  # noqa: S301
    cache.path.unlink()
    assert pickle.loads(pickled) is None  # noqa: S301
    assert np.array_equal(cache.read(3, ""), read_training_photo(photos.paths[3], SIDE)), "this one holds it still"


@POSIX
def test_only_the_owner_can_read_the_photos(photos, folder):
    assert opened(photos, folder).path.stat().st_mode & 0o777 == 0o600


def test_caches_are_kept_where_the_user_or_the_system_says(monkeypatch, tmp_path):
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("VERYDEEP_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for platform, variable, below in (
        ("linux", "XDG_CACHE_HOME", ".cache"),
        ("win32", "LOCALAPPDATA", "AppData/Local"),
        ("darwin", None, "Library/Caches"),
    ):
        monkeypatch.setattr("sys.platform", platform)
        monkeypatch.delenv(variable or "-", raising=False)
        assert cache_folder() == tmp_path / below / "verydeep"
        if variable:
            monkeypatch.setenv(variable, str(tmp_path / "chosen"))
            assert cache_folder() == tmp_path / "chosen" / "verydeep"


def test_the_default_folder_is_the_cache_folder(photos, monkeypatch, tmp_path):
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "mine"))
    assert open_cache(photos, SIDE).path.parent == tmp_path / "mine" / "photos"


def test_a_user_without_a_home_trains_without_a_cache(photos, monkeypatch):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("VERYDEEP_CACHE", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    notes = []
    assert open_cache(photos, SIDE, note=notes.append) is None
    assert "VERYDEEP_CACHE=FOLDER" in notes[0]
