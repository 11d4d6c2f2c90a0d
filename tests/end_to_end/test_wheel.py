"""The wheel that users install: what is in it, how large it is, and that it predicts without torch."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from copies import run_with

REPOSITORY = Path(__file__).parents[2]
MODEL_LIMIT = 10_000_000  # bytes


def build_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_is_whole_and_predicts_where_torch_is_not_installed(tmp_path):
    """One test, for the building takes minutes."""
    wheel = build_wheel(tmp_path)
    check_contents(wheel)
    check_prediction(wheel, tmp_path / "unpacked")


def check_contents(wheel: Path) -> None:
    """The package, its models, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    outside = [name for name in sizes if not name.startswith(("verydeep/", "verydeep-"))]
    assert not outside
    assert "verydeep/py.typed" in sizes
    modules = [name for name in sizes if name.startswith("verydeep/runtime/_native.")]
    assert len(modules) == (shutil.which("c++") is not None)
    models = {Path(name).stem: size for name, size in sizes.items() if name.endswith(".safetensors")}
    assert set(models) == {"imagenette", "cifar10"}
    assert all(size <= MODEL_LIMIT for size in models.values())
    sources = {path.relative_to(REPOSITORY / "src").as_posix() for path in (REPOSITORY / "src").rglob("*.py")}
    assert sources <= set(sizes)


def check_prediction(wheel: Path, folder: Path) -> None:
    """In a process that finds the unpacked wheel first, and no torch."""
    import skimage

    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)  # our own archive
    photo = Path(skimage.data_dir) / "chelsea.png"
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import verydeep\n"
        f"assert verydeep.__file__.startswith({str(folder)!r}), verydeep.__file__\n"
        "from verydeep.cli.main import main\n"
        f"sys.argv = ['verydeep', 'predict', {str(photo)!r}, '--model', 'cifar10']\n"
        "main()\n"
    )
    done = run_with(folder, code)
    assert done.returncode == 0, done.stderr
    assert "cat" in done.stdout
