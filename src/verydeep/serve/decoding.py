"""Photos decoded beside the model, in processes of their own: one that crashes or hangs costs one photo."""

import asyncio
import contextlib
import json
import math
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import verydeep
from verydeep.errors import ImageError
from verydeep.nouns import Preprocessing
from verydeep.serve.decoder import LENGTHS, start_of_frame
from verydeep.serve.guard import TOKEN, Refused
from verydeep.serve.limits import Limits

_PIECE = 1 << 18  # bytes
_HEAD_BYTES = 1 << 16  # of an answer
_PACKAGE = str(Path(verydeep.__file__).parent.parent)
_LONGEST_SIDE = 1 << 20  # pixels; no photo that is read is so long
_TRIES = 4  # to start another process
_START_SECONDS = 10.0  # for a process to load NumPy and Pillow, on a machine that is busy; no photo's own time


class Picture(NamedTuple):
    """A photo, decoded."""

    pixels: np.ndarray  # (h, w, 3) uint8, as `image.fit` makes it
    size: tuple[int, int]  # height and width of the photo itself, upright


class Decoders:
    """As many processes as `limits` say. They belong to the event loop in which `start` ran.

    program: what they run, as `decoder` describes it.
    """

    def __init__(self, limits: Limits, program: Sequence[str] = ("-m", "verydeep.serve.decoder")) -> None:
        self._limits = limits
        self._program = program
        self._free: asyncio.Queue[Process | None] = asyncio.Queue()  # places; None: one whose process is to be started
        self._all: set[Process] = set()
        self._starting: set[Process] = set()  # those of them that have not said yet that they are ready
        self._tasks: set[asyncio.Task[Picture]] = set()
        self._closed = asyncio.Event()

    async def start(self) -> None:
        """Starts the processes, and does not wait until they are ready. Raises OSError."""
        for _ in range(self._limits.decoders):
            self._free.put_nowait(await self._spawn())

    async def decode(
        self, data: bytes | bytearray | memoryview, name: str, preprocessing: Preprocessing, *, is_dense: bool = False
    ) -> Picture:
        """The photo, decoded, resized, and cropped unless dense. Raises ImageError; Refused where no process starts.

        A caller that is cancelled gives up its turn; once it has a process, that finishes the photo all the same.
        """
        place = await self._free.get()
        whole = self._limits.whole_pixels if is_dense else 0
        task = asyncio.create_task(self._decode(place, data, name, preprocessing, whole))
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def kill(self) -> None:
        """Ends the processes where nothing can be awaited any more."""
        for process in self._all:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def close(self) -> None:
        """Ends the processes, whatever they do, and then what waited for them; no other is started.

        A task that asyncio has to cancel while it starts a process may wait for that process for ever.
        """
        self._closed.set()
        await asyncio.gather(*(self._end(process) for process in list(self._all)))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _decode(
        self,
        place: Process | None,
        data: bytes | bytearray | memoryview,
        name: str,
        preprocessing: Preprocessing,
        whole: int,
    ) -> Picture:
        """In that place, which is free again afterwards, with a process or without."""
        tries = 0
        while (process := await self._ready(place)) is None and tries < _TRIES:
            place, tries = None, tries + 1
        if process is None:  # no photo's fault
            self._free.put_nowait(None)
            raise Refused(503, "no decoder could be started.", "Try again.", retry_after=1)
        try:
            answer = await asyncio.wait_for(
                _ask(process, data, name, preprocessing, whole), self._limits.decode_seconds
            )
        except Exception as error:  # whatever it was
            await self._end(process)
            self._free.put_nowait(None)
            what = "took too long to decode" if isinstance(error, asyncio.TimeoutError) else "broke its decoder"
            raise ImageError(f"{name} {what}.", "Save it anew as a JPEG or PNG.") from error
        self._free.put_nowait(process)
        if isinstance(answer, ImageError):
            raise answer
        return answer

    async def _ready(self, place: Process | None) -> Process | None:
        """Its process, a new one where it has none that lives; None where that does not get ready."""
        process = place if place is not None and place.returncode is None else None
        try:
            if place is not None and process is None:  # it was killed while it waited
                await self._end(place)
            process = process or await self._spawn()
            if process in self._starting:
                await asyncio.wait_for(_read(process, 0), _START_SECONDS)
                self._starting.discard(process)
        except Exception:  # whatever it was
            if process is not None:
                await self._end(process)
            return None
        return process

    def _finished(self, task: "asyncio.Task[Picture]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # where the caller has gone, nobody else asks for it

    async def _spawn(self) -> Process:
        """Raises OSError, also once all is closed. The process knows no token, and finds this very package first."""
        if self._closed.is_set():
            raise OSError("closed")
        kept = {name: value for name, value in os.environ.items() if name != TOKEN}
        path = os.pathsep.join(filter(None, [_PACKAGE, kept.get("PYTHONPATH", "")]))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *self._program, str(self._limits.decode_bytes), str(self._limits.decode_seconds)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            cwd=_PACKAGE,
            env={**kept, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is the server's to answer
        )
        self._all.add(process)
        self._starting.add(process)
        if self._closed.is_set():  # meanwhile
            await self._end(process)
        return process

    async def _end(self, process: Process) -> None:
        self._all.discard(process)
        self._starting.discard(process)
        try:  # killing one while it crashes would take its exit code from asyncio, which complains of that on stderr
            await asyncio.wait_for(process.wait(), 0.1)
        except asyncio.TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _ask(
    process: Process, data: bytes | bytearray | memoryview, name: str, preprocessing: Preprocessing, whole: int
) -> Picture | ImageError:
    """whole: the most pixels of a photo that is not cropped, or 0.

    Raises EOFError or OSError where the process has ended, and ValueError where it answers what it never should."""
    assert process.stdin is not None  # a pipe
    process.stdin.write(start_of_frame({**asdict(preprocessing), "name": name, "whole": whole}, len(data)))
    for start in range(0, len(data), _PIECE):  # what the pipe does not take at once is kept a second time
        process.stdin.write(memoryview(data)[start : start + _PIECE])
        await process.stdin.drain()
    crop = (preprocessing.crop, preprocessing.crop)
    found, pixels = await _read(process, 3 * (whole or math.prod(crop)))
    if "error" in found:
        return ImageError(found["error"], found["hint"])
    (height, width), shape = found["size"], tuple(found["shape"])
    if not all(type(side) is int and 0 < side <= _LONGEST_SIDE for side in (height, width, *shape)):
        raise ValueError("no size of a photo")
    if len(shape) != 2 or (min(shape) != preprocessing.resize if whole else shape != crop):
        raise ValueError("a picture of another size than was asked for")
    return Picture(np.frombuffer(pixels, np.uint8).reshape(*shape, 3), (height, width))


async def _read(process: Process, most: int) -> tuple[dict[str, Any], bytes]:
    """A frame with so much data at most: a photo may have made the process its own. Raises ValueError."""
    assert process.stdout is not None  # a pipe
    lengths = LENGTHS.unpack(await process.stdout.readexactly(LENGTHS.size))
    if lengths[0] > _HEAD_BYTES or lengths[1] > most:
        raise ValueError("a frame of no answer")
    head, data = [await process.stdout.readexactly(length) for length in lengths]
    return json.loads(head), data
