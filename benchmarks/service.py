"""What the service carries, over loopback: appends rows to benchmarks/results/serving.csv. Let nothing else run.

    python benchmarks/service.py [MODEL | --architecture D] [--seconds N] [--rounds N]

Server and clients share the machine, so the figures are those of both together; they are for comparisons in one run.
Three servers take turns: ours, ours with batches of one image, and a plain FastAPI handler around torch. Then ours
alone: at 70 % of what it carried, at five times that, and from its start to the first answer. Requests of a load are
sent when a Poisson process says so, whether the ones before are answered or not, and are timed from when they should
have been sent.
"""

import argparse
import asyncio
import http.client
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import numpy as np
from clients import PATIENCE, Answers, ask_at_random, ask_in_turn, merged, post
from PIL import Image
from skimage import data_dir

from verydeep import machine
from verydeep.bench.inputs import architecture_named, make_subject
from verydeep.evaluate.results import append_result, model_label, result_row
from verydeep.runtime import find_model, open_model

RESULTS = Path(__file__).parent / "results" / "serving.csv"
PHOTOS = [Path(data_dir) / name for name in ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png")]
CLIENTS = 32  # that ask as fast as they are answered
FEW_CLIENTS = 4  # of the one that has room for four photos: who is refused would keep the cores busy by asking again
STARTS = 10
_GREETING_BYTES = 1 << 16
OURS = "verydeep serve"
ONE_BY_ONE = "verydeep serve, batches of one"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("model", nargs="?")
    which.add_argument("--architecture", help="instead of a model: a network with random weights, such as D")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a turn, and a third of the later measurements")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        if given.architecture:
            path = make_subject(Path(folder), architecture_named(given.architecture)).model
        else:
            path = find_model(given.model)
        _measure(Subject(path, "-" if given.architecture else model_label(path)), given.seconds, given.rounds)


class Subject:
    """A model as it is served, and the rows of what is measured of it."""

    def __init__(self, model: Path, label: str) -> None:
        opened = open_model(model)
        self._label, self._architecture, self._engine = label, opened.info.architecture.name, opened.engine_name
        self.command = [sys.executable, "-m", "verydeep", "serve", "--port", "0", f"--model=model={model}"]
        self.rivals = {
            ONE_BY_ONE: [*self.command, "--batch-size", "1"],
            "plain FastAPI and torch": [sys.executable, str(Path(__file__).parent / "plain_server.py"), str(model)],
        }

    def add(self, what: str, values: Sequence[float], n: int | None = None) -> None:
        """A row. n: where it is not the number of values."""
        low, high = np.percentile(values, (5, 95))
        row = result_row(
            architecture=self._architecture,
            engine=self._engine,
            dtype="float32",
            threads=machine.cores(),
            batch=0,
            model=self._label,
            protocol=f"{what}; loopback, clients on the same cores",
            n=n or len(values),
            value=f"{np.median(values):.4g}",
            spread=f"{low:.4g}..{high:.4g}" if len(values) > 1 else "-",
            packages=("fastapi", "uvicorn", "h11"),
        )
        append_result(RESULTS, row)
        print(f"{row.protocol}: {row.value} ({row.spread}, n = {row.n})")

    def add_share(self, load: str, answers: Answers, status: int, share: int) -> None:
        """A row of how long so many of the answers of a status took at most, in percent."""
        if values := answers.seconds.get(status):
            milliseconds = 1e3 * float(np.percentile(values, share))
            self.add(f"{load}: p{share} of {status}, ms", [milliseconds], n=len(values))


def _measure(subject: Subject, seconds: float, rounds: int) -> None:
    requests = [post("/predict", photo, "image/jpeg") for photo in _small(PHOTOS)]
    capacity = _take_turns(subject, requests, seconds, rounds)
    _starts(subject, requests[0])
    with _server(subject.command) as port:
        _loads(subject, port, requests, capacity, seconds=seconds, rounds=rounds)


def _take_turns(subject: Subject, requests: Sequence[bytes], seconds: float, rounds: int) -> float:
    """The photos a second of ours."""
    commands = {OURS: subject.command, **subject.rivals}
    rates: dict[str, list[float]] = {name: [] for name in commands}
    with ExitStack() as stack:
        ports = {name: stack.enter_context(_server(command)) for name, command in commands.items()}
        for round_number in range(rounds + 1):
            for name, port in ports.items():
                clients = FEW_CLIENTS if name == ONE_BY_ONE else CLIENTS
                turn = ask_in_turn(port, lambda n: requests[n % len(requests)], clients=clients, seconds=seconds)
                answers = asyncio.run(turn)
                if round_number:  # the first warms up
                    rates[name].append(answers.rate(200))
    for name, values in rates.items():
        clients = FEW_CLIENTS if name == ONE_BY_ONE else CLIENTS
        subject.add(f"{name}: photos a second, {clients} clients", values)
    for name in subject.rivals:
        subject.add(f"{OURS} over {name}: ratio", [a / b for a, b in zip(rates[OURS], rates[name], strict=True)])
    return float(np.median(rates[OURS]))


def _loads(
    subject: Subject, port: int, requests: Sequence[bytes], capacity: float, *, seconds: float, rounds: int
) -> None:
    """At 70 % of what it carries, and at five times that, each time between two looks at what it carries then."""

    def ask(number: int) -> bytes:
        return requests[number % len(requests)]

    def at(times: float, seconds: float) -> Answers:
        return asyncio.run(ask_at_random(port, ask, rate=times * capacity, seconds=seconds))

    at(0.7, seconds)  # warms up
    calm = at(0.7, 3 * seconds)
    for share in (50, 99):
        subject.add_share(f"{OURS} at 70 % load", calm, 200, share)

    def peak() -> float:
        return asyncio.run(ask_in_turn(port, ask, clients=CLIENTS, seconds=seconds)).rate(200)

    peaks, floods = [peak()], []
    for _ in range(rounds):
        floods.append(at(5, 2 * seconds))
        peaks.append(peak())
    around = [(before + after) / 2 for before, after in pairwise(peaks)]  # the machine is not as fast at all times
    ratios = [flood.rate(200) / peak for flood, peak in zip(floods, around, strict=True)]
    subject.add(f"{OURS} at five times the load: answered, of the peak", ratios)
    for status in (200, 503):
        subject.add_share(f"{OURS} at five times the load", merged(floods), status, 99)
    statuses = merged(floods).statuses
    others = statuses.total() - statuses[200] - statuses[503]
    subject.add(f"{OURS} at five times the load: other answers", [float(others)], n=statuses.total())


def _starts(subject: Subject, request: bytes) -> None:
    """From the command's start until the page has come, and until a photo is classified."""
    page, answer = [], []
    for _ in range(STARTS + 1):
        start = time.perf_counter()
        with _server(subject.command) as port:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
                connection.request("GET", "/")
                assert connection.getresponse().status == 200
            page.append(time.perf_counter() - start)
            answers = asyncio.run(ask_in_turn(port, lambda n: request, clients=1, requests=1))
            assert answers.statuses[200] == 1
            answer.append(time.perf_counter() - start)
    subject.add(f"{OURS}: seconds from the command to the page", page[1:])  # the first brings files into memory
    subject.add(f"{OURS}: seconds from the command to the first answer", answer[1:])


def _small(paths: Sequence[Path]) -> list[bytes]:
    """The photos with 300 pixels on their shorter side, as JPEGs."""
    made = []
    with TemporaryDirectory() as folder:
        for path in paths:
            picture = Image.open(path).convert("RGB")
            scale = 300 / min(picture.size)
            file = Path(folder) / "small.jpg"
            picture.resize((round(scale * picture.width), round(scale * picture.height))).save(file, quality=90)
            made.append(file.read_bytes())
    return made


@contextmanager
def _server(command: Sequence[str]) -> Iterator[int]:
    """The port of a server that listens. Its log goes to a file: to read it would take time of the same cores."""
    with TemporaryFile() as log, subprocess.Popen(command, stderr=log) as process:  # noqa: S603, our own programs
        try:
            while not (found := re.search(rb"http://127\.0\.0\.1:(\d+)", os.pread(log.fileno(), _GREETING_BYTES, 0))):
                assert process.poll() is None, command
                time.sleep(0.01)
            yield int(found[1])
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
