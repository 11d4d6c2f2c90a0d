"""`verydeep doctor` on this machine, and on machines with something missing, old, wrong or broken."""

import errno
import importlib.util
import json
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import verydeep.image
from verydeep import machine, runtime
from verydeep.cli import doctor_checks
from verydeep.cli.doctor_checks import Check, Requirement
from verydeep.errors import ImageError

Run = Callable[..., Any]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function (package=version or None) that makes the program see these versions installed."""

    def pretend(**changes: str | None) -> None:
        real = machine.versions

        def versions(*packages: str) -> dict[str, str]:
            found = real(*packages) | {name: changes[name] for name in packages if name in changes}
            return {name: version for name, version in found.items() if version is not None}

        monkeypatch.setattr(machine, "versions", versions)

    return pretend


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Leaves these checks: the others are not what a test is about."""
    monkeypatch.setattr(doctor_checks, "CHECKS", {name: doctor_checks.CHECKS[name] for name in names})


def findings(run: Run) -> tuple[int, dict[str, Check]]:
    """The exit code, and what was found by what was looked at."""
    done = run("doctor", "--json")
    printed = json.loads(done.out)
    assert printed["works"] == (done.code == 0)
    return done.code, {check["what"]: Check(**check) for check in printed["checks"]}


def test_the_base_works_where_these_tests_run(run: Run) -> None:
    done = run("doctor")
    assert done.code == 0
    assert done.out.endswith("\nverydeep works on this machine.\n")
    assert not [line for line in done.out.splitlines() if line.startswith("broken")]
    for what in ("python", "numpy", "pillow", "engine reference", "format JPEG", "format WebP", "temporary files"):
        assert f"ok       {what} " in done.out


def test_json_holds_the_lines_and_every_line_that_is_not_ok_has_a_remedy(run: Run) -> None:
    code, found = findings(run)
    assert code == 0
    assert {check.mark for check in found.values()} <= {"ok", "missing", "warning"}
    assert all(check.remedy for check in found.values() if check.mark != "ok")
    assert found["numpy"].detail == np.__version__


def test_the_floors_are_those_of_pyproject() -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    expected = {(line, "") for line in project["dependencies"]}
    for extra, lines in project["optional-dependencies"].items():
        expected |= {(line, extra) for line in lines if extra != "dev"}
    found = {
        (f"{required.package}>={required.floor}", required.extra)
        for required in doctor_checks.requirements()
        if required.extra != "dev"
    }
    assert found == expected


def test_a_missing_library_of_the_base_is_broken(
    run: Run, monkeypatch: pytest.MonkeyPatch, installed: Callable[..., None]
) -> None:
    only(monkeypatch, "packages")
    installed(safetensors=None)
    code, found = findings(run)
    assert code == 1
    assert (found["safetensors"].mark, found["safetensors"].detail) == ("broken", "not installed")
    assert found["safetensors"].remedy.startswith("pip install 'safetensors>=")
    assert "\nbroken: safetensors\n" in run("doctor").out


@pytest.mark.parametrize("version", ["12.0.9", "9.5", "12"])
def test_a_library_below_its_floor_is_a_warning(
    run: Run, monkeypatch: pytest.MonkeyPatch, installed: Callable[..., None], version: str
) -> None:
    only(monkeypatch, "packages")
    installed(pillow=version)
    code, found = findings(run)
    assert code == 0
    expected = Check("warning", "pillow", f"{version}, older than 13", "pip install 'pillow>=13'")
    assert found["pillow"] == expected


@pytest.mark.parametrize(("floor", "version"), [("2.11", "2.11.0+cpu"), ("2.11", "2.13.0"), ("2.9", "2.10.0rc1")])
def test_versions_are_compared_as_numbers(installed: Callable[..., None], floor: str, version: str) -> None:
    installed(torch=version)
    assert doctor_checks._package(Requirement("torch", floor, "train")).mark == "ok"


