"""The two contracts of imports hold, and a breach of either is found."""

import shutil
import subprocess
from pathlib import Path

import pytest
from copies import run_with

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path) -> Path:
    """The sources, where a test may spoil them."""
    shutil.copytree(REPOSITORY / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    return run_with(folder / "src", code, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "line", "finding"),
    [
        ("errors.py", "import verydeep.cli.main", "verydeep.errors is not allowed to import verydeep.cli"),
        ("image/decode.py", "import verydeep.weights", "verydeep.image is not allowed to import verydeep.weights"),
        ("image/draw.py", "import torch", "verydeep.image is not allowed to import torch"),
        ("runtime/open.py", "import verydeep.runtime.torch_engine", "verydeep.predict is not allowed to import torch"),
    ],
)
def test_a_breach_is_found(copy, module, line, finding):
    path = copy / "src" / "verydeep" / module
    path.write_text(path.read_text() + f"\n{line}\n")
    done = check(copy)
    assert done.returncode == 1
    assert finding in " ".join(done.stdout.split())


@pytest.mark.slow
def test_the_sources_keep_both_contracts(copy):
    done = check(copy)
    assert done.returncode == 0, done.stdout
    assert "2 kept, 0 broken" in done.stdout


@pytest.mark.slow
def test_a_package_that_no_layer_names_is_found(copy):
    (copy / "src" / "verydeep" / "newcomer.py").write_text('"""A module that nobody placed."""\n')
    assert "verydeep.newcomer" in check(copy).stdout
