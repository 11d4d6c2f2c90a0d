"""The embeddings of a folder's photos, kept in a file, so that the next search looks at new and changed photos only.

A safetensors file. Its metadata has one entry, "verydeep index", a JSON object: the format's version, what made the
embeddings, and a checksum of the arrays, which are

    vectors  (N, d) float32 of length 1      sizes   (N,) int64, bytes of each file
    paths    uint8, a JSON list in ASCII     mtimes  (N,) int64, when each was last changed, in nanoseconds
    digests  (N, 16) uint8, of the contents

Paths are those below the folder, which may move. None of them is ever opened: the photos that the folder has are looked
up here by their names, so nothing in this file leads to another.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import safetensors
import safetensors.numpy

from verydeep.data.many import in_threads
from verydeep.errors import ImageError, StorageError, UsageError
from verydeep.files import cache_folder, make_room, replacing
from verydeep.image.decode import read_file
from verydeep.nouns import Failure
from verydeep.outputs.embeddings import embedding_output
from verydeep.predict.embedder import Embedder
from verydeep.runtime import find_model
from verydeep.weights import read_info
from verydeep.weights.files import model_path, model_sha256

FORMAT_VERSION = 1
FOLDER_BYTES = 2 << 30  # of all indexes in the cache; what was not used for longest goes first

_ENTRY = "verydeep index"
_SUFFIX = ".index"
_MUCH = 100  # photos, from which on nobody wants to hear at the end that the file cannot be written
_BEGINNING = 4096  # bytes, within which a file of ours says what it is
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Maker:
    """All that decides a photo's embedding besides the photo. Engines are not of it: they agree to 1e-5."""

    model: str  # the SHA-256 of its file
    output: str  # the layer's
    precision: str
    dimensions: int  # which follows from the model and the layer


class Entry(NamedTuple):
    """What is known of a photo."""

    size: int  # bytes of its file
    mtime: int  # when that was last changed, in nanoseconds
    digest: bytes  # of its content
    vector: np.ndarray  # (d,) float32 of length 1


Entries: TypeAlias = "Mapping[str, Entry]"
"""By the path below the folder."""

Note: TypeAlias = "Callable[[str], None]"
"""Is told, in a line, what happened to the file."""


@dataclass(frozen=True)
class Photos:
    """A folder's photos beside what was known of them."""

    kept: dict[str, Entry]  # as they were
    new: tuple["NewPhoto", ...]  # whose embeddings are to be found
    has_others: bool  # whether some of what was known has gone or moved


class NewPhoto:
    """A photo on the disk, and what identifies it: the checksum of its content is known once it was read."""

    def __init__(self, path: str, below: str, size: int, mtime: int) -> None:
        self.path, self.below, self.size, self.mtime = path, below, size, mtime
        self.digest = b""

    @property
    def name(self) -> str:
        return self.path

    @property
    def file_name(self) -> str:
        return Path(self.path).name

    def read(self) -> bytes:
        data = read_file(self.path)
        self.digest = hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
        return data


def maker_of(model: str | Path | None, precision: str) -> Maker:
    """What an `Embedder` of this model makes its embeddings by. Raises ModelFileError, and UsageError as it does."""
    path = model_path(find_model(model))
    architecture = read_info(path).architecture
    output = embedding_output(architecture)
    makers = {name: layer for layer in architecture.layers for name in (layer.name, layer.relu_name)}
    dimensions = makers.get(output, architecture.layers[-1]).out_channels
    return Maker(model_sha256(path), output, precision, dimensions)


