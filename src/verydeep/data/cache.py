"""Photos decoded once: a file of what `read_training_photo` returned, which all processes of a run map into memory.

file       the photos' pixels, one after the other | index | failures | trailer
index      a row a photo: where it begins, its height and width, and a checksum of its pixels
failures   JSON: what is wrong with each photo that cannot be read
trailer    of a fixed length at the file's end, so that a file that was cut off has none: the key, where the index
           begins, how long the rest is, and a checksum of it all

The file's name is its key: it changes with every byte of every photo, and with all that decides what is made of them.
docs/decisions/0008-decoded-photos-are-kept.md says why.
"""

import contextlib
import hashlib
import json
import math
import mmap
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias, TypeVar

import numpy as np
import PIL
from PIL import features

from verydeep import machine
from verydeep.data.datasets import Dataset
from verydeep.data.many import in_threads
from verydeep.data.reading import READING_RULES, check_lasting, training_bytes, training_photo
from verydeep.errors import ImageError, StorageError, printable
from verydeep.files import cache_folder, hold, make_folder, make_room, replacing
from verydeep.image.decode import name_of, read_file
from verydeep.nouns import StoredPhoto

LIMIT_BYTES = 4 << 30  # of one data set
FOLDER_BYTES = 8 << 30  # of all of them; what was not used for longest goes first

_FORMAT = 1  # of the file
_MAGIC = b"vdphotos"
_SUFFIX = ".photos"
_TRAILER = struct.Struct("<8s16sQQQ16s")  # magic, key, photos, start of the index, bytes of failures, checksum
_SAMPLE = 1000  # photos whose headers tell how large all of them would be
_CHUNK = 256  # photos that a thread checks before it turns to the next ones

