"""Cold starts: fresh processes, from their start to the first prediction, with files that are in memory already."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from verydeep.bench.contestants import Contestant
from verydeep.bench.figures import Figure, figure
from verydeep.bench.processes import Command, LostError, Process
from verydeep.bench.turns import Watch, take_turns


@dataclass(frozen=True)
class Start:
    """How a contestant starts."""

    contestant: Contestant
    first_s: float  # with nothing kept from an earlier start
    second_s: Figure  # of the starts after it
    memory_bytes: int | None  # the most that any of these processes held, the first one included

    @property
    def name(self) -> str:
        return self.contestant.name


@dataclass
class _Starter:
    """Takes a turn by starting a process and ending it after its first answer."""

    command: Command
    pid: int = field(default_factory=os.getpid)  # the time of children that have ended counts as ours
    first_s: float | None = None
    memory_bytes: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.command.name

    def turn(self, count: int, what: str) -> list[dict[str, float]]:
        """The seconds of so many starts. Raises LostError."""
        return [{what: self._start()} for _ in range(count)]

    def _start(self) -> float:
        process = Process(self.command)
        try:
            fields, seconds = process.first_answer()
        finally:
            process.end()
        if fields["memory"] is not None:
            self.memory_bytes.append(fields["memory"])
        if self.first_s is None:
            self.first_s = seconds
        return seconds


def measure_starts(
    commands: Mapping[Contestant, Command],
    rounds: int,
    processor: Watch,
    on_round: Callable[[int], None] = lambda done: None,
) -> tuple[list[Start], list[LostError]]:
    """Of each contestant `rounds` turns after the first start, and why some could not be measured."""
    starters = {contestant: _Starter(command) for contestant, command in commands.items()}
    records = take_turns(list(starters.values()), rounds, processor, on_round=on_round)
    starts = []
    for contestant, starter in starters.items():
        record = records[contestant.name]
        if starter.first_s is not None and record.counted:
            seconds = figure([sample["total"] for sample in record.counted], is_clean=record.is_clean)
            starts.append(Start(contestant, starter.first_s, seconds, max(starter.memory_bytes, default=None)))
    return starts, [record.lost for record in records.values() if record.lost]
