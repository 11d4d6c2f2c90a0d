"""Small sets of annotated photos with whatever is to be found in them."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from verydeep.data.annotations import (
    AnnotatedPhoto,
    AnnotatedSet,
    Box,
    Circle,
    Instance,
    PhotoFile,
    Polygons,
    Problem,
)
from verydeep.data.check import check
from verydeep.data.findings import Finding
from verydeep.data.survey import survey


def photo_file(folder: Path, name: str, seed: int | None = None, size: tuple[int, int] = (60, 40)) -> Path:
    """A picture of soft patches, of its own for each seed, by default for each name."""
    random = np.random.default_rng(zlib.crc32(name.encode()) if seed is None else seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 7, 3), np.uint8))
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse.resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def photo(path: Path, *labels: str, split: str | None = None, **more: object) -> AnnotatedPhoto:
    """more: of AnnotatedPhoto's fields."""
    return AnnotatedPhoto(PhotoFile(path), f"{path}.txt", labels, split=split, **more)  # type: ignore[arg-type]


def box(label: str, *edges: float) -> Instance:
    return Instance(label, Box(*edges))


def polygon(label: str, *points: tuple[float, float]) -> Instance:
    shape = Polygons((points,))
    return Instance(label, shape.box(), shape)


def circle(label: str, x: float, y: float, radius: float) -> Instance:
    shape = Circle((x, y), radius)
    return Instance(label, shape.box(), shape)


def annotated(root: Path, *photos: AnnotatedPhoto, **more: object) -> AnnotatedSet:
    """more: of AnnotatedSet's fields."""
    return AnnotatedSet("labelme", root, photos, f"{len(photos)} Labelme files", **more)  # type: ignore[arg-type]


def findings(found: AnnotatedSet) -> dict[str, Finding]:
    """By their kind."""
    told = check(survey(found))
    kinds = [finding.kind for finding in told]
    assert len(set(kinds)) == len(kinds)
    return {finding.kind: finding for finding in told}


def problem(path: Path) -> Problem:
    return Problem(str(path), f"{path} is not JSON.", "Save it again.")


def clean_set(root: Path) -> AnnotatedSet:
    """Six photos of each of two classes, four to train on and two to validate on."""
    photos = [
        photo(photo_file(root, f"{label}{number}.png"), label, split="train" if number < 4 else "val")
        for label in ("cat", "dog")
        for number in range(6)
    ]
    return annotated(root, *photos)
