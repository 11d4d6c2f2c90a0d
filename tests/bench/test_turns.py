"""Turns, with players and a processor that are made up: who counts, who is repeated, who is left out."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from verydeep.bench.processes import LostError
from verydeep.bench.turns import MOST_OTHERS, Chunk, Record, Sample, take_turns


@dataclass
class Player:
    """Takes `seconds` a run; is lost at its turn number `lost_at`."""

    name: str
    diary: list[str]
    seconds: float = 0.3
    lost_at: int = -1
    pid: int = 1
    turns: int = 0

    def turn(self, count: int, what: str) -> list[Sample]:
        self.turns += 1
        if self.turns == self.lost_at:
            raise LostError(self.name, "has ended")
        self.diary.append(f"{self.name}{count}")
        return [{what: self.seconds}] * count


@dataclass
class Processor:
    """What others use in each chunk, one after the other; then nothing."""

    others: list[float] = field(default_factory=list)
    waits: int = 0

    def watch(self, own: Iterable[int]) -> Callable[[], float]:
        value = self.others.pop(0) if self.others else 0.0
        return lambda: value

    def wait_until_quiet(self, limit: float, patience_s: float) -> bool:
        self.waits += 1
        return True


def test_players_take_turns_after_one_run_to_warm_up_each() -> None:
    diary: list[str] = []
    rounds: list[int] = []
    players = [Player("a", diary, 0.3), Player("b", diary, 0.6), Player("c", diary, 100.0)]
    records = take_turns(players, 3, Processor(), on_round=rounds.append)
    assert diary == ["a1", "b1", "c1"] + ["a2", "b1", "c1"] * 3  # as many runs as take 0.6 seconds
    assert rounds == [1, 2, 3]
    assert records["a"].counted == [{"total": 0.3}] * 6  # the first run does not count
    assert not records["a"].disturbed
    assert records["a"].is_clean


def test_a_chunk_of_a_fast_player_is_as_long_as_any() -> None:
    diary: list[str] = []
    take_turns([Player("a", diary, 1e-4)], 1, Processor())
    assert diary == ["a1", "a6000"]


def test_what_counts_is_told_by_round() -> None:
    one, other, third = ({"total": seconds} for seconds in (1.0, 2.0, 3.0))
    record = Record([Chunk(0, [one, one], is_clean=True), Chunk(1, [other], is_clean=False)])
    assert record.by_round == {0: [one, one]}
    assert (record.counted, record.disturbed) == ([one, one], [other])
    record = Record([Chunk(0, [one], is_clean=False), Chunk(0, [other], is_clean=False), Chunk(1, [third], False)])
    assert record.by_round == {0: [one, other], 1: [third]}
    assert not record.is_clean


def test_a_disturbed_chunk_is_kept_apart_and_repeated_at_once() -> None:
    diary: list[str] = []
    players = [Player("a", diary), Player("b", diary)]
    records = take_turns(players, 2, Processor([0.0, 1.0, 0.5, MOST_OTHERS]))
    assert diary[2:] == ["a2", "b2", "b2", "b2", "a2", "b2"]
    assert (len(records["b"].counted), len(records["b"].disturbed)) == (4, 4)
    assert len(records["a"].counted) == 4


def test_on_a_machine_that_is_always_busy_it_ends_and_says_that_nothing_is_clean() -> None:
    diary: list[str] = []
    processor = Processor([1.0] * 1000)
    record = take_turns([Player("a", diary)], 5, processor)["a"]
    assert len(diary) == 1 + 5 + 5  # warm-up, rounds, as many repeats as rounds
    assert processor.waits == 5  # who has no repeats left does not wait, either
    assert not record.is_clean
    assert record.counted == record.disturbed != []


def test_who_is_lost_is_named_and_the_others_go_on() -> None:
    diary: list[str] = []
    players = [Player("a", diary, lost_at=1), Player("b", diary, lost_at=3), Player("c", diary)]
    records = take_turns(players, 4, Processor())
    assert str(records["a"].lost) == "a has ended; it is left out."
    assert not records["a"].counted
    assert records["b"].lost is not None
    assert len(records["b"].counted) == 2  # of the round before
    assert records["c"].lost is None
    assert len(records["c"].counted) == 8
