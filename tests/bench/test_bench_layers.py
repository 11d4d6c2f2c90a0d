"""Layers beside the accounts' prediction, and the roofline's picture."""

from dataclasses import replace
from pathlib import Path

import pytest

from verydeep.accounting import account_layers
from verydeep.architecture import Architecture
from verydeep.bench.contestants import named
from verydeep.bench.figures import figure
from verydeep.bench.layers import BlockFigure, block_figures, layer_figures, worst_block
from verydeep.bench.peaks import Peaks, measure_peaks
from verydeep.bench.report import Group, Measured, Report
from verydeep.bench.roofline import check_picture, draw_roofline
from verydeep.bench.starts import Start
from verydeep.bench.subject import Subject
from verydeep.bench.turns import Chunk, Record, Sample
from verydeep.errors import UsageError

ARCHITECTURE = Architecture("toy", "gap", classes=10, input_size=32)
PEAKS = Peaks({"float32": 100.0, "fast": 200.0, "int8": 400.0}, 25.0, "made up")
SECONDS = {"conv1_1": 1e-3, "conv1_2": 2e-3, "pool1": 0.0, "conv2_1": 3e-3, "pool2": 0.0, "gap": 1e-5, "fc8": 1e-5}


def record_of(*samples: Sample) -> Record:
    return Record([Chunk(0, list(samples), is_clean=True)])


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return Subject(tmp_path, tmp_path / "model.safetensors", ARCHITECTURE, (32, 32))


@pytest.fixture
def report(subject: Subject) -> Report:
    record = record_of(SECONDS, SECONDS)
    layers = {precision: layer_figures(subject, precision, 1, record, PEAKS) for precision in ("float32", "fast")}
    clean, disturbed = figure([5.0, 6.0, 7.0]), figure([5.0], is_clean=False)
    measured = (
        Measured(named("native"), clean, 1e-6, 60_000_000, 0),
        Measured(named("ncnn"), disturbed, 2e-6, None, 9),
    )
    starts = (Start(named("native"), 0.3, figure([0.2]), 50_000_000),)
    return Report(subject, 2, PEAKS, starts, (Group(1, measured, (), layers, ()),))


def test_a_layers_prediction_is_the_accounts_at_the_measured_peaks(subject: Subject) -> None:
    rows = {row.name: row for row in layer_figures(subject, "float32", 4, record_of(SECONDS), PEAKS)}
    accounts = {account.name: account for account in account_layers(ARCHITECTURE)}
    conv = rows["conv1_2"]
    assert conv.predicted.flops == 4 * accounts["conv1_2"].flops
    assert conv.predicted.compute_ms == pytest.approx(4 * accounts["conv1_2"].flops / 100e9 * 1e3)
    maps = accounts["conv1_1"].activations + accounts["conv1_2"].activations
    weights = accounts["conv1_2"].weights + accounts["conv1_2"].biases
    assert conv.predicted.traffic_bytes == 4 * (4 * maps + weights)  # float32; the weights once for a batch of four
    assert conv.measured_ms is not None
    assert conv.measured_ms.value == pytest.approx(2)
    assert conv.gflops == pytest.approx(conv.predicted.flops / 2e-3 / 1e9)
    assert rows["pool1"].measured_ms is None  # computed with conv1_2
    assert [row.name for row in rows.values()] == [layer.name for layer in ARCHITECTURE.layers]


@pytest.mark.parametrize(("precision", "faster", "bytes_less"), [("fast", 2, 2), ("int8", 4, 3)])
def test_whole_numbers_have_a_peak_of_their_own_and_smaller_weights_but_maps_in_float32(
    subject: Subject, precision: str, faster: int, bytes_less: int
) -> None:
    exact, whole = (layer_figures(subject, name, 1, record_of(SECONDS), PEAKS)[1] for name in ("float32", precision))
    account = next(account for account in account_layers(ARCHITECTURE) if account.name == "conv1_2")
    assert whole.predicted.compute_ms == exact.predicted.compute_ms / faster
    less = exact.predicted.traffic_bytes - whole.predicted.traffic_bytes
    biases = 0 if precision == "int8" else account.biases  # in int8 they stay float32
    assert less == bytes_less * account.weights + 2 * biases


