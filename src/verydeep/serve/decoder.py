"""The process that decodes photos for the server: frames in on stdin, frames out on stdout, until stdin ends.

It has no more memory and time than it is given, can open neither file nor connection, and has nothing that it could
lose: bytes that crash a decoder cost their own photo. (Windows has none of these limits, macOS none of memory.)

frame      length of the head, length of the data (two 8-byte numbers), the head as JSON, the data
question   head: the fields of a Preprocessing, "name", and "whole", the most pixels of a photo, where that is not
           cropped; data: the bytes of a photo
first      an empty frame, when it is ready for questions
answer     head: "size", the photo's height and width, "shape", the picture's; data: the picture as `fit` makes it,
           uint8; or head: "error" and "hint"
"""

import contextlib
import importlib
import json
import math
import struct
import sys
import time
from typing import Any, BinaryIO

from verydeep.errors import ImageError, printable
from verydeep.image import PHOTO_FORMATS, decode
from verydeep.image.preprocess import fit
from verydeep.image.readers import READERS
from verydeep.nouns import Preprocessing

LENGTHS = struct.Struct("<QQ")


def start_of_frame(head: dict[str, Any], length: int = 0) -> bytes:
    """A frame but for its data. length: of these."""
    text = json.dumps(head).encode()
    return LENGTHS.pack(len(text), length) + text


def main(memory_bytes: int, seconds: float, questions: BinaryIO, answers: BinaryIO) -> None:
    """Answers until the questions end. seconds: of computing, for each photo."""
    _limit_memory(memory_bytes)
    _load_readers()
    _open_nothing()
    answers.write(start_of_frame({}))
    answers.flush()
    while len(lengths := questions.read(LENGTHS.size)) == LENGTHS.size:
        head, data = (questions.read(length) for length in LENGTHS.unpack(lengths))
        _limit_time(seconds)
        answers.write(_answer(json.loads(head), data))
        answers.flush()


def _answer(head: dict[str, Any], data: bytes) -> bytes:
    name, whole = head.pop("name"), head.pop("whole", 0)
    try:
        photo = decode(data, name)
        picture = fit(photo, Preprocessing(**head), is_dense=whole > 0)
        if 0 < whole < picture.shape[0] * picture.shape[1]:
            sides = f"{picture.shape[1]} x {picture.shape[0]}"
            raise ImageError(f"{name} has {sides} pixels for the network; expected {whole:,} at most.", "Cut it up.")
    except ImageError as error:
        return start_of_frame({"error": error.message, "hint": error.hint})
    except MemoryError:
        return start_of_frame(
            {"error": f"{name} takes more memory than a photo may.", "hint": "Make the picture smaller."}
        )
    sizes = {"size": photo.shape[:2], "shape": picture.shape[:2]}
    return start_of_frame(sizes, picture.nbytes) + picture.tobytes()


def _limit_memory(memory_bytes: int) -> None:
    _limit("RLIMIT_AS", memory_bytes)
    _limit("RLIMIT_CORE", 0)  # a photo's bytes do not stay in a core file


def _load_readers() -> None:
    """Everything that is loaded when it is first needed."""
    for name in PHOTO_FORMATS:
        importlib.import_module(READERS[name].partition(":")[0])
    printable("\0")


def _open_nothing() -> None:
    """What is open stays open, but no file and no connection joins it: each would have a number above the limit."""
    _limit("RLIMIT_NOFILE", 0)


def _limit_time(seconds: float) -> None:
    """The server ends a process that takes too long. Where the server itself was killed, this does."""
    _limit("RLIMIT_CPU", math.ceil(time.process_time() + seconds), can_rise=True)


def _limit(name: str, value: int, *, can_rise: bool = False) -> None:
    """Of the process, where the system has such a limit; it may have a lower one already."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        kind = getattr(resource, name)
        _, most = resource.getrlimit(kind)
        limit = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (limit, most if can_rise else limit))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.stdin.buffer, sys.stdout.buffer)
