"""What frozen layers make of the photos, computed once: the input of the layers that learn.

A photo has `views`: the picture that prediction cuts out, its mirror image, and crops. The features of each are
computed before the first step and kept in a file beside the run, which is mapped into memory. A step draws one view of
each photo, as a pure function of the seed, the epoch and the photo's place in the epoch's order: so a run that goes on
sees the very features it would have seen. A view is a function of the seed, its number and the photo's position.

Kept are float32 numbers where they fit into the recipe's `cache_gib`, else float16, else fewer views.
"""

import contextlib
import copy
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from verydeep import machine
from verydeep.architecture import Architecture
from verydeep.data.augment import augment, picture_numbers
from verydeep.data.datasets import Dataset, file_name
from verydeep.data.loader import Order, Shuffled
from verydeep.data.many import in_threads
from verydeep.data.reading import REPLACE, check_lasting
from verydeep.errors import DatasetError, ImageError, NonFiniteError
from verydeep.files import atomic_write, make_folder, replacing
from verydeep.image import fit, normalize, read_image
from verydeep.image.stream import Item
from verydeep.network import Network, Tail, weights_of
from verydeep.nouns import Preprocessing, StoredPhoto
from verydeep.runtime.torch_engine import TorchEngine
from verydeep.train.freezing import features_layer
from verydeep.train.inputs import KeptInputs
from verydeep.train.precision import autocast
from verydeep.train.recipe import Recipe, Stage
from verydeep.train.run import STATE_FOLDER

VIEWS_FILE = "features.npy"
INDEX_FILE = "features.json"
BATCH = 32  # pictures
_FORMAT = 1


@dataclass(frozen=True)
class FeatureBatch:
    """What one step sees of the layers that learn."""

    features: Tensor  # (n, channels) or (n, channels, h, w), float32 or float16
    labels: Tensor  # (n,) int64
    layer: str  # whose output it is
    failures: Mapping[int, str]  # the position of each photo that could not be read -> what is wrong with it
    targets: None = None  # views of a photo differ in their boxes and masks, which are not learnt from features


@dataclass(frozen=True)
class Features:
    """The features of the training photos. A photo that cannot be read has those of its next neighbour that can."""

    layer: str  # whose output they are
    values: np.ndarray  # (photos, views, channels[, h, w])
    labels: np.ndarray  # (photos,) int64, positions in the classes
    failures: Mapping[int, str] = field(default_factory=dict)  # position -> what is wrong with the photo

    @property
    def views(self) -> int:
        return int(self.values.shape[1])

    @cached_property
    def sources(self) -> np.ndarray:
        """The position of the photo whose features stand for each. Raises DatasetError where none can be read."""
        photos = len(self.labels)
        readable = np.array([place for place in range(photos) if place not in self.failures])
        if not len(readable):
            raise DatasetError(f"none of the {photos} photos can be read: {self.failures[0]}", REPLACE)
        following: np.ndarray = readable[np.searchsorted(readable, np.arange(photos)) % len(readable)]
        return following

    def take(self, positions: np.ndarray) -> "Features":
        """Those of the photos at these positions, copied; the neighbours of unreadable ones are among them."""
        failures = {place: self.failures[at] for place, at in enumerate(positions.tolist()) if at in self.failures}
        return Features(self.layer, self.values[positions], self.labels[positions], failures)

    def batches(
        self, batch_size: int, seed: int, start: tuple[int, int], end: int, order: Order | None = None
    ) -> Iterator[FeatureBatch]:
        """Those from `start` = (epoch, step) to the end of epoch `end` - 1. order: as `load_batches` takes it."""
        order = order or Shuffled(len(self.labels), batch_size, seed)
        for epoch in range(start[0], end):
            for step in range(start[1] if epoch == start[0] else 0, order.steps):
                positions = np.array(order.positions(epoch, step))
                numbers = np.array(picture_numbers(seed, epoch, order.places(step)))[:, 0]
                sources = self.sources[positions]
                yield FeatureBatch(
                    torch.from_numpy(self.values[sources, (numbers * self.views).astype(int)]),
                    torch.from_numpy(self.labels[sources]),
                    self.layer,
                    {place: self.failures[place] for place in positions.tolist() if place in self.failures},
                )


def views_layer(recipe: Recipe, architecture: Architecture, photos: int, stage: Stage) -> str | None:
    """The layer whose features of the photos' views a stage learns from; None where it learns from pictures."""
    layer = features_layer(architecture, stage.trained) if stage.has_views else None
    return layer if layer and kept_views(recipe, architecture, layer, photos)[0] else None


