import dataclasses
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verydeep import machine
from verydeep.accounting import account_layers, total
from verydeep.architecture import Architecture
from verydeep.errors import DeviceError, MissingExtraError, ModelFileError
from verydeep.nouns import Preprocessing
from verydeep.runtime import open as opening
from verydeep.runtime import open_model

RandomWeights = Callable[..., dict[str, np.ndarray]]


def photos(size: int, n: int = 1) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, 3, size, size)).astype(np.float32)


@pytest.fixture
def no_native(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there was no compiler."""
    hide(monkeypatch, "verydeep.runtime._native")


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "torch")


def hide(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == hidden else find_spec(name))


def test_a_file_opens_with_its_classes_and_its_preprocessing(toy_model: Path) -> None:
    opened = open_model(toy_model, engine="reference")
    assert (opened.path, opened.info.classes) == (toy_model, ("cat", "dog", "rocket"))
    assert opened.info.preprocessing == Preprocessing(resize=36, crop=32)
    assert opened.engine.run(photos(32))["logits"].shape == (1, 3)


def test_a_folder_opens_as_the_model_in_it(toy_model: Path, tmp_path: Path) -> None:
    shutil.copy(toy_model, tmp_path / "model.safetensors")
    assert open_model(tmp_path, engine="reference").info.classes == ("cat", "dog", "rocket")


@pytest.mark.parametrize(("name", "module"), [("torch", "torch"), ("native", "verydeep.runtime._native")])
def test_every_engine_gives_the_same_logits(name: str, module: str, toy_model: Path) -> None:
    pytest.importorskip(module)
    reference, other = (open_model(toy_model, engine=engine).engine for engine in ("reference", name))
    assert other.run(photos(32))["logits"] == pytest.approx(reference.run(photos(32))["logits"], abs=1e-5)


TOY_MACS = total(account_layers(Architecture("toy", head="gap", classes=3, input_size=32, batch_norm=True))).macs
FEW = int(opening.LITTLE_WORK_GMACS * 1e9 / TOY_MACS)  # photos that the toy model runs before torch would be loaded


@pytest.mark.parametrize(
    ("settings", "engine"),
    [
        ({}, "torch"),  # nobody knows how many will come
        ({"photos": 1}, "reference"),
        ({"photos": 1, "device": "cpu"}, "reference"),
        ({"photos": FEW}, "reference"),
        ({"photos": FEW + 1}, "torch"),
        ({"photos": FEW * 4 // 5, "is_dense": True}, "torch"),  # of 36 x 36 pixels, not of 32 x 32
        ({"photos": 1, "precision": "bfloat16"}, "torch"),
        ({"photos": 1, "engine": "torch"}, "torch"),
        ({"engine": "reference"}, "reference"),
    ],
)
@pytest.mark.usefixtures("no_native")
def test_auto_without_native_is_torch_unless_the_photos_are_few(
    settings: dict[str, Any], engine: str, toy_model: Path
) -> None:
    pytest.importorskip("torch")
    assert open_model(toy_model, **settings).engine_name == engine


@pytest.mark.parametrize(
    ("has_gpu", "settings", "engine"),
    [
        (False, {}, "native"),
        (False, {"device": "cpu"}, "native"),
        (False, {"precision": "bfloat16"}, "torch"),
        (True, {}, "torch"),
        (True, {"photos": 1}, "native"),  # done before torch would be loaded
        (True, {"device": "cpu"}, "native"),
    ],
)
def test_auto_is_native_unless_torch_has_a_gpu(
    has_gpu: bool, settings: dict[str, Any], engine: str, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("verydeep.runtime._native")
    monkeypatch.setattr(machine, "may_have_gpu", lambda: has_gpu)
    assert open_model(toy_model, **settings).engine_name == engine


@pytest.mark.skipif(shutil.which("c++") is None or shutil.which("cmake") is None, reason="nothing to build it with")
def test_the_native_engine_is_built_where_there_is_a_compiler() -> None:
    """Without it all tests of that engine would be skipped, and an error in its source would not be noticed."""
    assert importlib.util.find_spec("verydeep.runtime._native") is not None


@pytest.mark.usefixtures("no_native")
def test_asking_for_native_where_it_was_not_built_says_why(toy_model: Path) -> None:
    with pytest.raises(MissingExtraError, match="native engine is not in this installation: it was not built"):
        open_model(toy_model, engine="native")


def test_one_photo_on_a_gpu_is_torchs(toy_model: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        assert open_model(toy_model, device="cuda", photos=1).engine_name == "torch"
    else:
        with pytest.raises(DeviceError, match="cuda is not there"):
            open_model(toy_model, device="cuda", photos=1)


@pytest.mark.parametrize(
    "error", ["ImportError('no symbol\\nin libtorch')", "OSError('libcudart.so.12: no such file')"]
)
@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_a_torch_that_cannot_be_loaded_is_an_error_that_says_so(
    engine: str, error: str, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_torch.py").write_text(f"raise {error}", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(opening.ENGINES, "torch", "broken_torch:TorchEngine")
    monkeypatch.setattr(opening, "TORCH_NEEDS", ())
    hide(monkeypatch, "verydeep.runtime._native")
    with pytest.raises(MissingExtraError, match=r"engine torch cannot be loaded.*lib") as caught:
        open_model(toy_model, engine=engine)
    assert "\n" not in caught.value.message
    assert "verydeep doctor" in caught.value.hint


def test_a_misspelt_model_costs_no_import_of_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from verydeep.runtime import open_model; from verydeep.errors import ModelFileError\n"
        "for model in ('imagenete', sys.argv[1]):\n"
        "    try: open_model(model, engine='torch')\n"
        "    except ModelFileError: print('torch' in sys.modules)"
    )
    (tmp_path / "model.safetensors").write_bytes(b"no model at all")
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.usefixtures("no_torch")
def test_auto_is_native_where_torch_is_not_installed(toy_model: Path) -> None:
    pytest.importorskip("verydeep.runtime._native")
    assert open_model(toy_model).engine_name == "native"


@pytest.mark.usefixtures("no_torch", "no_native")
def test_auto_is_the_reference_where_there_is_nothing_else(toy_model: Path) -> None:
    assert type(open_model(toy_model).engine).__name__ == "ReferenceEngine"


@pytest.mark.usefixtures("no_torch")
def test_asking_for_a_missing_torch_names_the_extra(toy_model: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'verydeep\[train\]'"):
        open_model(toy_model, engine="torch")


@pytest.mark.parametrize("engine", ["reference", "torch", "native"])
def test_the_dense_view_of_an_fc_model_equals_it_at_its_own_size(
    engine: str, tmp_path: Path, make_toy: Callable[..., Path]
) -> None:
    pytest.importorskip({"torch": "torch", "native": "verydeep.runtime._native"}.get(engine, "numpy"))
    path = make_toy(
        tmp_path / "fc.safetensors", ("a", "b"), Preprocessing(16, 16), head="fc", input_size=16, width=0.25
    )
    crop, dense = (open_model(path, engine=engine, is_dense=is_dense).engine for is_dense in (False, True))
    assert dense.run(photos(16))["logits"][..., 0, 0] == pytest.approx(crop.run(photos(16))["logits"], abs=1e-5)
    # fc6 is a 4 x 4 window on the map of 8 x 8 that two pools leave of 32 x 32 pixels
    assert dense.run(photos(32))["logits"].shape == (1, 2, 5, 5)


def test_a_file_that_exists_wins_over_a_name(toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "built_in_models", lambda: {"toy": tmp_path / "other"})
    monkeypatch.chdir(toy_model.parent)
    shutil.copy(toy_model, toy_model.parent / "toy")
    assert opening.find_model("toy") == Path("toy")


def test_a_name_without_a_file_is_a_built_in_model(toy_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "built_in_models", lambda: {"toy": toy_model, opening.BUILT_IN: toy_model})
    assert opening.find_model("toy") == toy_model
    assert opening.find_model() == toy_model


@pytest.mark.parametrize("model", ["imagenete", "no/such/file.safetensors", "a\0b", "x" * 5000])
def test_a_model_that_is_nowhere_is_refused_with_the_list(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "built_in_models", lambda: {"imagenette": Path("there")})
    with pytest.raises(ModelFileError, match=r"there is no model.*built-in model: imagenette"):
        open_model(model, engine="reference")


def test_an_installation_without_the_built_in_model_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "built_in_models", dict)
    with pytest.raises(ModelFileError, match="not in this installation"):
        open_model(engine="reference")


@pytest.mark.parametrize(
    ("setting", "listing"),
    [
        ({"engine": "caffe"}, "auto, native, torch, reference"),
        ({"device": "tpu"}, "auto, cpu, cuda, mps"),
        ({"precision": "float8"}, "float32, bfloat16"),
        ({"threads": 0}, "at least 1"),
    ],
)
def test_an_unknown_setting_is_refused_with_what_there_is(
    setting: dict[str, object], listing: str, toy_model: Path
) -> None:
    with pytest.raises(DeviceError, match=listing) as error:
        open_model(toy_model, **setting)  # type: ignore[arg-type]
    assert error.value.exit_code == 2


def test_settings_are_checked_before_the_model_is_read(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="engine"):
        open_model(tmp_path / "missing", engine="caffe")


def test_opened_models_cannot_be_changed(toy_model: Path) -> None:
    opened = open_model(toy_model, engine="reference")
    with pytest.raises(dataclasses.FrozenInstanceError):
        opened.path = Path("other")  # type: ignore[misc]
