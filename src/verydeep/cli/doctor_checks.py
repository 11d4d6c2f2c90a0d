"""What `verydeep doctor` looks at. Each check is a generator of findings; all libraries are imported within them.

Versions and extras come from the package's own metadata, so that pyproject.toml is the one place that lists them.
"""

import contextlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from verydeep import machine
from verydeep.errors import ImageError, MissingExtraError, VerydeepError

Mark = Literal["ok", "missing", "warning", "broken"]

GIB = 1 << 30
LITTLE_MEMORY = 2 * GIB  # bytes; torch alone takes a third of it
LITTLE_SPACE = GIB  # bytes; a run of D with its optimiser's state takes 1.6 GB
HARDWARE_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
TORCH_FOR_GPU = "Install the torch of your GPU: https://pytorch.org/get-started/locally/"


@dataclass(frozen=True)
class Check:
    """One finding."""

    mark: Mark
    what: str
    detail: str
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Requirement:
    """A line of pyproject.toml: a package, its oldest version, and the extra that it belongs to ("" = the base)."""

    package: str
    floor: str
    extra: str


def run_checks() -> Iterator[Check]:
    """Every finding, in the order of `CHECKS`; a check that fails in an unforeseen way is a finding, too."""
    for what, check in CHECKS.items():
        try:
            yield from check()
        except Exception as error:  # a doctor that collapses tells nothing
            yield Check("broken", what, _reason(error), "Install verydeep anew.")


def check_system() -> Iterator[Check]:
    yield Check("ok", "python", f"{platform.python_version()} ({sys.executable})")
    yield Check("ok", "system", platform.platform())
    sets = ", ".join(machine.instruction_sets()) or "instruction sets not told"
    yield Check("ok", "processor", f"{machine.processor()}, {machine.cores()} cores, {sets}")
    memory = machine.memory_bytes()
    if memory is None:
        yield Check("ok", "memory", "not told by this system")
    elif memory < LITTLE_MEMORY:
        yield Check(
            "warning", "memory", _gib(memory), "`verydeep describe NETWORK --batch N` says what a network needs."
        )
    else:
        yield Check("ok", "memory", _gib(memory))


def check_packages() -> Iterator[Check]:
    """The libraries that everything needs."""
    base = [required for required in requirements() if not required.extra]
    if not base:
        yield Check(
            "warning", "packages", "not checked: verydeep is not installed, it runs from a folder", "pip install ."
        )
    for required in base:
        yield _package(required)


def check_extras() -> Iterator[Check]:
    """Each extra but that of the developers: all of its packages, or the command that installs them."""
    found = requirements()
    for extra in dict.fromkeys(required.extra for required in found):
        if extra in ("", "dev"):
            continue
        members = [_package(required) for required in found if required.extra == extra]
        what, detail = f"extra {extra}", ", ".join(f"{member.what} {member.detail}" for member in members)
        if all(member.mark == "ok" for member in members):
            yield Check("ok", what, detail)
        elif any(member.mark == "broken" for member in members):
            yield Check("missing", what, detail, f"pip install 'verydeep[{extra}]'")
        else:
            yield Check("warning", what, detail, f"pip install --upgrade 'verydeep[{extra}]'")


def check_torch() -> Iterator[Check]:
    """Which devices torch sees. Where it is not installed, the extra train says so."""
    if not machine.versions("torch"):
        return
    try:
        found = ask_torch(_ASK_TORCH)
    except OSError as error:
        yield Check("warning", "torch", str(error), "pip install --force-reinstall torch")
        return
    for gpu in found["gpus"]:
        bfloat16 = "with" if gpu["has_bfloat16"] else "without"
        yield Check("ok", f"torch {gpu['device']}", f"{gpu['name']}, {_gib(gpu['memory'])}, {bfloat16} bfloat16")
    if found["has_mps"]:
        yield Check("ok", "torch mps", "Apple's GPU")
    if shutil.which("nvidia-smi") and not found["has_cuda"]:
        built = f"built for CUDA {found['cuda']}" if found["cuda"] else "built without CUDA"
        yield Check(
            "warning", "torch cuda", f"NVIDIA's driver is here, but this torch ({built}) has no GPU", TORCH_FOR_GPU
        )
    yield Check("ok", "torch cpu", f"torch {found['version']}, {found['threads']} threads{_bfloat16()}")


