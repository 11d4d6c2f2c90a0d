"""Masks: PNG pictures of class numbers, one a photo; told by CamVid's lists, or by the names of folders.

A list is train.txt, val.txt, trainval.txt or test.txt with the paths of a photo and of its mask in each line. Where
they are of another machine ("/SegNet/CamVid/train/a.png"), the end of each is taken from the list's folder on. Pairs of
folders are X and Xannot, images and masks, images and labels, JPEGImages and SegmentationClass and their like; a mask
has the stem of its photo, which may end in _L, _mask and the like. What the numbers mean: see `mask_names`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from verydeep.data.annotations import AnnotatedPhoto, AnnotatedSet, PhotoFile, Problem
from verydeep.data.datasets import PHOTO_SUFFIXES
from verydeep.data.formats.find import PhotoFinder, tails
from verydeep.data.formats.mask_names import name_masks
from verydeep.data.formats.splits import image_sets, settle_splits
from verydeep.data.untrusted import Root, read_ends, read_text
from verydeep.data.walk import SPLIT_NAMES, split_name, walk
from verydeep.errors import DatasetError, printable

_PAIRS = {  # folders of photos, in lower case -> those of their masks beside them
    "images": ("masks", "labels", "annotations", "semantic", "segmentation", "segmentationclass", "mask", "label"),
    "image": ("mask", "label", "masks", "labels"),
    "imgs": ("masks", "labels"),
    "img": ("mask", "label", "masks", "labels"),
    "photos": ("masks", "labels"),
    "jpegimages": ("segmentationclass", "masks"),
}
_ENDS = re.compile(
    r"_(?:l|mask|label|labels|gt|seg|segmentation)$", re.IGNORECASE
)  # of a mask's stem, after its photo's
_LISTS = {**{name: name for name in SPLIT_NAMES}, "trainval": "train"}  # the name of a list -> a word of SPLIT_NAMES
_PHOTO_END = re.compile(rf"({'|'.join(map(re.escape, PHOTO_SUFFIXES))})[\"']?[\s,;]+[\"']?", re.IGNORECASE)
_LONGEST = 4096  # letters of a line
_LIST_BYTES = 100 << 20
_HEAD_BYTES = 4096


@dataclass(frozen=True)
class _Pair:
    """A folder of photos and the one of their masks, with the names in both by their stem."""

    photos: Path
    masks: Path
    photo_names: Mapping[str, str]
    mask_names: Mapping[str, str]

    def stems(self) -> list[str]:
        """Of the photos with a mask."""
        return [stem for stem in self.photo_names if stem in self.mask_names]


def detect(data: Path, root: Root) -> str | None:
    """Lists of pairs, or pairs of folders with a stem in common."""
    if lists := _lists(data, root):
        return _found_lists(lists)
    if pairs := list(_pairs(data)):
        return _found(pairs)
    return None


def read(data: Path, root: Root) -> AnnotatedSet:
    """The photos that have a mask."""
    problems: list[Problem] = []
    passed_over = Counter[str]()
    if lists := _lists(data, root):
        found = _found_lists(lists)
        photos = list(_listed(lists, data, root, problems))
    else:
        pairs = list(_pairs(data))
        found = _found(pairs)
        photos = [photo for pair in pairs for photo in _paired(pair, data, root, problems, passed_over)]
    kept = settle_splits(photos, passed_over)
    names = name_masks([photo.mask for photo in kept if photo.mask], data, root)
    problems += names.problems
    told = (tuple(problems), passed_over, names.classes, names.colors, names.remarks)
    return AnnotatedSet("masks", root.folder, kept, found, *told)


def _found_lists(lists: Sequence[Path]) -> str:
    return f"lists of photos and masks: {', '.join(path.name for path in lists)}"


def _found(pairs: Sequence[_Pair]) -> str:
    folders = ", ".join(dict.fromkeys(f"{pair.masks.name} beside {pair.photos.name}" for pair in pairs[:3]))
    return f"{sum(len(pair.stems()) for pair in pairs)} masks in {folders}{', ...' if len(pairs) > 3 else ''}"


def _lists(data: Path, root: Root) -> list[Path]:
    """Those to train on come first. Beside one that is in the root, those that links lead out to are told, too."""
    if data.is_file():
        return [data] if data.suffix.lower() == ".txt" and _is_list(read_ends(data, _HEAD_BYTES)[0]) else []
    named = [path for name in _LISTS if (path := data / f"{name}.txt").is_file()]
    lists = {path for path in named if _is_list(root.ends(path, _HEAD_BYTES)[0])}
    return [path for path in named if path in lists or not root.holds(path)] if lists else []


def _is_list(head: bytes) -> bool:
    """Whether one of the first lines is a pair."""
    return any(_pair_of(line) for line in head.decode(errors="replace").splitlines()[:10])


def _pair_of(line: str) -> tuple[str, str] | None:
    """The paths of a photo and a mask, with or without quotes."""
    line = line.strip().strip("\"'")
    end = _PHOTO_END.search(line) if line.lower().endswith(".png") else None
    return (line[: end.end(1)], line[end.end() :]) if end else None


def _listed(lists: Iterable[Path], data: Path, root: Root, problems: list[Problem]) -> Iterator[AnnotatedPhoto]:
    photos, masks = PhotoFinder(root), PhotoFinder(root, (".png",))
    seen: set[Path] = set()  # trainval.txt has those of train.txt again
    for path in lists:
        word = _LISTS.get(path.stem.lower())
        for number, line in enumerate(_lines(path, root if path != data else None, problems), start=1):
            origin = f"{path}:{number}"
            if not line.strip():
                continue
            try:
                if (pair := _pair_of(line) if len(line) <= _LONGEST else None) is None:
                    raise DatasetError(
                        f"{origin} is {printable(line[:80])!r}; expected a photo and its mask, a PNG.", "Correct it."
                    )
                photo, mask = (
                    finder.find([path.parent], tails(named), origin)
                    for finder, named in zip((photos, masks), pair, strict=True)
                )
                if photo not in seen:
                    yield AnnotatedPhoto(PhotoFile(photo), origin, mask=mask, split=word)
                seen.add(photo)
            except DatasetError as error:
                problems.append(Problem(origin, error.message, error.hint))


def _lines(path: Path, root: Root | None, problems: list[Problem]) -> list[str]:
    try:
        if root:
            root.check(path)
        return read_text(path, _LIST_BYTES).splitlines()
    except DatasetError as error:
        problems.append(Problem(str(path), error.message, error.hint))
        return []


def _pairs(data: Path) -> Iterator[_Pair]:
    """Folders of the same place below a folder of photos and one of masks: images/train and masks/train, too."""
    if not data.is_dir():
        return
    names = dict(walk(data, follow=False))
    by_lower = {str(folder).lower(): folder for folder in names}
    for folder, files in names.items():
        for masks in _mask_folders(folder, data):
            if (found := by_lower.get(str(masks).lower())) is None:
                continue
            photo_names, mask_names = _stems(files, PHOTO_SUFFIXES), _stems(names[found], (".png",))
            mask_names = {**{_ENDS.sub("", stem): name for stem, name in mask_names.items()}, **mask_names}
            if not photo_names.keys().isdisjoint(mask_names):
                yield _Pair(folder, found, photo_names, mask_names)
                break


def _stems(files: Iterable[str], suffixes: Sequence[str]) -> dict[str, str]:
    return {name.rpartition(".")[0]: name for name in files if name.lower().endswith(tuple(suffixes))}


def _mask_folders(folder: Path, data: Path) -> Iterator[Path]:
    """Where the masks of the photos in this folder may lie."""
    parts = folder.relative_to(data).parts
    for place, part in enumerate(parts):
        for name in _PAIRS.get(part.lower(), ()):
            yield data.joinpath(*parts[:place], name, *parts[place + 1 :])
    if parts:
        yield from (folder.with_name(folder.name + end) for end in ("annot", "_labels"))


def _paired(
    pair: _Pair, data: Path, root: Root, problems: list[Problem], passed_over: Counter[str]
) -> Iterator[AnnotatedPhoto]:
    words = image_sets(pair.photos.parent, root, problems, ("Segmentation", "Main"))
    stems = pair.stems()
    for stem in stems:
        photo, mask = pair.photos / pair.photo_names[stem], pair.masks / pair.mask_names[stem]
        if root.holds(photo) and root.holds(mask):
            word = words.get(stem) or split_name(photo, data, by_name=False)
            yield AnnotatedPhoto(PhotoFile(photo), str(mask), mask=mask, split=word)
        else:
            told = f"{photo} or its mask {mask} is outside {root.folder}."
            problems.append(Problem(str(photo), told, "Name the folder that holds both: --root FOLDER"))
    if without := len(pair.photo_names) - len(stems):
        passed_over["photo without a mask"] += without
    taken = {pair.mask_names[stem] for stem in stems}
    for name in sorted(set(pair.mask_names.values()) - taken):
        mask = pair.masks / name
        problems.append(Problem(str(mask), f"{mask} has no photo in {pair.photos}.", "Put the photo there."))