Report: TypeAlias = "Callable[[int, int], None]"
"""Is told how many photos are done, and of how many."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class PhotoCache:
    """Photos as `read_training_photo` returns them, in a file. Safe in any number of threads and processes."""

    def __init__(self, path: Path, key: bytes) -> None:
        """Opens the file. Raises StorageError where it is missing or damaged; the pixels are not looked at."""
        self.path, self.key = path, key
        try:
            with path.open("rb") as file:
                hold(file, is_shared=True)  # the mapping below holds it: nobody deletes a cache in use
                self._bytes = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        except (OSError, ValueError) as error:  # ValueError: an empty file
            raise StorageError(f"{path} cannot be read: {error}.") from error
        self._index, self._failures = self._read_index()

    def __len__(self) -> int:
        return len(self._index)

    def __reduce__(self) -> tuple[Callable[[Path, bytes], "PhotoCache | None"], tuple[Path, bytes]]:
        return _reopen, (self.path, self.key)  # a process that is not forked maps the file anew

    def read(self, position: int, path: StoredPhoto) -> np.ndarray:
        """The photo at a position of the data set, (H, W, 3) uint8, read-only. Raises ImageError as reading it did.

        path: where the photo is now, for that error.
        """
        start, height, width, _ = self._index[position].tolist()
        if height == 0:
            reason, hint = self._failures[position]
            raise ImageError(printable(name_of(path)) + reason, hint)
        return self._bytes[start : start + height * width * 3].reshape(height, width, 3)

    def is_whole(self) -> bool:
        """Whether every pixel is what was written. It takes a pass over the file, which warms it up for training."""
        chunks = (range(first, min(first + _CHUNK, len(self))) for first in range(0, len(self), _CHUNK))
        return all(_in_order(self._are_whole, chunks))

    def _are_whole(self, positions: range) -> bool:
        rows = self._index[positions.start : positions.stop].tolist()
        return all(
            zlib.crc32(self._bytes[at : at + high * wide * 3].data) == checksum for at, high, wide, checksum in rows
        )

    def _read_index(self) -> tuple[np.ndarray, dict[int, tuple[str, str]]]:
        damaged = StorageError(f"{self.path} is damaged.")
        if len(self._bytes) < _TRAILER.size:
            raise damaged
        trailer = self._bytes[-_TRAILER.size :].tobytes()
        magic, key, photos, start, length, checksum = _TRAILER.unpack(trailer)
        rest = self._bytes[start : -_TRAILER.size].tobytes() if start < len(self._bytes) else b""
        if (magic, key, checksum) != (_MAGIC, self.key, _checksum(rest, trailer)) or len(rest) != photos * 32 + length:
            raise damaged
        index = np.frombuffer(rest, np.int64, photos * 4).reshape(photos, 4)
        return index, {int(position): failure for position, failure in json.loads(rest[photos * 32 :]).items()}


def open_cache(
    dataset: Dataset,
    side: int,
    *,
    limit_bytes: int = LIMIT_BYTES,
    folder: str | Path | None = None,
    note: Callable[[str], None] = lambda _: None,
    progress: Report = lambda _done, _of: None,
) -> PhotoCache | None:
    """The photos of a data set as `read_training_photo(path, side)` returns them, from a file that is made if need be.

    None where there is no room or the folder cannot be written: `note` is told why, in one line, and training reads
    the files instead. Every photo's content is read to find out whether the file is of these very photos; a set that
    would be too large is told from the headers of some.
    limit_bytes: of this file; never more than half of what is free on the disk. folder: where it is kept, instead of
    `cache_folder()`. All files there together keep below FOLDER_BYTES: others are deleted, those not used for longest
    first, never one that another run uses. progress: is called again and again, with 0 while contents are read, then
    while photos are decoded by all cores; what it raises ends the work, and nothing is left of the file.
    """
    try:
        return _open_cache(dataset, side, limit_bytes, Path(folder or cache_folder() / "photos"), progress)
    except OSError as error:  # StorageError is one
        note(f"the photos are decoded anew in every epoch: {error}")
        return None


def _open_cache(dataset: Dataset, side: int, limit_bytes: int, folder: Path, progress: Report) -> PhotoCache:
    expected = _expected_bytes(dataset, side)
    _check_size(expected, limit_bytes, "the limit is")
    digests = _digests(dataset, progress)
    key = _key(digests, side)
    path = make_folder(folder) / (key.hex() + _SUFFIX)
    with contextlib.suppress(StorageError):
        cache = PhotoCache(path, key)
        if cache.is_whole():
            with contextlib.suppress(OSError):
                os.utime(path)  # it was used now
            return cache
        del cache  # Windows replaces no file that is mapped
    make_room(path, expected, FOLDER_BYTES)
    room = min(limit_bytes, _free_bytes(folder) // 2)
    _check_size(expected, room, f"half of what is free in {folder} is")
    _build(path, key, dataset, side, digests=digests, room=room, progress=progress)
    return PhotoCache(path, key)


def _reopen(path: Path, key: bytes) -> PhotoCache | None:
    try:
        return PhotoCache(path, key)
    except StorageError:  # deleted in the meantime: this process reads the photos from their files, which is the same
        return None


def _expected_bytes(dataset: Dataset, side: int) -> int:
    """About how large the file would be, from the headers of photos evenly spread over the data set."""
    sample = dataset.paths[:: math.ceil(len(dataset) / _SAMPLE)]

    def measure(path: StoredPhoto) -> int:
        try:
            return training_bytes(read_file(path), name_of(path), side)
        except ImageError:
            return 0

    return sum(_in_order(measure, sample)) * len(dataset) // len(sample)


def _check_size(size: int, limit: int, what: str) -> None:
    if size > limit:
        raise StorageError(f"kept, they would take about {size / 2**30:.2g} GiB; {what} {limit / 2**30:.2g} GiB.")


def _digests(dataset: Dataset, progress: Report) -> list[bytes]:
    """One a photo, of its content."""
    digests = []
    for digest in _in_order(lambda path: _load(path)[1], dataset.paths):
        digests.append(digest)
        progress(0, len(dataset))
    return digests


def _key(digests: Iterable[bytes], side: int) -> bytes:
    """Of the photos' content in their order, and of everything that decides which pixels are made of it."""
    decoders = [PIL.__version__, *(features.version(name) for name in ("jpg", "libjpeg_turbo", "webp"))]
    key = hashlib.blake2b(json.dumps([_FORMAT, READING_RULES, side, decoders]).encode(), digest_size=16)
    for digest in digests:
        key.update(digest)
    return key.digest()


