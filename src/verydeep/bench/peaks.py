"""What this machine can do at most, measured: the roofs of the roofline."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from verydeep.bench.contestants import has_native

_TRIES = 12  # the best counts: a peak is what was reached once
_STEPS = 2_000_000  # of a product in registers: about a hundredth of a second
_MEMORY_FLOATS = 96 << 20  # 400 MB: far more than caches hold
_MATRIX = 1536  # its side; enough for the full speed of a matrix product


@dataclass(frozen=True)
class Peaks:
    """Of so many threads together."""

    gflops: dict[str, float]  # of each precision of the native engine, 10^9 operations a second
    bandwidth_gbs: float  # of reading memory, 10^9 byte/s
    how: str  # they were measured

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def measure_peaks(threads: int) -> Peaks:
    """Products in registers and reads, by the native engine's code; without it NumPy's matrix product and sum."""
    memory = np.ones(_MEMORY_FLOATS, np.float32)
    if not has_native():
        return _with_numpy(memory, threads)
    from verydeep.runtime import _native  # type: ignore[attr-defined]  # built from native/
    from verydeep.runtime.native_engine import find_instruction_set
    from verydeep.runtime.packing import NUMBERS

    best_set = find_instruction_set()

    def products(number: str) -> float:
        return _best(lambda: _native.product_rate(best_set, number, threads, _STEPS))

    gflops = {precision: products(number) for precision, number in NUMBERS.items()}
    bandwidth = _best(lambda: _native.reading_rate(best_set, memory, threads))
    return Peaks(gflops, bandwidth, f"products in registers and reads with {best_set}")


def _with_numpy(memory: np.ndarray, threads: int) -> Peaks:
    matrix = np.ones((_MATRIX, _MATRIX), np.float32)

    def rate(work: Callable[[], object], amount: float) -> float:
        start = time.perf_counter()
        work()
        return amount / (time.perf_counter() - start)

    with threadpool_limits(threads):
        flops = _best(lambda: rate(lambda: matrix @ matrix, 2.0 * _MATRIX**3))
    bandwidth = _best(lambda: rate(memory.sum, memory.nbytes))
    return Peaks({"float32": flops}, bandwidth, "NumPy's matrix product, and its sum on one thread")


def _best(measure: Callable[[], float]) -> float:
    """Of some tries, in 10^9."""
    return max(measure() for _ in range(_TRIES)) / 1e9
