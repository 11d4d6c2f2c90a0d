"""WebDataset's shards: tar files in which the members of one photo have the same name up to the first dot.

    0001.jpg (.jpeg, .png, .webp)     the photo; it is read from within the tar, which is not unpacked
    0001.cls                          its class: a number, or a name
    0001.json                         label, labels or class, and split; boxes under the names that tables have for them
    0001.txt                          its class, where there is neither of the other two

classes.txt or classnames.txt beside the shards names the numbers. The shard's name or folder tells the split.
"""

import io
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from verydeep.data.annotations import AnnotatedPhoto, AnnotatedSet, PhotoPart, Problem, make_label
from verydeep.data.class_names import ClassNames, read_class_names
from verydeep.data.datasets import PHOTO_SUFFIXES
from verydeep.data.formats.imagefolder import LONGEST_NAME
from verydeep.data.formats.splits import settle_splits
from verydeep.data.rows import LABELS_AT_LAST, Facts, find_columns, read_facts, with_names
from verydeep.data.tabular import Problems, column_name
from verydeep.data.untrusted import Root, parse_json, read_ends
from verydeep.data.walk import files_below, split_name
from verydeep.errors import DatasetError, printable

_SHARD = ".tar"
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")
_MARKS_OF_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")
_PHOTO_ENDINGS = tuple(suffix[1:] for suffix in PHOTO_SUFFIXES)
_SIDE_BYTES = {"cls": 1 << 12, "json": 4 << 20, "txt": 1 << 16}
_NAMED_COLUMNS = ("cls", "label")  # in a description of the data, where it names the numbers of classes
_HEADER_BYTES = 1 << 18  # of a member: its long name and what else is told of it
_MOST_MEMBERS = 1_000_000  # of a shard
_MOST_GLOBALS, _LONGEST_GLOBAL = 100, 1000  # headers for all members of a shard behind them, and letters of one
_LOOKED_AT = (3, 200)  # shards, and members of each, that tell whether it is this format
_NAMED = 3  # shards that are named, of several
_DAMAGES = (tarfile.TarError, OSError, EOFError, ValueError, ArithmeticError, LookupError, RecursionError, TypeError)


@dataclass(frozen=True)
class _Part:
    """Where the bytes of a member are."""

    name: str
    offset: int
    length: int


@dataclass
class _Sample:
    """The members of one photo, by what follows the first dot of their names."""

    parts: dict[str, _Part] = field(default_factory=dict)

    def photo(self) -> _Part | None:
        return next((self.parts[ending] for ending in _PHOTO_ENDINGS if ending in self.parts), None)


def detect(data: Path, root: Root) -> str | None:
    """Shards with photos that have something beside them; a tar of class folders is none, unless it is named itself."""
    shards = _shards(data)
    if data.is_file():
        return f"the shard {printable(data.name)}" if shards else None
    plain = [path for path in shards if root.holds(path) and not _is_compressed(path)]
    if any(map(_has_samples, plain[: _LOOKED_AT[0]])):
        return _words(shards)
    return _words(shards) if shards and not plain and not files_below(data, PHOTO_SUFFIXES) else None


def read(data: Path, root: Root) -> AnnotatedSet:
    """The photos of all shards."""
    shards = _shards(data)
    found: list[AnnotatedPhoto] = []
    problems: list[Problem] = []
    passed_over = Counter[str]()
    of_names = Problems(data)
    names = _class_names(shards, data, root, of_names)
    problems += of_names.all()
    for path in shards:
        of_shard = Problems(path)
        try:
            if path != data:
                root.check(path)
            found += _read_shard(path, data, names, of_shard, passed_over)
        except DatasetError as error:
            of_shard.add(error)
        problems += of_shard.all()
    photos = settle_splits(found, passed_over)
    return AnnotatedSet("webdataset", root.folder, photos, _words(shards), tuple(problems), passed_over)


def _words(shards: list[Path]) -> str:
    named = ", ".join(printable(path.name) for path in shards[:_NAMED]) + (", ..." if len(shards) > _NAMED else "")
    return f"{len(shards)} tar shard{'s' * (len(shards) != 1)}: {named}"


def _shards(data: Path) -> list[Path]:
    """Compressed ones, too, so that they are told."""
    return [path for path in files_below(data, (_SHARD, *_COMPRESSED), follow=False) if path.is_file()]