def test_blocks_are_sums_of_layers_and_the_worst_is_told() -> None:
    ours, theirs = record_of(SECONDS), record_of({"pool1": 2e-3, "pool2": 6e-3, "logits": 1e-5})
    blocks = block_figures({"native": ours, "ncnn": theirs})
    assert [block.name for block in blocks] == ["conv1", "conv2", "head"]
    assert blocks[0].measured_ms["native"].value == pytest.approx(3)
    assert blocks[0].measured_ms["ncnn"].value == pytest.approx(2)
    assert worst_block(blocks[:2], "native", "ncnn") == ("conv1", pytest.approx(1.5))
    assert worst_block((BlockFigure("conv1", {}),), "native", "ncnn") is None


def test_rows_of_results_are_those_that_nobody_disturbed(report: Report) -> None:
    rows = list(report.rows())
    assert {row.engine for row in rows} == {"native"}
    speed = rows[0]
    assert (speed.dtype, speed.batch, speed.threads, speed.n, speed.value) == ("float32", "1", "2", "3", "6")
    assert (speed.protocol, speed.spread) == ("prediction: 32 x 32 pixels, 10 classes, ms a batch", "5.1..6.9")
    assert [row.protocol.partition(":")[0] for row in rows] == [
        "prediction",
        "largest error",
        "peak memory of a process",
        "start to first prediction, not the first start",
    ]
    assert rows[2].value == "60"


def test_a_row_says_what_the_network_ran_on(report: Report) -> None:
    assert report.inputs == "32 x 32 pixels, 10 classes"
    of_model = replace(report.subject, label="toy sha256:0123456789ab", has_photos=True)
    assert replace(report, subject=of_model).inputs == "32 x 32 pixels of photos"
    usual = replace(report.subject, architecture=Architecture("D"), image_size=(224, 224))
    assert replace(report, subject=usual).inputs == "224 x 224 pixels"


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture_has_every_layer_and_says_what_lies_above_the_roof(report: Report, tmp_path: Path, suffix: str):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"roofline.{suffix}"
    draw_roofline(report, str(path))
    data = path.read_bytes()
    if suffix == "png":
        assert data.startswith(b"\x89PNG")
        return
    text = data.decode()
    for said in ("conv1_1", "conv2_1", "fc8", "100 GFLOP/s, measured", "25 GB/s, measured", "Winograd multiplies less"):
        assert said in text, said


def test_a_picture_of_another_kind_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(UsageError, match=r"neither SVG nor PNG"):
        check_picture("roofline.gif")


def test_the_peaks_of_this_machine_are_within_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verydeep.bench.peaks._TRIES", 1)
    monkeypatch.setattr("verydeep.bench.peaks._STEPS", 20_000)
    monkeypatch.setattr("verydeep.bench.peaks._MEMORY_FLOATS", 4 << 20)
    peaks = measure_peaks(1)
    assert 0.1 < peaks.gflops["float32"] < 10_000
    assert 0.1 < peaks.bandwidth_gbs < 10_000


def test_without_the_native_engine_numpy_measures_the_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verydeep.bench.peaks._TRIES", 1)
    monkeypatch.setattr("verydeep.bench.peaks._MATRIX", 256)
    monkeypatch.setattr("verydeep.bench.peaks._MEMORY_FLOATS", 4 << 20)
    monkeypatch.setattr("verydeep.bench.peaks.has_native", lambda: False)
    peaks = measure_peaks(1)
    assert list(peaks.gflops) == ["float32"]
    assert "NumPy" in peaks.how
