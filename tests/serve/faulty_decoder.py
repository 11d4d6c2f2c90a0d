"""The decoder's program, which some bytes break as a hole in a library would."""

import os
import signal
import sys
import time
from typing import Any

import numpy as np

from verydeep.image import decode as decode_photo
from verydeep.serve import decoder


def decode(data: bytes, name: str) -> Any:
    if data == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if data == b"hang":
        time.sleep(3600)
    if data == b"hog":
        np.ones(1 << 40, np.uint8)
    if data == b"slow":
        time.sleep(0.2)
    return decode_photo(data, name)


decoder.decode = decode
decoder.main(int(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
