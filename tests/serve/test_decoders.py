"""Decoders in processes: bytes that crash, hang or hog one cost their own photo, and nobody else's."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import make_photo

from verydeep.errors import ImageError
from verydeep.image import decode
from verydeep.image.preprocess import fit
from verydeep.nouns import Preprocessing
from verydeep.serve.decoding import Decoders
from verydeep.serve.limits import Limits

PREPROCESSING = Preprocessing(resize=36, crop=32)
LIMITS = Limits(decoders=2, decode_seconds=2.0, decode_bytes=1 << 30)
FAULTY = str(Path(__file__).parent / "faulty_decoder.py")


def with_decoders(use: Any, *, program: tuple[str, ...] = (FAULTY,)) -> Any:
    async def run() -> Any:
        decoders = Decoders(LIMITS, program)
        await decoders.start()
        try:
            return await use(decoders)
        finally:
            await decoders.close()

    return asyncio.run(run())


def of(decoders: Decoders, data: bytes) -> Coroutine[Any, Any, np.ndarray]:
    return decoders.decode(data, "photo 1", PREPROCESSING)


def test_a_photo_becomes_what_the_program_makes_of_it():
    photos = [make_photo(number) for number in range(10)]

    async def use(decoders: Decoders) -> list[np.ndarray]:
        return await asyncio.gather(*(of(decoders, photo) for photo in photos))

    for photo, got in zip(photos, with_decoders(use, program=("-m", "verydeep.serve.decoder")), strict=True):
        assert np.array_equal(got, fit(decode(photo, ""), PREPROCESSING))


@pytest.mark.parametrize(
    ("data", "told"),
    [(b"crash", "broke its decoder"), (b"hang", "took too long"), (b"hog", "more memory"), (b"none", "is not a")],
)
def test_bytes_that_break_a_decoder_cost_their_own_photo(data, told):
    """Three times as many as there are processes; between them photos, which are all decoded."""
    photo = make_photo(1)

    async def use(decoders: Decoders) -> list[Any]:
        wanted = [data if n % 2 else photo for n in range(12)]
        return await asyncio.gather(*(of(decoders, one) for one in wanted), return_exceptions=True)

    found = with_decoders(use)
    for got in found[::2]:
        assert np.array_equal(got, fit(decode(photo, ""), PREPROCESSING))
    for got in found[1::2]:
        assert isinstance(got, ImageError)
        assert told in got.message


def test_a_process_that_was_killed_while_it_waited_costs_nothing():
    async def use(decoders: Decoders) -> np.ndarray:
        await of(decoders, make_photo(1))
        for process in list(decoders._all):
            os.kill(process.pid, signal.SIGKILL)
        await asyncio.sleep(0.3)
        return await of(decoders, make_photo(1))

    assert with_decoders(use).shape == (32, 32, 3)


def test_a_caller_that_has_gone_leaves_its_process_for_the_next():
    async def use(decoders: Decoders) -> np.ndarray:
        for _ in range(6):
            waiting = asyncio.ensure_future(of(decoders, b"slow"))
            await asyncio.sleep(0.05)
            waiting.cancel()
        return await of(decoders, make_photo(1))

    assert with_decoders(use).shape == (32, 32, 3)
