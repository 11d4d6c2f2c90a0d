"""Speed on this machine, `make bench`: appends rows to benchmarks/results/speed.csv. Let nothing else run meanwhile.

Contestants take turns, so that a slow minute of the machine hits all of them; each figure is a median with its range.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, torch's own custom
from skimage import data_dir

from verydeep import machine
from verydeep.evaluate.results import append_result, result_row
from verydeep.image import preprocess, read_image
from verydeep.network import Network, initialize
from verydeep.recipes import load_recipe
from verydeep.runtime import open_model
from verydeep.runtime.open import ENGINES
from verydeep.train.optimize import make_optimizer
from verydeep.train.precision import autocast

RESULTS = Path(__file__).parent / "results" / "speed.csv"
PHOTO = Path(data_dir) / "chelsea.png"  # 451 x 300, CC0
THREADS = machine.cores()


def main() -> None:
    torch.set_num_threads(THREADS)
    measure_start_up()
    measure_prediction()
    measure_training()


def measure_start_up() -> None:
    """Whole processes, from the start of the interpreter to its end."""
    verydeep = [sys.executable, "-m", "verydeep"]
    commands = {
        "bare interpreter": [sys.executable, "-c", "pass"],
        "verydeep --help": [*verydeep, "--help"],
        "verydeep describe D": [*verydeep, "describe", "D"],
        "verydeep predict, engine reference": [*verydeep, "predict", str(PHOTO), "--engine", "reference"],
        "verydeep predict, engine torch": [*verydeep, "predict", str(PHOTO), "--engine", "torch"],
    }
    runs: dict[str, Callable[[], object]] = {
        name: lambda command=command: subprocess.run(command, check=True, capture_output=True)  # noqa: S603
        for name, command in commands.items()
    }
    for name, seconds in take_turns(runs, rounds=15).items():
        add(f"{name}: whole process, ms", seconds, engine="reference", architecture="-", dtype="-", scale=1e3)


def measure_prediction() -> None:
    """The built-in model on inputs that are ready: the engine alone."""
    for batch in (1, 32):
        runs = {}
        for name in ENGINES:
            model = open_model(engine=name, threads=THREADS)
            images = np.stack([preprocess(read_image(PHOTO), model.info.preprocessing)] * batch)
            runs[name] = lambda engine=model.engine, images=images: engine.run(images)
        for name, seconds in take_turns(runs, rounds=20).items():
            add(
                f"engine alone, {model.info.preprocessing.crop} pixels, ms a photo",
                [value / batch for value in seconds],
                engine=name,
                architecture=model.info.architecture.name,
                dtype="float32",
                batch=batch,
                scale=1e3,
            )


def measure_training() -> None:
    """One step of the recipe `modern` on a batch that is ready: forward, backward, update."""
    recipe = load_recipe("modern")
    architecture = recipe.architecture(classes=10)
    images = torch.randn(recipe.batch_size, 3, recipe.input_size, recipe.input_size)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (recipe.batch_size,))

    def step_in(precision: str) -> Callable[[], object]:
        network = Network(architecture)
        initialize(network, recipe.initialization, seed=0)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # an overload lacks
        optimizer = make_optimizer(network, recipe)

        def step() -> None:
            with autocast(torch.device("cpu"), precision):
                logits = network(images)
            optimizer.zero_grad()
            F.cross_entropy(logits.float(), labels).backward()
            optimizer.step()

        return step

    runs = {precision: step_in(precision) for precision in ("float32", "bfloat16")}
    for precision, seconds in take_turns(runs, rounds=8).items():
        add(
            f"training step of recipe modern, {recipe.input_size} pixels, photos a second",
            [recipe.batch_size / value for value in seconds],
            engine="torch",
            architecture=architecture.name,
            dtype=precision,
            batch=recipe.batch_size,
        )


def take_turns(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, `rounds` times in turn, after one turn to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if round_number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def add(
    what: str, values: list[float], *, engine: str, architecture: str, dtype: str, batch: int = 1, scale: float = 1.0
) -> None:
    """A row: the median, and the 5th and 95th of a hundred as its spread."""
    scaled = np.array(values) * scale
    low, high = np.percentile(scaled, (5, 95))
    row = result_row(
        architecture=architecture,
        engine=engine,
        dtype=dtype,
        threads=THREADS,
        batch=batch,
        protocol=what,
        n=len(values),
        value=f"{median(scaled):.4g}",
        spread=f"{low:.4g}..{high:.4g}",
    )
    append_result(RESULTS, row)
    print(f"{what} [{engine}, {dtype}, batch {batch}]: {row.value} ({row.spread}, n = {row.n})")


if __name__ == "__main__":
    main()
