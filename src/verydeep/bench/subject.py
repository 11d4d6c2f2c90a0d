"""What is measured: a network, its weights and its inputs, as files in a folder that every contestant reads.

A contestant's start is measured with this module in it: it imports NumPy, and the rest where it is needed.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from verydeep.architecture import Architecture

if TYPE_CHECKING:
    from verydeep.bench.rows import Row

_SUBJECT, _IMAGES, _CALIBRATION = "subject.json", "images.npy", "calibration.npy"


@dataclass(frozen=True)
class Subject:
    """The files of one folder."""

    folder: Path
    model: Path  # within the folder, or where the user has it
    architecture: Architecture
    image_size: tuple[int, int]  # height, width
    label: str = "-"  # of the user's model file, for rows of results; "-" where the weights were drawn at random
    has_photos: bool = False  # for inputs; else these were drawn, too

    def write(self, images: np.ndarray, calibration: np.ndarray) -> None:
        """images, calibration: (N, channels, H, W) float32."""
        np.save(self.folder / _IMAGES, images)
        np.save(self.folder / _CALIBRATION, calibration)
        fields = {
            "model": str(self.model.resolve()),
            "architecture": self.architecture.to_dict(),
            "image_size": self.image_size,
            "label": self.label,
            "has_photos": self.has_photos,
        }
        (self.folder / _SUBJECT).write_text(json.dumps(fields), encoding="utf-8")

    def rows(self) -> "tuple[Row, ...]":
        """Every layer with its weights, batch norm folded in."""
        from verydeep.bench.rows import folded_rows
        from verydeep.weights import read_model

        info, weights = read_model(self.model)
        return folded_rows(info.architecture, weights)

    def images(self, batch: int) -> np.ndarray:
        """(batch, channels, H, W) float32."""
        return np.array(np.load(self.folder / _IMAGES, mmap_mode="r")[:batch])

    def calibration(self) -> np.ndarray:
        """Other inputs of the same kind, for those that have to know the range of their numbers."""
        images: np.ndarray = np.load(self.folder / _CALIBRATION)
        return images


def open_subject(folder: Path) -> Subject:
    """What `Subject.write` wrote there."""
    fields = json.loads((folder / _SUBJECT).read_text(encoding="utf-8"))
    height, width = fields["image_size"]
    architecture = Architecture.from_dict(fields["architecture"])
    return Subject(
        folder, Path(fields["model"]), architecture, (height, width), fields["label"], has_photos=fields["has_photos"]
    )
