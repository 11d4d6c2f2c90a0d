"""What the service carries, over loopback: appends rows to benchmarks/results/serving.csv. Let nothing else run.

    python benchmarks/serving.py [MODEL] [--seconds N] [--rounds N]

Server and clients share the machine, so the figures are those of both together; they are for comparisons in one run.
Three servers take turns: ours, ours with batches of one image, and a plain FastAPI handler around torch. Then ours
alone, at 70 % of what it carried, and at five times that. Those requests are sent when a Poisson process says so,
whether the ones before are answered or not, and are timed from when they should have been sent.
"""

import argparse
import asyncio
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from PIL import Image
from skimage import data_dir

from verydeep import machine
from verydeep.evaluate.results import append_result, model_label, result_row
from verydeep.runtime import OpenedModel, open_model

RESULTS = Path(__file__).parent / "results" / "serving.csv"
PHOTOS = [Path(data_dir) / name for name in ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png")]
CLIENTS = 32  # that ask as fast as they are answered
MOST_AT_ONCE = 1000  # connections of the Poisson process
FRESH = 3.0  # seconds: a server closes connections that were idle for longer
PATIENCE = 60.0  # seconds


@dataclass
class Answers:
    """What clients got."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: dict[int, list[float]] = field(default_factory=dict)  # status -> of each answer

    def add(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        self.seconds.setdefault(status, []).append(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a turn, and a third of the later measurements")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    opened = open_model(given.model)
    model = [f"--model={opened.path}"]
    commands = {
        "verydeep serve": [sys.executable, "-m", "verydeep", "serve", "--port", "0", *model],
        "verydeep serve, batches of one": [
            *(sys.executable, "-m", "verydeep", "serve", "--port", "0", "--batch-size", "1", *model)
        ],
        "plain FastAPI and torch": [sys.executable, str(Path(__file__).parent / "plain_server.py"), str(opened.path)],
    }
    requests = [_request(photo.read_bytes()) for photo in _small(PHOTOS)]
    with ExitStack() as stack:
        ports = {name: stack.enter_context(_server(command)) for name, command in commands.items()}
        rates: dict[str, list[float]] = {name: [] for name in commands}
        for round_number in range(given.rounds + 1):
            for name, port in ports.items():
                answers = asyncio.run(_closed_loop(port, requests, given.seconds))
                if round_number:  # the first warms up
                    rates[name].append(answers.statuses[200] / given.seconds)
        for name, values in rates.items():
            _add(opened, f"{name}: photos a second, {CLIENTS} clients", values)
        base = list(rates.values())
        _add(
            opened, "verydeep serve over batches of one: ratio", [a / b for a, b in zip(base[0], base[1], strict=True)]
        )
        _add(opened, "verydeep serve over plain FastAPI: ratio", [a / b for a, b in zip(base[0], base[2], strict=True)])
        capacity, port = float(np.median(base[0])), ports["verydeep serve"]
        calm = asyncio.run(_open_loop(port, requests, 0.7 * capacity, 3 * given.seconds))
        for share in (50, 99):
            latency = 1e3 * float(np.percentile(calm.seconds[200], share))
            _add(opened, f"verydeep serve at 70 % load: p{share}, ms", [latency], n=len(calm.seconds[200]))
        flood = asyncio.run(_open_loop(port, requests, 5 * capacity, 3 * given.seconds))
        goodput = flood.statuses[200] / (3 * given.seconds) / capacity
        _add(opened, "verydeep serve at five times the load: answered, of the peak", [goodput])
        if flood.seconds.get(503):
            refused = 1e3 * float(np.percentile(flood.seconds[503], 99))
            _add(opened, "verydeep serve at five times the load: p99 of 503, ms", [refused], n=flood.statuses[503])
        others = sum(flood.statuses.values()) - flood.statuses[200] - flood.statuses[503]
        _add(
            opened,
            "verydeep serve at five times the load: other answers",
            [float(others)],
            n=sum(flood.statuses.values()),
        )


async def _closed_loop(port: int, requests: Sequence[bytes], seconds: float) -> Answers:
    """So many clients, each of which asks again when it is answered."""
    answers, end = Answers(), time.perf_counter() + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            start = time.perf_counter()
            writer.write(requests[number % len(requests)])
            answers.add(await _status(reader), time.perf_counter() - start)
        writer.close()

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return answers


async def _open_loop(port: int, requests: Sequence[bytes], rate: float, seconds: float) -> Answers:
    """Requests at the moments of a Poisson process; 0 counts those that got no answer."""
    answers, chance, tasks = Answers(), random.Random(0), []  # noqa: S311
    free: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []  # since when, the newest last
    start, due = time.perf_counter(), 0.0

    async def ask(number: int, due: float) -> None:
        status = 0
        try:
            is_fresh = free and time.perf_counter() - free[-1][0] < FRESH
            _, reader, writer = free.pop() if is_fresh else (0.0, *await asyncio.open_connection("127.0.0.1", port))
            writer.write(requests[number % len(requests)])
            status = await asyncio.wait_for(_status(reader), PATIENCE)
            free.append((time.perf_counter(), reader, writer))
        except (OSError, EOFError, asyncio.TimeoutError):
            pass
        answers.add(status, time.perf_counter() - start - due)

    while due < seconds:
        due += chance.expovariate(rate)
        await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
        tasks = [task for task in tasks if not task.done()]
        if len(tasks) >= MOST_AT_ONCE:
            raise SystemExit("more requests are open than this client can hold: lower the rate")
        tasks.append(asyncio.create_task(ask(len(answers.statuses) + sum(answers.statuses.values()), due)))
    await asyncio.gather(*tasks)
    for _, _, writer in free:
        writer.close()
    return answers


async def _status(reader: asyncio.StreamReader) -> int:
    """Reads an answer whole."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    await reader.readexactly(int(length[1]) if length else 0)
    return int(head[9:12])


def _request(photo: bytes) -> bytes:
    head = (
        f"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/jpeg\r\ncontent-length: {len(photo)}\r\n\r\n"
    )
    return head.encode() + photo


def _small(paths: Sequence[Path]) -> list[Path]:
    """The photos with 300 pixels on their shorter side, as JPEGs beside the results of this run."""
    folder, made = Path(mkdtemp()), []
    for path in paths:
        picture = Image.open(path).convert("RGB")
        scale = 300 / min(picture.size)
        made.append(folder / f"{path.stem}.jpg")
        picture.resize((round(scale * picture.width), round(scale * picture.height))).save(made[-1], quality=90)
    return made


@contextmanager
def _server(command: Sequence[str]) -> Iterator[int]:
    """The port of a server that is ready; its log is read and thrown away."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603, our own programs
        try:
            assert process.stderr is not None  # a pipe
            while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", process.stderr.readline())):
                assert process.poll() is None, command
            subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)  # noqa: S607
            yield int(found[1])
        finally:
            process.terminate()
            process.wait()


def _add(opened: OpenedModel, protocol: str, values: Sequence[float], n: int | None = None) -> None:
    low, high = np.percentile(values, (5, 95))
    row = result_row(
        architecture=opened.info.architecture.name,
        engine=opened.engine_name,
        dtype="float32",
        threads=machine.cores(),
        batch=0,
        model=model_label(opened.path),
        protocol=f"{protocol}; loopback, clients on the same cores",
        n=n or len(values),
        value=f"{np.median(values):.4g}",
        spread=f"{low:.4g}..{high:.4g}" if len(values) > 1 else "-",
        packages=("fastapi", "uvicorn", "h11"),
    )
    append_result(RESULTS, row)
    print(f"{row.protocol}: {row.value} ({row.spread}, n = {row.n})")


if __name__ == "__main__":
    main()
