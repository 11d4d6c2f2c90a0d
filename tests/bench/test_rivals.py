"""Every contestant computes what the reference computes: the rows, batch norm, 1x1 layers, LRN, every head."""

from collections.abc import Callable

import numpy as np
import pytest

from verydeep.architecture import Architecture
from verydeep.bench.contestants import CONTESTANTS, Contestant, builder_of, missing_for, named
from verydeep.bench.inputs import exact_logits, make_subject
from verydeep.bench.rows import folded_rows
from verydeep.bench.subject import Subject, open_subject
from verydeep.errors import UsageError
from verydeep.nouns import Preprocessing
from verydeep.runtime.reference import ReferenceEngine
from verydeep.weights import ModelInfo, write_model

# Of the largest logit. float32: its rounding in up to 13 layers; the others: that of their numbers, and room.
TOLERANCES = {"float32": 5e-6, "fast": 1e-2, "bfloat16": 3e-2, "int8": 0.15}
# Winograd by whole points, which lose two digits; and in bytes, 0.05 to 0.2 on the networks below: a layer in the
# middle that loses an eighth of its outputs makes that 0.28 and more in two of them, and a missing LRN makes it 0.46.
LESS_EXACT = {"mnn": 3e-4, "native-int8": 0.25}
NETWORKS = {
    "lrn, fc": Architecture("A-LRN", "fc", classes=10, input_size=64, width=0.125),
    "1x1, batch norm, gap": Architecture("C", "gap", classes=10, input_size=64, width=0.125, batch_norm=True),
    "conv head, oblong": Architecture("A", "conv", classes=10, input_size=32, width=0.125),
}
# By the library's own design: eager torch has no LRN in bfloat16, MNN's Python module has none at all.
LACKING = {("torch-bf16", "lrn, fc"), ("mnn", "lrn, fc")}
COMPILED = {"torch-compile", "torch-compile-bf16"}  # by a C++ compiler, for many seconds: of one network alone
SLOW = {"torch-compile", "torch-compile-bf16", "openvino-int8", "onnxruntime-int8"}

RandomWeights = Callable[..., dict[str, np.ndarray]]


@pytest.fixture(scope="module", params=NETWORKS)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, random_weights: RandomWeights
) -> tuple[str, Subject, np.ndarray]:
    """A network's name, its files, and the reference's logits in float64."""
    architecture, folder = NETWORKS[request.param], tmp_path_factory.mktemp("subject")
    side = architecture.input_size
    path = folder / "given.safetensors"
    classes = tuple("abcdefghij")
    write_model(path, ModelInfo(architecture, classes, Preprocessing(side, side)), random_weights(architecture))
    size = (45, 70) if architecture.head == "conv" else (side, side)
    subject = make_subject(folder, path, image_size=size, batch=2)
    return request.param, subject, exact_logits(subject, 2)


@pytest.mark.filterwarnings("ignore")  # of the libraries'
@pytest.mark.parametrize(
    "contestant",
    [pytest.param(one, marks=[pytest.mark.slow] if one.name in SLOW else []) for one in CONTESTANTS],
    ids=lambda one: one.name,
)
def test_logits_are_the_references(contestant: Contestant, case: tuple[str, Subject, np.ndarray]) -> None:
    if missing := missing_for(contestant):
        pytest.skip(f"{', '.join(missing)} is not installed")
    network, subject, exact = case
    if (contestant.name, network) in LACKING:
        pytest.skip("the library has no such layer")
    if contestant.name in COMPILED and network != next(iter(NETWORKS)):
        pytest.skip("another network is compiled")
    builder = builder_of(contestant)
    builder.prepare(subject, contestant)
    loaded = builder.load(open_subject(subject.folder), contestant, threads=1, batch=2)
    logits = loaded.run(subject.images(2)).reshape(2, -1)
    assert logits.shape == exact.shape
    tolerance = LESS_EXACT.get(contestant.name, TOLERANCES[contestant.precision])
    assert np.abs(logits - exact).max() <= tolerance * np.abs(exact).max()
    if loaded.time_parts:
        seconds = loaded.time_parts(subject.images(2))
        assert all(value >= 0 for value in seconds.values())
        assert 0 < sum(seconds.values()) < 60


def test_each_precision_of_the_native_engine_is_compared_with_numbers_of_its_size() -> None:
    for ours, rival in (("native", "ncnn"), ("native-fast", "ncnn-bf16"), ("native-int8", "openvino-int8")):
        assert named(ours).number_class == named(rival).number_class
    assert len({named(ours).number_class for ours in ("native", "native-fast", "native-int8")}) == 3


@pytest.mark.parametrize("architecture", NETWORKS.values(), ids=NETWORKS)
def test_folded_rows_are_the_same_network_without_batch_norm(
    architecture: Architecture, random_weights: RandomWeights
) -> None:
    weights = random_weights(architecture)
    rows = folded_rows(architecture, weights)
    plain = Architecture(**architecture.to_dict() | {"batch_norm": False})
    folded = {
        f"{row.name}.{part}": array
        for row in rows
        if row.layer.has_weights
        for part, array in (("weight", row.weight), ("bias", row.bias))
    }
    side = architecture.input_size
    images = np.random.default_rng(0).normal(size=(1, 3, side, side)).astype(np.float32)
    expected = ReferenceEngine(architecture, weights, precision="float64").run(images)["logits"]
    got = ReferenceEngine(plain, folded).run(images)["logits"]
    assert np.abs(got - expected).max() <= 5e-6 * np.abs(expected).max()


def test_layers_that_rivals_are_not_built_with_are_refused() -> None:
    with pytest.raises(UsageError, match="toy-segnet has the layer unpool2, which is built for our own engines only"):
        folded_rows(Architecture("toy", "segnet", classes=2, input_size=16), {})


def test_the_exact_logits_are_in_float64(case: tuple[str, Subject, np.ndarray]) -> None:
    assert case[2].dtype == np.float64
    assert not np.array_equal(case[2], case[2].astype(np.float32))