def _is_compressed(path: Path) -> bool:
    """By its name or its first bytes. Never raises."""
    return path.name.lower().endswith(_COMPRESSED) or read_ends(path, 8)[0].startswith(_MARKS_OF_COMPRESSED)


def _has_samples(path: Path) -> bool:
    """Whether a photo with a member beside it is among the first ones. Never raises."""
    samples: dict[str, _Sample] = {}
    try:
        with path.open("rb") as file:
            for member, _ in zip(_members(file), range(_LOOKED_AT[1]), strict=False):
                key, ending = _key(member.name)
                samples.setdefault(key, _Sample()).parts[ending] = _part(member)
    except _DAMAGES:
        pass  # what came before the damage tells enough
    return any(sample.photo() and set(sample.parts) & set(_SIDE_BYTES) for sample in samples.values())


def _class_names(shards: list[Path], data: Path, root: Root, problems: Problems) -> ClassNames:
    """What names the numbers, from the folder of the first shard, or from DATA."""
    folders = dict.fromkeys([*(path.parent for path in shards[:1]), data if data.is_dir() else data.parent])
    return read_class_names(folders, root, problems.add)


def _read_shard(
    path: Path, data: Path, names: ClassNames, problems: Problems, passed_over: Counter[str]
) -> list[AnnotatedPhoto]:
    """Its photos, each with the word for its split. Raises DatasetError where it is compressed or cannot be read."""
    if _is_compressed(path):
        raise DatasetError(
            f"{path} is compressed; photos are read from within plain tar files.",
            "Unpack it to one, as `gunzip` does, or unpack the photos.",
        )
    of_shard = split_name(path, data if data.is_dir() else data.parent)
    found = []
    try:
        with path.open("rb") as file:
            samples = _samples(path, file, problems, passed_over)
            if samples and not any(set(sample.parts) & set(_SIDE_BYTES) for sample in samples.values()):
                raise DatasetError(
                    f"{path} has no .cls, .json or .txt beside its photos, which would tell their classes.",
                    "Unpack it if it has a folder for each class: such folders are read as they are.",
                )
            for key, sample in samples.items():
                origin = f"{path}:{printable(key)}"
                try:
                    if (photo := sample.photo()) is None:
                        raise DatasetError(f"{origin} has no photo ({', '.join(PHOTO_SUFFIXES)}).", "Add it.")
                    facts = _facts(file, sample, names, origin)
                except DatasetError as error:
                    problems.add(error)
                else:
                    found.append(_annotated(path, photo, facts, origin, of_shard))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
    if not found:
        problems.add(DatasetError(f"{path} has no photo that can be used.", "Check what is in it: tar tf."))
    return found


def _annotated(path: Path, photo: _Part, facts: Facts, origin: str, of_shard: str | None) -> AnnotatedPhoto:
    part = PhotoPart(path, printable(photo.name), photo.offset, photo.length)
    return AnnotatedPhoto(part, origin, facts.labels, facts.instances, split=facts.split or of_shard, size=facts.size)


def _samples(path: Path, file: BinaryIO, problems: Problems, passed_over: Counter[str]) -> dict[str, _Sample]:
    """All photos' members by what their names share. Of a damaged shard those before the damage."""
    samples: dict[str, _Sample] = {}
    try:
        for member in _members(file):
            kind = _kind(member)
            if member.issparse():
                problems.add(DatasetError(f"{path}:{printable(member.name)} is sparse.", "Pack it again, without -S."))
            elif kind:
                passed_over[kind] += 1
            elif member.isreg() and (key := _key(member.name))[1]:
                parts = samples.setdefault(key[0], _Sample()).parts
                if key[1] in parts:
                    problems.add(
                        DatasetError(f"{path}:{printable(member.name)} is there twice.", "The first one is taken.")
                    )
                parts.setdefault(key[1], _part(member))
    except _DAMAGES as error:
        reason = printable(str(error) or type(error).__name__)[:200].rstrip(".")
        problems.add(DatasetError(f"{path} is damaged: {reason}.", "Copy it again; what is before that is read."))
    return samples


def _key(name: str) -> tuple[str, str]:
    """What a photo's members share, and what follows: "train/0001.seg.png" -> "train/0001", "seg.png"."""
    folder, slash, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    return folder + slash + stem, ending.lower() if stem else ""  # ".hidden" has no stem


def _part(member: tarfile.TarInfo) -> _Part:
    return _Part(member.name, member.offset_data, member.size)


