"""All contestants alive at the same time, taking turns in short chunks: a slow minute of the machine hits all of them.

A chunk during which other programs used the processor is not counted, and repeated, as long as there is patience.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from verydeep.bench.processes import LostError

MOST_OTHERS = 0.06  # cores that others may use during a chunk: the clock of /proc/stat has steps of 10 ms
CHUNK_S = 0.6  # seconds that a chunk takes, at least a run
MOST_RUNS = 200  # of a chunk
QUIET_S = 3.0  # seconds that a chunk waits, at most, for a quiet processor

Sample = dict[str, float]
"""The seconds of a run: {"total": 0.05}, or those of each of its parts."""


class Player(Protocol):
    """Who takes turns."""

    @property
    def name(self) -> str: ...

    @property
    def pid(self) -> int: ...

    def turn(self, count: int, what: str) -> list[Sample]:
        """So many runs. Raises LostError."""


class Watch(Protocol):
    """What `processor.Processor` does."""

    def watch(self, own: Iterable[int]) -> Callable[[], float]: ...

    def wait_until_quiet(self, limit: float, patience_s: float) -> bool: ...


@dataclass
class Record:
    """What was measured of one player."""

    clean: list[Sample] = field(default_factory=list)
    disturbed: list[Sample] = field(default_factory=list)  # while others used the processor
    lost: LostError | None = None  # why it does not take part any more
    repeats: int = 0  # chunks that may still be repeated
    runs: int = 1  # of the next chunk

    @property
    def counted(self) -> list[Sample]:
        """The clean samples; all of them only where none is clean."""
        return self.clean or self.disturbed

    @property
    def is_clean(self) -> bool:
        return bool(self.clean)


def take_turns(
    players: Sequence[Player],
    rounds: int,
    processor: Watch,
    *,
    what: str = "total",
    on_round: Callable[[int], None] = lambda done: None,
) -> dict[str, Record]:
    """The records of all players after so many rounds, in each of which every player has a chunk.

    The first run of each only warms up and says how many make a chunk, until a chunk says it better. Each player may
    have as many chunks repeated as there are rounds; then it is measured as it comes. A player that is lost is left out
    from there on.
    """
    records = {player.name: Record(repeats=rounds) for player in players}
    for player in players:
        _warm_up(player, what, records[player.name])
    for round_number in range(rounds):
        for player in players:
            record = records[player.name]
            while not record.lost and not _chunk(player, what, processor, record):
                if record.repeats == 0:
                    break
                record.repeats -= 1
        on_round(round_number + 1)
    return records


def _warm_up(player: Player, what: str, record: Record) -> None:
    try:
        record.runs = _runs_of_a_chunk(player.turn(1, what))
    except LostError as error:
        record.lost = error


def _runs_of_a_chunk(samples: Sequence[Sample]) -> int:
    """As many as take `CHUNK_S`, each as long as these did in the middle."""
    seconds = median(sum(sample.values()) for sample in samples)
    return max(1, min(MOST_RUNS, round(CHUNK_S / max(1e-6, seconds))))


def _chunk(player: Player, what: str, processor: Watch, record: Record) -> bool:
    """Whether nobody disturbed it; who has no repeats left does not wait either."""
    if record.repeats > 0:
        processor.wait_until_quiet(MOST_OTHERS, QUIET_S)
    others = processor.watch([player.pid])
    try:
        samples = player.turn(record.runs, what)
    except LostError as error:
        record.lost = error
        return False
    record.runs = _runs_of_a_chunk(samples)
    is_clean = others() <= MOST_OTHERS
    (record.clean if is_clean else record.disturbed).extend(samples)
    return is_clean
