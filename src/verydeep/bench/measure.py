"""The whole measurement: prepare, start, let all take turns, and put the figures together."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from verydeep import machine
from verydeep.accounting.layers import account_layers
from verydeep.accounting.memory import inference_memory
from verydeep.bench.comparisons import compare
from verydeep.bench.contestants import Contestant, missing_for
from verydeep.bench.figures import Figure, figure
from verydeep.bench.inputs import exact_logits
from verydeep.bench.layers import block_figures, layer_figures
from verydeep.bench.peaks import Peaks, measure_peaks
from verydeep.bench.processes import Command, LostError, Process, ended_together, worker_command
from verydeep.bench.processor import Processor
from verydeep.bench.report import Group, Measured, Report
from verydeep.bench.starts import Start, measure_starts
from verydeep.bench.subject import Subject
from verydeep.bench.turns import Record, Watch, take_turns
from verydeep.bench.worker import TOTAL
from verydeep.errors import VerydeepError
from verydeep.files import cache_folder, make_folder, sole_use

_WEIGHT_COPIES = 2.5  # that an engine holds while it starts: in the file's layout, in its own, and transformed
_PROGRAM_BYTES = 300 << 20  # a library, at most

Note = Callable[[str], None]
OnRound = Callable[[str, int, int], None]
"""The phase, its rounds, and how many of them are done."""


@dataclass(frozen=True)
class Plan:
    """What is measured, and how long."""

    contestants: tuple[Contestant, ...]
    batches: tuple[int, ...] = (1,)
    threads: int = 1
    rounds: int = 20  # in each of which every contestant has a chunk
    starts: int = 3  # rounds of cold starts; 0 for none
    has_layers: bool = False
    patience_s: float = 120.0  # for an answer; a contestant that takes longer is left out
    processor: Watch = field(default_factory=Processor)


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder for gigabytes that nobody needs afterwards. Raises UsageError where another measurement runs."""
    place = make_folder(cache_folder() / "bench")
    with sole_use(place / "lock", "the benchmark's folder"):  # two at a time would measure each other, too
        folder = place / "work"
        shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def measure(subject: Subject, plan: Plan, note: Note, on_round: OnRound) -> Report:
    """All figures. note: is told what is left out, in a sentence.

    Raises VerydeepError where nobody is left to be measured, or memory is too small for all at once at some batch.
    """
    return _Measurement(subject, plan, note, on_round).run()


