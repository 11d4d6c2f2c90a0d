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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_the_package_its_models_and_nothing_else(wheel):
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


@pytest.mark.slow
def test_the_wheel_predicts_where_torch_is_not_installed(wheel, tmp_path):
    """In a process that finds the unpacked wheel first, and no torch."""
    import skimage

    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)  # our own archive
    photo = Path(skimage.data_dir) / "chelsea.png"
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import verydeep\n"
        f"assert verydeep.__file__.startswith({str(tmp_path)!r}), verydeep.__file__\n"
        "from verydeep.cli.main import main\n"
        f"sys.argv = ['verydeep', 'predict', {str(photo)!r}, '--model', 'cifar10']\n"
        "main()\n"
    )
    done = run_with(tmp_path, code)
    assert done.returncode == 0, done.stderr
    assert "cat" in done.stdout
