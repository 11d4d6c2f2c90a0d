"""The queue before the engine."""

import asyncio
import threading

import numpy as np
import pytest

from verydeep.errors import VerydeepError
from verydeep.serve.batching import Batcher, Overloaded


def image(value: float, side: int = 4) -> np.ndarray:
    return np.full((3, side, side), value, np.float32)


def test_images_of_two_shapes_are_not_mixed_and_each_gets_its_own_row():
    batches: list[tuple[int, ...]] = []

    def run(images: np.ndarray) -> np.ndarray:
        batches.append(images.shape)
        return images.mean(axis=(1, 2, 3))[:, None]

    async def use() -> list[np.ndarray]:
        batcher = Batcher(run, largest=4, capacity=64)
        wanted = [image(n, 4 + n % 2) for n in range(20)]
        rows = await asyncio.gather(*(batcher.answer(one) for one in wanted))
        await batcher.close()
        return rows

    assert [row[0] for row in asyncio.run(use())] == list(range(20))
    assert all(shape[0] <= 4 for shape in batches)
    assert sum(shape[0] for shape in batches) == 20


def test_there_is_room_for_so_many_and_for_one_request_of_any_size_when_it_is_empty():
    async def use() -> None:
        batcher = Batcher(lambda images: images, largest=2, capacity=4)
        with batcher.room(3):
            with batcher.room(1):
                pass
            with pytest.raises(Overloaded), batcher.room(2):
                pass
            assert batcher.inside == 3
        with batcher.room(10):
            assert batcher.inside == 10
        assert batcher.inside == 0

    asyncio.run(use())


def test_an_engine_that_fails_fails_that_batch_and_serves_the_next():
    """Of short memory a request is told to come again; all else is the server's own fault."""

    def run(images: np.ndarray) -> np.ndarray:
        if images.max() == 7:
            raise MemoryError
        if images.max() == 8:
            raise RuntimeError("eight")
        return images[:, 0, 0, :1]

    async def use() -> None:
        batcher = Batcher(run, largest=1, capacity=4)
        with pytest.raises(Overloaded):
            await batcher.answer(image(7))
        with pytest.raises(VerydeepError, match="the engine failed: RuntimeError"):
            await batcher.answer(image(8))
        assert (await batcher.answer(image(1)))[0] == 1
        await batcher.close()

    asyncio.run(use())


def test_an_image_that_nobody_waits_for_is_not_computed():
    seen: list[float] = []
    may_go_on = threading.Event()

    def run(images: np.ndarray) -> np.ndarray:
        may_go_on.wait(10)
        seen.extend(images[:, 0, 0, 0])
        return images[:, 0, 0, :1]

    async def use() -> None:
        batcher = Batcher(run, largest=1, capacity=8)
        tasks = [asyncio.create_task(batcher.answer(image(n))) for n in range(4)]
        await asyncio.sleep(0.05)
        tasks[1].cancel()
        tasks[2].cancel()
        may_go_on.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.close()

    asyncio.run(use())
    assert seen == [0, 3]
