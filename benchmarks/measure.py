"""Speed on this machine, `make bench`: appends rows to benchmarks/results/speed.csv. Let nothing else run meanwhile.

Contestants take turns, so that a slow minute of the machine hits all of them; each figure is a median with its range.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, torch's own custom
from skimage import data_dir

from verydeep import machine
from verydeep.evaluate.results import append_result, model_label, result_row
from verydeep.image import preprocess, read_image
from verydeep.network import Network, initialize
from verydeep.recipes import load_recipe
from verydeep.runtime import open_model
from verydeep.runtime.open import ENGINES
from verydeep.train.optimize import make_optimizer
from verydeep.train.precision import autocast

RESULTS = Path(__file__).parent / "results" / "speed.csv"
PHOTO = Path(data_dir) / "chelsea.png"  # 451 x 300, CC0


@dataclass(frozen=True)
class Contestant:
    """What is timed, and what it runs; "-" where nothing of that kind takes part."""

    name: str
    engine: str = "-"
    architecture: str = "-"
    dtype: str = "-"
    batch: int = 1
    model: str = "-"


def main() -> None:
    measure_start_up()
    measure_prediction()
    measure_training()


def measure_start_up(rounds: int = 15) -> None:
    """Whole processes, from the start of the interpreter to its end, against an interpreter that does nothing."""
    verydeep = [sys.executable, "-m", "verydeep"]
    predict = [*verydeep, "predict", str(PHOTO), "--engine"]
    commands = {
        Contestant("bare interpreter"): [sys.executable, "-c", "pass"],
        Contestant("verydeep --help"): [*verydeep, "--help"],
        Contestant("verydeep describe D", architecture="D"): [*verydeep, "describe", "D"],
        **{Contestant("verydeep predict PHOTO", engine): [*predict, engine] for engine in ENGINES},
    }
    runs: dict[Contestant, Callable[[], object]] = {
        contestant: lambda command=command: subprocess.run(command, check=True, capture_output=True)  # noqa: S603
        for contestant, command in commands.items()
    }
    for contestant, seconds in take_turns(runs, rounds).items():
        add(contestant, "whole process, ms", [1e3 * value for value in seconds])


def measure_prediction(rounds: int = 20) -> None:
    """The built-in model on inputs that are ready: the engine alone."""
    for batch in (1, 32):
        runs: dict[Contestant, Callable[[], object]] = {}
        for name in ENGINES:
            model = open_model(engine=name)
            images = np.stack([preprocess(read_image(PHOTO), model.info.preprocessing)] * batch)
            contestant = Contestant(
                "engine alone", name, model.info.architecture.name, "float32", batch, model_label(model.path)
            )
            runs[contestant] = lambda engine=model.engine, images=images: engine.run(images)
        for contestant, seconds in take_turns(runs, rounds).items():
            add(contestant, f"{images.shape[-1]} pixels, ms a photo", [1e3 * value / batch for value in seconds])


def measure_training(rounds: int = 8) -> None:
    """One step of the recipe `modern` on a batch that is ready: forward, backward, update."""
    machine.keep_freed_memory()  # as a training does
    recipe = load_recipe("modern")
    architecture = recipe.architecture(classes=10)
    images = torch.randn(recipe.batch_size, 3, recipe.input_size, recipe.input_size)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (recipe.batch_size,))

    def step_in(precision: str) -> Callable[[], object]:
        network = Network(architecture)
        initialize(network, recipe.initialization, seed=0)
        network.to(memory_format=torch.channels_last)
        optimizer = make_optimizer(network, recipe, precision)

        def step() -> None:
            with autocast(torch.device("cpu"), precision):
                logits = network(images)
            optimizer.zero_grad()
            F.cross_entropy(logits.float(), labels).backward()
            optimizer.step()

        return step

    runs = {
        Contestant("training step of recipe modern", "torch", architecture.name, precision, recipe.batch_size): step
        for precision, step in ((precision, step_in(precision)) for precision in ("float32", "bfloat16"))
    }
    for contestant, seconds in take_turns(runs, rounds).items():
        rates = [recipe.batch_size / value for value in seconds]
        add(contestant, f"{recipe.input_size} pixels, photos a second", rates)


def take_turns(runs: dict[Contestant, Callable[[], object]], rounds: int) -> dict[Contestant, list[float]]:
    """Seconds of each run, `rounds` times in turn, after one turn to warm up."""
    seconds: dict[Contestant, list[float]] = {contestant: [] for contestant in runs}
    for round_number in range(rounds + 1):
        for contestant, run in runs.items():
            start = time.perf_counter()
            run()
            if round_number:
                seconds[contestant].append(time.perf_counter() - start)
    return seconds


def add(
    contestant: Contestant, unit: str, values: list[float], *, threads: int | None = None, results: Path = RESULTS
) -> None:
    """A row: the median, and the 5th and 95th of a hundred as its spread. threads: all cores unless given."""
    low, high = np.percentile(values, (5, 95))
    row = result_row(
        architecture=contestant.architecture,
        engine=contestant.engine,
        dtype=contestant.dtype,
        threads=threads or machine.cores(),
        batch=contestant.batch,
        model=contestant.model,
        protocol=f"{contestant.name}: {unit}",
        n=len(values),
        value=f"{median(values):.4g}",
        spread=f"{low:.4g}..{high:.4g}",
    )
    append_result(results, row)
    print(f"{row.protocol} [{row.engine} {row.dtype}, batch {row.batch}]: {row.value} ({row.spread}, n = {row.n})")


if __name__ == "__main__":
    main()