def kept_views(recipe: Recipe, architecture: Architecture, layer: str, photos: int) -> tuple[int, str]:
    """How many views of each photo are kept, and in which type; none where not even one fits."""
    limit = recipe.cache_gib * 2**30
    numbers = photos * math.prod(feature_shape(architecture, layer, recipe.test_crop))
    for views, dtype in ((recipe.views, "float32"), (recipe.views, "float16")):
        if numbers * views * np.dtype(dtype).itemsize <= limit:
            return views, dtype
    return min(recipe.views, int(limit // (2 * numbers))), "float16"


def feature_shape(architecture: Architecture, layer: str, side: int) -> tuple[int, ...]:
    """(channels, h, w) of a layer's output for a square picture, or (channels,) where it has no map."""
    shape = (architecture.input_channels, side, side)
    for row in architecture.layers:
        shape = row.output_shape(shape)
        if row.name == layer:
            return shape if row.kind not in ("gap", "fc") else shape[:1]
    raise AssertionError(layer)


def open_features(
    run: Path,
    network: Network,
    layer: str,
    photos: Dataset,
    recipe: Recipe,
    *,
    precision: str,
    begun_from: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Features | None:
    """The features of the photos, from the file beside the run or computed now; None where they are too many to keep.

    network: its layers up to `layer` are frozen. begun_from: what these layers' weights depend on. progress: is told
    how many photos are done, of how many. Raises StorageError, DatasetError where too many photos in a row cannot be
    read, and NonFiniteError.
    """
    views, dtype = kept_views(recipe, network.architecture, layer, len(photos))
    if not views:
        return None
    folder = make_folder(run / STATE_FOLDER)
    key = _key(recipe, layer, photos, (views, dtype, precision, begun_from))
    if found := _read(folder, key, layer, photos):
        return found
    rows = rows_of(network, layer, photos, recipe, views=views, precision=precision)
    shape = (len(photos), views, *feature_shape(network.architecture, layer, recipe.test_crop))
    failures: dict[str, str] = {}
    digest = hashlib.blake2b(digest_size=16)
    with replacing(folder / VIEWS_FILE, is_durable=False) as temporary, temporary.open("xb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for position, row in enumerate(rows):  # not by a mapping: on a full disk that kills the process
            if isinstance(row, ImageError):
                failures[str(position)] = str(row)
            kept = np.zeros(shape[1:], dtype) if isinstance(row, ImageError) else _as_kept(row, dtype, layer)
            file.write(kept.data)
            digest.update(kept.data)
            progress(position + 1, len(photos))
    index = {"key": key, "checksum": digest.hexdigest(), "failures": failures}
    atomic_write(folder / INDEX_FILE, json.dumps(index), is_durable=False)
    return _read(folder, key, layer, photos)


class KeptFeatures:
    """The features of the validation photos: what `evaluate` takes as inputs, for `FeatureEngine`.

    They are made once, or each time where all of them would take more than `limit_bytes`. Always to be called with the
    same paths, as `KeptInputs`.
    """

    def __init__(self, network: Network, layer: str, inputs: KeptInputs, device: str, limit_bytes: float) -> None:
        self._engine = TorchEngine(network.architecture, weights_of(network), device=device)
        self._layer, self._inputs, self._limit_bytes = layer, inputs, limit_bytes
        self._items: list[Item] = []

    def __call__(self, paths: Sequence[StoredPhoto], preprocessing: Preprocessing) -> Iterator[Item]:
        if self._items:
            yield from self._items
            return
        size = 4 * math.prod(feature_shape(self._engine.architecture, self._layer, preprocessing.crop))
        items: list[Item] = []
        for item in self._run(paths, preprocessing):
            if size * len(paths) <= self._limit_bytes:
                items.append(item)
            yield item
        self._items = items

    def _run(self, paths: Sequence[StoredPhoto], preprocessing: Preprocessing) -> Iterator[Item]:
        waiting: list[tuple[int, np.ndarray]] = []
        for position, loaded in self._inputs(paths, preprocessing):
            if isinstance(loaded, ImageError):
                yield position, loaded
                continue
            waiting.append((position, loaded))
            if len(waiting) == BATCH:
                yield from self._features(waiting)
                waiting = []
        if waiting:
            yield from self._features(waiting)

    def _features(self, waiting: Sequence[tuple[int, np.ndarray]]) -> Iterator[Item]:
        made = self._engine.run(np.stack([image for _, image in waiting]), (self._layer,))[self._layer]
        return zip((position for position, _ in waiting), made, strict=True)


class FeatureEngine:
    """The upper layers of a network, as they are now, as an engine whose images are the features below them."""

    def __init__(self, tail: Tail) -> None:
        self._tail = copy.deepcopy(tail).eval()

    @torch.inference_mode()
    def run(self, images: np.ndarray, outputs: Sequence[str] = ("logits",)) -> dict[str, np.ndarray]:
        """images: (n, channels[, h, w]) float32 -> the logits, (n, classes) float32. It knows no other output."""
        device = next(self._tail.parameters()).device
        logits = self._tail(torch.from_numpy(np.ascontiguousarray(images)).to(device))
        return {"logits": logits.float().cpu().numpy()}


def views_of(photo: np.ndarray, position: int, recipe: Recipe, views: int) -> np.ndarray:
    """The views of a photo, (views, crop, crop, 3) uint8.

    photo: (H, W, 3) uint8 RGB. The first is what prediction cuts out, the second, where the recipe mirrors, that
    mirrored, the others are cut out as the recipe's pictures are.
    """
    augmentation = recipe.view_augmentation
    whole = fit(photo, recipe.preprocessing)
    pictures = [whole, whole[:, ::-1]] if recipe.flip else [whole]
    for view in range(len(pictures), views):
        (numbers,) = picture_numbers(recipe.seed, view, range(position, position + 1))
        pictures.append(augment(photo, augmentation, numbers))
    return np.stack(pictures[:views])


def rows_of(
    network: Network, layer: str, photos: Dataset, recipe: Recipe, *, views: int, precision: str
) -> Iterator[np.ndarray | ImageError]:
    """The features of each photo, in order, (views, ...) float32; why there are none, where it cannot be read."""
    pictures = _pictures(photos, recipe, views)
    while group := list(itertools.islice(pictures, max(1, BATCH // views))):
        seen = [item for item in group if not isinstance(item, ImageError)]
        made = _run(network, layer, np.concatenate(seen), recipe, precision) if seen else np.empty(0, np.float32)
        of_photos = iter(made.reshape(len(seen), views, -1)) if seen else iter(())
        for item in group:
            yield item if isinstance(item, ImageError) else next(of_photos)


@torch.no_grad()
def _run(network: Network, layer: str, pictures: np.ndarray, recipe: Recipe, precision: str) -> np.ndarray:
    """pictures: (n, crop, crop, 3) uint8 -> the layer's output, (n, channels[, h, w]) float32."""
    device = next(network.parameters()).device
    images = torch.from_numpy(np.stack([normalize(picture, recipe.preprocessing) for picture in pictures]))
    images = images.to(device).contiguous(memory_format=torch.channels_last)
    with autocast(device, precision):
        made = network.features(images, (layer,))[layer]
    return made.float().cpu().contiguous().numpy()


def _as_kept(row: np.ndarray, dtype: str, layer: str) -> np.ndarray:
    """Raises NonFiniteError where a number is too large for the type, or was not finite before."""
    with np.errstate(over="ignore"):  # told below
        kept = np.ascontiguousarray(row, dtype)
    if not np.isfinite(kept).all():
        raise NonFiniteError(
            f"the output of {layer} holds a number that is not finite as {dtype}; expected finite ones.",
            "Train with --set views=0, which keeps no features.",
        )
    return kept


def _pictures(photos: Dataset, recipe: Recipe, views: int) -> Iterator[np.ndarray | ImageError]:
    """The views of each photo, in order, (views, crop, crop, 3) uint8; why there are none, where it cannot be read."""

    def make(position: int) -> np.ndarray | ImageError:
        try:
            return views_of(read_image(photos.paths[position]), position, recipe, views)
        except ImageError as error:
            check_lasting(error)
            return error

    threads = machine.cores()
    return in_threads(range(len(photos)), make, threads=threads, ahead=2 * threads)


def _read(folder: Path, key: str, layer: str, photos: Dataset) -> Features | None:
    """The features in the file; None where it is missing, damaged or of something else."""
    with contextlib.suppress(OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
        if index["key"] == key:
            values = np.load(folder / VIEWS_FILE, mmap_mode="r", allow_pickle=False)
            failures = {int(place): str(text) for place, text in index["failures"].items()}
            if len(values) == len(photos) and _checksum(values) == index["checksum"]:
                return Features(layer, values, np.array(photos.labels, np.int64), failures)
    return None


def _checksum(values: np.ndarray) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for photo in values:
        digest.update(np.ascontiguousarray(photo).data)
    return digest.hexdigest()


def _key(recipe: Recipe, layer: str, photos: Dataset, others: Sequence[object]) -> str:
    """Of all that the features depend on, but the photos' content: as with a run's state, their names stand for it."""
    digest = hashlib.blake2b(digest_size=16)
    parts = [_FORMAT, layer, recipe.preprocessing, recipe.view_augmentation, recipe.seed, recipe.flip, *others]
    digest.update(repr(parts).encode())
    for path, label in zip(photos.paths, photos.labels, strict=True):
        digest.update(f"{label}/{file_name(path)}\0".encode(errors="surrogatepass"))
    return digest.hexdigest()
