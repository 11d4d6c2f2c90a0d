"""What all tests share: the data beside the repository, and shapes of tensors checked at every call."""

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from verydeep.architecture import Architecture
from verydeep.cli.main import main
from verydeep.image import preprocess, read_image
from verydeep.nouns import Calibration, Fit, Preprocessing
from verydeep.runtime.reference import ReferenceEngine
from verydeep.train import figures
from verydeep.weights import ModelInfo, read_model, write_model

if TYPE_CHECKING:
    from verydeep.train.recipe import Recipe
    from verydeep.train.run import Run

pytest_plugins = ["soak"]
REPOSITORY = Path(__file__).parents[1]
_AT_32 = Preprocessing(resize=36, crop=32)

os.environ.setdefault("OMP_NUM_THREADS", "1")  # in other processes, too: threads that find no core wait for each other

if importlib.util.find_spec("jaxtyping") and importlib.util.find_spec("torch"):
    import torch
    from jaxtyping import install_import_hook

    install_import_hook("verydeep.network", "beartype.beartype")
    torch.set_num_threads(1)  # whatever the environment says


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """A function (*arguments) -> Done that runs `verydeep *arguments` in this process, as a person would."""

    def run_verydeep(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["verydeep", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsys.readouterr()
        return Done(int(exit_.value.code or 0), out, err)

    return run_verydeep


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Decoded photos of tests do not fill the cache of whoever runs them."""
    os.environ["VERYDEEP_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _short_reports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have empty figures, and learning curves of one draw: both take longer than a toy network learns.

    Where a test or its file is marked `whole_report`, they are what a user gets.
    """
    if not request.node.get_closest_marker("whole_report"):
        monkeypatch.setattr(figures, "_svg", lambda draw, name, title, x_label: f'<svg aria-label="{title}"></svg>')
        if "torch" in sys.modules:
            monkeypatch.setattr("verydeep.train.learning_curve.DRAWS", 1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of photo collections beside the repository; tests that need it skip where it is absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the photo collections in {folder}")
    return folder


@pytest.fixture(scope="session")
def all_formats() -> None:
    """Tests that find out what a folder holds skip where a module that is asked is not there."""
    from verydeep.data.formats import FORMATS

    missing = [name for name in FORMATS if importlib.util.find_spec(f"verydeep.data.formats.{name}") is None]
    if missing:
        pytest.skip(f"needs the formats {', '.join(missing)}")


@pytest.fixture(scope="session")
def random_weights() -> Callable[..., dict[str, np.ndarray]]:
    """A function (architecture, seed=0) -> weights that keep the signal's spread, batch norm far from the identity."""
    return _random_weights


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of three classes that opens in milliseconds; its answers are random, but never change."""
    return _make_toy(tmp_path_factory.mktemp("models") / "toy.safetensors", batch_norm=True)


@pytest.fixture(scope="session")
def make_toy() -> Callable[..., Path]:
    """A function (path, classes=("cat", "dog", "rocket"), preprocessing=..., **fields) -> that path, a model file.

    Its answers are random, but never change. fields: of its Architecture.
    """
    return _make_toy


@pytest.fixture(scope="session")
def make_localizer() -> Callable[..., Path]:
    """A function (path, box=(0.5, 0.5, 1, 1), **fields) -> a model file of that path that sees this box in any photo.

    box: middle, width and height as shares of the crop; None for random ones. fields: of its Architecture.
    """
    return _make_localizer


@pytest.fixture
def say(tmp_path: Path) -> Callable[..., Path]:
    """A function (model, name, *probabilities, **preprocessing) -> its copy that says these of any photo.

    preprocessing: fields that the copy has others of.
    """

    def made(model: Path, name: str, *probabilities: float, **preprocessing: Any) -> Path:
        info, weights = read_model(model)
        weights["fc8.weight"][: len(probabilities)] = 0
        weights["fc8.bias"][: len(probabilities)] = np.log(probabilities)
        path = tmp_path / f"{name}.safetensors"
        write_model(path, replace(info, preprocessing=replace(info.preprocessing, **preprocessing)), weights)
        return path

    return made


@pytest.fixture
def refitted(tmp_path: Path) -> Callable[[Path, Fit], Path]:
    """A function (model, fit) -> a file of that model whose photos become squares by this fit."""

    def rewrite(model: Path, fit: Fit) -> Path:
        info, weights = read_model(model)
        path = tmp_path / f"{fit}.safetensors"
        write_model(path, replace(info, preprocessing=replace(info.preprocessing, fit=fit)), weights)
        return path

    return rewrite


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """Eight photos of each of the toy model's classes, <class>/<photo>.png, of three shapes; a test may change them."""
    rng = np.random.default_rng(0)
    for label in ("rocket", "cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number, (height, width) in enumerate([(40, 40), (40, 60), (40, 60), (60, 48)] * 2):
            coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
            coarse.resize((width, height), Image.Resampling.BICUBIC).save(tmp_path / "photos" / label / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def opinionated_model(toy_model: Path, class_folders: Path, tmp_path: Path) -> Path:
    """The toy model, calibrated, its last layer set so that it takes those photos for different classes."""
    info, weights = read_model(toy_model)
    inputs = [preprocess(read_image(path), info.preprocessing) for path in sorted(class_folders.glob("*/*.png"))]
    middle = ReferenceEngine(info.architecture, weights).run(np.stack(inputs))["logits"].mean(axis=0)
    weights["fc8.bias"] = 10 * (weights["fc8.bias"] - middle)
    weights["fc8.weight"] = 10 * weights["fc8.weight"]
    calibration = Calibration(temperature=1.7, reject_below=0.6, photos=100)
    write_model(tmp_path / "opinionated.safetensors", replace(info, calibration=calibration), weights)
    return tmp_path / "opinionated.safetensors"


@pytest.fixture(scope="session")
def make_photos() -> Callable[..., Path]:
    """A function (folder, each=30) -> the folder, with so many photos of each of two classes, red and blue."""
    return _make_photos


@pytest.fixture(scope="session")
def make_masked_photos() -> Callable[..., Path]:
    """A function (folder, train=24, val=6) -> the folder, with photos in pairs of folders and masks, of odd sizes.

    A reddish thing lies on bluish ground; the upper rows teach nothing.
    """
    return _make_masked_photos


@pytest.fixture(scope="session")
def make_boxed_photos() -> Callable[..., Path]:
    """A function (folder, train=40, val=12) -> the folder, with photos of a red or a blue thing, and a table of boxes.

    The things lie in grey noise; left, top, right, bottom in pixels of 40 x 32.
    """
    return _make_boxed_photos


@pytest.fixture(scope="session")
def segnet_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of three classes of pixels that opens in milliseconds; its answers are random, but never change."""
    path = tmp_path_factory.mktemp("models") / "segnet.safetensors"
    return _make_toy(path, ("sky", "road", "car"), head="segnet", batch_norm=True)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Thirty photos of each of two classes that any network can tell apart; a test may change them."""
    return _make_photos(tmp_path / "photos")


@pytest.fixture(scope="session")
def small_recipe() -> "Recipe":
    """Trains the toy network on those photos in hundredths of a second an epoch."""
    return _small_recipe()


@pytest.fixture
def start(photos: Path, small_recipe: "Recipe") -> Callable[..., "Run"]:
    """A function (folder, **fields) -> a new run there, of the small recipe with these fields, on `photos`."""
    from verydeep.train.run import create_run

    def start_run(folder: Path, **fields: object) -> "Run":
        command = ("verydeep", "train", str(photos))
        return create_run(folder, small_recipe.with_fields(fields), photos, command, {})

    return start_run


def _make_toy(
    path: Path,
    classes: Sequence[str] = ("cat", "dog", "rocket"),
    preprocessing: Preprocessing = _AT_32,
    **fields: Any,
) -> Path:
    settings = {"configuration": "toy", "head": "gap", "input_size": 32} | fields
    architecture = Architecture(classes=len(classes), **settings)
    write_model(path, ModelInfo(architecture, tuple(classes), preprocessing), _random_weights(architecture))
    return path


def _make_localizer(path: Path, box: Sequence[float] | None = (0.5, 0.5, 1, 1), **fields: Any) -> Path:
    settings = {"head": "gap", "classes": 3, "input_size": 32, "width": 0.5, "boxes": "single", "batch_norm": True}
    architecture = Architecture("toy", **(settings | fields))
    weights = _random_weights(architecture)
    if box is not None:
        weights["fc8.weight"][architecture.classes :] = 0
        weights["fc8.bias"][architecture.classes :] = np.tile(box, (architecture.scores - architecture.classes) // 4)
    classes = ("cat", "dog", "rocket") if architecture.classes == 3 else tuple(map(str, range(architecture.classes)))
    write_model(path, ModelInfo(architecture, classes, Preprocessing(resize=36, crop=32)), weights)
    return path


def _make_photos(folder: Path, each: int = 30) -> Path:
    """Reddish and bluish noise, <class>/<number>.png, 24 x 20 pixels."""
    random = np.random.default_rng(0)
    for name, channel in (("red", 0), ("blue", 2)):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = random.integers(0, 120, (20, 24, 3), np.uint8)
            pixels[..., channel] += 100
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def _make_masked_photos(folder: Path, train: int = 24, val: int = 6) -> Path:
    random = np.random.default_rng(0)
    for side, count in (("train", train), ("val", val)):
        for name in (side, f"{side}annot"):
            (folder / name).mkdir(parents=True)
        for number in range(count):
            mask = np.zeros((27, 33), np.uint8)
            left, top = random.integers(0, 17), random.integers(0, 13)
            mask[top : top + 14, left : left + 16] = 1
            pixels = random.integers(0, 120, (*mask.shape, 3), np.uint8)
            pixels[..., 0] += 100 * mask
            pixels[..., 2] += 100 * (1 - mask)
            mask[:2] = 255
            Image.fromarray(pixels).save(folder / side / f"{number}.png")
            Image.fromarray(mask).save(folder / f"{side}annot" / f"{number}.png")
    (folder / "classes.txt").write_text("ground\nthing\n")
    return folder


def _make_boxed_photos(folder: Path, train: int = 40, val: int = 12) -> Path:
    random = np.random.default_rng(0)
    rows = ["file,label,split,xmin,ymin,xmax,ymax"]
    (folder / "images").mkdir(parents=True)
    for number in range(train + val):
        width, height = random.integers(12, 25, 2)
        left, top = random.integers(0, 41 - width), random.integers(0, 33 - height)
        pixels = random.integers(0, 100, (32, 40, 3), np.uint8)
        name, channel = (("red", 0), ("blue", 2))[number % 2]
        pixels[top : top + height, left : left + width, channel] = 255
        Image.fromarray(pixels).save(folder / "images" / f"{number:02}.png")
        side = "train" if number < train else "val"
        rows.append(f"images/{number:02}.png,{name},{side},{left},{top},{left + width},{top + height}")
    (folder / "boxes.csv").write_text("\n".join(rows))
    return folder


def _small_recipe() -> "Recipe":
    from verydeep.train.recipe import Recipe

    return Recipe(
        configuration="toy",
        input_size=16,
        epochs=3,
        batch_size=8,
        learning_rate=0.1,
        train_scales=(16, 20),
        test_resize=18,
        test_crop=16,
        ema_decay=0.5,
        cutmix=0.2,
        precision="float32",
    )


def _random_weights(architecture: Architecture, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}
    for name, shape in architecture.weight_shapes.items():
        if len(shape) > 1:
            weights[name] = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)  # He's
        elif name.startswith("bn") and name.endswith(("weight", "running_var")):
            weights[name] = rng.uniform(0.5, 2, shape)
        else:
            weights[name] = rng.normal(0, 0.2, shape)
    return {name: array.astype(np.float32) for name, array in weights.items()}
