"""Arrays kept in a file that the next start maps into memory: what can be made again, and takes long to make.

file     magic, length of the index, its checksum | index | arrays, each at a multiple of 64 bytes
index    JSON: the key, and for each array its type, shape and place

The index and the file's length are checked, the arrays are not: to sum hundreds of megabytes would take longer than
to make them. The file is flushed to the disk before it gets its name, so a power cut leaves none or all of it.
"""

import contextlib
import hashlib
import json
import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from verydeep.errors import StorageError
from verydeep.files import hold, make_room, replacing

LINE = 64  # bytes, of the processor's caches

_MAGIC = b"vdarrays"
_START = struct.Struct("<8sQ16s")


def write_arrays(path: Path, key: str, arrays: Mapping[str, np.ndarray], limit_bytes: int) -> None:
    """Writes the file as a whole. key: of all that the arrays depend on. Raises StorageError.

    limit_bytes: of all files of this suffix in the folder; those not used for longest are deleted for this one.
    """
    entries: dict[str, Any] = {}
    place = 0
    for name, array in arrays.items():
        entries[name] = {"dtype": array.dtype.str, "shape": array.shape, "place": place}
        place += -(-array.nbytes // LINE) * LINE
    index = json.dumps({"key": key, "bytes": place, "arrays": entries}).encode()
    index += b" " * (-(_START.size + len(index)) % LINE)
    size = _START.size + len(index) + place
    if size > limit_bytes:
        raise StorageError(f"{path} would have {size:,} bytes; expected at most {limit_bytes:,}.")
    make_room(path, size, limit_bytes)
    with (
        replacing(path) as temporary,
        open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file,
    ):
        hold(file, is_shared=False)  # `make_room` of another process leaves it alone
        file.write(_START.pack(_MAGIC, len(index), _digest(index)) + index)
        for array in arrays.values():
            file.write(array.data)
            file.write(b"\0" * (-array.nbytes % LINE))


def read_arrays(path: Path, key: str) -> dict[str, np.ndarray] | None:
    """What `write_arrays` wrote, read-only, each at a whole line; None where there is nothing of that key, or not all.

    As long as one of the arrays is there, `make_room` leaves the file alone.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, struct.error):  # ValueError: empty, or no JSON
        with path.open("rb") as file:
            hold(file, is_shared=True)
            data = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        magic, length, digest = _START.unpack(data[: _START.size].tobytes())
        index = data[_START.size : _START.size + length].tobytes()
        if magic != _MAGIC or digest != _digest(index):
            return None
        found: Mapping[str, Any] = json.loads(index)
        start = _START.size + length
        if found["key"] != key or len(data) != start + found["bytes"]:
            return None
        with contextlib.suppress(OSError):  # a folder that may only be read
            os.utime(path)  # it was used now
        return {name: _array(data[start + entry["place"] :], entry) for name, entry in found["arrays"].items()}
    return None


def aligned_zeros(count: int) -> np.ndarray:
    """count bytes that start at a whole line, as those of a mapped file do."""
    space = np.zeros(count + LINE, np.uint8)
    start = -space.ctypes.data % LINE
    return space[start : start + count]


def _array(data: np.ndarray, entry: Mapping[str, Any]) -> np.ndarray:
    dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
    array: np.ndarray = data[: dtype.itemsize * int(np.prod(shape))].view(dtype).reshape(shape)
    return array


def _digest(index: bytes) -> bytes:
    return hashlib.blake2b(index, digest_size=16).digest()