@dataclass(frozen=True)
class IndexFile:
    """Where the embeddings of a folder are kept."""

    path: Path
    is_ours: bool  # one of many in the cache: the program's alone to write and to delete, and its user's to read

    def read(self, maker: Maker) -> tuple[Entries, str]:
        """What is known. Nothing, and in words why, where the file is of no use; nothing where there is none.

        Raises UsageError where a file that a user named is something else, which nobody wants to have replaced, and
        StorageError where it cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                beginning = file.read(_BEGINNING)
        except (FileNotFoundError, NotADirectoryError):
            return {}, ""
        except OSError as error:
            raise StorageError(f"cannot read {self.path}: {error.strerror}.", "Name another file.") from error
        if beginning and not self.is_ours and f'"{_ENTRY}"'.encode() not in beginning:
            raise UsageError(f"{self.path} is no index of photos.", "Name another file: this one would be replaced.")
        if self.is_ours:
            with contextlib.suppress(OSError):
                os.utime(self.path)  # it was used now
        try:
            header, arrays = _read(self.path)
            if header["format_version"] != FORMAT_VERSION:
                return {}, "is of another version of verydeep"
            if differing := _difference(header["maker"], maker):
                return {}, f"is of another {differing}"
            return _entries(header, arrays, maker), ""
        except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
            return {}, "is damaged"

    def write(self, maker: Maker, entries: Entries) -> None:
        """Replaces the file as a whole. Raises StorageError."""
        arrays = _arrays(entries, maker)
        header = {"format_version": FORMAT_VERSION, "maker": asdict(maker), "checksum": _checksum(arrays)}
        data = safetensors.numpy.save(arrays, {_ENTRY: json.dumps(header)})
        if self.is_ours:
            make_room(self.path, len(data), FOLDER_BYTES)
        mode = 0o600 if self.is_ours else 0o666  # less what the umask takes
        with (
            replacing(self.path) as temporary,
            open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file,
        ):
            file.write(data)


def index_file(folder: str, maker: Maker, named: str | None = None) -> IndexFile:
    """The file that was named, or that of this folder and maker in the cache. Raises StorageError."""
    if named is not None:
        return IndexFile(Path(named), is_ours=False)
    key = json.dumps([os.path.realpath(folder), asdict(maker)])
    name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
    return IndexFile(cache_folder() / "search" / (name + _SUFFIX), is_ours=True)


def known(file: IndexFile, maker: Maker, note: Note) -> Entries:
    """What the file knows; `note` is told where it is there and of no use. Raises as `IndexFile.read` does.

    A file in the cache that cannot be read is no reason to stop.
    """
    try:
        entries, fault = file.read(maker)
    except StorageError as error:
        if not file.is_ours:
            raise
        entries, fault = {}, f"cannot be read ({error})"
    if fault:
        note(f"the index {file.path} {fault}: it is made anew")
    return entries


def compare(entries: Entries, folder: str, paths: Sequence[str]) -> Photos:
    """Which of the photos at `paths`, all below `folder`, are as they were, by size and time of change.

    One whose name is new, but whose content is known, was moved: it keeps its embedding.
    """
    kept: dict[str, Entry] = {}
    others: list[NewPhoto] = []
    for path in paths:
        below = path[len(folder) :].lstrip(os.sep)
        size, mtime = _status(path)
        entry = entries.get(below)
        if entry and (entry.size, entry.mtime) == (size, mtime):
            kept[below] = entry
        else:
            others.append(NewPhoto(path, below, size, mtime))
    has_others = len(kept) < len(entries)
    moved = _moved(entries, others)
    new = tuple(photo for photo in others if photo.below not in moved)
    return Photos(kept | moved, new, has_others or bool(moved))


def complete(
    file: IndexFile,
    maker: Maker,
    photos: Photos,
    embedder: Embedder,
    *,
    batch_size: int,
    note: Note = lambda _: None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> tuple[dict[str, Entry], list[Failure]]:
    """All photos of the folder that can be read, in their order, and what is wrong with the others; renews the file.

    Before long work the file is written once: what cannot be written is told then. What ends the work, as Ctrl-C does,
    leaves the part that is done. Raises StorageError where a file that was named cannot be written; of one in the cache
    `note` is told. on_progress: is told how many photos are done.
    """
    entries, failures = dict(photos.kept), list[Failure]()
    keeps = len(photos.new) < _MUCH or _write(file, maker, entries, note)
    try:
        vectors = embedder.embed_many(photos.new, batch_size)
        for done, (photo, vector) in enumerate(zip(photos.new, vectors, strict=True), start=1):
            if isinstance(vector, Failure):
                failures.append(vector)
            else:
                entries[photo.below] = Entry(photo.size, photo.mtime, photo.digest, vector)
            on_progress(done)
    finally:
        entries = dict(sorted(entries.items()))
        if keeps and (photos.has_others or len(entries) > len(photos.kept)):
            _write(file, maker, entries, note)
    return entries, failures


def _write(file: IndexFile, maker: Maker, entries: Entries, note: Note) -> bool:
    """Whether it could be written."""
    try:
        file.write(maker, entries)
    except StorageError as error:
        if not file.is_ours:
            raise
        note(f"the next search begins anew: {error.message}")
        return False
    return True


def _moved(entries: Entries, others: Sequence[NewPhoto]) -> dict[str, Entry]:
    """Those of known content. Without an entry no content is looked at."""
    by_content = {entry.digest: entry for entry in entries.values()}
    if not by_content:
        return {}
    looked_up = in_threads(others, lambda photo: _known_content(photo, by_content))
    return {photo.below: entry for photo, entry in zip(others, looked_up, strict=True) if entry}


def _status(path: str) -> tuple[int, int]:
    """Size and time of change. Of a file that is not there -1 each: reading it will say so."""
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(path)  # noqa: PTH116
        return status.st_size, status.st_mtime_ns
    return -1, -1


def _known_content(photo: NewPhoto, by_content: Mapping[bytes, Entry]) -> Entry | None:
    try:
        photo.read()
    except ImageError:  # told when its embedding is wanted
        return None
    entry = by_content.get(photo.digest)
    return entry and entry._replace(size=photo.size, mtime=photo.mtime)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with safetensors.safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()[_ENTRY])
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict


def _difference(fields: Mapping[str, str], maker: Maker) -> str:
    """In which field the file's maker differs: "model"; empty where it does not."""
    wanted = {"model": maker.model, "layer": maker.output, "precision": maker.precision}
    found = {"model": fields["model"], "layer": fields["output"], "precision": fields["precision"]}
    return next((name for name in wanted if wanted[name] != found[name]), "")


