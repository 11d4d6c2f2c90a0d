"""How long the command line takes to answer, in starts of a bare interpreter: a ratio that machines agree on."""

import subprocess
import sys
import time

import pytest

BARE = ["-c", "pass"]
RUNS = 15


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "limit"),
    [(["--help"], 5), (["describe", "D"], 10), (["describe", "D", "--json"], 10)],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_an_answer_takes_few_interpreter_starts(arguments: list[str], limit: float) -> None:
    """The fastest of alternating runs, which other programs disturb least."""
    bare, command = [], []
    for _ in range(RUNS):
        bare.append(_seconds(BARE))
        command.append(_seconds(["-m", "verydeep", *arguments]))
    ratio = min(command) / min(bare)
    assert ratio <= limit, f"{ratio:.1f} starts of a bare interpreter"


@pytest.mark.parametrize("arguments", [["--help"], ["describe", "D"], ["describe", "D", "--picture", "{folder}/d.svg"]])
def test_neither_numpy_nor_torch_is_imported(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = str(tmp_path_factory.mktemp("pictures"))
    program = (
        "import sys, atexit; from verydeep.cli.main import main\n"
        "atexit.register(lambda: print({'numpy', 'torch', 'PIL', 'rich'} & set(sys.modules), file=sys.stderr))\n"
        "main()"
    )
    command = [sys.executable, "-c", program, *(argument.format(folder=folder) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "set()"


def _seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started
