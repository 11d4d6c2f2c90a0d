"""How fast photos are loaded for training: appends rows to benchmarks/results/loading.csv. Let nothing else run.

    python benchmarks/loading.py

Per core: one thread in this process (0 loader processes), or one loader process, while this one only receives. The
contestants take turns, so that a slow minute of the machine hits all of them; each figure is a median with its range.
The two that stand beside verydeep are written as a training with torch and Pillow mostly is: every photo decoded whole
in every epoch, a random share of it resized, half of them mirrored.
"""

import argparse
import itertools
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measure import Contestant, add
from PIL import Image
from skimage import data_dir
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from verydeep.data.augment import Augmentation
from verydeep.data.cache import open_cache
from verydeep.data.datasets import Dataset, open_folder
from verydeep.data.loader import load_batches

RESULTS = Path(__file__).parent / "results" / "loading.csv"
IMAGENETTE = Path(__file__).parents[2] / "shared" / "data" / "imagenette-144" / "train"
DRAINED = 3  # batches before the clock starts: those that a loader process made while others had their turn
ENDLESS = 10_000  # epochs
AREAS = (0.35, 1.0)  # of the photo, as in the recipe `modern`
BUNDLED = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg")
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

Batches = Iterator[int]
"""Loads a batch at each step, and says how many photos it had."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures how fast photos are loaded for training.")
    parser.add_argument("--photos", type=int, default=2048, help="of imagenette-144")
    parser.add_argument("--large", type=int, default=64, help="photos of 12 megapixels")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--dry-run", action="store_true", help="print the figures, append no rows")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        small, large = some(open_folder(IMAGENETTE), arguments.photos), make_large(Path(folder), arguments.large)
        for photos, name, crop, scale, batch, batches in (
            (small, "imagenette-144", 128, 144, 64, 16),
            (large, "12 megapixels", 224, 256, 8, 2),
        ):
            contestants = dict(all_contestants(photos, crop, scale, batch, Path(folder)))
            for (what, workers), rates in take_turns(contestants, batches, arguments.rounds).items():
                contestant = Contestant(f"loading {name}, crop {crop}, {what}, loader processes {workers}", batch=batch)
                if arguments.dry_run:
                    print(f"{contestant.name}: {np.median(rates):.0f} photos a second and core")
                else:
                    add(contestant, "photos a second and core", rates, threads=1, results=RESULTS)


def all_contestants(
    photos: Dataset, crop: int, scale: int, batch: int, folder: Path
) -> Iterator[tuple[tuple[str, int], Callable[[], Batches]]]:
    """What is measured and the number of loader processes, and what starts it."""
    areas, fixed = Augmentation(crop, areas=AREAS), Augmentation(crop, scales=(scale, scale))
    of_areas, of_fixed = "areas 0.35 to 1 and flip", f"crop and flip at scale {scale}"
    yield (f"{of_areas}: plain Pillow loop", 0), partial(plain_loop, photos, crop, batch)
    for workers in (0, 1):
        yield (
            (f"{of_areas}: torch DataLoader over a plain folder", workers),
            partial(plain_loader, photos, crop, batch, workers),
        )
        for augmentation, what in ((areas, of_areas), (fixed, of_fixed)):
            for is_cached in (False, True):
                name = f"{what}: verydeep, {'cached' if is_cached else 'uncached'}"
                yield (
                    (name, workers),
                    partial(ours, photos, augmentation, batch, folder if is_cached else None, workers),
                )


def take_turns(
    contestants: dict[tuple[str, int], Callable[[], Batches]], batches: int, rounds: int
) -> dict[tuple[str, int], list[float]]:
    """Photos a second of each contestant over so many batches, `rounds` times in turn, after one turn to warm up."""
    running = {name: start() for name, start in contestants.items()}
    rates: dict[tuple[str, int], list[float]] = {name: [] for name in running}
    for round_number in range(rounds + 1):
        for name, loaded in running.items():
            for _ in itertools.islice(loaded, DRAINED if name[1] else 0):
                pass
            start = time.perf_counter()
            photos = sum(itertools.islice(loaded, batches))
            if round_number:
                rates[name].append(photos / (time.perf_counter() - start))
    return rates


def plain_loop(photos: Dataset, crop: int, batch: int) -> Batches:
    """Open, convert, cut and resize, mirror, into one array."""
    paths = itertools.cycle(photos.paths)
    while True:
        np.stack([np.asarray(random_picture(path, crop)) for path in itertools.islice(paths, batch)])
        yield batch


def plain_loader(photos: Dataset, crop: int, batch: int, workers: int) -> Batches:
    """What a training written with torch mostly has: a photo an item, as normalised numbers, then collated."""
    loader = DataLoader(
        PlainFolder(photos, crop), batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    while True:
        for images, _ in loader:
            yield len(images)


def ours(photos: Dataset, augmentation: Augmentation, batch: int, folder: Path | None, workers: int) -> Batches:
    """folder: where the photos are kept decoded; None: they are decoded in every epoch."""
    cache = open_cache(photos, augmentation.reading_side, folder=folder / "cache", note=print) if folder else None
    batches = load_batches(
        photos,
        [augmentation] * ENDLESS,
        batch_size=batch,
        seed=0,
        start=(0, 0),
        cache=cache,
        workers=workers,
    )
    for loaded in batches:
        yield len(loaded.labels)


class PlainFolder(TorchDataset[tuple[torch.Tensor, int]]):
    """As torchvision's ImageFolder with RandomResizedCrop, RandomHorizontalFlip, ToTensor and Normalize."""

    def __init__(self, photos: Dataset, crop: int) -> None:
        self.photos, self.crop = photos, crop

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        picture = np.array(random_picture(self.photos.paths[position], self.crop))
        image = torch.from_numpy(picture).permute(2, 0, 1).float().div(255)
        return (image - MEAN[:, None, None]) / STD[:, None, None], self.photos.labels[position]


def random_picture(path: Path, crop: int) -> Image.Image:
    with path.open("rb") as file:
        photo = Image.open(file).convert("RGB")
    area = random.uniform(*AREAS) * photo.width * photo.height  # noqa: S311, a benchmark
    aspect = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))  # noqa: S311
    width, height = min(photo.width, round((area * aspect) ** 0.5)), min(photo.height, round((area / aspect) ** 0.5))
    left, top = random.randint(0, photo.width - width), random.randint(0, photo.height - height)  # noqa: S311
    picture = photo.crop((left, top, left + width, top + height)).resize((crop, crop), Image.Resampling.BILINEAR)
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else picture  # noqa: S311


def some(photos: Dataset, count: int) -> Dataset:
    """So many photos, evenly spread over the classes."""
    return photos.take(range(0, len(photos), max(1, len(photos) // count)))


def make_large(folder: Path, count: int) -> Dataset:
    """JPEGs of 4,000 x 3,000 pixels as of a camera: free photos enlarged, with a camera's noise."""
    noise = np.random.default_rng(0)
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for path, name in zip(paths, itertools.cycle(BUNDLED), strict=False):
        photo = Image.open(Path(data_dir) / name).convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
        pixels = np.asarray(photo) + noise.normal(0, 3, (3000, 4000, 1))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return Dataset(("photo",), tuple(paths), (0,) * count)


if __name__ == "__main__":
    main()
