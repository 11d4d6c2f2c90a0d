"""Photos decoded beside the model, in processes of their own: one that crashes or hangs costs one photo."""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

import verydeep
from verydeep.errors import ImageError
from verydeep.nouns import Preprocessing
from verydeep.serve.decoder import LENGTHS, pack
from verydeep.serve.limits import Limits

_PACKAGE = str(Path(verydeep.__file__).parent.parent)


class Decoders:
    """As many processes as `limits` say. They belong to the event loop in which `start` ran.

    program: what they run, as `decoder` describes it.
    """

    def __init__(self, limits: Limits, program: Sequence[str] = ("-m", "verydeep.serve.decoder")) -> None:
        self._limits = limits
        self._program = program
        self._idle: asyncio.Queue[Process] = asyncio.Queue()
        self._all: set[Process] = set()
        self._tasks: set[asyncio.Task[np.ndarray]] = set()
        self._is_closing = False

    async def start(self) -> None:
        """Returns when all have started; they are not waited for."""
        for _ in range(self._limits.decoders):
            await self._add()

    async def decode(self, data: bytes, name: str, preprocessing: Preprocessing) -> np.ndarray:
        """The photo as `image.fit` makes it, (h, w, 3) uint8. Raises ImageError.

        A caller that is cancelled gives up its turn; once it has a process, that finishes the photo all the same.
        """
        process = await self._alive()
        task = asyncio.create_task(self._decode(process, data, name, preprocessing))
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def kill(self) -> None:
        """Ends the processes where nothing can be awaited any more."""
        for process in self._all:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def close(self) -> None:
        """Ends the processes, whatever they do."""
        self._is_closing = True
        for process in list(self._all):
            await self._end(process)

    async def _add(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *self._program, str(self._limits.decode_bytes)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env={**os.environ, "PYTHONPATH": _PACKAGE, "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is the server's to answer
        )
        self._all.add(process)
        self._idle.put_nowait(process)

    async def _decode(self, process: Process, data: bytes, name: str, preprocessing: Preprocessing) -> np.ndarray:
        try:
            answer = await asyncio.wait_for(_ask(process, data, name, preprocessing), self._limits.decode_seconds)
        except (asyncio.TimeoutError, OSError, EOFError) as error:
            await self._replace(process)
            what = "took too long to decode" if isinstance(error, asyncio.TimeoutError) else "broke its decoder"
            raise ImageError(f"{name} {what}.", "Save it anew as a JPEG or PNG.") from error
        self._idle.put_nowait(process)
        if isinstance(answer, ImageError):
            raise answer
        return answer

    def _finished(self, task: "asyncio.Task[np.ndarray]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # where the caller has gone, nobody else asks for it

    async def _alive(self) -> Process:
        """The next process that is free; one that was killed while it waited is replaced."""
        while (process := await self._idle.get()).returncode is not None:
            await self._replace(process)
        return process

    async def _replace(self, process: Process) -> None:
        await self._end(process)
        if not self._is_closing:
            await self._add()

    async def _end(self, process: Process) -> None:
        self._all.discard(process)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _ask(process: Process, data: bytes, name: str, preprocessing: Preprocessing) -> np.ndarray | ImageError:
    """Raises EOFError or OSError where the process has ended."""
    assert process.stdin is not None  # both are pipes
    assert process.stdout is not None
    process.stdin.write(pack({**asdict(preprocessing), "name": name}, data))
    await process.stdin.drain()
    lengths = LENGTHS.unpack(await process.stdout.readexactly(LENGTHS.size))
    head, pixels = [await process.stdout.readexactly(length) for length in lengths]
    found = json.loads(head)
    if "error" in found:
        return ImageError(found["error"], found["hint"])
    picture: np.ndarray = np.frombuffer(pixels, np.uint8).reshape(found["shape"])
    return picture
