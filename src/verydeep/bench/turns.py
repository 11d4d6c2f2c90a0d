"""All contestants alive at the same time, taking turns in short chunks: a slow minute of the machine hits all of them.

A chunk during which other programs used the processor is not counted, and repeated, as long as there is patience.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from verydeep.bench.processes import LostError

MOST_OTHERS = 0.06  # cores that others may use during a chunk: the clock of /proc/stat has steps of 10 ms
CHUNK_S = 0.6  # seconds that a chunk takes, at least a run: short ones would hide in those steps
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
        """The seconds of so many runs, or of some of them. Raises LostError."""


class Watch(Protocol):
    """What `processor.Processor` does."""

    def watch(self, own: Iterable[int]) -> Callable[[], float]: ...

    def wait_until_quiet(self, limit: float, patience_s: float) -> bool: ...


@dataclass(frozen=True)
class Chunk:
    """The runs of one turn."""

    round_number: int
    samples: list[Sample]
    is_clean: bool  # nobody else used the processor meanwhile


@dataclass
class Record:
    """What was measured of one player."""

    chunks: list[Chunk] = field(default_factory=list)
    lost: LostError | None = None  # why it does not take part any more
    repeats: int = 0  # chunks that may still be repeated
    runs: int = 1  # of the next chunk

    @property
    def is_clean(self) -> bool:
        return any(chunk.is_clean for chunk in self.chunks)

    @property
    def by_round(self) -> dict[int, list[Sample]]:
        """The runs that count, of each round that has any: those of clean chunks; of all only where none is clean."""
        rounds: dict[int, list[Sample]] = {}
        for chunk in self.chunks:
            if chunk.is_clean == self.is_clean:
                rounds.setdefault(chunk.round_number, []).extend(chunk.samples)
        return rounds

    @property
    def counted(self) -> list[Sample]:
        """All runs of `by_round`."""
        return [sample for samples in self.by_round.values() for sample in samples]

    @property
    def disturbed(self) -> list[Sample]:
        """The runs during which others used the processor."""
        return [sample for chunk in self.chunks if not chunk.is_clean for sample in chunk.samples]


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
            while not record.lost and not _chunk(player, what, processor, record, round_number):
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
    return max(1, round(CHUNK_S / max(1e-6, seconds)))


def _chunk(player: Player, what: str, processor: Watch, record: Record, round_number: int) -> bool:
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
    chunk = Chunk(round_number, samples, is_clean=others() <= MOST_OTHERS)
    record.chunks.append(chunk)
    return chunk.is_clean
