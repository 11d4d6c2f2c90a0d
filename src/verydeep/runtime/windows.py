"""Photos of any size, segmented window by window, where the whole one would not fit into memory.

Windows overlap, and towards its edge, where a window sees little of what is around, it counts less and less. They begin
at multiples of the network's stride, so that its pools meet the same pixels as in the whole photo. Whatever the network
gets, a whole photo or a window at its edge, has a border where its sides are no multiples of the stride.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from verydeep.architecture import Architecture
from verydeep.errors import UsageError
from verydeep.nouns import Engine
from verydeep.runtime.border import with_border
from verydeep.runtime.request import check_request

WINDOW = 768  # pixels: D with SegNet's decoder takes about 0.5 GB for one
OVERLAP = 256  # pixels, at least


@dataclass(frozen=True)
class Span:
    """What one window covers of a side of the photo."""

    first: int  # pixels
    end: int
    weights: np.ndarray  # (end - first,) float32, how much each of its pixels counts: 1, and less where others overlap


class WindowedEngine:
    """An engine for one that segments, by which all of a photo is looked at: with a border, and in windows.

    Prediction, evaluation, training's validation and the service run a network of pixels by this one. The border is
    that of `border.with_border`; what is larger than a window is put together from overlapping ones.

    engine: of `architecture`, whose head is segnet. window: the side in pixels; a photo of at most that height and
    width goes through as a whole, so that the answer is the engine's own. overlap: of neighbouring windows, at least.
    Raises UsageError where the network does not segment, or window and overlap do not go together.
    """

    def __init__(
        self, engine: Engine, architecture: Architecture, window: int = WINDOW, overlap: int = OVERLAP
    ) -> None:
        if architecture.task != "segment":
            raise UsageError(
                f"{architecture.name} does not segment: it has no answer for each pixel that windows could share.",
                "Windows are for the segnet head.",
            )
        if window < architecture.smallest_input or not 0 <= overlap <= window - architecture.stride:
            raise UsageError(
                f"windows of {window} pixels that overlap by {overlap}; expected at least "
                f"{architecture.smallest_input} pixels, and an overlap of 0 to {architecture.stride} less than that.",
                f"The usual ones are {WINDOW} and {OVERLAP}.",
            )
        self.engine = engine
        self.architecture = architecture
        self.window = window
        self.overlap = overlap

    def run(self, images: np.ndarray, outputs: Sequence[str] = ("logits",)) -> dict[str, np.ndarray]:
        """images: (N, channels, H, W), normalised -> the logits (N, classes, H, W), float32: see `nouns.Engine`.

        Other outputs are of the images with their border. Raises UsageError where one of these is asked for of an image
        that needs windows.
        """
        check_request(self.architecture, images, outputs)
        if max(images.shape[2:]) <= self.window:
            return self._run(images, outputs)
        if set(outputs) - {"logits"}:
            raise UsageError(
                f"of images of {images.shape[2]} x {images.shape[3]} pixels, larger than a window of {self.window}, "
                f"there are logits only; got {', '.join(outputs)}.",
                "Ask for logits, or shrink the image.",
            )
        return {name: np.stack([self._whole(image) for image in images]) for name in outputs}

    def _run(self, images: np.ndarray, outputs: Sequence[str] = ("logits",)) -> dict[str, np.ndarray]:
        """The engine's outputs for images with their border, the logits without it."""
        height, width = images.shape[2:]
        found = self.engine.run(with_border(images, self.architecture), outputs)
        return found | {name: found[name][..., :height, :width] for name in outputs if name == "logits"}

    def _whole(self, image: np.ndarray) -> np.ndarray:
        return np.concatenate([logits for _, logits in self.bands(image)], axis=1)

    def bands(self, image: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """The logits of one image (channels, H, W), from the top: the first row, and (classes, rows, W) float32.

        A band is given as soon as no further window reaches into it: however high the image, logits of about the height
        of a window are in memory.
        """
        check_request(self.architecture, image[np.newaxis], ("logits",))
        down, across = (self._spans(side) for side in image.shape[1:])
        columns = np.zeros(image.shape[2], np.float32)
        for span in across:
            columns[span.first : span.end] += span.weights
        kept = _Band(np.zeros((self.architecture.classes, 0, image.shape[2]), np.float32), np.zeros(0, np.float32))
        for number, row in enumerate(down):
            kept = kept.lengthened(row.end - row.first)
            kept.weights[: row.end - row.first] += row.weights
            for column in across:
                window = np.ascontiguousarray(image[:, row.first : row.end, column.first : column.end])
                logits = self._run(window[np.newaxis])["logits"][0]
                weights = row.weights[:, None] * column.weights
                kept.sums[:, : row.end - row.first, column.first : column.end] += logits * weights
            end = down[number + 1].first if number + 1 < len(down) else row.end
            done, kept = kept.cut(end - row.first)
            yield row.first, done.sums / (done.weights[:, None] * columns)

    def _spans(self, side: int) -> list[Span]:
        """The windows along a side: as few as there can be, about evenly spaced."""
        stride = self.architecture.stride
        if side <= self.window:
            return [Span(0, side, np.ones(side, np.float32))]
        room = self.window - self.overlap
        steps = -(-(side - self.window) // (room // stride * stride))
        firsts = [(side - self.window) * step // steps // stride * stride for step in range(steps + 1)]
        ends = [first + self.window for first in firsts[:-1]] + [side]
        return [
            Span(first, end, _ramps(end - first, max(0, before - first), max(0, end - after)))
            for before, first, end, after in zip([0, *ends], firsts, ends, [*firsts[1:], side], strict=False)
        ]


def photos_at_once(shorter_side: int, most: int) -> int:
    """How many photos of that many pixels, or more, take about the memory of one window; at most `most`, but one."""
    return max(1, min(most, WINDOW**2 // shorter_side**2))


@dataclass
class _Band:
    """Rows of the photo that are being put together."""

    sums: np.ndarray  # (classes, rows, W) float32: logits, times how much each counts
    weights: np.ndarray  # (rows,) float32

    def lengthened(self, rows: int) -> "_Band":
        """With rows of zeros at the end, so that there are that many."""
        more = max(0, rows - len(self.weights))
        return _Band(np.pad(self.sums, ((0, 0), (0, more), (0, 0))), np.pad(self.weights, (0, more)))

    def cut(self, rows: int) -> tuple["_Band", "_Band"]:
        """The first rows, and the others."""
        return (
            _Band(self.sums[:, :rows], self.weights[:rows]),
            _Band(self.sums[:, rows:], self.weights[rows:]),
        )


def _ramps(length: int, before: int, after: int) -> np.ndarray:
    """1 in the middle, and towards a neighbour, over the pixels that both have, the half of a wave down to near 0."""
    weights = np.ones(length, np.float32)
    weights[:before] *= _wave(before)
    weights[length - after :] *= _wave(after)[::-1]
    return weights


def _wave(length: int) -> np.ndarray:
    wave: np.ndarray = np.sin(np.pi / 2 * (np.arange(length) + 0.5) / length) ** 2 if length else np.zeros(0)
    return wave
