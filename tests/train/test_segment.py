"""Trainings on masks: they learn, go on to the same weights, begin from classifiers, and mind what teaches nothing."""

import base64
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import add_run
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812, torch's own custom
from PIL import Image
from trainings import CPU, MOMENTS, Listen, break_off, end_of, go, splits_of

from verydeep.data.annotations import BACKGROUND
from verydeep.data.balance import median_frequency_weights
from verydeep.data.loader import Batch
from verydeep.data.targets import IGNORED
from verydeep.errors import DatasetError, RecipeError, UsageError
from verydeep.evaluate import segmentation
from verydeep.evaluate.segmentation import SegmentationScores, boundary_f1
from verydeep.evaluate.segmentation_report import SegmentationReport, Shown, evaluate_segmentation
from verydeep.nouns import Preprocessing
from verydeep.recipes import load_recipe
from verydeep.runtime import open_model
from verydeep.train.find_rate import find_rate
from verydeep.train.folds import check_folds
from verydeep.train.interrupt import Interruption
from verydeep.train.loop import begin
from verydeep.train.plan import measure
from verydeep.train.recipe import Recipe
from verydeep.train.report import render_report
from verydeep.train.run import Run, create_run, open_run
from verydeep.train.start import begin_from, open_start
from verydeep.train.step import learn_batch
from verydeep.train.tasks.segment import TASK
from verydeep.weights import ModelInfo, read_model

SEGMENT = {"head": "segnet", "cutmix": 0.0, "label_smoothing": 0.0, "class_weights": "balanced", "save_as": "float32"}