def _arrays(entries: Entries, maker: Maker) -> dict[str, np.ndarray]:
    rows = list(entries.values())
    digests = [np.frombuffer(row.digest, np.uint8) for row in rows]
    return {
        "vectors": np.array([row.vector for row in rows], np.float32).reshape(len(rows), maker.dimensions),
        "sizes": np.array([row.size for row in rows], np.int64),
        "mtimes": np.array([row.mtime for row in rows], np.int64),
        "digests": np.array(digests, np.uint8).reshape(len(rows), _DIGEST_BYTES),
        "paths": np.frombuffer(json.dumps(list(entries)).encode("ascii"), np.uint8),
    }


def _entries(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray], maker: Maker) -> Entries:
    """Raises ValueError, or what the like of it leads to, where they are not what `_arrays` made."""
    paths, vectors = json.loads(arrays["paths"].tobytes()), arrays["vectors"]
    is_whole = header["checksum"] == _checksum(arrays) and vectors.dtype == np.float32 and np.isfinite(vectors).all()
    if not is_whole or vectors.shape != (len(paths), maker.dimensions):
        raise ValueError
    sizes, mtimes = arrays["sizes"].tolist(), arrays["mtimes"].tolist()
    digests = [digest.tobytes() for digest in arrays["digests"]]
    rows = zip(sizes, mtimes, digests, vectors, strict=True)
    return {path: Entry(*row) for path, row in zip(paths, rows, strict=True)}


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
