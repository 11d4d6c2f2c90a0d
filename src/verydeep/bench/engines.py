"""Our own engines as contestants: opened from the model file, as `verydeep predict` opens it."""

import numpy as np

from verydeep.bench.contestants import Contestant, Loaded
from verydeep.bench.subject import Subject
from verydeep.runtime import open_model


def prepare(subject: Subject, contestant: Contestant) -> None:
    """Nothing: the model file is all that it reads."""


def load(subject: Subject, contestant: Contestant, threads: int, batch: int) -> Loaded:
    """See `contestants.Builder`."""
    opened = open_model(
        subject.model, engine=contestant.origin, device="cpu", precision=contestant.precision, threads=threads
    )

    def run(images: np.ndarray) -> np.ndarray:
        return opened.engine.run(images)["logits"]

    return Loaded(run, getattr(opened.engine, "time_layers", None))