def _kind(member: tarfile.TarInfo) -> str | None:
    """What a member is that holds no bytes of its own; folders are of no interest."""
    if member.isreg() or member.isdir():
        return None
    return "link in a tar" if member.issym() or member.islnk() else "device in a tar"


class _Headers(io.RawIOBase):
    """The file as tarfile sees it: a header that tells of a huge one behind it is not followed into memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class _Globals(dict[str, str]):
    """Headers for all members behind them. Each member copies and reads them all, so that many would take hours."""

    def __setitem__(self, name: str, value: str) -> None:
        if len(self) >= _MOST_GLOBALS or len(name) + len(value) > _LONGEST_GLOBAL:
            raise tarfile.ReadError(f"over {_MOST_GLOBALS} global headers, or {_LONGEST_GLOBAL} letters in one")
        super().__setitem__(name, value)


def _members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """From header to header, always forward. Raises what tarfile does, see _DAMAGES."""
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    last = -1
    with tarfile.open(fileobj=_Headers(file), mode="r:", pax_headers=_Globals()) as tar:
        for _ in range(_MOST_MEMBERS):
            member = tar.next()
            if member is None:
                if tar.offset >= end:
                    raise tarfile.ReadError("it has no end")
                return
            most = end - member.offset_data
            if not last < member.offset_data <= end or not (0 <= member.size <= most or member.issparse()):
                raise tarfile.ReadError(f"{member.name[:100]!r} does not lie within the file")
            last = member.offset_data
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
            yield member
    raise tarfile.ReadError(f"more than {_MOST_MEMBERS} members")


def _facts(file: BinaryIO, sample: _Sample, names: ClassNames, origin: str) -> Facts:
    """What the members beside the photo say. Raises DatasetError where there are none, or none tells a class."""
    sides = set(sample.parts) & set(_SIDE_BYTES)
    if not sides:
        raise DatasetError(f"{origin} has nothing beside its photo: no .cls, .json or .txt.", "Add its class.")
    facts, tells_label = _from_json(file, sample, origin)
    labels = facts.labels
    if "cls" in sides:
        of_class = _label(_text(file, sample.parts["cls"], origin), origin)
        if not labels or (all(label.isdecimal() for label in labels) and not "".join(of_class).isdecimal()):
            labels = of_class
    elif sides == {"txt"}:
        labels = _label(_text(file, sample.parts["txt"], origin), origin)
        if any(len(label) > LONGEST_NAME for label in labels):
            raise DatasetError(f"{origin}.txt is longer than the name of a class.", "Add its class as .cls.")
    elif not tells_label:
        raise DatasetError(f"{origin}.json tells no label.", "Add one under the key label.")
    return with_names(replace(facts, labels=labels), names, origin, *_NAMED_COLUMNS)


def _label(text: str, origin: str) -> tuple[str, ...]:
    return (make_label(text, origin),) if text.strip() else ()


def _from_json(file: BinaryIO, sample: _Sample, origin: str) -> tuple[Facts, bool]:
    """And whether a key in it is that of a label."""
    if "json" not in sample.parts:
        return Facts(), False
    document = parse_json(_bytes(file, sample.parts["json"], origin), f"{origin}.json")
    if not isinstance(document, dict):
        raise DatasetError(f"{origin}.json is no JSON object.", 'Write {"label": ...}.')
    cells = {column_name(key): value for key, value in document.items()}
    columns = find_columns([key for key in cells if key not in LABELS_AT_LAST])  # its name may be the photo's
    if columns.label is None:
        columns = replace(columns, box=())
    return read_facts(cells, columns, origin, is_text=False), columns.label is not None


def _text(file: BinaryIO, part: _Part, origin: str) -> str:
    try:
        return _bytes(file, part, origin).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{origin}: {printable(part.name)} is no text in UTF-8.", "Save it as UTF-8.") from error


def _bytes(file: BinaryIO, part: _Part, origin: str) -> bytes:
    most = _SIDE_BYTES[_key(part.name)[1]]
    if part.length > most:
        raise DatasetError(f"{origin}: {printable(part.name)} has over {most} bytes.", "It is no annotation.")
    file.seek(part.offset)
    data = file.read(part.length)
    if len(data) < part.length:
        raise DatasetError(f"{origin}: {printable(part.name)} is cut off.", "Copy the shard again.")
    return data
