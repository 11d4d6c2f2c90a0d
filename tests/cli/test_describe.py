"""`verydeep describe`: its JSON against the published figures, its table, its picture and its errors."""

import csv
import json
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest

from verydeep.architecture import Architecture
from verydeep.nouns import Calibration, Preprocessing
from verydeep.weights import ModelInfo, read_model, write_model

EXPECTED = Path(__file__).parents[1] / "accounting"
CONFIGURATIONS = ["A", "A-LRN", "B", "C", "D", "E"]

Describe = Callable[..., tuple[int, str, str]]
DescribeJson = Callable[..., dict[str, Any]]


@pytest.fixture
def describe(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Describe:
    """A function (*arguments) -> exit code, stdout and stderr of `verydeep describe` with them."""
    monkeypatch.delenv("COLUMNS", raising=False)
    return lambda *arguments: astuple(run("describe", *arguments))


@pytest.fixture
def describe_json(describe: Describe) -> DescribeJson:
    """A function (*arguments) -> what `verydeep describe --json` prints with them."""

    def load(*arguments: str) -> dict[str, Any]:
        code, out, err = describe(*arguments, "--json")
        assert (code, err) == (0, "")
        fields: dict[str, Any] = json.loads(out)
        return fields

    return load


def _expected(table: str, configuration: str) -> list[dict[str, str]]:
    with (EXPECTED / f"expected_{table}.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row.pop("configuration") == configuration]


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_every_layer_has_the_published_figures(describe_json: DescribeJson, configuration: str) -> None:
    expected = _expected("layers", configuration)
    layers = describe_json(configuration)["layers"]
    assert [layer["name"] for layer in layers] == [row["name"] for row in expected]
    for layer, row in zip(layers, expected, strict=True):
        layer |= dict(zip(("channels", "height", "width"), layer["output_shape"], strict=True))
        assert {name: str(layer[name]) for name in row} == row


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_every_total_is_the_published_one(describe_json: DescribeJson, configuration: str) -> None:
    (expected,) = _expected("totals", configuration)
    totals = describe_json(configuration)["totals"]
    totals["weights_and_biases"] = totals["parameters"]
    totals["with_batch_norm"] = totals["parameters_with_batch_norm"]
    totals |= {name: f"{totals[name]:.2f}" for name in ("file_mb", "file_mib")}
    assert {name: str(totals[name]) for name in expected} == expected


def test_the_keys_of_the_json_are_these(describe_json: DescribeJson) -> None:
    fields = describe_json("D", "--peak-gflops", "100", "--bandwidth-gbs", "10", "--why3x3")
    assert set(fields) == {"architecture", "image_size", "layers", "totals", "memory", "roofline", "why3x3"}
    assert fields["architecture"] == {"name": "D"} | Architecture().to_dict()
    assert set(fields["memory"]) == {"batch_size", "precision", "inference", "training"}
    assert len(fields["roofline"]["layers"]) == 21
    assert fields["roofline"]["time_ms"] == pytest.approx(sum(row["time_ms"] for row in fields["roofline"]["layers"]))
    assert [stack["name"] for stack in fields["why3x3"]] == ["two 3x3", "one 5x5", "three 3x3", "one 7x7"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vgg16", "D"),
        ("VGG-16", "D"),
        ("d", "D"),
        ("vgg11_bn", "A-bn"),
        ("vgg13", "B"),
        ("VGG19-BN", "E-bn"),
        ("a-lrn", "A-LRN"),
        ("A_LRN", "A-LRN"),
        ("c-bn", "C-bn"),
        ("TOY", "toy"),
    ],
)
def test_a_configuration_answers_to_its_usual_names(describe_json: DescribeJson, name: str, expected: str) -> None:
    assert describe_json(name)["architecture"]["name"] == expected


def test_options_change_the_architecture(describe_json: DescribeJson) -> None:
    options = ["--head", "gap", "--classes", "7", "--size", "64", "--channels", "1", "--width", "0.5", "--batch-norm"]
    expected = Architecture("B", "gap", classes=7, input_size=64, input_channels=1, width=0.5, batch_norm=True)
    fields = describe_json("B", *options)["architecture"]
    assert fields.pop("name") == "B-bn-gap-0.5x"
    assert Architecture.from_dict(fields) == expected


@pytest.mark.parametrize(
    ("options", "name", "last"),
    [
        (["--boxes", "single"], "A-box", 1004),
        (["--boxes", "class", "--head", "gap", "--classes", "3"], "A-gap-boxes", 15),
        (["--head", "embedding", "--dimensions", "64"], "A-embedding", 64),
    ],
)
def test_heads_of_boxes_and_of_embeddings_are_described(
    options: list[str], name: str, last: int, describe_json: DescribeJson
) -> None:
    fields = describe_json("A", *options)
    assert fields["architecture"]["name"] == name
    assert fields["layers"][-1]["output_shape"] == [last, 1, 1]


@pytest.mark.parametrize(("image", "size"), [("384", [384, 384]), ("256x320", [256, 320]), ("256X320", [256, 320])])
def test_a_dense_head_takes_another_image(describe_json: DescribeJson, image: str, size: list[int]) -> None:
    fields = describe_json("D", "--head", "conv", "--image", image)
    assert fields["image_size"] == size
    assert fields["layers"][-1]["output_shape"] == [1000, size[0] // 32 - 6, size[1] // 32 - 6]


def test_memory_follows_batch_precision_and_ema(describe_json: DescribeJson) -> None:
    memory = describe_json("A", "--batch", "64", "--precision", "bfloat16", "--ema")["memory"]
    assert (memory["batch_size"], memory["precision"]) == (64, "bfloat16")
    assert memory["inference"]["weights_bytes"] == 2 * 132_863_336
    assert memory["training"]["ema_bytes"] == 4 * 132_863_336


def test_nothing_trains_in_int8(describe_json: DescribeJson) -> None:
    assert describe_json("A", "--precision", "int8")["memory"]["training"] is None


def test_a_model_file_says_what_it_is(describe_json: DescribeJson, toy_model: Path) -> None:
    fields = describe_json(str(toy_model))
    assert fields["architecture"]["name"] == "toy-bn-gap"
    assert fields["class_names"] == ["cat", "dog", "rocket"]


ORIGIN = {
    "command": "verydeep train animals",
    "data": "animals, CC BY 4.0",
    "photos": 600,
    "validation": {
        "protocol": "centre crop 48 of shorter side 50",
        "n": 300,
        "top1": {"value": 0.75, "interval_95": [0.698, 0.796], "successes": 225, "n": 300},
    },
}


@pytest.fixture
def told_model(tmp_path: Path, random_weights: Callable[..., Any]) -> Path:
    """A model trained at 32 pixels that predicts at 48, in float16, whose classes and origin try to move the cursor."""
    architecture = Architecture("toy", head="gap", classes=2, input_size=32)
    calibration = Calibration(temperature=1.25, reject_below=0.4, photos=300)
    origin = ORIGIN | {"licence\x1b[2J": "CC0\x1b[2J"}
    info = ModelInfo(architecture, ("cat\x1b[31m", "dog\nrocket"), Preprocessing(50, 48), calibration, origin)
    write_model(tmp_path / "told.safetensors", info, random_weights(architecture), "float16")
    return tmp_path / "told.safetensors"


def test_segnet_basic_needs_no_head_and_a_decoder_is_told(describe: Describe, describe_json: DescribeJson) -> None:
    fields = describe_json("segnet-basic_bn", "--classes", "11", "--image", "91x120")
    assert fields["architecture"]["name"] == "SegNet-Basic-bn-segnet"
    assert fields["layers"][-1]["output_shape"] == [11, 91, 120]
    _, text, _ = describe("D", "--head", "segnet", "--classes", "11")
    assert text.startswith("VGG D-segnet  26 weight layers, image 224x224x3, 11 classes, segnet head")
    assert "all of convolutions" in text
    assert "to segment 1 image" in text
    assert "Above an unpool" in " ".join(text.split())


def test_a_model_is_described_as_it_predicts(describe_json: DescribeJson, told_model: Path) -> None:
    fields = describe_json(str(told_model))
    assert fields["image_size"] == [48, 48]
    assert fields["model_file"] == {"path": str(told_model), "bytes": told_model.stat().st_size}
    assert fields["preprocessing"] == Preprocessing(50, 48).to_dict() | {
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    assert fields["calibration"] == {"temperature": 1.25, "reject_below": 0.4, "photos": 300}
    assert {name: fields["origin"][name] for name in ORIGIN} == ORIGIN
    assert describe_json(str(told_model), "--image", "64")["image_size"] == [64, 64]


def test_the_table_of_a_model_says_where_it_comes_from_and_how_good_it_is(describe: Describe, told_model: Path) -> None:
    out = " ".join(describe(str(told_model))[1].split())
    size = told_model.stat().st_size / 1e6
    assert f"model file {size:.2f} MB; " in out
    assert "image 48x48x3" in out
    assert "photos centre crop 48 of shorter side 50, bilinear, one crop; less the mean 0.485" in out
    assert "logits divided by 1.25; under 40.0% probably none of the classes; fitted on 300 photos" in out
    assert "command verydeep train animals" in out
    assert "top-1 75.0% (95 % interval 69.8% to 79.6%, n = 300): centre crop 48 of shorter side 50" in out


@pytest.mark.parametrize(
    ("name", "told"),
    [("class_and_box", "class and box"), ("mean_iou", "mean IoU"), ("recall1", "recall@1"), ("recall@1", "recall@1")],
)
def test_models_of_every_task_say_how_good_they_are(
    name: str, told: str, describe: Describe, toy_model: Path, tmp_path: Path
) -> None:
    info, weights = read_model(toy_model)
    validation = {"protocol": "whole photos", "n": 30, name: {"value": 0.75, "interval_95": [0.5, 0.875]}}
    write_model(tmp_path / "model.safetensors", replace(info, origin={"validation": validation}), weights)
    out = " ".join(describe(str(tmp_path / "model.safetensors"))[1].split())
    assert f"validation {told} 75.0% (95 % interval 50.0% to 87.5%, n = 30): whole photos" in out


def test_what_a_model_file_says_cannot_move_the_cursor(describe: Describe, told_model: Path) -> None:
    out = describe(str(told_model))[1]
    assert "\x1b" not in out
    assert "cat\\x1b[31m, dog\\nrocket" in out


def test_a_built_in_model_is_described_by_its_name(
    describe_json: DescribeJson, describe: Describe, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("verydeep.runtime.open.built_in_models", lambda: {"pets": toy_model})
    monkeypatch.setattr("verydeep.runtime.built_in_models", lambda: {"pets": toy_model})
    assert describe_json("pets")["class_names"] == ["cat", "dog", "rocket"]
    assert "Built-in models: pets." in describe("petz")[2]


def test_the_picture_shows_the_image_asked_for(describe: Describe, tmp_path: Path) -> None:
    picture = tmp_path / "d.svg"
    assert describe("D", "--head", "conv", "--image", "384", "--picture", str(picture))[0] == 0
    assert "384x384x3" in picture.read_text(encoding="utf-8")


def test_a_model_file_shows_its_classes_in_the_table(describe: Describe, toy_model: Path) -> None:
    code, out, _ = describe(str(toy_model))
    assert code == 0
    assert "classes      cat, dog, rocket" in out
    assert "confidence   not calibrated" in out


def test_the_table_has_every_layer_and_the_figures_people_quote(describe: Describe) -> None:
    code, out, err = describe("D")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["fc6", "1x1x4096", "102,760,448", "4,096", "102,760,448", "━", "4,096", "404", "32"] in lines
    for layer in Architecture("D").layers:
        assert any(line[:1] == [layer.name] for line in lines)
    for figure in ("138,357,544", "15,470,264,320 MACs = 30.94 GFLOP", "553.43 MB = 527.79 MiB", "1 MAC = 2 FLOP"):
        assert figure in out


@pytest.mark.parametrize("columns", [60, 70, 80, 100, 120])
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_the_table_fits_the_terminal(
    describe: Describe, monkeypatch: pytest.MonkeyPatch, configuration: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out, _ = describe(configuration, "--why3x3", "--peak-gflops", "150", "--bandwidth-gbs", "20", "--batch", "256")
    assert max(map(len, out.splitlines())) <= columns


def test_what_is_piped_has_no_colours(describe: Describe) -> None:
    assert "\x1b" not in describe("D")[1]


def test_a_terminal_of_ascii_gets_ascii(describe: Describe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verydeep.cli.describe_table.can_print", lambda text: False)
    assert describe("D")[1].isascii()


def test_the_predicted_time_names_what_sets_it(describe: Describe) -> None:
    _, out, _ = describe("D", "--peak-gflops", "150", "--bandwidth-gbs", "20")
    lines = [line.split() for line in out.splitlines()]
    assert ["conv1_2", "24.663", "1.292", "24.663", "━━━━━━━━━━", "compute"] in lines
    assert ["fc6", "1.370", "20.559", "20.559", "━━━━━━━━", "memory"] in lines


@pytest.mark.parametrize("name", ["d.svg", "d.PNG", "new folder/d.svg"])
def test_a_picture_is_written_beside_the_table(describe: Describe, tmp_path: Path, name: str) -> None:
    code, out, err = describe("D", "--picture", str(tmp_path / name))
    assert code == 0
    assert "conv5_3" in out
    assert err == f"wrote {tmp_path / name}\n"
    assert (tmp_path / name).read_bytes()[:4] in (b"<svg", b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (["F"], 2, "'F' is neither a configuration nor a model file", "A, A-LRN, B, C, D, E, SegNet-Basic, toy"),
        (["missing.safetensors"], 2, "neither", "vgg16"),
        ([], 2, "CONFIGURATION|MODEL", "--help"),
        (["D", "--head", "average"], 2, "'average'", "--help"),
        (["D", "--classes", "0"], 2, "classes is 0", "such a number"),
        (["D", "--boxes", "two"], 2, "'two'", "--help"),
        (["D", "--boxes", "single", "--head", "segnet"], 2, "the head segnet gives no boxes", "fc or gap"),
        (["D", "--dimensions", "64"], 2, "goes with the head embedding; got fc", "--head embedding"),
        (["D", "--classes", "many"], 2, "'many'", "--help"),
        (["D", "--size", "16"], 2, "16 is too small", "32 pixels"),
        (["D", "--width", "-1"], 2, "width is -1", "0.5"),
        (["D", "--image", "256"], 2, "does not fit the fc head", "dense"),
        (["D", "--head", "conv", "--image", "200"], 2, "too small", "224"),
        (["D", "--head", "gap", "--image", "2x3x4"], 2, "'2x3x4'", "height first"),
        (["D", "--head", "gap", "--image", "large"], 2, "'large'", "height first"),
        (["D", "--batch", "0"], 2, "batch of 0", "number of images"),
        (["D", "--precision", "float8"], 2, "'float8'", "--help"),
        (["D", "--peak-gflops", "100"], 2, "both", "--bandwidth-gbs"),
        (["D", "--peak-gflops", "0", "--bandwidth-gbs", "1"], 2, "from 1e-06", "data sheet"),
        (["D", "--peak-gflops", "1e-310", "--bandwidth-gbs", "1"], 2, "from 1e-06", "data sheet"),
        (["D", "--peak-gflops", "1e310", "--bandwidth-gbs", "1"], 2, "to 1e+12", "data sheet"),
        (["D", "--batch", "1" + 310 * "0"], 2, "expected 1 to 1,000,000,000", "number of images"),
        (["D", "--picture", "d.gif"], 2, "d.gif", ".svg or .png"),
        (["D", "--picture", "/dev/null/d.svg"], 1, "cannot write", "name"),
    ],
)
def test_a_mistake_is_one_line_and_its_remedy(
    describe: Describe, arguments: list[str], code: int, message: str, hint: str
) -> None:
    got, out, err = describe(*arguments)
    error, remedy = err.splitlines()
    assert (got, out) == (code, "")
    assert error.startswith("error: ")
    assert message in error
    assert remedy.startswith("hint: ")
    assert hint in remedy


def test_a_model_file_cannot_be_changed_but_for_its_dense_view(describe: Describe, toy_model: Path) -> None:
    code, _, err = describe(str(toy_model), "--classes", "5")
    assert code == 2
    assert "says itself what its network is" in err
    assert describe(str(toy_model), "--head", "conv")[0] == 0


def test_a_file_that_is_no_model_is_bad_data(describe: Describe, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff" * 100)
    code, out, err = describe(str(tmp_path / "photo.jpg"))
    assert (code, out) == (3, "")
    assert "photo.jpg is not a model file" in err
