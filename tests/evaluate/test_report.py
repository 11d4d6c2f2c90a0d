"""A report made of five photos, every figure of which can be counted by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from verydeep.evaluate import Report
from verydeep.evaluate.metrics import wilson_interval
from verydeep.evaluate.report import Confusion, Proportion
from verydeep.nouns import Calibration


@pytest.fixture
def report() -> Report:
    """Cats 0 and 1, dogs 2 and 3, a rocket: the second cat and the second dog are taken for rockets."""
    posteriors = np.array([[0.8, 0.1, 0.1], [0.3, 0.1, 0.6], [0.1, 0.9, 0.0], [0.2, 0.3, 0.5], [0.05, 0.05, 0.9]])
    return Report(
        protocol="counted by hand",
        protocol_name="hand",
        classes=("cat", "dog", "rocket"),
        paths=tuple(Path(f"{i}.jpg") for i in range(5)),
        labels=np.array([0, 0, 1, 1, 2]),
        posteriors=posteriors,
        logits=np.log(np.maximum(posteriors, 1e-9)).astype(np.float32),
        calibration=Calibration(reject_below=0.6, photos=100),
    )


def test_top1_is_three_of_five(report: Report) -> None:
    assert (report.n, report.top1) == (5, Proportion(3, 5))
    assert report.top1.value == 0.6
    assert report.top1.interval == wilson_interval(3, 5)


def test_top5_is_told_for_more_than_five_classes_only(report: Report) -> None:
    assert report.top5 is None
    six = replace(
        report,
        classes=tuple("abcdef"),
        labels=np.array([0, 5]),
        posteriors=np.array([[0.0, 0.4, 0.3, 0.2, 0.05, 0.05], [0.0, 0.4, 0.3, 0.1, 0.1, 0.1]]),
    )
    assert six.top5 == Proportion(1, 2)  # in the first photo the right class is the last of six


def test_each_class_has_its_recall_and_its_precision(report: Report) -> None:
    cat, dog, rocket = report.class_rows
    assert (cat.recall, cat.precision) == (Proportion(1, 2), Proportion(1, 1))
    assert (dog.recall, dog.precision) == (Proportion(1, 2), Proportion(1, 1))
    assert (rocket.recall, rocket.precision) == (Proportion(1, 1), Proportion(1, 3))


def test_the_threshold_leaves_one_wrong_answer_out(report: Report) -> None:
    assert report.answered == Proportion(4, 5)  # the dog of 0.5 is turned down; the cat of 0.6 is not
    assert report.right_when_answered == Proportion(3, 4)


def test_the_most_frequent_mistakes_come_first_and_right_answers_are_none(report: Report) -> None:
    assert report.top_confusions() == (Confusion("cat", "rocket", 1), Confusion("dog", "rocket", 1))
    assert len(report.top_confusions(1)) == 1
    assert replace(report, labels=report.posteriors.argmax(axis=1)).top_confusions() == ()


def test_the_report_as_a_dict_is_json_and_holds_every_photo(report: Report) -> None:
    fields = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert fields["confusion"] == [[1, 0, 1], [0, 1, 1], [0, 0, 1]]
    assert fields["top1"]["value"] == 0.6
    assert fields["protocol"] == {"name": "hand", "description": "counted by hand"}
    scores = [("rocket", 0.5), ("dog", 0.3), ("cat", 0.2)]
    predictions = [{"label": label, "probability": probability} for label, probability in scores]
    photo = {"path": "3.jpg", "label": "dog", "predictions": predictions, "is_known": False}
    assert fields["photos"][3] == photo
    assert [photo["is_known"] for photo in fields["photos"]].count(True) == report.answered.successes


def test_a_share_of_nothing_has_no_value() -> None:
    assert Proportion(0, 0).value is None
    assert Proportion(0, 0).to_dict() == {"value": None, "interval_95": [0, 1], "successes": 0, "n": 0}
