"""The process of one contestant: `python -m verydeep.bench.worker FOLDER CONTESTANT prepare|run [THREADS BATCH]`.

It answers by lines of JSON on standard output. `run`: loads, predicts once, says so, and then serves the commands that
come as lines of JSON on standard input, until that ends. Whatever a library prints goes to standard error.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from verydeep.bench.contestants import Loaded, builder_of, named
from verydeep.bench.processor import peak_memory_bytes
from verydeep.bench.subject import Subject, open_subject

TOTAL = "total"  # the name of the one part of a run that is timed as a whole
MOST_SAMPLES = 1000  # of an answer


def main(folder: str, name: str, task: str, threads: str = "1", batch: str = "1") -> None:
    answers = _own_output()

    def answer(**fields: object) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    subject, contestant = open_subject(Path(folder)), named(name)
    try:
        builder = builder_of(contestant)
        if task == "prepare":
            builder.prepare(subject, contestant)
            answer(memory=peak_memory_bytes())
            return
        loaded = builder.load(subject, contestant, int(threads), int(batch))
        _serve(loaded, subject, int(batch), answer)
    except Exception as error:  # whatever a library raises: told by whoever has started this process
        answer(error=" ".join(f"{type(error).__name__}: {error}".split())[:300])


def _serve(loaded: Loaded, subject: Subject, batch: int, answer: Callable[..., None]) -> None:
    import numpy as np

    images = subject.images(batch)
    logits = loaded.run(images)
    answer(memory=peak_memory_bytes(), has_parts=loaded.time_parts is not None)
    for line in sys.stdin:
        command: dict[str, Any] = json.loads(line)
        if command["do"] == "logits":
            np.save(command["path"], np.asarray(logits, np.float64).reshape(batch, -1))
            answer()
        else:
            time_once = loaded.time_parts if command["do"] == "parts" else _timed(loaded)
            assert time_once is not None
            samples = time_runs(time_once, images, command["count"])
            answer(samples=samples, memory=peak_memory_bytes())


def time_runs(time_once: Callable[..., dict[str, float]], images: Any, count: int) -> list[dict[str, float]]:
    """Of so many runs; where that would be more than `MOST_SAMPLES`, of every second, every third ..."""
    step = -(-count // MOST_SAMPLES)
    samples = []
    for number in range(count):
        sample = time_once(images)
        if number % step == 0:
            samples.append(sample)
    return samples


def _timed(loaded: Loaded) -> Callable[..., dict[str, float]]:
    def time_once(images: Any) -> dict[str, float]:
        start = time.perf_counter()
        loaded.run(images)
        return {TOTAL: time.perf_counter() - start}

    return time_once


def _own_output() -> TextIO:
    """What standard output was; from now on that is standard error, for C++ libraries, too."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


if __name__ == "__main__":
    main(*sys.argv[1:])
