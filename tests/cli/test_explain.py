"""`verydeep explain`: what it prints and writes, and what it says of everything that it cannot do."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from verydeep import explain as package
from verydeep.cli import explain as command
from verydeep.cli import explain_answers
from verydeep.image import read_image
from verydeep.runtime import open_model
from verydeep.weights import read_model, write_model

Run = Callable[..., Any]
REFERENCE = ("--engine", "reference")


@pytest.fixture
def explain(run: Run, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`verydeep explain` with the toy model, in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return lambda *arguments: run("explain", *arguments, "--model", toy_model, *REFERENCE)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return save(tmp_path / "photo.png")


def save(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_the_methods_are_the_packages() -> None:
    assert tuple(package.METHODS) == command.METHODS


# What is printed and written


def test_a_photo_becomes_a_picture_here_and_lines_of_words(explain: Run, toy_model: Path, photo: Path) -> None:
    done = explain(photo)
    assert (done.code, done.err) == (0, "")
    path, answer, where, picture = done.out.strip().splitlines()
    found = package.explain(open_model(toy_model, engine="reference"), read_image(photo))
    assert path == str(photo)
    assert answer == f"  {found.label}, {100 * found.probability:.1f} %"
    assert where.startswith("  Grad-CAM at relu2_1: half of it in ")
    assert picture == "  photo-explained-gradcam.png"
    with Image.open("photo-explained-gradcam.png") as drawn:
        assert drawn.width > 900
        drawn.load()


def test_methods_stand_side_by_side_in_the_order_given(explain: Run, photo: Path) -> None:
    done = explain(photo, "--method", "guided, gradient,guided", "--svg", "--out", "new/out")
    (picture,) = Path("new/out").iterdir()
    assert picture.name == "photo-explained-guided+gradient.svg"
    root = ElementTree.parse(picture)  # noqa: S314, we wrote it
    texts = [part.text for part in root.iter() if part.tag.endswith("text")]
    assert texts.index("guided backpropagation") < texts.index("gradient")
    assert done.out.index("guided backpropagation:") < done.out.index("gradient:")


def test_json_holds_the_raw_numbers(explain: Run, toy_model: Path, photo: Path, tmp_path: Path) -> None:
    methods = "gradcam,gradient,integrated,occlusion"
    done = explain(photo, tmp_path / "missing.jpg", "--json", "--method", methods, "--class", "dog", "--steps", 3)
    assert done.code == 3
    document = json.loads(done.out)
    (entry,) = document["photos"]
    assert list(Path().iterdir()) == []
    assert [Path(failure["path"]).name for failure in document["failures"]] == ["missing.jpg"]
    model = open_model(toy_model, engine="reference")
    for found in entry["explanations"]:
        settings = package.Settings(steps=3)
        expected = package.explain(model, read_image(photo), found["method"], label="dog", settings=settings)
        np.testing.assert_allclose(found["values"], expected.map.values, rtol=1e-5, atol=1e-9)
        assert (found["label"], found["target"]["channel"]) == ("dog", 1)
        assert found["answer"]["label"] == expected.prediction.label
    assert "picture" not in entry
    assert json.loads(explain(photo, "--json", "--out", "o").out)["photos"][0]["picture"] == str(
        Path("o/photo-explained-gradcam.png")
    )


def test_a_folder_becomes_one_page(explain: Run, tmp_path: Path) -> None:
    for seed in range(11):
        save(tmp_path / "photos" / f"{seed}.png", seed)
    done = explain(tmp_path / "photos", "--grid", "why.html")
    assert done.code == 0
    assert done.err.splitlines()[-2:] == ["explained: 11 of 11", "wrote why.html"]
    page = Path("why.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 11
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert [path.name for path in Path().iterdir()] == ["why.html"]


def test_what_it_has_drawn_is_no_photo_for_the_next_run(explain: Run, run: Run, photo: Path, toy_model: Path) -> None:
    folder = photo.parent
    for options in (("--svg",), (), ("--method", "guided,deconvnet")):
        explain(photo, "--out", folder, *options)
    again = explain(folder, "--json")
    assert [Path(entry["path"]).name for entry in json.loads(again.out)["photos"]] == ["photo.png"]
    assert again.err.startswith(
        "note: passed over 2 called *-predicted.jpg, *-predicted-mask.png, *-alike.jpg or *-explained-*.png"
    )
    predicted = run("predict", folder, "--model", toy_model, *REFERENCE, "--json")
    assert len(json.loads(predicted.out)["photos"]) == 1


def test_an_image_is_read_from_standard_input(explain: Run, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = json.loads(explain(photo, "--json").out)["photos"][0]
    for method in ("gradcam", "patches"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(photo.read_bytes())))
        piped = explain("-", "--json", "--method", method)
        assert piped.code == 0
        if method == "gradcam":
            assert json.loads(piped.out)["photos"][0] == named | {"path": "-"}


# Why photos are alike


def test_a_photo_is_explained_by_its_likeness_to_another(explain: Run, run: Run, photo: Path, toy_model: Path) -> None:
    other = save(photo.parent / "other.png", seed=1)
    done = explain(photo, "--similar-to", other, "--method", "gradcam,guided")
    assert (done.code, done.err) == (0, "")
    path, likeness, *where, picture = done.out.strip().splitlines()
    (photo.parent / "there").mkdir()
    there = other.rename(photo.parent / "there" / "other.png")
    found = run("search", photo, "--in", there.parent, "--model", toy_model, *REFERENCE)
    assert path == str(photo)
    assert likeness == f"  {found.out.splitlines()[1].split()[0]} like {other}"
    assert [line.split(":")[0] for line in where] == ["  Grad-CAM at relu2_1", "  guided backpropagation"]
    with Image.open(picture.strip()) as drawn:
        assert drawn.width > 1800  # four panels: the photo, two methods, the other photo
    assert drawn.filename == "photo-explained-gradcam+guided.png"


def test_json_and_page_tell_of_a_likeness_too(explain: Run, photo: Path) -> None:
    other = save(photo.parent / "other.png", seed=1)
    (entry,) = json.loads(explain(photo, "--similar-to", other, "--json", "--grid", "why.html").out)["photos"]
    assert (entry["path"], entry["similar_to"]) == (str(photo), str(other))
    assert entry["explanations"][0]["target"]["output"] == "gap"
    assert np.array(entry["explanations"][0]["values"]).shape == (16, 16)
    assert "like other.png" in Path("why.html").read_text(encoding="utf-8")


# What layers see


def test_activations_show_the_maps_of_a_layer(explain: Run, photo: Path) -> None:
    done = explain(photo, "--method", "activations", "--layer", "pool1", "--out", "o")
    assert "pool1: most excited are the channels" in done.out
    assert [path.name for path in Path("o").iterdir()] == ["photo-explained-activations.png"]
    (entry,) = json.loads(explain(photo, "--method", "activations", "--layer", "pool1", "--json").out)["photos"]
    assert entry["activations"]["map_size"] == [16, 16]
    assert len(entry["activations"]["channels"]) == 8


def test_patches_of_all_photos_are_one_picture(explain: Run, tmp_path: Path) -> None:
    paths = [save(tmp_path / "photos" / f"{seed}.png", seed) for seed in range(4)]
    (tmp_path / "photos" / "bad.png").write_bytes(b"")
    done = explain(tmp_path / "photos", "--method", "patches", "--channel", 3, "--json", "--out", "o")
    assert done.code == 3
    assert [path.name for path in Path("o").iterdir()] == ["relu2_1-explained-patches.png"]
    (entry,) = json.loads(done.out)["photos"]
    (channel,) = entry["channels"]
    assert channel["channel"] == 3
    values = [found["value"] for found in channel["patches"]]
    assert values == sorted(values, reverse=True)
    assert {found["path"] for found in channel["patches"]} == set(map(str, paths))


def test_photos_that_are_gone_when_their_patches_are_cut_out_are_told(
    explain: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [save(tmp_path / "photos" / f"{seed}.png", seed) for seed in range(3)]
    peaks = explain_answers.peaks
    seen = []

    def peaks_then_gone(model: Any, photo: np.ndarray, layer: str, **settings: bool) -> Any:
        found = peaks(model, photo, layer, **settings)
        seen.append(photo)
        paths[len(seen) - 1].unlink()
        if len(seen) == 1:
            save(paths[0], seed=9)  # another photo in its place
        return found

    monkeypatch.setattr(explain_answers, "peaks", peaks_then_gone)
    done = explain(tmp_path / "photos", "--method", "patches", "--json")
    assert done.code == 3
    document = json.loads(done.out)
    (sheet,) = document["photos"]
    assert [Path(failure["path"]).name for failure in document["failures"]] == ["1.png", "2.png"]
    assert [[found["path"] for found in channel["patches"]] for channel in sheet["channels"]] == 8 * [[str(paths[0])]]


def test_filters_need_no_photo(explain: Run, toy_model: Path) -> None:
    done = explain("--method", "filters")
    assert (done.code, done.out.splitlines()[1]) == (0, "  8 kernels of 3 x 3 pixels")
    assert Path("conv1_1-explained-filters.png").is_file()
    (entry,) = json.loads(explain("--method", "filters", "--json").out)["photos"]
    np.testing.assert_allclose(entry["kernels"], read_model(toy_model)[1]["conv1_1.weight"], rtol=1e-6)


def test_an_inversion_shows_what_a_layer_has_kept(explain: Run, photo: Path) -> None:
    arguments = (photo, "--method", "inversion", "--layer", "relu1_1", "--steps", 30)
    assert "relu1_1 takes another picture for the same" in explain(*arguments).out
    assert Path("photo-explained-inversion.png").is_file()
    errors = json.loads(explain(*arguments, "--json").out)["photos"][0]["inversion"]["errors"]
    assert errors[-1] < 0.2 < errors[0]


# What cannot be done


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "no photo was given"),
        (("PHOTO", "--method", "lime"), 2, "no method 'lime'; there are gradcam, gradient"),
        (("PHOTO", "--method", "gradcam,patches"), 2, "patches looks at a layer and stands beside no other method"),
        (("PHOTO", "--class", "horse"), 2, "no class 'horse'; it has cat, dog, rocket"),
        (("PHOTO", "--layer", "conv9_1"), 2, "conv9_1 is no layer of the network; there are conv1_1"),
        (("PHOTO", "--layer", "gap"), 2, "gap has no map"),
        (("PHOTO", "--layer", "conv1_1", "--channel", "0"), 2, "with a method of classes"),
        (("PHOTO", "--method", "guided", "--layer", "conv1_1", "--channel", "8"), 2, "expected a number from 0 to 7"),
        (("PHOTO", "--method", "guided", "--layer", "conv1_1", "--class", "cat"), 2, "exclude each other"),
        (("PHOTO", "--method", "occlusion", "--layer", "conv1_1"), 2, "takes no layer"),
        (("PHOTO", "--method", "activations", "--class", "cat"), 2, "looks at a layer, not at a class"),
        (("PHOTO", "--method", "activations", "--channel", "1"), 2, "shows all channels"),
        (("PHOTO", "--method", "patches", "--layer", "fc8"), 2, "fc8 has no map"),
        (("--method", "filters", "--layer", "conv2_1"), 2, "filters of conv2_1 are no pictures"),
        (("PHOTO", "--method", "integrated", "--steps", "0"), 2, "0 is not in the range"),
        (("PHOTO", "--window", "many"), 2, "'many' is not a valid integer"),
        (("PHOTO", "--grid", "why.png"), 2, "cannot write a page into why.png"),
        (("PHOTO", "--grid", "."), 2, "cannot write a page into ."),
        (("PHOTO", "--grid", "PHOTO/why.html"), 1, "a file of that name is in the way"),
        (("PHOTO", "--out", "PHOTO"), 1, "a file of that name is in the way"),
        (("missing.jpg",), 3, "missing.jpg cannot be read: No such file"),
        (("PHOTO", "--similar-to", "missing.jpg"), 3, "missing.jpg cannot be read: No such file"),
        (("PHOTO", "--similar-to", "PHOTO", "--class", "cat"), 2, "--similar-to and --class exclude each other"),
        (("PHOTO", "--similar-to", "PHOTO", "--method", "occlusion"), 2, "occlusion does not explain a similarity"),
        (("PHOTO", "--similar-to", "PHOTO", "--method", "patches"), 2, "patches does not explain a similarity"),
        (("PHOTO", "--model", "no-such-model"), 3, "there is no model 'no-such-model'"),
    ],
)
def test_misuse_is_told_in_a_line_with_its_remedy(  # noqa: PLR0917, three of them from the list above
    arguments: tuple[str, ...], code: int, message: str, run: Run, explain: Run, photo: Path
) -> None:
    given = [word.replace("PHOTO", str(photo)) for word in arguments]
    done = run("explain", *given) if "--model" in given else explain(*given)
    assert (done.code, done.out) == (code, "")
    error, hint = done.err.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert hint.startswith("hint: ")
    assert list(Path().iterdir()) == []


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_json_is_a_document_also_where_the_network_overflows(
    run: Run, toy_model: Path, photo: Path, tmp_path: Path
) -> None:
    info, weights = read_model(toy_model)
    huge = {name: array * np.float32(1e15) for name, array in weights.items()}
    write_model(tmp_path / "huge.safetensors", info, huge)
    done = run("explain", photo, "--json", "--model", tmp_path / "huge.safetensors", *REFERENCE)
    assert (done.code, json.loads(done.out)["photos"]) == (1, [])
    assert "NaN or infinity" in done.err


def test_no_method_imports_torch(toy_model: Path, photo: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from verydeep.cli.main import cli\n"
        "from verydeep.cli.explain import LAYER_VIEWS, METHODS\n"
        "for name in (','.join(METHODS), *LAYER_VIEWS):\n"
        "    words = sys.argv[2 if name == 'filters' else 1:]\n"
        "    cli.main(['explain', *words, '--method', name, '--steps', '2'], standalone_mode=False)\n"
    )
    options = ("--model", toy_model, *REFERENCE, "--out", tmp_path / "out")
    done = subprocess.run([sys.executable, "-c", program, photo, *options], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((tmp_path / "out").iterdir())) == 5
