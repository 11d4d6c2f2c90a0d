"""What a person names on the command line -> the photos meant by it."""

import glob
import os
import sys
from collections.abc import Iterator, Sequence

from verydeep.errors import ImageError, UsageError

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


def find_photos(arguments: Sequence[str], formats: Sequence[str], skip: str | None = None) -> list[str]:
    """The paths of all photos meant: files as they are, those below a folder, those that match a pattern, and "-".

    Below a folder a photo is told by its suffix; hidden files are passed over. A file that is named itself is taken
    whatever it is called, and one that is missing stays in the list: reading it says what is wrong. skip: a folder
    that is passed over below others, the one that pictures are written to. Raises ImageError where a folder or pattern
    has no photo, and UsageError where "-" comes twice.
    """
    if list(arguments).count(STANDARD_INPUT) > 1:
        raise UsageError("standard input, '-', is given more than once.", "It can be read only once.")
    return [path for argument in arguments for path in _expand(argument, formats, skip)]


def read_standard_input(limit: int) -> bytes:
    """The bytes of one image, cut off after `limit` + 1. Raises UsageError where a keyboard or nothing is there."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("there is no image on standard input.", "Use it like this: verydeep predict - < photo.jpg")
    return sys.stdin.buffer.read(limit + 1)


def parse_formats(text: str) -> tuple[str, ...]:
    """ "bmp,png" -> ("BMP", "PNG"); "all" is every format. Raises UsageError."""
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


def _expand(argument: str, formats: Sequence[str], skip: str | None) -> list[str]:
    if os.path.isdir(argument):  # noqa: PTH112, Path.is_dir raises on a name that is too long
        return _below(argument, formats, skip)
    if argument == STANDARD_INPUT or os.path.lexists(argument) or not glob.has_magic(argument):
        return [argument]
    matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207, pathlib's cannot take absolute patterns
    if not matches:
        raise ImageError(f"no file matches {argument!r}.", "Check the pattern; ** stands for folders at any depth.")
    return [path for match in matches for path in _expand(match, formats, skip)]


def _below(folder: str, formats: Sequence[str], skip: str | None) -> list[str]:
    suffixes = tuple(suffix for name in formats for suffix in SUFFIXES[name])
    photos = sorted(path for path in _walk(folder, skip) if path.lower().endswith(suffixes))
    if not photos:
        raise ImageError(
            f"there is no photo in {folder} or below it.",
            f"Looked for {', '.join(suffixes)}; --formats accepts other kinds, too.",
        )
    return photos


def _walk(folder: str, skip: str | None) -> Iterator[str]:
    """Every visible file below `folder`; links to folders are followed, into each folder once."""
    visited = {os.path.realpath(skip)} - {os.path.realpath(folder)} if skip else set()
    for root, folders, files in os.walk(folder, onerror=_cannot_read, followlinks=True):
        if os.path.realpath(root) in visited:
            folders.clear()
            continue
        visited.add(os.path.realpath(root))
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(root, name) for name in files if not name.startswith("."))  # noqa: PTH118


def _cannot_read(error: OSError) -> None:
    raise ImageError(f"cannot read the folder {error.filename}: {error.strerror}.", "Check its permissions.") from error