def _load(path: StoredPhoto) -> tuple[bytes | ImageError, bytes]:
    """A photo's bytes, or why there are none, and a digest of which. Raises StorageError where the reason may pass."""
    try:
        data = read_file(path)
    except ImageError as error:
        check_lasting(error)
        reason = _without_name(error, path).encode("utf-8", "surrogatepass")
        return error, hashlib.blake2b(reason, digest_size=16, person=b"unreadable").digest()
    return data, hashlib.blake2b(data, digest_size=16).digest()


def _without_name(error: ImageError, path: StoredPhoto) -> str:
    return error.message.removeprefix(printable(name_of(path)))


def _build(
    path: Path, key: bytes, dataset: Dataset, side: int, *, digests: list[bytes], room: int, progress: Report
) -> None:
    """Decodes every photo and writes the file, as a whole or not at all. Raises StorageError."""
    index = np.zeros((len(dataset), 4), np.int64)
    failures: dict[int, tuple[str, str]] = {}
    start = 0

    def decode(position: int) -> np.ndarray | ImageError:
        return _decode(dataset.paths[position], side, digests[position])

    with replacing(path, is_durable=False) as temporary, _private(temporary) as file:
        hold(file, is_shared=False)  # as long as it is held, `make_room` of another run leaves the file alone
        for position, photo in enumerate(_in_order(decode, range(len(dataset)))):
            if isinstance(photo, ImageError):
                failures[position] = _without_name(photo, dataset.paths[position]), photo.hint
            else:
                index[position] = start, *photo.shape[:2], zlib.crc32(photo.data)
                start += file.write(photo.data)
                _check_size(start, room, "the limit is")
            progress(position + 1, len(dataset))
        file.write(_end(key, index, failures, start))


def _decode(path: StoredPhoto, side: int, digest: bytes) -> np.ndarray | ImageError:
    data, found = _load(path)
    if found != digest:
        raise StorageError(f"{name_of(path)} was changed while it was read.")
    if isinstance(data, ImageError):
        return data
    try:
        return training_photo(data, name_of(path), side)
    except ImageError as error:
        check_lasting(error)
        return error


def _end(key: bytes, index: np.ndarray, failures: dict[int, tuple[str, str]], start: int) -> bytes:
    """All that comes after the pixels."""
    texts = json.dumps(failures).encode()
    rest = index.tobytes() + texts
    trailer = _TRAILER.pack(_MAGIC, key, len(index), start, len(texts), bytes(16))
    return rest + trailer[:-16] + _checksum(rest, trailer)


def _checksum(rest: bytes, trailer: bytes) -> bytes:
    return hashlib.blake2b(rest + trailer[:-16], digest_size=16).digest()


def _free_bytes(folder: Path) -> int:
    free = shutil.disk_usage(folder).free
    return min(free, machine.memory_bytes() or free) if _is_in_memory(folder) else free


def _is_in_memory(folder: Path) -> bool:
    """Whether the folder is on a file system without a disk; only Linux tells."""
    with contextlib.suppress(OSError):
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        device = folder.stat().st_dev
        name = f"{os.major(device)}:{os.minor(device)}"
        kinds = {line.split()[2]: line.partition(" - ")[2].split()[0] for line in mounts}
        return kinds.get(name) in ("tmpfs", "ramfs")
    return False


def _private(path: Path) -> BinaryIO:
    """A new file that its owner alone can read: the photos may be nobody else's business."""
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600))


def _in_order(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """What `function` returns for each item, computed by a thread a core, a few items ahead of whoever consumes."""
    threads = machine.cores()
    return in_threads(items, function, threads=threads, ahead=4 * threads)
