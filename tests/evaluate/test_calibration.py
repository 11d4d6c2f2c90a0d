"""Temperature and threshold on logits whose truth is known because we made them."""

from collections.abc import Callable

import numpy as np
import pytest

from verydeep.architecture import Architecture
from verydeep.evaluate import calibrate, metrics
from verydeep.evaluate.calibration import MIN_PHOTOS, ROUNDING, TEMPERATURES, fit_temperature, reject_threshold
from verydeep.nouns import Calibration
from verydeep.outputs.classify import posteriors
from verydeep.runtime.reference import ReferenceEngine


def honest_logits(n: int, classes: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose soft-max is the true distribution of the labels: each label is drawn from it."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2.5, (n, classes))
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)  # a draw from the soft-max
    return logits, labels


@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.0, 2.0, 5.0])
def test_a_known_temperature_is_recovered(temperature: float) -> None:
    logits, labels = honest_logits(20_000)
    assert fit_temperature((logits * temperature).astype(np.float32), labels) == pytest.approx(temperature, rel=0.03)


def test_no_other_temperature_costs_less() -> None:
    logits, labels = honest_logits(500)
    fitted = fit_temperature(logits * 3, labels)
    cost = metrics.cross_entropy(posteriors(logits * 3, fitted), labels)
    for other in np.geomspace(*TEMPERATURES, 200):
        assert metrics.cross_entropy(posteriors(logits * 3, other), labels) >= cost - 1e-12


def test_the_fitted_temperature_makes_an_overconfident_model_honest() -> None:
    logits, labels = honest_logits(5000)
    before = metrics.expected_calibration_error(posteriors(logits * 4), labels)
    after = metrics.expected_calibration_error(posteriors(logits * 4, fit_temperature(logits * 4, labels)), labels)
    assert before > 0.15
    assert after < 0.03


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_a_model_worse_than_chance_gets_the_highest_temperature(scale: float) -> None:
    logits = np.tile([1.0, 0.0], (100, 1)) * scale
    assert fit_temperature(logits, np.ones(100, np.int64)) == pytest.approx(TEMPERATURES[1])


def test_a_model_without_mistakes_keeps_its_confidence() -> None:
    assert fit_temperature(np.eye(10) * 3, np.arange(10)) == 1


def test_the_threshold_keeps_the_promised_share_of_the_right_answers() -> None:
    logits, labels = honest_logits(4000)
    probabilities = posteriors(logits)
    threshold = reject_threshold(probabilities, labels, keep=0.95)
    is_right = metrics.top_k_correct(probabilities, labels, 1)
    is_kept = probabilities.max(axis=1) >= threshold
    assert 0.95 <= is_kept[is_right].mean() < 0.951
    assert is_kept[~is_right].mean() < 0.9  # and turns down more of the wrong ones


def test_the_threshold_keeps_its_distance_from_every_photo() -> None:
    logits, labels = honest_logits(4000)
    probabilities = np.concatenate([posteriors(logits), posteriors(logits * (1 + 1e-9))])  # each photo twice, nearly
    threshold = reject_threshold(probabilities, np.tile(labels, 2))
    assert np.abs(probabilities.max(axis=1) - threshold).min() >= ROUNDING / 2


def test_photos_of_one_probability_are_all_kept() -> None:
    probabilities = np.tile([0.8, 0.2], (100, 1))
    assert 0 < reject_threshold(probabilities, np.zeros(100, np.int64)) < 0.8


@pytest.mark.parametrize("seed", range(8))
def test_engines_and_batch_sizes_name_the_same_photos(
    seed: int, random_weights: Callable[..., dict[str, np.ndarray]]
) -> None:
    torch_engine = pytest.importorskip("verydeep.runtime.torch_engine", exc_type=ImportError)
    architecture = Architecture("toy", head="gap", classes=10, input_size=16)
    weights = random_weights(architecture, seed=seed)
    photos = np.random.default_rng(seed).normal(size=(160, 3, 16, 16)).astype(np.float32)
    torch, reference = torch_engine.TorchEngine(architecture, weights, "cpu"), ReferenceEngine(architecture, weights)
    logits = {
        "torch 32": np.concatenate([torch.run(batch)["logits"] for batch in np.split(photos, 5)]),
        "torch 1": np.concatenate([torch.run(photo[None])["logits"] for photo in photos]),
        "reference": reference.run(photos)["logits"],
    }
    labels = logits["torch 32"].argmax(axis=1)
    labels[::4] = (labels[::4] + 1) % 10
    calibration = calibrate(logits["torch 32"], labels)
    named = [
        (posteriors(found, calibration.temperature).max(axis=1) >= calibration.reject_below).tolist()
        for found in logits.values()
    ]
    assert named[0] == named[1] == named[2]
    assert 0 < sum(named[0]) < 160


def test_too_few_photos_calibrate_nothing() -> None:
    logits, labels = honest_logits(MIN_PHOTOS - 1)
    assert calibrate(logits, labels) == Calibration(temperature=1, reject_below=0, photos=0)


def test_too_few_right_answers_reject_nothing() -> None:
    logits, labels = honest_logits(200)
    wrong = (logits.argmax(axis=1) + 1) % 10
    labels = np.where(np.arange(200) < MIN_PHOTOS - 1, logits.argmax(axis=1), wrong)
    assert calibrate(logits, labels).reject_below == 0
    assert calibrate(logits, labels).photos == 200
    assert labels.dtype == np.int64


def test_calibrate_applies_the_threshold_to_the_probabilities_at_its_temperature() -> None:
    logits, labels = honest_logits(1000)
    calibration = calibrate(logits * 3, labels)
    assert calibration.photos == 1000
    probabilities = posteriors(logits * 3, calibration.temperature)
    assert calibration.reject_below == reject_threshold(probabilities, labels)
