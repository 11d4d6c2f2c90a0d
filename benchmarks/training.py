"""How fast a training runs beside a plain one: appends rows to benchmarks/results/speed.csv. Let nothing else run.

    python benchmarks/training.py

Both train the same network at 128 pixels on the photos of imagenette-144, from the files to the updated weights. The
plain one is written as most are: torch's DataLoader over a folder, float32, SGD with momentum, a step at a time. The
two take turns, so that a slow minute of the machine hits both; each figure is a median with its range. Each is a
process of its own, since the program changes how its process keeps memory (`machine.keep_freed_memory`).
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count, islice
from multiprocessing.connection import Connection

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, torch's own custom
from loading import IMAGENETTE, PlainFolder
from measure import Contestant, add
from torch.utils.data import DataLoader

from verydeep.data.datasets import Dataset, Splits, open_folder
from verydeep.data.loader import batch_random, load_batches
from verydeep.network import Network, initialize
from verydeep.recipes import load_recipe
from verydeep.train.display import Display
from verydeep.train.interrupt import Interruption
from verydeep.train.loop import begin, open_training_cache
from verydeep.train.precision import choose_precision
from verydeep.train.recipe import Recipe
from verydeep.train.step import learn_batch

spawning = multiprocessing.get_context("spawn")
LOADERS = 1  # processes, one core fewer than the machine of the published figures has

Steps = Iterator[int]
"""Takes a step of training each time, and says how many photos it had."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures how fast a training runs beside a plain one.")
    parser.add_argument("--networks", nargs="+", default=["A", "D"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="in a round")
    parser.add_argument("--dry-run", action="store_true", help="print the figures, append no rows")
    arguments = parser.parse_args()
    photos = open_folder(IMAGENETTE)
    for name in arguments.networks:
        recipe = replace(load_recipe("modern"), configuration=name, width=1.0, first_size=None)
        contestants = {"plain loop": partial(plain, recipe, photos), "verydeep": partial(ours, recipe, photos)}
        rates = take_turns(contestants, arguments.steps, arguments.rounds)
        rates["verydeep over plain loop"] = [
            mine / theirs for mine, theirs in zip(rates["verydeep"], rates["plain loop"], strict=True)
        ]
        for what, values in rates.items():
            unit = "ratio" if "over" in what else "photos a second"
            contestant = Contestant(
                f"training from files at {recipe.input_size} pixels, {what}",
                "torch",
                recipe.architecture(len(photos.classes)).name,
                "float32" if what == "plain loop" else choose_precision(recipe.precision, torch.device("cpu")),
                recipe.batch_size,
            )
            if arguments.dry_run:
                print(f"{contestant.architecture} {contestant.name}: {np.median(values):.3g} {unit}")
            else:
                add(contestant, unit, values)


def take_turns(contestants: dict[str, Callable[[], Steps]], steps: int, rounds: int) -> dict[str, list[float]]:
    """Photos a second of each over so many steps, `rounds` times in turn, after one turn to warm up."""
    pipes = {name: start_process(start) for name, start in contestants.items()}
    rates: dict[str, list[float]] = {name: [] for name in pipes}
    for round_number in range(rounds + 1):
        for name, pipe in pipes.items():
            take(pipe, 1)  # what a loader process prepared while the other had its turn is used up
            start = time.perf_counter()
            photos = take(pipe, steps)
            if round_number:
                rates[name].append(photos / (time.perf_counter() - start))
    for pipe in pipes.values():
        pipe.send(0)
    return rates


def start_process(start: Callable[[], Steps]) -> Connection:
    """Where a contestant waits to be told how many steps to take."""
    mine, its = spawning.Pipe()
    spawning.Process(target=take_as_told, args=(start, its)).start()
    return mine


def take_as_told(start: Callable[[], Steps], pipe: Connection) -> None:
    """A contestant's process."""
    taken = start()
    while steps := pipe.recv():
        pipe.send(sum(islice(taken, steps)))


def take(pipe: Connection, steps: int) -> int:
    """Has a contestant take steps; how many photos these had."""
    pipe.send(steps)
    photos: int = pipe.recv()
    return photos


def plain(recipe: Recipe, photos: Dataset) -> Steps:
    """float32, channels first, photos decoded in every epoch."""
    network = Network(recipe.architecture(len(photos.classes)))
    initialize(network, recipe.initialization, recipe.seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    loader = DataLoader(PlainFolder(photos, recipe.input_size), recipe.batch_size, shuffle=True, num_workers=LOADERS)
    while True:
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(network(images), labels, label_smoothing=recipe.label_smoothing)
            loss.backward()
            optimizer.step()
            loss.item()
            yield len(images)


def ours(recipe: Recipe, photos: Dataset) -> Steps:
    """The program's own steps, with all that they do: averages, mixed photos, checks."""
    splits = Splits(photos, photos, is_drawn=False)
    state = begin(recipe, splits, torch.device("cpu"))
    batches = load_batches(
        photos,
        recipe.augmentations,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        start=(0, 0),
        cache=open_training_cache(recipe, splits, Display()),
        workers=LOADERS,
    )
    for step in count():
        batch = next(batches)
        random = batch_random(recipe.seed, 0, step)
        learn_batch(state, batch, recipe, rate=0.01, random=random, interruption=Interruption())
        yield len(batch.labels)


if __name__ == "__main__":
    main()
