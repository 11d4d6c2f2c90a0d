"""What the command line loads before it answers. How long that takes: `benchmarks/measure.py`."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("arguments", [["--help"], ["describe", "D"], ["describe", "D", "--picture", "{folder}/d.svg"]])
def test_of_other_packages_only_click_is_imported(
    arguments: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = str(tmp_path_factory.mktemp("pictures"))
    program = (
        "import sys, atexit\n"
        "before = set(sys.modules)\n"  # of an editable install, too
        "from verydeep.cli.main import main\n"
        "names = lambda: {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "atexit.register(lambda: print(sorted(names() - sys.stdlib_module_names), file=sys.stderr))\n"
        "main()"
    )
    command = [sys.executable, "-c", program, *(argument.format(folder=folder) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "['click', 'verydeep']"
