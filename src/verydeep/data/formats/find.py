"""Photos by the names that annotations call them: in the folders where a format keeps them, whatever the suffix."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from verydeep.data.datasets import PHOTO_SUFFIXES
from verydeep.data.untrusted import Root
from verydeep.data.walk import files_below
from verydeep.errors import DatasetError, printable

_SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "heic", "avif", "ppm", "json", "xml")
_MOST_PARTS = 8  # of a path of another machine, from its end


@dataclass(frozen=True)
class _Listing:
    """The pictures in a folder."""

    names: frozenset[str]
    by_stem: Mapping[str, str]  # in lower case, without the suffix -> name


class PhotoFinder:
    """Finds files within a root. Each folder is listed once, so that many photos cost no more than few."""

    def __init__(self, root: Root, suffixes: Sequence[str] = PHOTO_SUFFIXES) -> None:
        self._root = root
        self._suffixes = tuple(suffixes)
        self._listings: dict[Path, _Listing] = {}

    def find(self, folders: Sequence[Path], names: Iterable[str], origin: str) -> Path:
        """The file that one of the names leads to from one of the folders on, else one of the same stem there.

        A name tells where in every folder before the next name does, and whole names before stems. Raises DatasetError.
        """
        outside: DatasetError | None = None
        places: list[tuple[Path, str]] = []
        named = [name for name in names if name]
        for name in named:
            for folder in folders:
                try:
                    place = self._place(folder, name, origin)
                except DatasetError as error:
                    outside = outside or error
                    continue
                if place[1] in self._listing(place[0]).names:
                    return place[0] / place[1]
                places.append(place)
        for folder, name in places:
            if found := self._of_stem(folder, name):
                return folder / found
        if outside and not places:
            raise outside
        if not named:
            raise DatasetError(f"{origin} names no photo.", "Add its name.")
        raise DatasetError(
            f"{origin} names {printable(named[0])[:200]}, which is not there.",
            "Put it beside the annotations, or name the folder that holds both: --root FOLDER",
        )

    def _place(self, folder: Path, name: str, origin: str) -> tuple[Path, str]:
        """The folder within the root that a name leads to, and the last part of it. Raises DatasetError."""
        if "/" not in name and "\\" not in name:
            return folder, name
        path = self._root.path(folder, name, origin)
        return path.parent, path.name

    def _of_stem(self, folder: Path, name: str) -> str | None:
        """One in that folder whose name differs in the suffix or in its case."""
        by_stem = self._listing(folder).by_stem
        stem, _, suffix = name.lower().rpartition(".")
        return by_stem.get(name.lower()) or (by_stem.get(stem) if suffix in _SUFFIXES else None)

    def _listing(self, folder: Path) -> _Listing:
        if folder not in self._listings:
            names = sorted(self._names(folder), reverse=True) if self._root.holds(folder) else []
            by_stem = {name.lower().rpartition(".")[0]: name for name in names}
            self._listings[folder] = _Listing(frozenset(names), by_stem)
        return self._listings[folder]

    def _names(self, folder: Path) -> Iterator[str]:
        try:
            with os.scandir(folder) as entries:  # a link is followed only where it leads into the root
                for entry in entries:
                    is_here = not entry.is_symlink() or self._root.holds(Path(entry.path))
                    if entry.name.lower().endswith(self._suffixes) and is_here and entry.is_file():
                        yield entry.name
        except (OSError, ValueError):
            return


def links_out(data: Path, root: Root, suffixes: Iterable[str]) -> list[Path]:
    """The files below a folder that lead out of the root, of those with these suffixes."""
    files = files_below(data, suffixes, follow=False) if data.is_dir() else []
    return [path for path in files if not root.holds(path)]


def tails(named: str) -> list[str]:
    """A path of another machine, and what of it may be the same here: "/data/a/b.png", "data/a/b.png", "a/b.png" ..."""
    plain = named.replace("\\", "/")
    parts = [part for part in PurePosixPath(plain[-4096:]).parts if part != "/" and not part.endswith(":")]
    kept = parts[-_MOST_PARTS:]
    return [plain, *("/".join(kept[start:]) for start in range(len(kept)))]