# Run by an interpreter of its own: a library of torch's that does not fit the processor ends the process, not with an
# exception, and some do so at the first product only.
_ASK_TORCH = """
import json, torch
torch.nn.functional.conv2d(torch.ones(1, 3, 8, 8), torch.ones(3, 3, 3, 3)).flatten(1) @ torch.ones(108, 2)
gpus = [(f"cuda:{i}", torch.cuda.get_device_properties(i)) for i in range(torch.cuda.device_count())]
print(json.dumps({
    "version": torch.__version__, "threads": torch.get_num_threads(), "cuda": torch.version.cuda,
    "has_cuda": torch.cuda.is_available(), "has_mps": torch.backends.mps.is_available(),
    "gpus": [{"device": device, "name": gpu.name, "memory": gpu.total_memory,
              "has_bfloat16": torch.cuda.is_bf16_supported()} for device, gpu in gpus],
}))
"""


@cache
def ask_torch(program: str) -> dict[str, Any]:
    """What torch says of itself when it runs `program`. Raises OSError where it does not come to its end."""
    try:
        done = subprocess.run(  # noqa: S603, our own program
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OSError("cannot be used: no answer in five minutes") from error
    if done.returncode:
        last = [line.strip() for line in done.stderr.splitlines() if line.strip()][-1:] or ["no reason told"]
        raise OSError(f"cannot be used: {last[0]} (exit code {done.returncode})")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def check_engines() -> Iterator[Check]:
    """Each engine on the toy network, its logits beside the reference's."""
    import numpy as np

    from verydeep.architecture import Architecture
    from verydeep.nouns import Preprocessing
    from verydeep.runtime import ENGINES, open_model
    from verydeep.weights import ModelInfo, write_model

    architecture = Architecture("toy", head="gap", classes=5, input_size=32)
    random = np.random.default_rng(0)
    weights = {
        name: random.normal(0, 0.2, shape).astype(np.float32) for name, shape in architecture.weight_shapes.items()
    }
    images = random.normal(0, 1, (2, 3, 32, 32)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder, _cache_in(folder):
        path = Path(folder) / "toy.safetensors"
        write_model(path, ModelInfo(architecture, tuple("abcde"), Preprocessing(resize=32, crop=32)), weights)
        expected = open_model(path, engine="reference").engine.run(images)["logits"]
        for name in ENGINES:
            try:
                if name == "torch" and machine.versions("torch"):
                    ask_torch(_ASK_TORCH)  # what ends the process is not tried in this one
                logits = open_model(path, engine=name, device="cpu").engine.run(images)["logits"]
            except MissingExtraError as error:
                is_missing = error.__cause__ is None  # else it is there, and cannot be loaded
                yield Check("missing" if is_missing else "warning", f"engine {name}", error.message, error.hint)
            except OSError as error:
                yield Check("warning", f"engine {name}", str(error), "Use --engine reference, and see torch above.")
            except Exception as error:  # whatever an engine's library raises
                yield Check("broken", f"engine {name}", _reason(error), "Install its library anew.")
            else:
                yield _engine(name, float(np.abs(logits - expected).max() / np.abs(expected).max()))


@contextlib.contextmanager
def _cache_in(folder: str) -> Iterator[None]:
    """Within it, whatever is kept for the next start is kept there."""
    before = dict(os.environ)
    os.environ["VERYDEEP_CACHE"] = folder
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def check_formats() -> Iterator[Check]:
    """Each picture format: a small picture is written and read."""
    import numpy as np
    from PIL import Image

    from verydeep.image import ALL_FORMATS, PHOTO_FORMATS, decode

    picture = np.full((16, 16, 3), (200, 80, 40), np.uint8)
    for name in ALL_FORMATS:
        what = f"format {name}"
        try:
            data = _encode(Image.fromarray(picture), name)
            difference = int(np.abs(decode(data, what, formats=ALL_FORMATS).astype(int) - picture).max())
        except Exception as error:  # the encoders and decoders raise a dozen classes
            yield _format_failure(name, error, is_needed=name in PHOTO_FORMATS)
        else:
            is_right = difference <= 8  # of 255; most formats are lossy
            yield Check("ok" if is_right else "broken", what, "reads" if is_right else f"pixels differ by {difference}")


def check_models() -> Iterator[Check]:
    """The models shipped with the package."""
    from verydeep.runtime import built_in_models
    from verydeep.weights import read_model

    models = built_in_models()
    if not models:
        yield Check("warning", "built-in models", "none in this installation", "Name a model file: --model FILE")
    for name, path in models.items():
        try:
            info, _ = read_model(path)
        except VerydeepError as error:
            yield Check("broken", f"model {name}", error.message, "Install verydeep anew.")
        else:
            size = path.stat().st_size / 1e6
            detail = f"{info.architecture.name}, {len(info.classes)} classes, {size:.1f} MB"
            yield Check("ok", f"model {name}", detail)


def check_folders() -> Iterator[Check]:
    """Where a training writes, and where libraries put their temporary files."""
    for what, find, remedy in (
        ("current folder", Path.cwd, "Go to a folder that exists and is yours."),
        ("temporary files", lambda: Path(tempfile.gettempdir()), "Set TMPDIR to a folder that is yours."),
    ):
        try:
            folder = find()
            free = shutil.disk_usage(folder).free
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            name = error.filename or "the folder"
            yield Check("warning", what, f"cannot be written: {name}: {error.strerror or error}", remedy)
        else:
            is_little = free < LITTLE_SPACE
            detail = f"{folder}, {_gib(free)} free"
            yield Check("warning" if is_little else "ok", what, detail, "Free some space." if is_little else "")


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {
    "system": check_system,
    "packages": check_packages,
    "extras": check_extras,
    "torch": check_torch,
    "engines": check_engines,
    "formats": check_formats,
    "models": check_models,
    "folders": check_folders,
}


def requirements() -> list[Requirement]:
    """What the metadata of the installed package asks for; nothing where it runs from a folder."""
    pattern = re.compile(r"([\w.-]+)>=([\d.]+)(?:.*extra == ['\"](\w+)['\"])?")
    try:
        lines = metadata.requires("verydeep") or []
    except metadata.PackageNotFoundError:
        return []
    matches = [pattern.match(line) for line in lines]
    return [Requirement(match[1], match[2], match[3] or "") for match in matches if match]


def _package(required: Requirement) -> Check:
    version = machine.versions(required.package).get(required.package)
    install = f"pip install '{required.package}>={required.floor}'"
    if version is None:
        return Check("broken", required.package, "not installed", install)
    if _numbers(version) < _numbers(required.floor):
        return Check("warning", required.package, f"{version}, older than {required.floor}", install)
    return Check("ok", required.package, version)


def _numbers(version: str) -> tuple[int, ...]:
    """2.13.0+cpu -> (2, 13, 0): enough to compare with a floor."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[^\d.]", version)[0]))


def _engine(name: str, difference: float) -> Check:
    """difference: the largest of the logits, relative to the largest logit."""
    if difference > 1e-4:  # float32 summed in another order differs by 1e-6
        return Check(
            "broken", f"engine {name}", f"wrong: its logits differ by {difference:.1g}", "Use --engine reference."
        )
    return Check("ok", f"engine {name}", "agrees with the reference" if name != "reference" else "runs")


def _encode(image: Any, name: str) -> bytes:
    file = io.BytesIO()
    if name == "HEIC":
        import pillow_heif

        pillow_heif.from_pillow(image).save(file)
    else:
        image.save(file, name)
    return file.getvalue()


def _format_failure(name: str, error: Exception, is_needed: bool) -> Check:
    remedy = "pip install 'verydeep[heif]'" if name == "HEIC" else "pip install --upgrade --force-reinstall pillow"
    detail = error.message if isinstance(error, ImageError) else _reason(error)
    return Check("broken" if is_needed else "missing", f"format {name}", detail, remedy)


def _bfloat16() -> str:
    sets = set(machine.instruction_sets())
    if not sets:  # this system does not tell
        return ""
    return ", bfloat16 in hardware" if HARDWARE_BFLOAT16 & sets else ", bfloat16 emulated, slower than float32"


def _reason(error: Exception) -> str:
    """On one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