@pytest.fixture(scope="module")
def data(make_masked_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_masked_photos(tmp_path_factory.mktemp("masked") / "scenes")


@pytest.fixture(scope="module")
def recipe(small_recipe: Recipe) -> Recipe:
    return small_recipe.with_fields(SEGMENT)


@pytest.fixture(scope="module")
def trained(data: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, SegmentationReport]:
    run = create_run(tmp_path_factory.mktemp("runs") / "run", recipe.with_fields({"epochs": 7}), data, ("test",), {})
    return run, go(run)


# What comes of it


def test_it_learns_masks_and_writes_model_card_and_measurements(trained: tuple[Run, SegmentationReport]) -> None:
    run, report = trained
    assert report.score > 0.7
    assert report.n == 6
    assert report.classes == ("ground", "thing")
    rows = run.metrics()
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["validation_mean_iou"] > rows[0]["validation_mean_iou"]
    card = (run.folder / "README.md").read_text()
    assert f"| validation | mean IoU {report.score:.1%} (95 % interval " in card
    assert "| thing | " in card
    info, _ = read_model(run.folder)
    assert info.architecture.task == "segment"
    assert info.origin["validation"]["mean_iou"]["value"] == report.score
    assert (row := add_run.row(run.folder))["protocol"] == f"mean IoU: {report.protocol}"
    assert row["value"] == report.score


def test_contours_are_looked_at_in_the_final_validation_alone(
    data: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []

    def note(*arguments: Any, **named: Any) -> np.ndarray:
        looked_at.append(arguments)
        return boundary_f1(*arguments, **named)

    monkeypatch.setattr(segmentation, "boundary_f1", note)
    run = create_run(tmp_path / "run", recipe.with_fields({"epochs": 2}), data, ("test",), {})
    report = go(run)
    assert len(looked_at) == report.n == 6
    assert 0 < report.scores.boundary_f1 < 1
    opened = open_model(run.folder, engine="torch")
    photos = splits_of(data, recipe).validation
    without = evaluate_segmentation(opened.engine, opened.info, photos, has_contours=False)
    assert np.isnan(without.scores.contours).all()
    assert (without.loss, without.score) == pytest.approx((report.loss, report.score), abs=1e-3)


def test_evaluation_of_the_model_is_the_validation_of_its_training(trained: tuple[Run, SegmentationReport]) -> None:
    run, report = trained
    for engine in ("torch", "reference"):
        opened = open_model(run.folder, engine=engine)
        again = evaluate_segmentation(opened.engine, opened.info, splits_of(run.data, run.recipe).validation)
        assert again.paths == report.paths
        np.testing.assert_allclose(again.scores.confusions, report.scores.confusions, atol=1)  # a pixel on the edge
        assert again.loss == pytest.approx(report.loss, abs=1e-5)


def test_the_page_shows_each_class_and_photos_with_both_masks(trained: tuple[Run, SegmentationReport]) -> None:
    run, report = trained
    page = (run.folder / "report.html").read_text()
    assert f"mean IoU {100 * report.score:.1f} %" in page
    assert page.count('<span class="key" style="background:rgb(') == 2
    pictures = [part.split('"')[0] for part in page.split("data:image/jpeg;base64,")[1:]]
    assert len(pictures) == 2 * len((*report.best, *report.worst)) > 6
    sizes = {Image.open(io.BytesIO(base64.b64decode(picture))).size for picture in pictures}
    assert sizes == {(33, 27)}


PAYLOAD = "<script>document.title='hacked'</script>"


def test_text_from_outside_does_nothing_in_the_page(data: Path, recipe: Recipe, tmp_path: Path) -> None:
    photo = tmp_path / "a<b>&'.png"
    shutil.copy(data / "val" / "0.png", photo)
    mask = np.array(Image.open(data / "valannot" / "0.png"))
    classes = (PAYLOAD, '"><img src=x onerror=alert(1)>', "nowhere | *here*")
    scores = SegmentationScores.of([np.zeros_like(mask)], [mask], classes)
    shown = (Shown(photo, 0.5, np.zeros_like(mask), mask), Shown(tmp_path / "<i>gone.png", 0.2, mask, mask))
    report = SegmentationReport("whole <photo>", scores, (photo,), 0.7, worst=shown)
    architecture = recipe.architecture(3)
    info = ModelInfo(architecture, classes, recipe.preprocessing, origin={"data": PAYLOAD, "command": PAYLOAD})
    weights = {"conv1_1.weight": np.random.default_rng(0).normal(size=(8, 3, 3, 3))}
    page = render_report(info, report, recipe, metrics=[], weights=weights)
    assert "<script>" not in page
    assert "onerror=alert(1)>" not in page
    assert "<i>gone" not in page
    assert "whole &lt;photo&gt;" in page
    assert page.count("The photo can no longer be shown.") == 1
    assert "nowhere | *here*" in page
    weakest = TASK.verdict([], report, recipe, is_fine_tuned=False)[-1]
    assert "Weakest classes" in weakest
    assert "class_weights" not in weakest  # they are balanced already
    card = "\n".join(TASK.card(info, report))
    assert "nowhere \\| *here*" in card
    assert "- | - | - |" in card


# To the same weights


@pytest.fixture(scope="module")
def whole(data: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing happened to."""
    short = recipe.with_fields({"epochs": 2, "checkpoint_minutes": 0.0})
    run = create_run(tmp_path_factory.mktemp("runs") / "whole", short, data, ("test",), {})
    go(run)
    return run


@pytest.mark.parametrize("moment", MOMENTS[1:])
def test_a_resumed_run_ends_with_the_same_weights(moment: str, whole: Run, data: Path, tmp_path: Path) -> None:
    broken = create_run(tmp_path / "broken", whole.recipe, data, ("test",), {})
    break_off(broken, moment)
    go(open_run(broken.folder))
    assert end_of(whole) == end_of(broken)


# From a classifier


@pytest.fixture(scope="module")
def classifier(make_toy: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    preprocessing = Preprocessing(20, 16, mean=(0.5, 0.4, 0.3))
    path = tmp_path_factory.mktemp("models") / "pets.safetensors"
    return make_toy(path, preprocessing=preprocessing, input_size=16, batch_norm=True)


@pytest.mark.parametrize("trained_layers", ["all", "head"])
def test_from_a_classifier_the_encoder_is_taken_over_and_the_decoder_is_new(
    trained_layers: str, classifier: Path, data: Path, recipe: Recipe, tmp_path: Path
) -> None:
    start, info = open_start(classifier)
    chosen = begin_from(recipe, info, {"trained": trained_layers, "epochs": 1})
    assert (chosen.head, chosen.test_resize) == ("segnet", 18)  # of its own task
    assert chosen.pixel_mean == (0.5, 0.4, 0.3)  # the model's
    splits = splits_of(data, recipe)
    weights = read_model(classifier)[1]
    encoder = [name for name in weights if not name.startswith("fc8")]
    begun = begin(chosen, splits, CPU, start).network.state_dict()
    assert len(encoder) > 6
    assert all(np.array_equal(begun[name].numpy(), weights[name]) for name in encoder)
    display, run = Listen(), create_run(tmp_path / "run", chosen, data, ("test",), {}, start=start)
    go(run, display)
    (told,) = [line for line in display.heard if line.startswith("begins from")]
    new = "conv2_1_D, conv1_2_D, conv1_1_D are new"
    assert told.startswith("begins from pets, toy-bn-gap, sha256 ")
    assert told.endswith(f": {new}: the head segnet instead of gap")
    ended = read_model(run.folder)[1]
    kept = [name for name in encoder if np.array_equal(ended[name], weights[name])]
    assert [name for name in kept if not name.startswith("conv") or name.endswith("weight")] == (
        [name for name in encoder if not name.endswith(".bias") or name.startswith("bn")]
        if trained_layers == "head"
        else []
    )
    if trained_layers == "head":  # from pictures: masks move with them, which features do not tell
        assert "epoch 1: conv2_1_D to conv1_1_D learn" in display.heard
        assert not list(run.folder.rglob("features.*"))
        assert not (run.folder / "learning_curve.json").exists()


# What teaches, and how much


@pytest.fixture
def answers() -> torch.Tensor:
    return torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(1))


def test_the_loss_is_the_mean_over_the_pixels_that_count(answers: torch.Tensor, recipe: Recipe) -> None:
    targets = torch.randint(3, (2, 5, 7), generator=torch.Generator().manual_seed(2))
    targets[:, :2] = IGNORED
    expected = F.cross_entropy(answers.permute(0, 2, 3, 1)[targets != IGNORED], targets[targets != IGNORED])
    torch.testing.assert_close(TASK.loss(answers, targets, recipe, None, None), expected)
    changed = torch.where((targets == IGNORED)[:, None], answers + 100, answers)
    torch.testing.assert_close(TASK.loss(changed, targets, recipe, None, None), expected)
    weights = torch.tensor([1.0, 0.0, 2.5])
    weighted = F.cross_entropy(answers, targets, weight=weights, ignore_index=IGNORED)
    torch.testing.assert_close(TASK.loss(answers, targets, recipe, weights, None), weighted)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.0, 1.0, 1.0])], ids=["ignored", "weightless"])
def test_a_batch_in_which_no_pixel_counts_teaches_nothing(
    weights: torch.Tensor | None, answers: torch.Tensor, recipe: Recipe
) -> None:
    targets = torch.full((2, 5, 7), IGNORED if weights is None else 0)
    answers.requires_grad_()
    loss = TASK.loss(answers, targets, recipe, weights, None)
    loss.backward()
    assert loss == 0
    assert answers.grad is not None
    assert not answers.grad.any()


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize("micro_batch", [1, 2, 3])
def test_the_gradient_of_parts_of_a_batch_is_the_whole_batchs(
    micro_batch: int, class_weights: str, data: Path, recipe: Recipe
) -> None:
    """Also where the parts have unequal numbers of pixels that count, and where one has none."""
    chosen = recipe.with_fields({"batch_norm": False, "class_weights": class_weights, "batch_size": 5})
    splits, random = splits_of(data, chosen), torch.Generator().manual_seed(3)
    targets = torch.randint(2, (5, 16, 16), generator=random, dtype=torch.uint8)
    targets[0] = IGNORED
    targets[1, :15] = IGNORED
    targets[2, :, :4] = 1
    images = torch.randint(256, (5, 16, 16, 3), generator=random, dtype=torch.uint8)
    batch = Batch(images, torch.zeros(5, dtype=torch.long), (), targets)

    def step(photos_at_once: int | None) -> tuple[float, list[torch.Tensor]]:
        own = chosen.with_fields({"micro_batch": photos_at_once})
        state = begin(own, splits, CPU)
        learn_batch(state, batch, own, rate=0.1, random=np.random.default_rng(0), interruption=Interruption())
        return state.progress.losses[0], [parameter.grad for parameter in state.network.parameters()]

    loss, gradients = step(None)
    found, added = step(micro_batch)
    assert found == pytest.approx(loss, rel=1e-5)
    for one, other in zip(gradients, added, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-6)


def test_balanced_weights_are_those_of_median_frequency_balancing(data: Path, recipe: Recipe) -> None:
    photos = splits_of(data, recipe).training
    weights = TASK.class_weights(recipe, photos)
    masks = [photos.targets.mask(position) for position in range(len(photos))]
    assert weights == pytest.approx(median_frequency_weights(masks, 2))
    counts = np.bincount(np.concatenate([mask[mask != IGNORED] for mask in masks]))
    assert weights[1] / weights[0] == pytest.approx(counts[0] / counts[1])  # both are in each photo
    assert TASK.class_weights(recipe.with_fields({"class_weights": "none"}), photos) is None


def test_photos_without_a_pixel_that_counts_are_trained_on_and_in_no_figure(
    data: Path, recipe: Recipe, tmp_path: Path
) -> None:
    shutil.copytree(data, tmp_path / "data")
    for mask in [tmp_path / "data" / "valannot" / "0.png", *(tmp_path / "data" / "trainannot").glob("1*.png")]:
        Image.new("L", (33, 27), IGNORED).save(mask)
    chosen = recipe.with_fields({"epochs": 1, "batch_size": 4})
    report = go(create_run(tmp_path / "run", chosen, tmp_path / "data", ("test",), {}))
    assert np.isfinite(report.loss)
    assert report.n == 6
    assert report.to_dict()["photos"][0]["mean_iou"] is None
    assert not report.scores.confusions[0].any()


def test_where_no_pixel_of_the_validation_counts_it_says_so(data: Path, recipe: Recipe, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    for mask in (tmp_path / "data" / "valannot").iterdir():
        Image.new("L", (33, 27), IGNORED).save(mask)
    run = create_run(tmp_path / "run", recipe.with_fields({"epochs": 1}), tmp_path / "data", ("test",), {})
    with pytest.raises(DatasetError, match="no pixel of the 6 photos has a class"):
        go(run)


def test_a_mask_that_cannot_be_read_is_told_and_its_photo_left_out(data: Path, recipe: Recipe, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    for mask in (tmp_path / "data" / "valannot" / "0.png", tmp_path / "data" / "trainannot" / "3.png"):
        mask.write_bytes(mask.read_bytes()[:40])
    display = Listen()
    run = create_run(tmp_path / "run", recipe.with_fields({"epochs": 1}), tmp_path / "data", ("test",), {})
    report = go(run, display)
    assert report.n == 5
    (failure,) = report.failures
    assert failure.path.endswith("val/0.png")
    told = [line for line in display.heard if line.startswith("left out: ")]
    assert len(told) == 2
    assert all("annot" in line for line in told)


def test_segnet_basic_learns_at_a_size_of_its_own(data: Path, recipe: Recipe, tmp_path: Path) -> None:
    basic = {"configuration": "SegNet-Basic", "width": 0.125, "epochs": 1, "learning_rate": 0.02}
    run = create_run(tmp_path / "run", recipe.with_fields(basic), data, ("test",), {})
    report = go(run)
    assert 0 < report.score < 1
    info, weights = read_model(run.folder)
    page = render_report(info, report, run.recipe, metrics=[], weights=weights)
    assert "<h1>SegNet-Basic (batch norm, 0.125 times as wide), trained on scenes</h1>" in page
    assert "7 x 7 weights each" in page


# Before the training


def test_folds_are_refused(recipe: Recipe) -> None:
    with pytest.raises(UsageError, match="--folds is for classifiers"):
        check_folds(recipe)


def test_a_plan_and_a_search_for_the_rate_take_masks(data: Path, recipe: Recipe) -> None:
    splits = splits_of(data, recipe)
    plan = measure(recipe, splits, begin(recipe, splits, CPU), None)
    assert plan.photos == 24
    assert plan.memory_bytes > 0
    assert plan.views == ()
    search = find_rate(recipe, splits, begin(recipe, splits, CPU), None, steps=25)
    assert 1e-5 < search.suggestion < 10


@pytest.mark.parametrize("name", ["cutmix", "mixup", "trivial_augment", "train_border"])
def test_what_would_part_photos_from_their_masks_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=name):
        load_recipe("segment").with_fields({"color_shift": 0.0, name: {"trivial_augment": True}.get(name, 0.2)})


@pytest.mark.parametrize("fit", ["letterbox", "squash"])
def test_photos_seen_whole_have_no_other_fit(fit: str) -> None:
    with pytest.raises(RecipeError, match=rf"fit is {fit}; a network of pixels sees photos whole.* Set fit=crop"):
        load_recipe("segment").with_fields({"fit": fit})


# Formats


def as_outlines(data: Path, folder: Path) -> Path:
    """The things of the photos to train on as Labelme's polygons; what is not enclosed is the background."""
    folder.mkdir()
    for photo in (data / "train").iterdir():
        shutil.copy(photo, folder)
        mask = np.array(Image.open(data / "trainannot" / photo.name)) == 1
        rows, columns = np.nonzero(mask)
        left, top, right, bottom = (int(edge) for edge in (columns.min(), rows.min(), columns.max(), rows.max()))
        corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
        shape = {"label": "thing", "shape_type": "polygon", "points": corners, "group_id": None, "flags": {}}
        document = {"version": "5.0.1", "flags": {}, "shapes": [shape], "imagePath": photo.name, "imageData": None}
        size = {"imageHeight": 27, "imageWidth": 33}
        (folder / photo.name).with_suffix(".json").write_text(json.dumps(document | size))
    return folder


def test_outlines_teach_their_classes_and_the_background(data: Path, recipe: Recipe, tmp_path: Path) -> None:
    outlined = as_outlines(data, tmp_path / "outlined")
    splits = splits_of(outlined, recipe)
    assert splits.is_drawn
    assert (len(splits.training), len(splits.validation)) == (19, 5)
    assert splits.training.classes == (BACKGROUND, "thing")
    report = go(create_run(tmp_path / "run", recipe.with_fields({"epochs": 2}), outlined, ("test",), {}))
    assert report.classes == (BACKGROUND, "thing")
    assert report.n == 5


def test_outlines_and_masks_of_the_same_things_are_the_same_targets(data: Path, recipe: Recipe, tmp_path: Path) -> None:
    outlined = splits_of(as_outlines(data, tmp_path / "outlined"), recipe)
    masks = splits_of(data, recipe).training
    by_name = {path.name: masks.targets.mask(place) for place, path in enumerate(masks.paths)}
    for side in (outlined.training, outlined.validation):
        for place, path in enumerate(side.paths):
            mask, drawn = by_name[path.name], side.targets.mask(place)
            assert np.array_equal(drawn[mask != IGNORED], mask[mask != IGNORED])


def test_camvid_by_its_lists_is_taken_as_it_is(recipe: Recipe, shared_data: Path, tmp_path: Path) -> None:
    """A few of its photos, with names of another machine in the lists."""
    source = shared_data / "camvid"
    if not source.is_dir():
        pytest.skip(f"needs {source}")
    folder = tmp_path / "camvid"
    for side, count in (("train", 4), ("val", 2)):
        lines = (source / f"{side}.txt").read_text().splitlines()[::50][:count]
        for path in (path for line in lines for path in line.split()):
            kept = Path(*Path(path).parts[-2:])
            (folder / kept).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / kept, folder / kept)
        (folder / f"{side}.txt").write_text("\n".join(lines))
    names = ["sky", "building", "pole", "road", "pavement", "tree", "signsymbol", "fence", "car"]
    names += ["pedestrian", "bicyclist", "unlabelled"]
    (folder / "classes.txt").write_text("\n".join(names))
    chosen = replace(recipe, epochs=1, input_size=32, train_scales=(32, 40), test_resize=36, test_crop=32)
    report = go(create_run(tmp_path / "run", chosen, folder, ("test",), {}))
    assert report.classes == tuple(names[:11])  # what is unlabelled teaches nothing
    assert report.n == 2
    assert report.scores.confusion.sum() < 2 * 480 * 360
