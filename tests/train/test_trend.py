"""What is said of a run whose score is no share of recognised photos."""

import pytest

from verydeep.train.recipe import Recipe
from verydeep.train.tasks.segment import TASK
from verydeep.train.tasks.trend import trend


def told(scores: "list[float]", *, loss: float = 1.0, is_fine_tuned: bool = False) -> str:
    rows = [{f"validation_{TASK.metric}": score, "loss": loss, "validation_loss": 1.0} for score in scores]
    return " ".join(trend(rows, TASK, Recipe(epochs=max(1, len(scores)), width=0.5), is_fine_tuned=is_fine_tuned))


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        ([], "How the training went was not recorded."),
        ([0.1, 0.2], "After 2 epochs it is too early to see where it goes; try `--set epochs=4`."),
        ([0.1 * n for n in range(10)], "It was still improving: over the last 4 epochs validation mean IoU"),
        ([0.5] * 10, "It had levelled off: over the last 4 epochs validation mean IoU changed by +0.0 points."),
        ([0.1, 0.5, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4], "it was best after epoch 3. Try `--set epochs=3`."),
    ],
)
def test_the_end_of_the_curve_is_told(scores, sentence):
    assert sentence in told(scores)


def test_photos_known_by_heart_are_told():
    assert "Overfitting" not in told([0.5] * 10, loss=0.75)
    assert "or a narrower network, `--set width=0.25`." in told([0.5] * 10, loss=0.65)


def test_the_network_of_a_trained_model_is_not_to_be_changed():
    assert told([0.5] * 10, loss=0.65, is_fine_tuned=True).endswith("More annotated photos would help most.")
