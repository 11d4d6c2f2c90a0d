"""An evaluation of boxes against the rules written out, against prediction, and on real boxes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from verydeep.data.datasets import Dataset, open_splits
from verydeep.data.picture_targets import BoxTargets
from verydeep.errors import DatasetError, ImageError, NonFiniteError, UsageError
from verydeep.evaluate.fixed_box import best_fixed_box, fixed_finder
from verydeep.evaluate.localization import (
    BOX_PROTOCOLS,
    Found,
    center_finder,
    dense_finder,
    evaluate_localization,
    fuse,
    localize,
)
from verydeep.evaluate.localization_report import LocalizationReport
from verydeep.evaluate.metrics import bootstrap_interval, paired_bootstrap
from verydeep.image import preprocess, read_image
from verydeep.nouns import Preprocessing, StoredPhoto
from verydeep.outputs import softmax
from verydeep.outputs.boxes import class_boxes, iou
from verydeep.predict import Predictor
from verydeep.runtime import OpenedModel, open_model

CLASSES = ("cat", "dog", "rocket")


@pytest.fixture
def boxed(class_folders: Path) -> Dataset:
    """The photos of the class folders, each with one or two boxes of its class, the last without any."""
    random = np.random.default_rng(0)
    paths = sorted(class_folders.glob("*/*.png"))
    boxes = []
    for number in range(len(paths)):
        corner, size = random.uniform(0, 0.4, (2, 2))
        boxes.append(np.array([[*corner, *(corner + size + 0.2)], [0.1, 0.2, 0.9, 0.95]])[: 1 + number % 2])
    boxes[-1] = np.zeros((0, 4))
    labels = tuple(CLASSES.index(path.parent.name) for path in paths)
    return Dataset(CLASSES, tuple(paths), labels, targets=BoxTargets(tuple(boxes)))


@pytest.fixture
def opened(make_localizer: Callable[..., Path], tmp_path: Path) -> Callable[..., OpenedModel]:
    """A function (is_dense=False, **fields) -> a localiser whose boxes are random, opened."""

    def open_one(*, is_dense: bool = False, **fields: Any) -> OpenedModel:
        path = make_localizer(tmp_path / "model.safetensors", None, **fields)
        return open_model(path, engine="reference", is_dense=is_dense)

    return open_one


def report(**fields: Any) -> LocalizationReport:
    """Of random answers about 40 photos of 7 classes."""
    random = np.random.default_rng(0)
    true = tuple(random.uniform(0, 40, (1 + n % 3, 4)) + np.array([0, 0, 40, 40]) for n in range(40))
    near = np.stack([boxes[0] + random.uniform(-15, 15, 4) for boxes in true])
    posteriors = softmax(random.normal(size=(40, 7)))
    given: dict[str, Any] = {
        "protocol": "",
        "protocol_name": "",
        "classes": tuple("abcdefg"),
        "paths": tuple(Path(f"{n}.jpg") for n in range(40)),
        "labels": random.integers(0, 7, 40),
        "true_boxes": true,
        "posteriors": posteriors,
        "top_boxes": near[:, None] + random.uniform(-9, 9, (40, 5, 4)),
        "own_boxes": near,
    }
    return LocalizationReport(**(given | fields))


def test_the_error_is_that_of_ilsvrc() -> None:
    """e = 1/n sum over photos of min over answers of min over boxes of max(d, f), as its rules write it."""
    found = report()
    errors = []
    for n in range(found.n):
        answers = zip(np.argsort(-found.posteriors[n], kind="stable")[:5], found.top_boxes[n], strict=True)
        costs = [
            max(int(label != found.labels[n]), int(not iou(box, true) > 0.5))
            for label, box in answers
            for true in found.true_boxes[n]
        ]
        errors.append(min(costs))
    assert 0 < sum(errors) < found.n
    told = found.to_dict()["localization_error"]
    assert (told["errors"], told["n"], told["value"]) == (sum(errors), 40, sum(errors) / 40)
    low, high = told["interval_95"]
    assert low < told["value"] < high
    assert [photo["is_right"] for photo in found.to_dict()["photos"]] == [not error for error in errors]


def test_half_is_not_over_half() -> None:
    true = tuple(np.array([[0.0, 0, 20, 10]]) for _ in range(40))
    half = np.tile([0.0, 0, 10, 10], (40, 1))  # an IoU of exactly 0.5
    found = report(true_boxes=true, own_boxes=half, top_boxes=np.repeat(half[:, None], 5, axis=1))
    assert (found.given_class.successes, found.top5.successes, found.mean_iou.value) == (0, 0, 0.5)
    more = half + np.array([0, 0, 0.01, 0])
    assert report(true_boxes=true, own_boxes=more).given_class.successes == 40


def test_a_right_box_of_a_wrong_class_is_wrong_and_any_object_of_the_class_will_do() -> None:
    true = tuple(np.array([[0.0, 0, 9, 9], [50, 50, 70, 80]]) for _ in range(40))
    boxes = np.tile([50.0, 50, 70, 80], (40, 5, 1))
    found = report(true_boxes=true, top_boxes=boxes, own_boxes=boxes[:, 0])
    assert found.given_class.successes == 40
    assert found.top5.successes == found.class_top5.successes < 40
    assert found.top1.successes == found.class_top1.successes < found.top5.successes


def test_center_is_what_predict_says(boxed: Dataset, opened: Callable[..., OpenedModel]) -> None:
    for boxes in ("single", "class"):
        model = opened(boxes=boxes)
        found = evaluate_localization([model], boxed, conditions="here")
        assert (found.n, found.without_box) == (23, 1)
        assert found.protocol.startswith("centre crop 32 of shorter side 36")
        assert found.protocol.endswith(", here")
        predictor = Predictor(model.path, engine="reference")
        for row, path in enumerate(found.paths):
            prediction = predictor.predict(path)
            said = {score.label: score.box for score in prediction.scores}
            assert found.own_boxes[row].tolist() == pytest.approx(said[CLASSES[found.labels[row]]])
            assert [score.box for score in prediction.scores] == [tuple(box) for box in found.top_boxes[row].tolist()]
            assert found.top1.n == 23
        ious = [iou(box, true).max() for box, true in zip(found.own_boxes, found.true_boxes, strict=True)]
        assert found.mean_iou.value == pytest.approx(np.mean(ious))
        assert boxed.targets is not None
        height, width = read_image(found.paths[1]).shape[:2]
        shares = boxed.targets.boxes[1]  # type: ignore[attr-defined]
        assert found.true_boxes[1] == pytest.approx(shares * [width, height, width, height])


def test_dense_is_every_window_of_the_whole_photo(boxed: Dataset, opened: Callable[..., OpenedModel]) -> None:
    model = opened(head="fc", boxes="class", is_dense=True)
    info = model.info
    found = evaluate_localization([model], boxed.take(range(8)), "dense", scales=(36, 44))
    assert "shorter side 36, 44" in found.protocol
    for row in (0, 1, 5):
        photo = read_image(found.paths[row])
        height, width = photo.shape[:2]
        windows, ratings, posteriors = [], [], []
        for scale in (36, 44):
            scaled = replace(info.preprocessing, resize=scale)
            picture = preprocess(photo, scaled, is_dense=True)
            answer = model.engine.run(picture[None])["logits"][0]
            posteriors.append(softmax(answer[:3].mean(axis=(1, 2))))
            for i, j in np.ndindex(answer.shape[1:]):
                x, y, w, h = answer[3:, i, j].reshape(3, 4).T * 32
                w, h = np.maximum(w, 0), np.maximum(h, 0)
                edges = [4 * j + x - w / 2, 4 * i + y - h / 2, 4 * j + x + w / 2, 4 * i + y + h / 2]
                scales = np.array([width, height, width, height]) / np.tile(picture.shape[:0:-1], 2)
                windows.append(np.clip(np.stack(edges, axis=1) * scales, 0, [width, height, width, height]))
                ratings.append(softmax(answer[:3, i, j]))
        assert found.posteriors[row] == pytest.approx(np.mean(posteriors, axis=0))
        expected = class_boxes(np.stack(windows), np.stack(ratings), [found.labels[row]])
        assert found.own_boxes[row] == pytest.approx(expected[0])


def test_dense_at_the_size_of_the_crop_is_the_crop(
    boxed: Dataset, opened: Callable[..., OpenedModel], tmp_path: Path
) -> None:
    Image.effect_noise((50, 50), 80).convert("RGB").save(tmp_path / "square.png")
    for head in ("gap", "fc"):
        model = opened(head=head, is_dense=head == "fc")
        (dense,) = dense_finder(model.engine, model.info, model.weights, (32,))([tmp_path / "square.png"])
        whole = replace(model.info, preprocessing=Preprocessing(32, 32))
        cropped = open_model(model.path, engine="reference")
        (center,) = center_finder(cropped.engine, whole)([tmp_path / "square.png"])
        assert isinstance(dense, Found)
        assert isinstance(center, Found)
        assert dense.boxes == pytest.approx(center.boxes, abs=1e-4)
        assert dense.posteriors == pytest.approx(center.posteriors, abs=1e-6)


@pytest.mark.parametrize("fit", ["letterbox", "squash"])
def test_dense_keeps_a_photos_proportions_whatever_the_fit(
    fit: Any, boxed: Dataset, opened: Callable[..., OpenedModel]
) -> None:
    model = opened(head="fc", is_dense=True)
    info = replace(model.info, preprocessing=replace(model.info.preprocessing, fit=fit))
    refitted = replace(model, info=info)
    photos = boxed.take(range(4))
    one, other = (evaluate_localization([each], photos, "dense", scales=(40,)) for each in (model, refitted))
    assert other.own_boxes.tolist() == one.own_boxes.tolist()
    assert other.posteriors.tolist() == one.posteriors.tolist()
    assert other.protocol == one.protocol


def test_fused_models_average_their_posteriors_and_pool_their_boxes() -> None:
    random = np.random.default_rng(0)

    def found(windows: int, boxes: int, seed: int) -> Found:
        chance = np.random.default_rng(seed)
        shape = (windows, boxes, 4)
        return Found(
            (9, 9), softmax(chance.normal(size=3)), chance.uniform(size=(windows, 4)), chance.uniform(size=shape),
            softmax(chance.normal(size=(windows, 3))),
        )  # fmt: skip

    one, other = found(4, 1, 1), found(2, 3, 2)
    both = fuse([one, other])
    assert both.posteriors == pytest.approx((one.posteriors + other.posteriors) / 2)
    assert both.boxes.shape == (6, 3, 4)
    assert (both.boxes[:4] == one.boxes).all()
    assert both.boxes[4:].tolist() == other.boxes.tolist()
    assert both.ratings.tolist() == [*one.ratings.tolist(), *other.ratings.tolist()]
    looks_alike = Found((9, 9), random.uniform(size=3), one.windows, np.zeros((4, 0, 4)), random.uniform(size=(4, 3)))
    rated = fuse([one, other], [looks_alike])
    assert rated.posteriors.tolist() == looks_alike.posteriors.tolist()
    assert rated.ratings.tolist() == [*looks_alike.ratings.tolist(), *other.ratings.tolist()]


def test_a_classifier_names_what_the_localiser_finds(
    boxed: Dataset, opened: Callable[..., OpenedModel], toy_model: Path
) -> None:
    model, classifier = opened(), open_model(toy_model, engine="reference")
    found = evaluate_localization([model], boxed, classifier=classifier)
    alone = evaluate_localization([model], boxed)
    names = Predictor(toy_model, engine="reference").predict_proba(found.paths)
    assert found.posteriors == pytest.approx(names)
    assert found.own_boxes.tolist() == alone.own_boxes.tolist()
    assert found.protocol.startswith(f"{alone.protocol}; classes named by toy-bn-gap, centre crop 32 of shorter side ")
    twice = evaluate_localization([model, model], boxed)
    assert twice.own_boxes == pytest.approx(alone.own_boxes)
    assert twice.posteriors == pytest.approx(alone.posteriors)


def test_a_photo_that_cannot_be_read_is_told_and_in_no_figure(
    boxed: Dataset, opened: Callable[..., OpenedModel]
) -> None:
    Path(str(boxed.paths[3])).write_bytes(b"no photo")
    done: list[int] = []
    model = opened(head="fc", is_dense=True)
    found = evaluate_localization([model], boxed.take(range(6)), "dense", scales=(36, 40), on_progress=done.append)
    assert (found.n, len(found.failures), done) == (5, 1, list(range(1, 7)))
    assert found.failures[0].path == str(boxed.paths[3])


def test_what_cannot_be_evaluated_is_refused_in_a_sentence(
    boxed: Dataset, opened: Callable[..., OpenedModel], toy_model: Path
) -> None:
    model, classifier = opened(), open_model(toy_model, engine="reference")
    other = replace(model, info=replace(model.info, classes=("cat", "dog", "horse")))
    for wrong, names in (
        (lambda: evaluate_localization([model], boxed, "multicrop"), f"there are {', '.join(BOX_PROTOCOLS)}"),
        (lambda: evaluate_localization([model], boxed, scales=(40,)), "has no scales"),
        (lambda: evaluate_localization([model], boxed, "dense", scales=(40, 31)), "at least 32"),
        (lambda: evaluate_localization([classifier], boxed), "gives no boxes"),
        (lambda: evaluate_localization([], boxed), "no model"),
        (lambda: evaluate_localization([model, other], boxed), "knows 'rocket' where .* knows 'horse'"),
    ):
        with pytest.raises(UsageError, match=names):
            wrong()
    none = BoxTargets((np.zeros((0, 4)),) * 24)
    for targets, names in ((None, "no boxes"), (none, "none of the 24 photos has a box")):
        with pytest.raises(DatasetError, match=names):
            evaluate_localization([model], replace(boxed, targets=targets))

    class Diverged:
        def run(self, images: np.ndarray, outputs: Sequence[str] = ("logits",)) -> dict[str, np.ndarray]:
            return {"logits": np.full((len(images), 7), np.nan, np.float32)}

    with pytest.raises(NonFiniteError, match=r"0\.png"):
        localize([center_finder(Diverged(), model.info)], boxed, CLASSES)
    with pytest.raises(DatasetError, match="none of the 1 photos can be read: gone"):
        localize([all_gone], boxed.take([0]), CLASSES)


def all_gone(paths: Sequence[StoredPhoto]) -> Iterator[Found | ImageError]:
    return iter([ImageError("gone")] * len(paths))


def test_the_best_fixed_box_is_found() -> None:
    random = np.random.default_rng(0)
    wanted = np.array([0.13, 0.22, 0.71, 0.94])
    boxes = [wanted + random.uniform(-0.02, 0.02, (1, 4)) for _ in range(30)] + [np.array([[0.9, 0, 1, 0.1]])]
    found = best_fixed_box([*boxes, np.zeros((0, 4))])
    assert found == pytest.approx(wanted, abs=0.03)
    beside = [np.array([0.02 * n, 0, 0.02 * n + 0.01, 0.01]) for n in range(31)]  # other objects of the class
    several = best_fixed_box([np.stack([other, box[0]]) for other, box in zip(beside, boxes, strict=False)])
    assert several == pytest.approx(found, abs=0.011)
    with pytest.raises(DatasetError, match="no photo has a box"):
        best_fixed_box([])


def test_the_fixed_box_lies_in_the_whole_photo(boxed: Dataset) -> None:
    """As a share of its sides, whatever its proportions and its model's crop; a photo that is broken is told."""
    box = np.array([0.0, 0.25, 0.5, 1.0])
    Path(str(boxed.paths[2])).write_bytes(b"no photo")
    found = list(fixed_finder(box, 3)(boxed.paths[:4]))
    assert isinstance(found.pop(2), ImageError)
    for one, (height, width) in zip(found, [(40, 40), (40, 60), (60, 48)], strict=True):
        assert isinstance(one, Found)
        assert one.size == (height, width)
        assert one.boxes.tolist() == [[[0, height / 4, width / 2, height]]]
    told = localize([fixed_finder(box, 3)], boxed, CLASSES)
    expected = [iou(box, shares).max() for shares in boxed.take(range(2)).targets.boxes]  # type: ignore[union-attr]
    assert told.own_ious[:2] == pytest.approx(expected)


