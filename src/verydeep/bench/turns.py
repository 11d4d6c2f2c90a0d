"""All contestants alive at the same time, taking turns in short chunks: a slow minute of the machine hits all of them.

A chunk during which other programs used the processor is not counted, and repeated, as long as there is patience.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
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

    The first run of each only warms up and says how many make a chunk. Each player may have as many chunks repeated
    as there are rounds; then it is measured as it comes. A player that is lost is left out from there on.
    """
    records = {player.name: Record(repeats=rounds) for player in players}
    counts = {player.name: _runs_of_a_chunk(player, what, records[player.name]) for player in players}
    for round_number in range(rounds):
        for player in players:
            record = records[player.name]
            while not record.lost and not _chunk(player, counts[player.name], what, processor, record):
                if record.repeats == 0:
                    break
                record.repeats -= 1
        on_round(round_number + 1)
    return records


def _runs_of_a_chunk(player: Player, what: str, record: Record) -> int:
    try:
        (sample,) = player.turn(1, what)
    except LostError as error:
        record.lost = error
        return 0
    return max(1, min(MOST_RUNS, round(CHUNK_S / max(1e-6, sum(sample.values())))))


def _chunk(player: Player, count: int, what: str, processor: Watch, record: Record) -> bool:
    """Whether nobody disturbed it; who has no repeats left does not wait either."""
    if record.repeats > 0:
        processor.wait_until_quiet(MOST_OTHERS, QUIET_S)
    others = processor.watch([player.pid])
    try:
        samples = player.turn(count, what)
    except LostError as error:
        record.lost = error
        return False
    is_clean = others() <= MOST_OTHERS
    (record.clean if is_clean else record.disturbed).extend(samples)
    return is_clean
