"""The sentences on a run: each is said of curves that call for it, and not of healthy ones."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from verydeep.data.mix import cutmix, mixup
from verydeep.evaluate import Report
from verydeep.nouns import Calibration
from verydeep.recipes import RECIPES, load_recipe
from verydeep.train.recipe import Recipe
from verydeep.train.verdict import _gain, _gain_error, left_to_learn, loss_floor, verdict

PLAIN = Recipe(label_smoothing=0.0, train_scales=(128, 160))
TEN = np.full((10, 10), 2) + np.diag([80] * 10)  # of each class 82 of 100 recognised, mistakes spread evenly


def report(confusion: np.ndarray) -> Report:
    """The validation that has this confusion matrix, every answer given with 90 %."""
    classes = len(confusion)
    pairs = [(i, j) for i in range(classes) for j in range(classes) for _ in range(confusion[i, j])]
    labels, said = np.array(pairs).T
    posteriors = np.full((len(pairs), classes), 0.1 / (classes - 1))
    posteriors[np.arange(len(pairs)), said] = 0.9
    names = tuple(f"class {i}" for i in range(classes))
    return Report(
        "as in prediction", "center", names, (Path("x"),) * len(pairs), labels, posteriors, None, Calibration()
    )


def curves(epochs: int = 20, **columns) -> list[dict[str, float]]:
    """The rows of a healthy run, with other columns in place of its own: numbers, or functions of 0 to 1."""
    rows = []
    for epoch in range(1, epochs + 1):
        rest = math.exp(-8 * epoch / epochs)
        row = {
            "epoch": epoch,
            "learning_rate": 0.01,
            "loss": 0.3 + 2 * rest,
            "validation_loss": 0.6 + 1.5 * rest,
            "validation_top1": 0.82 - 0.6 * rest,
            "seconds": 60.0 * epoch,
            "photos_per_second": 100.0,
        }
        rows.append(row | {n: c(epoch / epochs) if callable(c) else c for n, c in columns.items()})
    return rows


def said(metrics=None, confusion=TEN, recipe=PLAIN) -> str:
    return "\n".join(verdict(curves() if metrics is None else metrics, report(confusion), recipe))


def test_a_healthy_run_gets_its_result_and_no_complaint():
    sentences = verdict(curves(), report(TEN), PLAIN)
    assert sentences[0] == (
        "Of 100 new photos like these it would recognise about 82 (79 to 84); guessing among 10 classes gives 10."
    )
    assert sentences[1].startswith("It had levelled off: ")
    assert sentences[2].startswith("It neither over- nor underfits: it learnt 87% of ")
    assert len(sentences) == 3


@pytest.mark.parametrize(("rise", "is_improving"), [(0.10, True), (0.01, False)])
def test_a_rise_at_the_end_is_told_where_it_is_larger_than_chance(rise, is_improving):
    metrics = curves(validation_top1=lambda t: 0.82 - (1 - t) * rise / 0.2)
    assert ("It was still improving" in said(metrics)) == is_improving
    assert ("--set epochs=80" in said(metrics)) == is_improving
    few = report(np.diag([4] * 10) + np.eye(10, k=1, dtype=int))  # 49 photos: chance may do as much
    assert "It was still improving" not in "\n".join(verdict(metrics, few, PLAIN))


def test_a_fall_at_the_end_is_told():
    text = said(curves(validation_top1=lambda t: 0.82 - abs(t - 0.5)))
    assert "It was getting worse: " in text
    assert "It was best after epoch 10, with 82.0%, and has lost 50.0 points since. Try `--set epochs=10`." in text


def grown(epochs: int = 20, **columns) -> list[dict[str, float]]:
    """The rows of a run whose pictures grew after three fifths of it."""
    return curves(epochs, image_size=lambda t: 64 if t <= 0.6 else 128, **columns)


def test_of_pictures_that_grew_the_best_epoch_is_one_of_the_full_size():
    fallen = {"validation_top1": lambda t: 0.95 if t <= 0.6 else 0.82}
    assert "It was best after epoch 1, with 95.0%" in said(curves(**fallen))
    assert "It was best" not in said(grown(**fallen))
    later = {"validation_top1": lambda t: 0.95 if t <= 0.6 else 0.82 - abs(t - 0.8)}
    assert "It was best after epoch 16, with 82.0%, and has lost 20.0 points since. Try `--set epochs=16`." in said(
        grown(**later)
    )


def test_a_validation_loss_that_rises_where_the_pictures_grow_is_no_overfitting():
    risen = {"validation_loss": lambda t: 0.4 if t <= 0.6 else 0.6, "loss": lambda t: 1 - 0.6 * t}
    assert "It overfits: since about epoch" in said(curves(**risen))
    assert "It overfits" not in said(grown(**risen))
    later = risen | {"validation_loss": lambda t: 0.4 if t <= 0.6 else t}
    assert "It overfits: since about epoch 14 " in said(grown(**later))


def test_few_epochs_of_the_full_size_are_too_early_to_see_where_it_goes():
    jump = {"validation_top1": lambda t: 0.6 if t <= 0.6 else 0.82}
    assert "It was still improving" in said(curves(5, **jump))
    text = said(grown(5, **jump))
    assert "After 2 epochs at the full size it is too early to see where it goes" in text
    assert "improving" not in text
    assert "the validation loss did not rise again" not in text


def test_epochs_whose_size_was_not_recorded_count_as_of_the_size_that_was():
    fallen = curves(validation_top1=lambda t: 0.95 if t <= 0.6 else 0.82)
    begun_earlier = [*fallen[:15], *(row | {"image_size": 128} for row in fallen[15:])]
    assert "It was best after epoch 1, with 95.0%" in said(begun_earlier)


def test_the_end_of_the_cosine_is_no_proof_that_there_is_no_more_to_gain():
    schedule = {"learning_rate": lambda t: PLAIN.learning_rate * (1 + math.cos(math.pi * t)) / 2}
    assert "longer schedule" in said(curves(**schedule))
    assert "longer schedule" not in said(curves())  # its rate had not fallen
    assert "longer schedule" not in said(curves(**schedule, loss=0.01))  # it has memorised its photos


def test_the_noise_of_a_line_is_that_of_many_noisy_lines():
    noise = np.random.default_rng(0).normal(0, 0.02, (4000, 6))
    assert np.std([_gain(values) for values in noise]) == pytest.approx(_gain_error(6, 0.02), rel=0.05)


def test_few_epochs_are_too_early_to_see_where_it_goes():
    for epochs in (1, 4):
        text = said(curves(epochs))
        assert "it is too early to see where it goes" in text
        assert "levelled off" not in text


def test_a_rising_validation_loss_while_the_training_loss_falls_is_overfitting():
    rising = curves(validation_loss=lambda t: 0.6 + abs(t - 0.4), loss=lambda t: 1.5 - t)
    assert re.search(
        r"It overfits: since about epoch [789] the validation loss has risen from 0\.\d+ to 1\.\d+", said(rising)
    )
    assert "--set cutmix=0.5" in said(rising)
    assert "It overfits" not in said(curves(validation_loss=lambda t: 0.6 + 0.05 * t))  # within what comes and goes
    assert "It overfits" not in said(curves(validation_loss=lambda t: 0.6 + t, loss=lambda t: 0.5 + t))  # both rise


def test_a_training_set_that_is_learnt_with_many_mistakes_elsewhere_is_overfitting():
    known = {"loss": lambda t: 0.02 + math.exp(-9 * t)}
    assert re.search(
        "It overfits: it learnt 99% of what .* but 74% of what the validation photos ask", said(curves(**known))
    )
    assert "It overfits" not in said(curves(**known, validation_loss=0.03))  # which knows the others as well
    few_mistakes = np.diag([99] * 10) + np.eye(10, k=1, dtype=int)
    assert "It overfits" not in said(curves(**known), few_mistakes)


def test_label_smoothing_keeps_the_loss_of_a_network_up_that_knows_all_photos():
    """As recorded in a run on 45,000 photos of CIFAR-10 (JPEG copy), which knew 88 % of 5,000 others."""
    smoothed = replace(PLAIN, label_smoothing=0.1)
    recorded = curves(loss=0.59, validation_loss=0.43, learning_rate=0.0)
    assert re.search("It overfits: it learnt 95% of what .* but 85% of what", said(recorded, recipe=smoothed))
    assert "longer schedule" not in said(recorded, recipe=smoothed)
    healthy = curves(loss=0.59, validation_loss=0.20)  # 9 and 5 % above the floors of 0.50 and 0.09
    assert "It overfits" not in said(healthy, recipe=smoothed)


def test_where_every_photo_is_recognised_nothing_is_advised_on_the_curves():
    text = said(curves(3), np.diag([50] * 10))
    assert "Every validation photo is recognised: " in text
    assert "--set" not in text


def test_a_training_set_that_is_not_learnt_is_underfitting():
    assert "It underfits: it learnt 48% of " in said(curves(loss=1.2))
    assert "--set width=" not in said(curves(loss=1.2))  # the network has the full width: deeper is what is left
    assert "--set configuration=B" in said(curves(loss=1.2))
    mixed = replace(PLAIN, label_smoothing=0.1, cutmix=1.0)  # the floor is 1.0 here: 1.2 is nearly all there is
    assert "It underfits" not in said(curves(loss=1.2), recipe=mixed)
    assert "`--set cutmix=0`" in said(curves(loss=1.8), recipe=mixed)


def test_a_loss_at_that_of_guessing_is_nothing_learnt_and_nothing_else_is_said():
    guessing = np.full((10, 10), 10)
    text = said(curves(loss=2.30, validation_top1=0.1), guessing, replace(PLAIN, batch_norm=False))
    assert "It learnt nothing: the training loss ended at 2.30, and guessing costs ln(10) = 2.30." in text
    assert "--set learning_rate=0.005" in text
    assert "--set batch_norm=true" in text
    assert "levelled off" not in text
    assert "It learnt nothing" not in said(curves(5, loss=lambda t: 2.3 - 0.5 * t))  # a slow start that has begun


def test_always_the_most_frequent_class_is_no_result():
    confusion = np.array([[90, 0], [10, 0]])
    assert "it is no better than always answering “class 0”, which is right for 90.0% of them" in said(
        confusion=confusion
    )
    assert "no better" not in said(confusion=np.array([[88, 2], [2, 8]]))


def test_a_class_that_is_seldom_recognised_is_named():
    confusion = TEN.copy()
    confusion[3] = np.array([8, 8, 8, 28, 8, 8, 8, 8, 8, 8])
    assert "Seldom recognised: “class 3” (28 of 100). " in said(confusion=confusion)
    few = np.diag([20] * 10) + np.eye(10, k=1, dtype=int)
    few[3] = 0
    few[3, 3:5] = 1  # one of two: as likely chance
    assert "Seldom recognised" not in said(confusion=few)


def test_two_classes_taken_for_one_another_are_named():
    confusion = TEN.copy()
    confusion[3, 5], confusion[5, 3], confusion[3, 3], confusion[5, 5] = 15, 12, 69, 72
    assert "Taken for one another: “class 3” and “class 5” (27 of their 200 photos). " in said(confusion=confusion)
    two = np.array([[70, 30], [30, 70]])  # where there are two classes, that is no news
    assert "Taken for one another" not in said(confusion=two)


def test_few_validation_photos_are_told_with_what_they_leave_open():
    assert "The validation photos are few: 20 leave top-1 anywhere from 84% to 100%. " in said(
        confusion=np.diag([10, 10])
    )
    assert "The validation photos are few" not in said()


def test_a_class_without_validation_photos_is_named():
    confusion = TEN.copy()
    confusion[4] = 0
    assert "There is no validation photo of “class 4”: " in said(confusion=confusion)


def test_uneven_classes_are_told_with_the_result_of_each_class_counted_alike():
    confusion = np.array([[500, 0], [10, 40]])
    text = said(confusion=confusion)
    assert "The classes are uneven: 500 validation photos of “class 0”, 50 of “class 1”. " in text
    assert "Counting every class alike, 90.0% are recognised." in text
    assert "uneven" not in said(confusion=np.array([[200, 0], [10, 40]]))


def test_waiting_for_photos_is_told_where_it_was_measured_and_was_long():
    assert "20% of the training time it waited for photos. " in said(curves(waiting_seconds=20, training_seconds=100))
    assert "waited" not in said(curves(waiting_seconds=5, training_seconds=100))
    assert "waited" not in said(curves(waiting_seconds=20))


def test_a_run_whose_measurements_are_lost_still_gets_its_result():
    assert verdict([], report(TEN), PLAIN)[1] == "How the training went was not recorded."


def test_names_of_classes_stay_on_their_line():
    confusion = np.array([[90, 0], [10, 0]])
    found = replace(report(confusion), classes=("a\nb", "c"))
    assert all("\n" not in sentence for sentence in verdict(curves(), found, PLAIN))


CLASSIFIERS = [name for name in RECIPES if load_recipe(name).task == "classify"]


@pytest.mark.parametrize("name", [*CLASSIFIERS, "plain"])
def test_every_setting_advised_can_be_typed(name):
    recipe = PLAIN if name == "plain" else load_recipe(name)
    bare = replace(recipe, width=0.05, warmup_epochs=3, cutmix=0.0, mixup=0.3, label_smoothing=0.0, flip=False)
    runs = [
        curves(loss=0.0),
        curves(loss=1.9),
        curves(loss=2.4),
        curves(2),
        curves(validation_loss=lambda t: 0.5 + t, loss=lambda t: 1.5 - t),
        curves(validation_top1=lambda t: 0.9 - t / 2),
        curves(validation_top1=lambda t: 0.2 + t / 2),
    ]
    for chosen in (recipe, replace(recipe, configuration="E"), bare):
        for metrics in runs:
            for confusion in (TEN, np.full((10, 10), 10)):
                for advice in re.findall(r"`([^`]+)`", said(metrics, confusion, chosen)):
                    assert re.fullmatch(r"--set \w+=[\w.,]+( --set \w+=[\w.,]+)*", advice)
                    chosen.with_settings(
                        dict(part.split("=") for part in advice.split("--set ")[1:])
                    )  # raises if wrong


@pytest.mark.parametrize(
    ("fields", "under", "over"),
    [
        ({"trained": "head"}, "trained=last-block", "views=16"),
        ({"trained": "last-block", "head_epochs": 2}, "trained=all", "trained=head --set head_epochs=0"),
        (
            {"trained": "all", "cutmix": 0.3, "layer_decay": 0.25},
            "layer_decay=0.5",
            "trained=last-block --set cutmix=0",
        ),
    ],
)
def test_of_a_fine_tuned_model_other_layers_are_advised_and_never_another_network(fields, under, over):
    recipe = Recipe(**fields)
    few_learnt = verdict(curves(loss=1.9), report(TEN), recipe, is_fine_tuned=True)
    by_heart = verdict(
        curves(validation_loss=lambda t: 0.5 + t, loss=lambda t: 1.5 - t), report(TEN), recipe, is_fine_tuned=True
    )
    assert f"`--set {under}`" in "\n".join(few_learnt)
    assert f"`--set {over}`" in "\n".join(by_heart)
    for advice in re.findall(r"`([^`]+)`", "\n".join([*few_learnt, *by_heart])):
        assert not re.search("width|configuration|batch_norm", advice)
        recipe.with_settings(dict(part.split("=") for part in advice.replace(" ", "").split("--set")[1:]))


def test_a_run_that_ended_early_tells_whose_weights_are_kept():
    rows = curves(12, validation_loss=lambda t: 0.5 + abs(t - 0.5))
    told = verdict(rows, report(TEN), replace(PLAIN, early_stopping=6))[1]
    expected = (
        "It ended after 12 epochs of 40: the weights of epoch 6 are kept, whose validation loss was the lowest; 6 more"
    )
    assert told.startswith(expected)
    told = verdict(rows, report(TEN), replace(PLAIN, early_stopping=9, epochs=12))[1]
    assert told.startswith("It went on to its last epoch: the weights of epoch 6 are kept")


@pytest.mark.parametrize("fields", [{"cutmix": 1.0}, {"mixup": 0.3}, {"cutmix": 0.5, "mixup": 0.2}, {}])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_floor_is_the_loss_of_a_network_that_knows_how_each_batch_was_mixed(fields, smoothing):
    recipe, classes = Recipe(label_smoothing=smoothing, **fields), 10
    random = np.random.default_rng(0)
    losses = []
    for _ in range(800):
        targets = one_hot(torch.from_numpy(random.integers(0, classes, 64)), classes).float()
        images = torch.zeros(64, 1, 64, 64)
        if random.random() < recipe.cutmix:
            _, targets = cutmix(images, targets, random)
        elif recipe.mixup:
            _, targets = mixup(images, targets, random, recipe.mixup)
        best = torch.log((1 - smoothing) * targets + smoothing / classes + 1e-12)
        losses.append(float(cross_entropy(best, targets, label_smoothing=smoothing)))
    assert loss_floor(recipe, classes) == pytest.approx(np.mean(losses), rel=0.05, abs=1e-6)


def test_what_is_left_to_learn_goes_from_the_loss_of_guessing_to_the_floor():
    recipe = Recipe(cutmix=0.5)
    floor = loss_floor(recipe, 4)
    assert left_to_learn(curves(loss=floor), recipe, 4) == pytest.approx(0)
    assert left_to_learn(curves(loss=math.log(4)), recipe, 4) == pytest.approx(1)
    assert left_to_learn(curves(), Recipe(label_smoothing=1.0), 4) is None