def test_without_torch_the_base_works_and_the_command_that_installs_it_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, installed: Callable[..., None]
) -> None:
    installed(torch=None)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find_spec(name))
    monkeypatch.setitem(sys.modules, "torch", None)
    code, found = findings(run)
    assert code == 0
    assert found["extra train"].mark == found["engine torch"].mark == "missing"
    assert "torch not installed" in found["extra train"].detail
    assert found["extra train"].remedy == "pip install 'verydeep[train]'"
    assert "verydeep[train]" in found["engine torch"].remedy
    assert found["engine reference"].mark == "ok"
    assert "torch cpu" not in found


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise ImportError('libtorch.so: no such file')", "libtorch.so: no such file"),
        ("import os, sys; sys.stderr.write('FATAL ERROR: cannot load libmkl'); sys.stderr.flush(); os._exit(2)", "MKL"),
        ("import os; os.abort()", "exit code"),
    ],
)
def test_a_torch_that_ends_its_process_does_not_end_the_doctor(
    program: str, reason: str, run: Run, monkeypatch: pytest.MonkeyPatch, installed: Callable[..., None]
) -> None:
    only(monkeypatch, "torch", "engines")
    installed(torch="2.13.0")
    monkeypatch.setattr(doctor_checks, "_ASK_TORCH", program)
    code, found = findings(run)
    assert code == 0
    assert found["torch"].mark == found["engine torch"].mark == "warning"
    assert reason.lower() in found["torch"].detail.lower()
    assert "--force-reinstall torch" in found["torch"].remedy
    assert found["engine reference"].mark == "ok"


def test_an_extra_with_an_old_member_is_a_warning(
    run: Run, monkeypatch: pytest.MonkeyPatch, installed: Callable[..., None]
) -> None:
    only(monkeypatch, "extras")
    installed(torch="2.4.1", jaxtyping="0.3.1")
    _, found = findings(run)
    assert found["extra train"].mark == "warning"
    assert "torch 2.4.1, older than 2.11" in found["extra train"].detail
    assert found["extra train"].remedy == "pip install --upgrade 'verydeep[train]'"
    assert "extra dev" not in found


@pytest.mark.parametrize(("error", "mark"), [(0.0, "ok"), (1e-6, "ok"), (1e-2, "broken")])
def test_an_engine_that_differs_from_the_reference_is_broken(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: float, mark: str
) -> None:
    from verydeep.runtime.reference import ReferenceEngine

    class Shifted(ReferenceEngine):
        def run(self, images: np.ndarray, outputs: Sequence[str] = ("logits",)) -> dict[str, np.ndarray]:
            return {name: value * np.float32(1 + error) for name, value in super().run(images, outputs).items()}

    module = types.ModuleType("shifted_engine")
    module.Shifted = Shifted  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shifted_engine", module)
    monkeypatch.setitem(runtime.ENGINES, "shifted", "shifted_engine:Shifted")
    only(monkeypatch, "engines")
    code, found = findings(run)
    assert found["engine shifted"].mark == mark
    assert code == (1 if mark == "broken" else 0)


def test_an_engine_that_collapses_is_broken_and_the_others_are_still_tried(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "engines")
    module = types.ModuleType("collapsing_engine")
    module.Engine = lambda *_: 1 / 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "collapsing_engine", module)
    monkeypatch.setitem(runtime.ENGINES, "none", "collapsing_engine:Engine")
    code, found = findings(run)
    assert code == 1
    assert found["engine none"].detail == "ZeroDivisionError: division by zero"
    assert found["engine reference"].mark == "ok"


def test_a_missing_heic_decoder_is_no_fault_of_the_base(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "formats")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    code, found = findings(run)
    assert code == 0
    assert (found["format HEIC"].mark, found["format HEIC"].remedy) == ("missing", "pip install 'verydeep[heif]'")


