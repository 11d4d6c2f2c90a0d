"""Many photos -> network inputs, in order: a few threads decode ahead of whoever consumes them.

Pillow and NumPy release the interpreter's lock while they work, so threads are enough and nothing has to be copied
between processes.
"""

import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL.Image import Image

from verydeep.errors import ImageError, UsageError
from verydeep.image.decode import PHOTO_FORMATS, decode, from_pillow, read_image
from verydeep.image.preprocess import preprocess
from verydeep.machine import cores
from verydeep.nouns import Photo, Preprocessing

Source: TypeAlias = "str | Path | Photo | bytes | np.ndarray | Image"
"""A photo: a path, a place within a file, the bytes of an image file, (H, W, 3) uint8 RGB, or a Pillow image."""

Item: TypeAlias = "tuple[int, np.ndarray | ImageError]"
"""A position in the sources, and the network input (channels, h, w) float32 or why there is none."""

Size: TypeAlias = tuple[int, int]
"""Of an upright photo, in pixels: height and width."""


def stream(
    sources: Iterable[Source],
    preprocessing: Preprocessing,
    is_dense: bool = False,
    threads: int | None = None,
    ahead: int = 64,
    *,
    formats: Sequence[str] = PHOTO_FORMATS,
    sizes: dict[int, Size] | None = None,
) -> Iterator[Item]:
    """The inputs of a network made of photos, in the order given; a photo that cannot be read is an ImageError.

    is_dense: the whole photo resized, no square of it. ahead: at most so many are ready and waiting, so that
    memory stays flat over any number of photos. threads: for decoding; by default one a core, at most 8. formats: those
    that `decode` accepts. sizes: is told the size of each photo that was read, by its position, before its input comes.
    """
    pool = ThreadPoolExecutor(threads or min(8, cores()), thread_name_prefix="decode")
    waiting: deque[Future[tuple[np.ndarray, Size] | ImageError]] = deque()
    remaining = iter(sources)
    try:
        for position in itertools.count():
            for source in itertools.islice(remaining, ahead - len(waiting)):
                waiting.append(pool.submit(_load, source, preprocessing, is_dense, formats))
            if not waiting:
                return
            loaded = waiting.popleft().result()
            if isinstance(loaded, ImageError):
                yield position, loaded
                continue
            image, size = loaded
            if sizes is not None:
                sizes[position] = size
            yield position, image
    finally:  # also where the consumer stops half-way
        pool.shutdown(cancel_futures=True)


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Groups a stream: consecutive items, at most `size`, whose inputs have one shape; errors stay in their place."""
    if size < 1:
        raise UsageError(f"a batch of {size} photos; expected at least 1.", "32 suits most machines.")
    batch: list[Item] = []
    shape: tuple[int, ...] | None = None
    for position, loaded in items:
        differs = isinstance(loaded, np.ndarray) and shape is not None and loaded.shape != shape
        if batch and (differs or len(batch) == size):
            yield batch
            batch, shape = [], None
        if isinstance(loaded, np.ndarray):
            shape = loaded.shape
        batch.append((position, loaded))
    if batch:
        yield batch


def load(source: Source, formats: Sequence[str] = PHOTO_FORMATS) -> np.ndarray:
    """One photo, (H, W, 3) uint8 RGB, from whatever it is given as. Raises ImageError, UsageError on another type."""
    if isinstance(source, np.ndarray):
        return _checked(source)
    if isinstance(source, bytes):
        return decode(source, "the data given", formats=formats)
    if isinstance(source, Image):
        return _checked(from_pillow(source))
    if isinstance(source, (str, os.PathLike, Photo)):
        return read_image(source, formats=formats)
    raise UsageError(
        f"a photo cannot be of type {type(source).__name__}.",
        "Give a path, the bytes of an image file, an array (height, width, 3) of uint8, or a Pillow image.",
    )


def _checked(photo: np.ndarray) -> np.ndarray:
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or photo.size == 0:
        raise ImageError(
            f"an array of shape {photo.shape} and type {photo.dtype} is not a photo.",
            "Expected (height, width, 3), uint8, RGB.",
        )
    return photo


def _load(
    source: Source, preprocessing: Preprocessing, is_dense: bool, formats: Sequence[str]
) -> tuple[np.ndarray, Size] | ImageError:
    """The input, and the size of the photo."""
    try:
        photo = load(source, formats)
        return preprocess(photo, preprocessing, is_dense), (photo.shape[0], photo.shape[1])
    except ImageError as error:
        return error
