"""Which photos are to train on and which to validate on, in the words of people and in PASCAL VOC's lists."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from verydeep.data.annotations import TRAIN, VALIDATION, AnnotatedPhoto, Problem
from verydeep.data.untrusted import Root, read_text
from verydeep.data.walk import SPLIT_NAMES, is_spare
from verydeep.errors import DatasetError

_LIST_BYTES = 100 << 20
_LISTS = {"train": TRAIN, "val": VALIDATION, "trainval": TRAIN, "test": "test"}  # the first that holds a photo tells


def settle_splits(photos: Iterable[AnnotatedPhoto], passed_over: Counter[str]) -> tuple[AnnotatedPhoto, ...]:
    """The photos, with TRAIN or VALIDATION for the word of SPLIT_NAMES that they came with.

    Those to test on are validated on; but where there are others for that, they are left out.
    """
    photos = list(photos)
    words = {photo.split for photo in photos if photo.split}
    kept = [photo for photo in photos if not is_spare(photo.split, words)]
    if len(kept) < len(photos):
        passed_over["photo to test on"] += len(photos) - len(kept)
    return tuple(replace(photo, split=SPLIT_NAMES[photo.split]) if photo.split else photo for photo in kept)


def image_sets(
    base: Path, root: Root, problems: list[Problem], kinds: Sequence[str] = ("Main", "Segmentation")
) -> Mapping[str, str]:
    """From base/ImageSets/<kind>/{train,val,trainval,test}.txt: the word for each stem.

    problems: takes the lists that cannot be read.
    """
    words: dict[str, str] = {}
    for kind in kinds:
        for name, word in _LISTS.items():
            path = base / "ImageSets" / kind / f"{name}.txt"
            if not path.is_file() or not root.holds(path):
                continue
            try:
                lines = read_text(path, _LIST_BYTES).splitlines()
            except DatasetError as error:
                problems.append(Problem(str(path), error.message, error.hint))
                continue
            for line in lines:
                if stem := line.split(maxsplit=1)[:1]:  # in the lists of a class -1, 0 or 1 follows
                    words.setdefault(stem[0], word)
    return words
