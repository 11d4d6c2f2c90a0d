"""What is shown of a training: lines where there is no terminal, a bar on one, and how long it takes."""

import io
import sys

import pytest

from verydeep.train import display as module
from verydeep.train.display import Display


class Clock:
    """The seconds that have passed, as a test says."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock)
    return clock


def row(epoch: int) -> dict[str, float]:
    return {
        "epoch": epoch, "loss": 0.5, "validation_loss": 0.25, "validation_top1": 0.875, "photos_per_second": 100.4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("first", "epochs", "seconds", "left"),
    [
        (0, 4, 60, "3 min left"),
        (0, 40, 600, "6 h 30 min left"),
        (0, 3, 10, "under a minute left"),
        (37, 40, 60, "2 min left"),  # three epochs to go on with, one of them done in a minute
    ],
)
def test_the_time_left_follows_from_the_epochs_of_this_start(  # noqa: PLR0917, most of them from the list above
    first: int, epochs: int, seconds: float, left: str, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    display = Display()
    display.start("title", [1] * epochs, first)
    clock.now += seconds
    display.epoch(row(first + 1))
    assert capsys.readouterr().err.splitlines()[-1].endswith(f", 100 photos/s, {left}")


def test_the_time_left_of_a_start_in_mid_epoch_follows_from_the_part_that_it_trained(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    display = Display()
    display.start("title", [1] * 4, 1.5)
    for step in range(50, 100):
        clock.now += 60
        display.step(1, step, 100, 0.5, photos=64)
    display.epoch(row(2))
    _, begun, first, *_, last = capsys.readouterr().err.splitlines()
    assert begun == "going on in epoch 2 of 4"
    assert first == "epoch 2/4  step 51/100  loss 0.500  1 photos/s  4 h 9 min left"  # 249 steps of a minute
    assert last.endswith(", 100 photos/s, 3 h 20 min left")


def test_the_time_left_of_pictures_that_grow_counts_what_the_larger_ones_cost(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    display = Display()
    display.start("title", [0.25, 0.25, 1, 1], 1)
    clock.now += 60  # for a quarter: nine such quarters in all, seven of them left after the second
    display.epoch(row(2))
    assert capsys.readouterr().err.splitlines()[-1].endswith(", 8 min left")


@pytest.mark.parametrize(
    ("epochs_done", "told"),
    [
        (0, []),
        (0.25, ["going on in epoch 1 of 4"]),
        (2, ["going on after epoch 2 of 4"]),
        (4, ["all epochs are done already"]),
    ],
)
def test_where_a_run_goes_on_is_told(epochs_done: float, told: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Display().start("title", [1] * 4, epochs_done)
    assert capsys.readouterr().err.splitlines() == ["title", *told]


def test_a_start_that_only_has_to_validate_an_epoch_knows_no_time_yet(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    display = Display()
    display.start("title", [1] * 4, 2.0)  # its last step was saved, its validation was not
    clock.now += 10
    display.epoch(row(2))
    assert capsys.readouterr().err.splitlines()[-1].endswith(", 100 photos/s")


def test_the_last_epoch_has_no_time_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    display.start("title", [1], 0)
    clock.now += 10
    display.epoch(row(1))
    assert capsys.readouterr().err.splitlines() == [
        "title", "epoch 1/1: validation top-1 87.5%, loss 0.250; training loss 0.500, 100 photos/s",
    ]  # fmt: skip


def test_without_a_terminal_a_long_epoch_gets_a_line_every_half_minute(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    display = Display()
    display.start("title", [1] * 2, 0)
    for step in range(100):
        clock.now += 1
        display.step(0, step, 100, 0.5, photos=64)
    lines = capsys.readouterr().err.splitlines()[1:]
    assert [line.split("  ")[1] for line in lines] == ["step 31/100", "step 62/100", "step 93/100"]
    assert lines[0] == "epoch 1/2  step 31/100  loss 0.500  64 photos/s  3 min left"  # 169 steps of a second


def test_the_speed_shown_is_that_of_the_epoch_so_far(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the pictures grow, an epoch is slower than the one before."""
    display = Display()
    display.start("title", [0.25, 1], 0)
    for step in range(100):
        clock.now += 1
        display.step(0, step, 100, 0.5, photos=64)
    clock.now += 50  # of validation
    display.epoch(row(1))
    for step in range(100):
        clock.now += 4
        display.step(1, step, 100, 0.5, photos=64)
    speeds = [line.split("  ")[3] for line in capsys.readouterr().err.splitlines() if "step" in line]
    assert set(speeds[:3]) == {"64 photos/s"}
    assert set(speeds[3:]) == {"16 photos/s"}


def test_a_step_within_a_tick_of_the_clock_has_no_speed_yet(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    display.start("title", [1, 1], 0)
    display.step(0, 0, 2, 0.5, photos=64)
    assert capsys.readouterr().err == "title\n"


def test_a_terminal_gets_a_bar_and_its_cursor_back(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    display = Display()
    display.start("[red] is a class, not a colour", [1], 0)
    display.step(0, 0, 2, 0.5, photos=8)
    display.step(0, 1, 2, 0.5, photos=8)
    display.epoch(row(1))
    display.close()
    shown = terminal.getvalue()
    assert "[red] is a class" in shown
    assert "epoch 1/1" in shown
    assert "validating" in shown
    assert "nan" not in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is shown again after it was hidden
    assert "validation top-1 87.5%" in shown
