"""The same work for many photos: in threads, answers in order, memory flat."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from verydeep.machine import cores

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


def in_threads(
    items: Iterable[_Item],
    work: Callable[[_Item], _Answer],
    on_progress: Callable[[int], None] = lambda done: None,
    threads: int | None = None,
    ahead: int = 64,
) -> Iterator[_Answer]:
    """What `work` answers for each item, in order. Decoding and NumPy let other threads run meanwhile.

    on_progress: is told how many are done. threads: by default one a core, at most 8. ahead: answers that
    are ready and wait, at most.
    """
    pool = ThreadPoolExecutor(threads or min(8, cores()), thread_name_prefix="photos")
    waiting: deque[Future[_Answer]] = deque()
    remaining = iter(items)
    try:
        for done in itertools.count(1):
            for item in itertools.islice(remaining, ahead - len(waiting)):
                waiting.append(pool.submit(work, item))
            if not waiting:
                return
            answer = waiting.popleft().result()
            on_progress(done)
            yield answer
    finally:  # also where the consumer stops half-way
        pool.shutdown(cancel_futures=True)
