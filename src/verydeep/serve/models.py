"""The models of a server: opened when it starts, looked up by their names, and by nothing else."""

import asyncio
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from verydeep.architecture import Architecture
from verydeep.errors import ModelFileError, UsageError, VerydeepError
from verydeep.image.preprocess import normalize
from verydeep.nouns import Prediction
from verydeep.outputs.classify import best_classes, class_logits, classify, posteriors
from verydeep.outputs.embeddings import embeddings
from verydeep.predict.boxes import locator
from verydeep.runtime import BUILT_IN, OpenedModel, find_model, open_model
from verydeep.runtime.reference import ReferenceEngine
from verydeep.runtime.windows import WindowedEngine, photos_at_once
from verydeep.serve.batching import Batcher
from verydeep.serve.limits import Limits
from verydeep.weights import read_model
from verydeep.weights.files import MODEL_FILE

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_GOLDEN_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05, "fast": 0.05, "int8": 0.3}  # of the largest logit


class ServedModel:
    """An opened model with its queue. on_batch: told the model, the size and the seconds of each batch."""

    def __init__(
        self, name: str, opened: OpenedModel, limits: Limits, on_batch: Callable[[str, int, float], None]
    ) -> None:
        self.name = name
        self.opened = opened
        self.is_ready = False
        self._locator = locator(opened, of_activation=False)
        self.time_shares: Mapping[str, Mapping[str, float]] | None = None  # of the layers, once they are measured
        resize, largest = opened.info.preprocessing.resize, limits.largest_batch
        self.batcher = Batcher(
            self._run,
            photos_at_once(resize, largest) if self.tells_pixels else largest,
            limits.largest_batch * limits.queued_batches,
            lambda images, seconds: on_batch(name, images, seconds),
        )

    @property
    def classes(self) -> tuple[str, ...]:
        return self.opened.info.classes

    @property
    def embeds(self) -> bool:
        """Whether it answers with a vector, not with classes."""
        return self.opened.info.architecture.task == "embed"

    @property
    def tells_pixels(self) -> bool:
        """Whether it answers for each pixel of the whole photo."""
        return self.opened.info.architecture.task == "segment"

    @property
    def is_grey(self) -> bool:
        return self.opened.info.preprocessing.channels == 1

    def inputs(self, picture: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8, as `image.fit` makes it -> (channels, h, w) float32."""
        return normalize(picture, self.opened.info.preprocessing)

    async def answers(self, images: "list[np.ndarray]") -> np.ndarray:
        """(n, scores) of n inputs (channels, h, w), or embeddings of length 1, (n, dimensions) float32.

        Raises VerydeepError where the network gives no number.
        """
        found = np.stack(await self.logits(images))
        return embeddings(found) if self.embeds else found

    async def logits(self, images: "list[np.ndarray]") -> "list[np.ndarray]":
        """Of each input (channels, h, w): (scores,), or (classes, h, w) of a model of pixels. Raises as `answers`."""
        tasks = [asyncio.ensure_future(self.batcher.answer(image)) for image in images]
        try:
            found = await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # where one has failed, the others are given up
                task.cancel()
        if not all(np.isfinite(one).all() for one in found):
            raise VerydeepError("the network gives NaN or infinity.", "Run it with precision float32.")
        return found

    def probabilities(self, answers: np.ndarray) -> np.ndarray:
        """(n, scores) -> (n, classes) float64."""
        logits = class_logits(answers, len(self.classes))
        return posteriors(logits, self.opened.info.calibration.temperature)

    def prediction(self, answer: np.ndarray, size: tuple[int, int], k: int) -> Prediction:
        """answer: (scores,). size: of the photo, height and width. A localiser says where each class is, too."""
        (probabilities,) = self.probabilities(answer[np.newaxis])
        best = best_classes(probabilities, k).tolist()
        boxes = self._locator.boxes({"logits": answer}, best, size) if self._locator else None
        return classify(probabilities, self.classes, self.opened.info.calibration, k=k, boxes=boxes)

    def check_golden(self, precision: str) -> None:
        """That the engine's answer to noise is the reference's. Raises VerydeepError.

        The reference reads the file by itself. Full-size networks take it some seconds.
        """
        image = _noise(self.opened.info.architecture)
        info, weights = read_model(self.opened.path)
        expected = ReferenceEngine(info.architecture, weights).run(image)["logits"]
        got = self._run(image)
        difference = float(np.abs(got - expected).max() / np.abs(expected).max())
        if not difference <= _GOLDEN_TOLERANCE[precision]:  # NaN is not
            raise VerydeepError(
                f"model {self.name}: the engine {self.opened.engine_name} differs from the reference by "
                f"{difference:.1e} of the largest logit; expected at most {_GOLDEN_TOLERANCE[precision]:.0e}.",
                "`verydeep doctor` says what works on this machine.",
            )

    def _run(self, images: np.ndarray) -> np.ndarray:
        engine = self.opened.engine
        if self.tells_pixels:
            return WindowedEngine(engine, self.opened.info.architecture).run(images)["logits"]
        return engine.run(images)["logits"]


def open_models(
    wanted: "tuple[str, ...]",
    limits: Limits,
    on_batch: Callable[[str, int, float], None],
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "float32",
    threads: int | None = None,
) -> Mapping[str, ServedModel]:
    """wanted: "NAME=MODEL", or "MODEL" with its file's or folder's name; none: the built-in model. In their order.

    Raises UsageError on a name that is no key or is there twice, and what `open_model` raises.
    """
    models: dict[str, ServedModel] = {}
    for text in wanted or (BUILT_IN,):
        name, path = named(text)
        if name in models:
            raise UsageError(f"two models are called {name}.", "Give each a name: --model NAME=MODEL")
        opened = open_model(path, engine=engine, device=device, precision=precision, threads=threads)
        if opened.info.architecture.head == "conv":
            raise ModelFileError(f"{opened.path} is a dense view; a server needs fc or gap.", "Serve the model itself.")
        models[name] = ServedModel(name, opened, limits, on_batch)
    return models


def named(text: str) -> tuple[str, str | Path]:
    """A model's name and where it lies. A file whose own name holds "=" is found where it exists as it stands."""
    name, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        path, found = text, find_model(text).resolve()
        name = found.parent.name if found.name == MODEL_FILE else found.name.removesuffix(".safetensors")
        name = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._") or "model"
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"a model cannot be called {name!r}; expected a letter or digit, then up to 63 of a-z 0-9 . _ -",
            "--model NAME=MODEL",
        )
    return name, path


def _noise_photo() -> bytes:
    """A small PNG."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


NOISE = _noise_photo()


def _noise(architecture: Architecture) -> np.ndarray:
    """(1, channels, side, side): the smallest input that the network takes."""
    side = architecture.input_size if architecture.head == "fc" else architecture.smallest_input
    shape = (1, architecture.input_channels, side, side)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)
