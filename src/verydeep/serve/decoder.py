"""The process that decodes photos for the server: frames in on stdin, frames out on stdout, until stdin ends.

It has no more memory than it is given, and nothing that it could lose: bytes that crash a decoder cost their own photo.

frame      length of the head, length of the data (two 8-byte numbers), the head as JSON, the data
question   head: the fields of a Preprocessing, "name"; data: the bytes of a photo
answer     head: "shape", data: the picture as `fit` makes it, uint8; or head: "error" and "hint"
"""

import contextlib
import json
import struct
import sys
from typing import Any, BinaryIO

from verydeep.errors import ImageError
from verydeep.image import decode
from verydeep.image.preprocess import fit
from verydeep.nouns import Preprocessing

LENGTHS = struct.Struct("<QQ")


def start_of_frame(head: dict[str, Any], length: int = 0) -> bytes:
    """A frame but for its data. length: of these."""
    text = json.dumps(head).encode()
    return LENGTHS.pack(len(text), length) + text


def main(memory_bytes: int, questions: BinaryIO, answers: BinaryIO) -> None:
    """Answers until the questions end."""
    _limit_memory(memory_bytes)
    while len(lengths := questions.read(LENGTHS.size)) == LENGTHS.size:
        head, data = (questions.read(length) for length in LENGTHS.unpack(lengths))
        answers.write(_answer(json.loads(head), data))
        answers.flush()


def _answer(head: dict[str, Any], data: bytes) -> bytes:
    name = head.pop("name")
    try:
        picture = fit(decode(data, name), Preprocessing(**head))
    except ImageError as error:
        return start_of_frame({"error": error.message, "hint": error.hint})
    except MemoryError:
        return start_of_frame(
            {"error": f"{name} takes more memory than a photo may.", "hint": "Make the picture smaller."}
        )
    return start_of_frame({"shape": picture.shape}, picture.nbytes) + picture.tobytes()


def _limit_memory(memory_bytes: int) -> None:
    with contextlib.suppress(ImportError):  # Windows has no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a photo's bytes do not stay in a core file


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