def test_the_best_fixed_box_of_real_birds_is_right_for_three_in_five(shared_data: Path) -> None:
    splits = open_splits(shared_data / "cub-birds-loc", format="table", task="localize")
    assert isinstance(splits.training.targets, BoxTargets)
    box, classes = best_fixed_box(splits.training.targets.boxes), splits.validation.classes
    found = localize([fixed_finder(box, len(classes))], splits.validation, classes)
    assert 0.6 < found.given_class.successes / found.n < 0.67  # 0.57 if it were a share of the central square
    assert 0.5 < found.mean_iou.value < 0.6


def test_bootstrap_intervals_hold_the_mean_and_pairs_narrow_them() -> None:
    random = np.random.default_rng(0)
    before = random.uniform(size=200)
    after = before + 0.02 + 0.01 * random.normal(size=200)
    low, high = bootstrap_interval(before)
    assert low < before.mean() < high
    half = 1.96 * before.std(ddof=1) / np.sqrt(200)
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)
    difference, (least, most) = paired_bootstrap(before, after)
    assert difference == pytest.approx((after - before).mean())
    assert 0.015 < least < difference < most < 0.025
    assert paired_bootstrap(before, before) == (0.0, (0.0, 0.0))
    assert bootstrap_interval(before) == (low, high)
    assert bootstrap_interval(np.array([0.3])) == (0.3, 0.3)