@pytest.mark.parametrize(("name", "mark", "code"), [("JPEG", "broken", 1), ("TIFF", "missing", 0)])
def test_a_photo_format_that_does_not_decode_is_broken_and_another_is_missing(
    *, run: Run, monkeypatch: pytest.MonkeyPatch, name: str, mark: str, code: int
) -> None:
    real = verydeep.image.decode

    def decode(data: bytes, what: str, **options: Any) -> np.ndarray:
        if what.endswith(name):
            raise ImageError("no decoder in this build.")
        return real(data, what, **options)

    monkeypatch.setattr(verydeep.image, "decode", decode)
    only(monkeypatch, "formats")
    got, found = findings(run)
    assert got == code
    assert (found[f"format {name}"].mark, found[f"format {name}"].detail) == (mark, "no decoder in this build.")


def test_a_decoder_that_swaps_the_colours_is_broken(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = verydeep.image.decode
    monkeypatch.setattr(verydeep.image, "decode", lambda *given, **options: real(*given, **options)[..., ::-1])
    only(monkeypatch, "formats")
    code, found = findings(run)
    assert code == 1
    assert found["format PNG"].detail.startswith("pixels differ by")


def test_built_in_models_are_read_whole(run: Run, monkeypatch: pytest.MonkeyPatch, toy_model: Path) -> None:
    only(monkeypatch, "models")
    monkeypatch.setattr(runtime, "built_in_models", lambda: {"toy": toy_model})
    code, found = findings(run)
    assert code == 0
    assert found["model toy"].mark == "ok"
    assert found["model toy"].detail.startswith("toy-bn-gap, 3 classes, ")


def test_a_damaged_built_in_model_is_broken(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"no model")
    only(monkeypatch, "models")
    monkeypatch.setattr(runtime, "built_in_models", lambda: {"bad": tmp_path / "bad.safetensors"})
    code, found = findings(run)
    assert code == 1
    assert found["model bad"].mark == "broken"


def test_an_installation_without_models_says_how_to_name_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "models")
    monkeypatch.setattr(runtime, "built_in_models", dict)
    code, found = findings(run)
    assert (code, found["built-in models"].mark) == (0, "warning")
    assert "--model" in found["built-in models"].remedy


def test_a_folder_that_cannot_be_written_and_a_full_disk_are_warnings(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    only(monkeypatch, "folders")
    monkeypatch.chdir(tmp_path)
    real = tempfile.TemporaryFile

    def read_only(*, dir: Path) -> Any:
        if dir == tmp_path:
            raise OSError(errno.EROFS, "Read-only file system", str(dir))
        return real(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    monkeypatch.setattr(doctor_checks.shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=1 << 20))
    code, found = findings(run)
    assert code == 0
    assert found["current folder"].detail == f"cannot be written: {tmp_path}: Read-only file system"
    assert (found["temporary files"].mark, found["temporary files"].remedy) == ("warning", "Free some space.")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not remove the folder that a process is in")
def test_a_folder_that_is_gone_is_a_warning_with_the_right_remedy(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    only(monkeypatch, "folders")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    code, found = findings(run)
    assert code == 0
    assert found["current folder"].mark == "warning"
    assert "No such file" in found["current folder"].detail
    assert found["current folder"].remedy == "Go to a folder that exists and is yours."


def test_little_memory_is_a_warning(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "system")
    monkeypatch.setattr(machine, "memory_bytes", lambda: 1 << 30)
    code, found = findings(run)
    assert (code, found["memory"].mark, found["memory"].detail) == (0, "warning", "1.0 GiB")


def test_a_check_that_collapses_is_a_finding_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def collapse() -> Iterator[Check]:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(doctor_checks, "CHECKS", {"hearts": collapse, "folders": doctor_checks.check_folders})
    code, found = findings(run)
    assert code == 1
    assert found["hearts"] == Check(
        "broken", "hearts", "RuntimeError: first line second line", "Install verydeep anew."
    )
    assert found["temporary files"].mark == "ok"


def test_from_a_folder_the_versions_are_not_checked_and_that_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise doctor_checks.metadata.PackageNotFoundError(name)

    only(monkeypatch, "packages", "extras")
    monkeypatch.setattr(doctor_checks.metadata, "requires", requires)
    code, found = findings(run)
    assert (code, list(found), found["packages"].mark) == (0, ["packages"], "warning")