@dataclass(frozen=True)
class _Measurement:
    """The steps of `measure`, and what all of them need."""

    subject: Subject
    plan: Plan
    note: Note
    on_round: OnRound

    def run(self) -> Report:
        plan = self.plan
        peaks = measure_peaks(plan.threads)
        contestants = [one for one in plan.contestants if self._is_prepared(one)]
        starts, contestants = self._starts(contestants) if plan.starts else ([], contestants)
        if not contestants:
            raise VerydeepError("nobody is left to be measured.", "See the lines above; `verydeep doctor` says more.")
        exact = exact_logits(self.subject, max(plan.batches))
        # The largest first: where memory is too small for it, nothing else was measured in vain.
        groups = {
            batch: self._group(contestants, batch, exact[:batch], peaks) for batch in sorted(plan.batches, reverse=True)
        }
        return Report(self.subject, plan.threads, peaks, tuple(starts), tuple(groups[batch] for batch in plan.batches))

    def _is_prepared(self, contestant: Contestant) -> bool:
        """Whether its library is here and could make the network; its files are then written."""
        if missing := missing_for(contestant):
            self.note(f"{contestant.name} is left out: {', '.join(missing)} is not installed.")
            return False
        with ended_together() as processes:
            processes.append(Process(self._command(contestant, "prepare", 1)))
            try:
                processes[0].first_answer()
            except LostError as error:
                self.note(error.message)
                return False
        return True

    def _starts(self, contestants: list[Contestant]) -> tuple[list[Start], list[Contestant]]:
        """And the contestants that are left. Nothing was run of them, so that the first start is a first one."""
        commands = {one: self._command(one, "run", 1) for one in contestants}
        show = partial(self.on_round, "cold starts", self.plan.starts)
        starts, lost = measure_starts(commands, self.plan.starts, self.plan.processor, show)
        for error in lost:
            self.note(error.message)
        names = {error.name for error in lost}
        return starts, [one for one in contestants if one.name not in names]

    def _group(self, contestants: list[Contestant], batch: int, exact: np.ndarray, peaks: Peaks) -> Group:
        """All contestants at one batch, alive at the same time."""
        plan = self.plan
        by_name = {one.name: one for one in contestants}
        with ended_together() as processes:
            with_parts = self._start_all(contestants, batch, processes)
            errors = self._errors(processes, exact)
            running = [process for process in processes if process.is_alive]
            records = self._turns(running, TOTAL, f"batch {batch}")
            memory = {process.name: _memory(process) for process in running if process.is_alive}
            able = [process for process in running if process.is_alive and process.name in with_parts]
            parts = self._turns(able, "parts", f"batch {batch}, by layer") if plan.has_layers else {}
        measured = tuple(
            Measured(by_name[name], _milliseconds(record), errors[name], memory.get(name), len(record.disturbed))
            for name, record in records.items()
        )
        layers = {
            by_name[name].precision: layer_figures(self.subject, by_name[name].precision, batch, record, peaks)
            for name, record in parts.items()
            if by_name[name].origin == "native"
        }
        return Group(batch, measured, tuple(compare(plan.contestants, records)), layers, block_figures(parts))

    def _start_all(self, contestants: list[Contestant], batch: int, processes: list[Process]) -> set[str]:
        """Puts all into `processes`. Returns the names of those that can time their parts."""
        with_parts = set()
        for contestant in contestants:
            _check_memory(self.subject, contestant, batch, [one.name for one in processes if one.is_alive])
            processes.append(Process(self._command(contestant, "run", batch)))
            try:
                fields, _ = processes[-1].first_answer()
            except LostError as error:
                self.note(error.message)
                continue
            if fields["has_parts"]:
                with_parts.add(contestant.name)
        return with_parts

    def _errors(self, processes: Sequence[Process], exact: np.ndarray) -> dict[str, float]:
        """Of each contestant that is still there."""
        errors = {}
        for process in processes:
            if process.is_alive:
                try:
                    errors[process.name] = _error(process, self.subject, exact)
                except LostError as error:
                    self.note(error.message)
        return errors

    def _turns(self, players: Sequence[Process], what: str, phase: str) -> dict[str, Record]:
        """The records of those that have any samples."""
        plan = self.plan
        show = partial(self.on_round, phase, plan.rounds)
        records = take_turns(players, plan.rounds, plan.processor, what=what, on_round=show)
        for record in records.values():
            if record.lost:
                self.note(record.lost.message)
        return {name: record for name, record in records.items() if record.counted}

    def _command(self, contestant: Contestant, task: str, batch: int) -> Command:
        plan = self.plan
        return worker_command(
            self.subject.folder, contestant.name, task, plan.threads, batch, patience_s=plan.patience_s
        )


def _milliseconds(record: Record) -> Figure:
    return figure([1e3 * sample[TOTAL] for sample in record.counted], is_clean=record.is_clean)


def _check_memory(subject: Subject, contestant: Contestant, batch: int, running: list[str]) -> None:
    """Raises VerydeepError where starting one more would make the system kill somebody."""
    free = machine.available_memory_bytes()
    memory = inference_memory(account_layers(subject.architecture, subject.image_size), batch)
    needed = int(_WEIGHT_COPIES * memory.weights_bytes + 2 * memory.activations_bytes) + _PROGRAM_BYTES
    if free is not None and needed > free:
        raise VerydeepError(
            f"there is not enough memory for {contestant.name} beside {', '.join(running) or 'nobody'}, at batch "
            f"{batch}: {free / 1e9:.1f} GB are free, and it may need {needed / 1e9:.1f}.",
            "Name fewer with --rivals, or measure a smaller batch.",
        )


def _error(process: Process, subject: Subject, exact: np.ndarray) -> float:
    """The largest error of a logit over the largest logit. Raises LostError."""
    path = subject.folder / f"{process.name}-logits.npy"
    process.ask(do="logits", path=str(path))
    return float(np.abs(np.load(path) - exact).max() / np.abs(exact).max())


def _memory(process: Process) -> int | None:
    try:
        memory: int | None = process.ask(do=TOTAL, count=0)["memory"]
    except LostError:
        return None
    return memory
