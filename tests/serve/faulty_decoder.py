"""The decoder's program, `faulty_decoder.py [FAULT] BYTES SECONDS`, which some bytes break as a library's hole would.

FAULT: what is broken in the program itself, so that a test can show that it would notice: "no time limit"; "one time
limit" is for all photos together; "open doors" lets it open what it likes; "slow start" takes longer than a photo may.
"""

import os
import signal
import socket
import sys
import time
from typing import Any

import numpy as np

from verydeep.errors import ImageError
from verydeep.image import decode as decode_photo
from verydeep.serve import decoder


def decode(data: bytes, name: str) -> Any:
    if data == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if data == b"hang":
        time.sleep(3600)
    if data == b"loop":
        while True:
            pass
    if data == b"hog":
        np.ones(1 << 40, np.uint8)
    if data == b"slow":
        time.sleep(0.2)
    if data == b"work":
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
    if data == b"open":
        raise ImageError(f"{name} opens {opened()}.")
    return decode_photo(data, name)


def opened() -> list[str]:
    """What the process can open, also after it has closed something."""
    ways = {"a file": lambda: os.open(__file__, os.O_RDONLY), "a connection": socket.socket, "a pipe": os.pipe}
    found = []
    os.close(2)
    for what, way in ways.items():
        try:
            way()
        except OSError:
            continue
        found.append(what)
    return found


def plant(fault: str) -> None:
    """Breaks the program."""
    if fault == "no time limit":
        decoder._limit_time = lambda seconds: None
    elif fault == "one time limit":
        limit, photos = decoder._limit_time, []

        def limit_once(seconds: float) -> None:
            photos.append(seconds)
            if len(photos) == 1:
                limit(seconds)

        decoder._limit_time = limit_once
    elif fault == "open doors":
        decoder._open_nothing = lambda: None
    elif fault == "slow start":
        time.sleep(1.2)


decoder.decode = decode
plant(sys.argv[1] if len(sys.argv) == 4 else "")
decoder.main(int(sys.argv[-2]), float(sys.argv[-1]), sys.stdin.buffer, sys.stdout.buffer)
