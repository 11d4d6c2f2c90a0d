"""The errors that Simonyan & Zisserman (2015) published on the 50,000 photos of validation."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class PublishedError:
    """One row of Table 3 or 4: one network, applied densely to the whole photo and to its mirror image."""

    train_scale: str  # shorter side of the photos of training, in pixels: fixed, or drawn from a range
    test_scales: tuple[int, ...]  # of those that are tested; of several, the answers are averaged
    top1: float  # per cent
    top5: float  # per cent

    @property
    def table(self) -> int:
        """Of the paper."""
        return 3 if len(self.test_scales) == 1 else 4

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"test_scales": list(self.test_scales), "table": self.table}


_VARIED = "256-512"
PUBLISHED: dict[str, tuple[PublishedError, ...]] = {
    "A": (PublishedError("256", (256,), 29.6, 10.4),),
    "A-LRN": (PublishedError("256", (256,), 29.7, 10.5),),
    "B": (
        PublishedError("256", (256,), 28.7, 9.9),
        PublishedError("256", (224, 256, 288), 28.2, 9.6),
    ),
    "C": (
        PublishedError("256", (256,), 28.1, 9.4),
        PublishedError("384", (384,), 28.1, 9.3),
        PublishedError(_VARIED, (384,), 27.3, 8.8),
        PublishedError("256", (224, 256, 288), 27.7, 9.2),
        PublishedError("384", (352, 384, 416), 27.8, 9.2),
        PublishedError(_VARIED, (256, 384, 512), 26.3, 8.2),
    ),
    "D": (
        PublishedError("256", (256,), 27.0, 8.8),
        PublishedError("384", (384,), 26.8, 8.7),
        PublishedError(_VARIED, (384,), 25.6, 8.1),
        PublishedError("256", (224, 256, 288), 26.6, 8.6),
        PublishedError("384", (352, 384, 416), 26.5, 8.6),
        PublishedError(_VARIED, (256, 384, 512), 24.8, 7.5),
    ),
    "E": (
        PublishedError("256", (256,), 27.3, 9.0),
        PublishedError("384", (384,), 26.9, 8.7),
        PublishedError(_VARIED, (384,), 25.5, 8.0),
        PublishedError("256", (224, 256, 288), 26.9, 8.7),
        PublishedError("384", (352, 384, 416), 26.7, 8.6),
        PublishedError(_VARIED, (256, 384, 512), 24.8, 7.5),
    ),
}
