"""What a person names on the command line -> the photos meant by it."""

import glob
import io
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from verydeep.errors import ImageError, UsageError, printable
from verydeep.files import atomic_write, is_folder, make_folder
from verydeep.nouns import Failure

if TYPE_CHECKING:
    from PIL.Image import Image

    from verydeep.image.stream import Source

STANDARD_INPUT = "-"

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WebP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "HEIC": (".heic", ".heif"),
    "AVIF": (".avif",),
}


# What ends the name of every picture that `--out` writes, before a number and the suffix; of EXPLAINED, then a method.
DRAWN, MASKED, EXPLAINED, ALIKE = "-predicted", "-predicted-mask", "-explained", "-alike"
DRAWN_NAMES = f"*{DRAWN}.jpg, *{MASKED}.png, *{ALIKE}.jpg or *{EXPLAINED}-*.png"  # as people are told of them
_IS_DRAWN = re.compile(rf"(({DRAWN}|{ALIKE})(-\d+)?\.jpg|{MASKED}(-\d+)?\.png|{EXPLAINED}-[a-z+]+(-\d+)?\.(png|svg))$")


@dataclass(frozen=True)
class Found:
    """The photos that were meant, and what was not found or passed over."""

    paths: tuple[str, ...]
    failures: tuple[Failure, ...] = ()  # folders and patterns without a photo, and folders that cannot be read
    drawn: int = 0  # pictures that `--out` wrote in an earlier run: no photos, unless each is named itself


class PictureFiles:
    """Where the pictures of photos go: FOLDER/<name of the photo><ending>, the next of that name with -2 in it.

    Raises StorageError where the folder cannot be made.
    """

    def __init__(self, folder: str, ending: str, suffix: str) -> None:
        self.folder = make_folder(folder)
        self.ending, self.suffix = ending, suffix
        self._seen: Counter[str] = Counter()

    def path(self, photo: str) -> Path:
        """That of the next picture; photo: its path as it was given."""
        stem = "stdin" if photo == STANDARD_INPUT else printable(Path(photo).stem)
        stem = stem.encode()[:150].decode(errors="ignore")  # a name may have 255 bytes on most disks
        self._seen[stem.casefold()] += 1  # some disks take Cat.jpg and cat.jpg for one
        number = self._seen[stem.casefold()]
        return self.folder / f"{stem}{self.ending}{f'-{number}' if number > 1 else ''}{self.suffix}"

    def write(self, photo: str, picture: "Image") -> Path:
        """Where it is. Raises StorageError where it cannot be written."""
        path = self.path(photo)
        file = io.BytesIO()
        picture.save(file, "PNG" if self.suffix == ".png" else "JPEG", quality=90)
        atomic_write(path, file.getvalue(), is_durable=False)  # it can be drawn again
        return path


def tell_drawn(pictures: int) -> None:
    """Says on stderr that some pictures were passed over: `Found.drawn`."""
    if pictures:
        click.echo(
            f"note: passed over {pictures} called {DRAWN_NAMES}, as --out draws them; name one to take it", err=True
        )


def find_photos(arguments: Sequence[str], formats: Sequence[str]) -> Found:
    """The paths of all photos meant: files as they are, those below a folder, those that match a pattern, and "-".

    Below a folder a photo is told by its suffix, and so among the files that match a pattern, unless the pattern ends
    in such a suffix itself; hidden files are passed over. A file that is named itself is taken whatever it is called,
    and one that is missing stays in the list: reading it says what is wrong. Raises ImageError where there is nothing
    to read at all, and UsageError where "-" comes twice.
    """
    if list(arguments).count(STANDARD_INPUT) > 1:
        raise UsageError("standard input, '-', is given more than once.", "It can be read only once.")
    found = [_expand(argument, formats) for argument in arguments]
    paths = tuple(path for part in found for path in part.paths)
    failures = tuple(failure for part in found for failure in part.failures)
    if failures and not paths:
        others = "" if len(failures) == 1 else f" The same goes for {len(failures) - 1} more."
        raise ImageError(failures[0].reason + others, failures[0].hint)
    return Found(paths, failures, sum(part.drawn for part in found))


