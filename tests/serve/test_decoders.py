"""Decoders in processes: bytes that crash, hang or hog one cost their own photo, and nobody else's."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import PATIENCE, make_photo

from verydeep.errors import ImageError
from verydeep.image import decode
from verydeep.image.preprocess import fit
from verydeep.nouns import FITS, Preprocessing
from verydeep.serve.decoder import start_of_frame
from verydeep.serve.decoding import Decoders, Picture
from verydeep.serve.limits import Limits

PREPROCESSING = Preprocessing(resize=36, crop=32)
LIMITS = Limits(decoders=2, decode_seconds=1.0, decode_bytes=1 << 30)
FAULTY = str(Path(__file__).parent / "faulty_decoder.py")
TOLD = {b"crash": "broke its decoder", b"hang": "took too long", b"hog": "more memory", b"none": "is not a picture"}


def with_decoders(use: Any, *, program: tuple[str, ...] = (FAULTY,), limits: Limits = LIMITS, fault: str = "") -> Any:
    async def run() -> Any:
        decoders = Decoders(limits, program)
        await decoders.start()
        plant(fault, decoders)
        try:
            return await use(decoders)
        finally:
            await decoders.close()

    return asyncio.run(run())


def plant(fault: str, decoders: Decoders) -> None:
    """Breaks the pool."""
    if fault == "no restart":
        first = next(iter(decoders._all))

        async def spawn() -> Any:
            return first

        decoders._spawn = spawn  # type: ignore[method-assign]
    elif fault == "neighbour":
        original, broken = decoders._decode, []

        async def decode_for_another(*arguments: Any) -> Picture:
            try:
                got = await original(*arguments)
            except ImageError as error:
                broken.append(error)
                return Picture(np.zeros((32, 32, 3), np.uint8), (32, 32))
            if broken:
                raise broken.pop()
            return got

        decoders._decode = decode_for_another  # type: ignore[method-assign]


async def of(decoders: Decoders, data: bytes, name: str = "photo 1") -> np.ndarray:
    return (await decoders.decode(data, name, PREPROCESSING)).pixels


def test_a_photo_becomes_what_the_program_makes_of_it():
    asked = [(make_photo(number), replace(PREPROCESSING, fit=FITS[number % 3])) for number in range(12)]

    async def use(decoders: Decoders) -> list[Picture]:
        return await asyncio.gather(*(decoders.decode(photo, "a photo", how) for photo, how in asked))

    for (photo, how), got in zip(asked, with_decoders(use, program=("-m", "verydeep.serve.decoder")), strict=True):
        assert np.array_equal(got.pixels, fit(decode(photo, ""), how))


def outcomes(photos: list[bytes], wanted: dict[int, bytes], number: int, fault: str = "") -> tuple[Counter[str], float]:
    """What became of so many photos, some of them replaced by what is wanted in their place; and the seconds."""
    expected = [fit(decode(photo, ""), PREPROCESSING) for photo in photos]

    async def one(decoders: Decoders, n: int) -> str:
        data = wanted.get(n, photos[n % len(photos)])
        try:
            got = await of(decoders, data, f"photo {n}")
        except ImageError as error:
            is_told = error.message.startswith(f"photo {n} ") and TOLD.get(data, "a lost photo") in error.message
            return data.decode() if is_told else "wrong"
        return "same" if n not in wanted and np.array_equal(got, expected[n % len(photos)]) else "wrong"

    async def use(decoders: Decoders) -> tuple[list[str], float]:
        await asyncio.gather(*(one(decoders, n) for n in range(4)))
        start = time.monotonic()
        return await asyncio.gather(*(one(decoders, n) for n in range(number))), time.monotonic() - start

    found, seconds = with_decoders(use, fault=fault)
    return Counter(found), seconds


@pytest.mark.soak(
    "D4",
    goal="1,000 photos of 100,000 crash, hang or hog their decoder: those are named, the others are byte-identical",
    here="600 of 60,000 small photos, a hang ended after 1 s; and 60,000 without a fault",
)
@pytest.mark.parametrize("fault", ["", "no restart", "neighbour"])
def test_bytes_that_break_a_decoder_cost_their_own_photo(amount, measured, fault):
    photos, number, every = [make_photo(number) for number in range(40)], amount(120, 60_000), amount(15, 100)
    kinds = [b"crash", b"none"] if fault else list(TOLD)
    wanted = {n: kinds[n // every % len(kinds)] for n in range(every // 2, number, every)}
    calm, calm_seconds = outcomes(photos, {}, number)
    assert calm == {"same": number}
    found, seconds = outcomes(photos, wanted, number, fault)
    expected = Counter(kind.decode() for kind in wanted.values()) + Counter(same=number - len(wanted))
    hanging_seconds = expected["hang"] * LIMITS.decode_seconds / LIMITS.decoders
    measured(photos=number, **found, seconds=round(seconds, 1), without_seconds=round(calm_seconds, 1))
    measured(of_hanging_seconds=round(hanging_seconds, 1))
    assert (found == expected) == (not fault)


def test_a_process_that_was_killed_while_it_waited_costs_nothing():
    async def use(decoders: Decoders) -> np.ndarray:
        await of(decoders, make_photo(1))
        for process in list(decoders._all):
            os.kill(process.pid, signal.SIGKILL)
        await asyncio.sleep(0.3)
        return await of(decoders, make_photo(1))

    assert with_decoders(use).shape == (32, 32, 3)


def test_the_start_of_a_process_is_not_a_photos_time():
    async def use(decoders: Decoders) -> np.ndarray:
        return await of(decoders, make_photo(1))

    assert with_decoders(use, program=(FAULTY, "slow start")).shape == (32, 32, 3)


def test_a_caller_that_has_gone_leaves_its_process_for_the_next():
    async def use(decoders: Decoders) -> np.ndarray:
        for _ in range(6):
            waiting = asyncio.ensure_future(of(decoders, b"slow"))
            await asyncio.sleep(0.05)
            waiting.cancel()
        return await of(decoders, make_photo(1))

    assert with_decoders(use).shape == (32, 32, 3)


@pytest.mark.soak(
    "D4",
    goal="a decoder has the time of one photo, also where nobody is left to end it; an honest one lives on",
    here="7 photos of 0.2 s and 0.25 s for each, then an endless one",
)
@pytest.mark.skipif(sys.platform == "win32", reason="it has no such limit")
@pytest.mark.parametrize("fault", ["", "no time limit", "one time limit"])
def test_a_decoder_that_computes_without_end_ends_itself(measured, fault):
    """Nobody waits for its answer, and its questions do not end."""
    photos = [b"loop"] if fault == "no time limit" else [b"work"] * 7 + [b"loop"]
    command = [sys.executable, FAULTY, *([fault] if fault else []), str(LIMITS.decode_bytes), "0.25"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for photo in photos:
            process.stdin.write(start_of_frame({**asdict(PREPROCESSING), "name": "photo 1"}, len(photo)) + photo)
        process.stdin.flush()
        try:
            code = process.wait(2 if fault else PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            code = 0
        answers = process.stdout.read().count(b"photo 1 is not a picture")
    measured(answers=answers, signal=-code)
    assert ((code, answers) == (-signal.SIGXCPU, 7)) == (not fault)


@pytest.mark.soak(
    "D4",
    goal="a decoder opens no file and no connection",
    here="a file, a socket and a pipe, also in the place of one that was closed",
)
@pytest.mark.skipif(sys.platform == "win32", reason="it has no such limit")
@pytest.mark.parametrize("fault", ["", "open doors"])
def test_a_decoder_opens_nothing(fault):
    async def use(decoders: Decoders) -> None:
        await of(decoders, b"open")

    with pytest.raises(ImageError) as caught:
        with_decoders(use, program=(FAULTY, fault) if fault else (FAULTY,))
    opened = "['a file', 'a connection', 'a pipe']" if fault else "[]"
    assert caught.value.message == f"photo 1 opens {opened}."
