"""`data check` says which trainings would take the photos: small folders of each kind, and what training refuses."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from planted import annotated, box, clean_set, photo, photo_file, polygon, problem

from verydeep.data import prospect as prospects
from verydeep.data.annotations import BACKGROUND, AnnotatedPhoto, AnnotatedSet
from verydeep.data.prospect import Prospect, Training, prospect
from verydeep.data.survey import survey
from verydeep.recipes import load_recipe


def outlook(found: AnnotatedSet) -> Prospect:
    return prospect(survey(found))


def told(found: AnnotatedSet, change: Callable[[AnnotatedPhoto], AnnotatedPhoto]) -> Prospect:
    return outlook(replace(found, photos=tuple(map(change, found.photos))))


def recipes(found: Prospect) -> list[tuple[str, str]]:
    return [(training.recipe, training.model) for training in found.trainings]


def counts(training: Training) -> tuple[int, int, int, bool]:
    return training.classes, training.photos, training.validation_photos, training.is_drawn


def boxed(one: AnnotatedPhoto, *more: Any) -> AnnotatedPhoto:
    """Its class as that of an object, not of the photo."""
    return replace(one, labels=(), instances=(box(one.labels[0], 5, 5, 25, 25), *more))


def outlined(one: AnnotatedPhoto) -> AnnotatedPhoto:
    return replace(one, labels=(), instances=(polygon(one.labels[0], (1, 1), (30, 1), (5, 30)),))


@pytest.fixture
def clean(tmp_path: Path) -> AnnotatedSet:
    return clean_set(tmp_path)


# Each kind of annotation


def test_few_photos_with_classes_are_for_fine_tuning(tmp_path: Path) -> None:
    photos = [
        photo(
            photo_file(tmp_path, f"{label}{number}.png", size=(60, 50)), label, split="train" if number < 6 else "val"
        )
        for label in ("cat", "dog")
        for number in range(8)
    ]
    found = outlook(annotated(tmp_path, *photos))
    assert recipes(found) == [("finetune", "imagenette"), ("embed", "imagenette")]
    assert [counts(training) for training in found.trainings] == [(2, 12, 4, False)] * 2
    assert not found.refusals


def test_few_photos_as_small_as_those_of_cifar_begin_from_its_model(clean: AnnotatedSet) -> None:
    assert recipes(outlook(clean))[1] == ("finetune", "cifar10")  # of 40 pixels


def test_many_photos_begin_at_random(clean: AnnotatedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prospects, "MANY", 8)
    assert ("small", "") in recipes(outlook(clean))
    monkeypatch.setattr(prospects, "SMALL", 39)
    assert ("modern", "") in recipes(outlook(clean))


def test_classes_of_fewer_than_five_photos_are_compared_before_they_are_named(clean: AnnotatedSet) -> None:
    assert [training.task for training in outlook(clean).trainings] == ["embed", "classify"]
    photos = (replace(one, split="train" if "5" not in one.photo.file_name else "val") for one in clean.photos)
    assert [training.task for training in outlook(replace(clean, photos=tuple(photos))).trainings] == ["classify"]


def test_boxes_are_for_localisation(clean: AnnotatedSet) -> None:
    found = told(clean, boxed)
    assert recipes(found)[0] == ("localize", "imagenette")
    assert counts(found.trainings[0]) == (2, 8, 4, False)
    assert found.trainings[0].reason == "12 boxes in 12 photos, one in each"
    assert {training.task for training in found.trainings} == {"localize", "classify", "embed"}


def test_objects_in_numbers_are_told(clean: AnnotatedSet) -> None:
    twins = told(clean, lambda one: boxed(one, *(box(one.labels[0], 30, 5, 50, 25),) * ("0" in one.photo.file_name)))
    assert twins.trainings[0].reason == "14 boxes in 12 photos, 10 with one alone"


def test_outlines_are_for_segmentation_and_their_boxes_for_localisation(clean: AnnotatedSet) -> None:
    found = told(clean, outlined)
    assert [training.task for training in found.trainings] == ["segment", "localize", "embed", "classify"]
    assert (found.trainings[0].recipe, found.trainings[0].classes) == ("segment", 3)  # with the background
    assert found.trainings[0].reason == "12 photos have masks or outlines"


def test_outlines_of_several_classes_are_for_segmentation_and_nothing_is_missed(clean: AnnotatedSet) -> None:
    sky = polygon("sky", (40, 1), (59, 1), (50, 30))
    found = told(clean, lambda one: replace(outlined(one), instances=(*outlined(one).instances, sky)))
    assert recipes(found) == [("segment", "imagenette")]
    assert found.trainings[0].classes == 4
    assert not found.refusals


def masked(clean: AnnotatedSet, size: tuple[int, int] = (60, 40)) -> AnnotatedSet:
    """A mask of two classes for each photo, and nothing else."""
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[:, 10:] = 1
    Image.fromarray(pixels).save(clean.root / "mask.png")
    photos = tuple(replace(one, labels=(), mask=clean.root / "mask.png", split=None) for one in clean.photos)
    return replace(clean, photos=photos, mask_classes=(BACKGROUND, "sky"))


def test_masks_are_for_segmentation_alone(clean: AnnotatedSet) -> None:
    found = outlook(masked(clean))
    assert recipes(found) == [("segment", "imagenette")]
    assert counts(found.trainings[0]) == (2, 10, 2, True)
    assert not found.refusals


def test_masks_that_do_not_fit_their_photos_train_no_segmenter(clean: AnnotatedSet) -> None:
    found = outlook(masked(clean, size=(40, 60)))
    assert found.refusals == ("would train no segmenter: 10 of 10 photos to train on cannot be read, more than 5%",)
    assert not found.trainings


def test_a_few_outlines_do_not_make_it_a_set_for_segmentation(clean: AnnotatedSet) -> None:
    found = told(clean, lambda one: replace(outlined(one), labels=one.labels) if one.photo.name[-5] in "05" else one)
    assert [training.task for training in found.trainings] == ["embed", "classify", "segment", "localize"]
    assert [training.told for training in found.trainings] == [12, 12, 4, 4]


# What training refuses


def test_what_is_refused_is_told_where_the_annotations_are_for_it(clean: AnnotatedSet) -> None:
    both = told(clean, lambda one: boxed(one, box("emu", 1, 1, 9, 9)))
    (refusal,) = both.refusals
    assert refusal.startswith("would train no localiser: 12 of 12 photos show several classes (cat0.png: cat, emu")
    labelled = told(clean, lambda one: replace(boxed(one), labels=("cat", "dog")))
    assert labelled.refusals[0].startswith("would train no localiser and no classifier: 12 of 12 photos show several")


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        (lambda clean: clean.photos[:7], "class 'dog' has 1 photo"),
        (lambda clean: clean.photos[:6], "one class only, 'cat'"),
        (lambda clean: [replace(one, labels=()) for one in clean.photos], "no photo of"),
        (lambda clean: [replace(one, split="val") for one in clean.photos], "all photos on the side to validate on"),
        (
            lambda clean: [replace(clean.photos[0], labels=("emu",), split="val"), *clean.photos[1:]],
            "train lacks: emu",
        ),
        (lambda clean: [*clean.photos, replace(clean.photos[0], labels=("dog",))], "(cat0.png: cat, dog)"),
        (lambda clean: [*clean.photos, replace(clean.photos[0], split="val")], "is on both sides"),
        (
            lambda clean: [*clean.photos, *(photo(clean.root / f"{i}.png", "cat", split="train") for i in range(2))],
            "2 of 10 photos to train on cannot be read, more than 5%",
        ),
    ],
)
def test_what_training_refuses_is_no_prospect(spoilt: Callable[..., Any], told: str, clean: AnnotatedSet) -> None:
    photos = tuple(spoilt(clean))
    if told.startswith("class"):
        photos = tuple(replace(one, split=None) for one in photos)
    found = outlook(replace(clean, photos=photos))
    assert not found.trainings
    (refusal,) = found.refusals
    assert refusal.startswith("would train no classifier: ")
    assert told in refusal


def test_annotations_that_cannot_be_read_end_a_training_and_the_prospect(clean: AnnotatedSet) -> None:
    found = outlook(replace(clean, problems=(problem(clean.root / "a.json"),)))
    assert not found.trainings
    assert "1 of 13 annotations cannot be read" in found.refusals[0]


@pytest.mark.parametrize("change", [outlined, boxed, lambda one: one])
def test_the_recipes_are_for_what_is_to_be_learnt(change: Callable[..., Any], clean: AnnotatedSet) -> None:
    for training in told(clean, change).trainings:
        task = load_recipe(training.recipe).task
        assert task == training.task
