"""The images of many requests, one engine: what arrives while it computes becomes its next batch.

An idle engine takes an image at once, a busy one as many as have come, up to the largest batch. So the batch and the
time that an image waits for it follow the load by themselves: there is no window to tune.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from verydeep.errors import VerydeepError

_MEMORY = 0.8  # of the time an image has taken, at each new batch


class Overloaded(Exception):  # noqa: N818, the request is fine, and may be sent again
    """There is no room for so many images now. seconds: after which there may be."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"the queue is full; try again in {seconds} s.")
        self.seconds = seconds


@dataclass(frozen=True)
class _Waiting:
    image: np.ndarray  # (channels, h, w) float32
    answer: "asyncio.Future[np.ndarray]"


class Batcher:
    """Runs images through an engine, several at once. All of it belongs to one event loop; the engine has a thread.

    run: (n, channels, h, w) float32 -> n rows. largest: images of a batch. capacity: images in the house.
    on_batch: told the size and the seconds of each batch.
    """

    def __init__(
        self,
        run: Callable[[np.ndarray], np.ndarray],
        largest: int,
        capacity: int,
        on_batch: Callable[[int, float], None] = lambda images, seconds: None,
    ) -> None:
        self._run = run
        self._largest = largest
        self._capacity = capacity
        self._on_batch = on_batch
        self._waiting: deque[_Waiting] = deque()
        self._has_work = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "engine")
        self._worker: asyncio.Task[None] | None = None
        self._seconds_per_image = 0.0
        self.inside = 0  # images that were let in and are not answered

    @contextmanager
    def room(self, images: int) -> Iterator[None]:
        """For the whole stay of that many images, their decoding included. Raises Overloaded at once, never waits."""
        self.check(images)
        self.inside += images
        try:
            yield
        finally:
            self.inside -= images

    def check(self, images: int) -> None:
        """Raises Overloaded where there is no room for so many."""
        if self.inside and self.inside + images > self._capacity:
            raise Overloaded(max(1, math.ceil(self.inside * self._seconds_per_image)))

    async def answer(self, image: np.ndarray) -> np.ndarray:
        """The row of one image; a caller that is cancelled takes it out of the queue. Raises what the engine raised."""
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        waiting = _Waiting(image, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._has_work.set()
        return await waiting.answer

    async def close(self) -> None:
        """Ends the thread; images that still wait are given up."""
        if self._worker is not None:
            self._worker.cancel()
        for waiting in self._waiting:
            waiting.answer.cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._has_work.wait()
            batch = self._next_batch()
            if not batch:
                self._has_work.clear()
                continue
            start = time.perf_counter()
            try:
                rows = await loop.run_in_executor(self._thread, self._run, np.stack([one.image for one in batch]))
            except Exception as error:  # whatever it was, these requests are told, and the next ones are served
                told = error if isinstance(error, VerydeepError) else _engine_error(error)
                for one in batch:
                    if not one.answer.done():
                        one.answer.set_exception(told)
                continue
            self._account(len(batch), time.perf_counter() - start)
            for one, row in zip(batch, rows, strict=True):
                if not one.answer.done():  # nobody waits for it any more
                    one.answer.set_result(row)

    def _next_batch(self) -> list[_Waiting]:
        """The images that have waited longest, those of one shape; the others keep their places."""
        batch: list[_Waiting] = []
        left: deque[_Waiting] = deque()
        while self._waiting and len(batch) < self._largest:
            one = self._waiting.popleft()
            if one.answer.done():  # its request was given up
                continue
            if batch and one.image.shape != batch[0].image.shape:
                left.append(one)
            else:
                batch.append(one)
        self._waiting.extendleft(reversed(left))
        return batch

    def _account(self, images: int, seconds: float) -> None:
        self._on_batch(images, seconds)
        before = self._seconds_per_image or seconds / images
        self._seconds_per_image = _MEMORY * before + (1 - _MEMORY) * seconds / images


def _engine_error(error: Exception) -> Exception:
    """What a request is told of an engine that fails: of short memory that it may try again."""
    if isinstance(error, MemoryError):
        return Overloaded(1)
    told = VerydeepError(f"the engine failed: {type(error).__name__}.", "`verydeep doctor` says what works here.")
    told.__cause__ = error
    return told