def read_standard_input(limit: int) -> bytes:
    """The bytes of one image, cut off after `limit` + 1. Raises UsageError where a keyboard or nothing is there."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("there is no image on standard input.", "Use it like this: verydeep predict - < photo.jpg")
    return sys.stdin.buffer.read(limit + 1)


def read_sources(paths: Sequence[str]) -> list[tuple[str, "Source"]]:
    """Each photo's path and what it is loaded from. Raises UsageError where nothing is on standard input."""
    from verydeep.image import Limits

    limit = Limits().file_bytes
    return [(path, read_standard_input(limit) if path == STANDARD_INPUT else path) for path in paths]


def parse_formats(text: str | None) -> tuple[str, ...]:
    """ "bmp,png" -> ("BMP", "PNG"); "all" is every format, None those that are usual. Raises UsageError."""
    if text is None:
        from verydeep.image import PHOTO_FORMATS

        return PHOTO_FORMATS
    if text.lower() == "all":
        return tuple(SUFFIXES)
    names = {name.lower(): name for name in SUFFIXES} | {"jpg": "JPEG", "tif": "TIFF", "heif": "HEIC"}
    wanted = [word.strip().lower() for word in text.split(",")]
    if unknown := [word for word in wanted if word not in names]:
        raise UsageError(
            f"no picture format {unknown[0]!r}; there are {', '.join(SUFFIXES)}.",
            "Separate them by commas, or say all.",
        )
    return tuple(names[word] for word in wanted)


def _expand(argument: str, formats: Sequence[str]) -> Found:
    if is_folder(argument):
        return _below(argument, _suffixes(formats))
    if argument == STANDARD_INPUT or os.path.lexists(argument) or not glob.has_magic(argument):
        return Found((argument,))
    return _matching(argument, _suffixes(formats))


def _suffixes(formats: Sequence[str]) -> tuple[str, ...]:
    return tuple(suffix for name in formats for suffix in SUFFIXES[name])


def _below(folder: str, suffixes: tuple[str, ...]) -> Found:
    unreadable: list[Failure] = []
    photos = [path for path in _walk(folder, unreadable) if path.lower().endswith(suffixes)]
    nothing = Failure(
        folder,
        f"there is no photo in {folder} or below it.",
        f"Looked for {', '.join(suffixes)}; --formats accepts other kinds, too.",
    )
    return _without_drawn(photos, nothing, unreadable)


def _matching(pattern: str, suffixes: tuple[str, ...]) -> Found:
    """The files, each once: ** comes to a folder as often as links lead there."""
    if pattern.lower().endswith(_suffixes(tuple(SUFFIXES))):
        suffixes = ("",)  # the kind was asked for
    entries: dict[tuple[str, str], str] = {}
    for match in sorted(glob.glob(pattern, recursive=True), key=lambda path: (len(path), path)):  # noqa: PTH207, pathlib's cannot take absolute patterns
        if match.lower().endswith(suffixes) and not is_folder(match):
            folder, name = os.path.split(match)
            entries.setdefault((os.path.realpath(folder), name), match)
    nothing = Failure(
        pattern, f"no photo matches {pattern!r}.", "Check the pattern; ** stands for folders at any depth."
    )
    return _without_drawn(entries.values(), nothing, [])


def _without_drawn(photos: Iterable[str], nothing: Failure, failures: list[Failure]) -> Found:
    """nothing: the failure where no photo is left and `failures` do not say why."""
    photos = sorted(photos)
    kept = tuple(path for path in photos if not _IS_DRAWN.search(path))
    if photos and not kept:
        nothing = replace(nothing, hint=f"Pictures called {DRAWN_NAMES}, as --out draws them, are taken only by name.")
    if not kept and not failures:
        failures = [nothing]
    return Found(kept, tuple(failures), len(photos) - len(kept))


def _walk(folder: str, unreadable: list[Failure]) -> Iterator[str]:
    """Every visible file below `folder`; links to folders are followed, into each folder once."""
    visited: set[str] = set()
    for root, folders, files in os.walk(folder, onerror=lambda e: unreadable.append(_failure(e)), followlinks=True):
        if os.path.realpath(root) in visited:
            folders.clear()
            continue
        visited.add(os.path.realpath(root))
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(root, name) for name in files if not name.startswith("."))  # noqa: PTH118


def _failure(error: OSError) -> Failure:
    path = str(error.filename)
    return Failure(path, f"cannot read the folder {path}: {error.strerror}.", "Check its permissions.")
