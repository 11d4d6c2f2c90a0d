"""Runs that begin from a trained model: what is taken over, what learns, and that they go on to the same weights."""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from trainings import CPU, Listen, Stop, arrays, end_of, go

from verydeep.architecture import Architecture
from verydeep.data.datasets import Dataset, open_splits
from verydeep.errors import CheckpointError, ModelFileError, RecipeError
from verydeep.image import preprocess, read_image
from verydeep.network import build, weights_of
from verydeep.nouns import Preprocessing
from verydeep.train import features as features_module
from verydeep.train import loop, step
from verydeep.train.checkpoint import state_files
from verydeep.train.display import Display
from verydeep.train.features import INDEX_FILE, VIEWS_FILE, kept_views, open_features, views_of
from verydeep.train.finish import validate
from verydeep.train.freezing import depth_of_layers, features_layer, freeze
from verydeep.train.interrupt import Stopped
from verydeep.train.learning_curve import LearningCurve
from verydeep.train.loop import begin
from verydeep.train.optimize import make_optimizer, rate_factors, set_rate
from verydeep.train.recipe import Recipe, Stage
from verydeep.train.run import Run, create_run, open_run
from verydeep.train.start import begin_from, describe_start, new_layers, open_start
from verydeep.train.tasks import task_of
from verydeep.train.tasks.classify import balanced_weights
from verydeep.weights import ModelInfo, read_model, write_model

MODES = {
    "head": {"trained": "head"},
    "head, of each epoch's pictures": {"trained": "head", "views": 0},
    "last block": {"trained": "last-block", "mixup": 0.3},
    "all, the head first": {"trained": "all", "head_epochs": 1, "layer_decay": 0.5, "cutmix": 0.3},
    "last block, the head first": {"trained": "last-block", "head_epochs": 1, "class_weights": "balanced"},
    "early": {"trained": "head", "early_stopping": 1, "epochs": 8, "learning_rate": 0.3},
}


@pytest.fixture
def model(random_weights, tmp_path) -> Path:
    """A toy model of three classes, with batch norm far from the identity and preprocessing of its own."""
    return write(tmp_path / "base.safetensors", random_weights, Architecture("toy", "gap", 3, 16, batch_norm=True))


def write(path: Path, random_weights, architecture: Architecture, classes=("blue", "cat", "dog")) -> Path:
    preprocessing = Preprocessing(18, 16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.21, 0.22))
    origin = {"data": "pets", "source": "a shelter", "licence": "CC0-1.0", "photos": 7}
    info = ModelInfo(architecture, classes, preprocessing, origin=origin)
    write_model(path, info, random_weights(architecture))
    return path


@pytest.fixture
def tune(photos, small_recipe, model) -> Callable[..., Run]:
    """A function (folder, **fields) -> a new run on `photos` from the toy model."""

    def tune_model(folder: Path, begun_from: Path = model, data: Path = photos, **fields: object) -> Run:
        start, info = open_start(begun_from)
        plain = small_recipe.with_fields({"cutmix": 0.0, "views": 3, "save_as": "float32"})
        recipe = begin_from(plain, info, fields)
        return create_run(folder, recipe, data, ("test",), {}, start=start)

    return tune_model


# What is taken over


def test_the_network_and_the_preprocessing_are_the_models_and_the_head_is_new(tune, model, tmp_path):
    run, display = tune(tmp_path / "run", trained="head"), Listen()
    assert (run.recipe.configuration, run.recipe.width, run.recipe.input_size) == ("toy", 1.0, 16)
    go(run, display)
    info, _ = read_model(run.folder)
    assert info.classes == ("blue", "red")
    assert info.preprocessing == read_model(model)[0].preprocessing
    (told,) = [line for line in display.heard if line.startswith("begins from")]
    assert told.startswith("begins from base, toy-bn-gap, sha256 ")
    assert told.endswith(": fc8 is new: 2 classes instead of 3; 1 of them, blue, was known")
    assert "epochs 1 to 3: fc8 learns, from the features (gap) of 3 pictures of each photo" in display.heard


def test_the_card_and_the_model_tell_what_it_was_fine_tuned_from_and_on_what_terms(tune, tmp_path):
    run = tune(tmp_path / "run", trained="head")
    go(run)
    sha256 = open_start(tmp_path / "base.safetensors")[0].sha256
    origin = read_model(run.folder)[0].origin["start"]
    assert origin == {
        "name": "base", "sha256": sha256, "classes": 3, "data": "pets", "source": "a shelter", "licence": "CC0-1.0",
    }  # fmt: skip
    told = f"base: sha256 {sha256}; 3 classes; data pets; source a shelter; licence CC0-1.0"
    assert f"| fine-tuned from | {told} |" in (run.folder / "README.md").read_text()
    assert told in (run.folder / "report.html").read_text()
    again = tune(tmp_path / "again", begun_from=run.folder, trained="head")
    go(again)
    card = (again.folder / "README.md").read_text()
    assert f"| fine-tuned from | run: sha256 {open_start(run.folder)[0].sha256}; 2 classes; data photos |" in card
    assert f"| fine-tuned from | {told} |" in card


def test_a_head_of_the_same_classes_is_kept_whatever_their_order(tune, random_weights, tmp_path):
    architecture = Architecture("toy", "gap", 2, 16, batch_norm=True)
    model = write(tmp_path / "same.safetensors", random_weights, architecture, classes=("red", "blue"))
    run, display = tune(tmp_path / "run", begun_from=model, learning_rate=0.0, trained="head", epochs=1), Listen()
    go(run, display)
    assert any(line.endswith("its head is kept, for the classes are the same") for line in display.heard)
    (_, before), (info, after) = read_model(model), read_model(run.folder)
    assert info.classes == ("blue", "red")
    np.testing.assert_array_equal(after["fc8.weight"], before["fc8.weight"][::-1])
    np.testing.assert_array_equal(after["fc8.bias"], before["fc8.bias"][::-1])
    for name in before.keys() - {"fc8.weight", "fc8.bias"}:
        np.testing.assert_array_equal(after[name], before[name])


def test_another_kind_of_head_is_new_as_a_whole(model):
    start, info = open_start(model)
    recipe = begin_from(Recipe(cutmix=0.0), info, {"head": "fc", "width": 1})
    assert (recipe.head, recipe.input_size, recipe.test_crop) == ("fc", 16, 16)
    architecture = recipe.architecture(3)
    assert new_layers(start, architecture, start.classes) == ("fc6", "fc7", "fc8")
    told = describe_start(start, architecture, start.classes)
    assert told.endswith("fc6, fc7, fc8 are new: the head fc instead of gap")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 0.5}, "width is 0.5; the model that the run begins from has 1.0"),
        ({"batch_norm": False}, "batch_norm is false; the model that the run begins from has true"),
        ({"configuration": "A"}, "configuration is A; the model that the run begins from has toy"),
        ({"whiten": True}, "whiten is for a network that begins at random"),
        ({"speed": 3}, "no field speed"),
    ],
)
def test_what_the_weights_do_not_fit_is_refused(fields, message, model):
    with pytest.raises(RecipeError, match=message):
        begin_from(Recipe(), open_start(model)[1], fields)


def test_pictures_of_another_size_are_predicted_in_proportion_where_the_head_takes_them(
    model, random_weights, tmp_path
):
    recipe = begin_from(Recipe(), open_start(model)[1], {"input_size": 24})
    assert (recipe.input_size, recipe.test_crop, recipe.test_resize) == (24, 24, 27)
    architecture = Architecture("toy", "fc", 3, 16, width=1 / 64)
    fixed = open_start(write(tmp_path / "fc.safetensors", random_weights, architecture))[1]
    with pytest.raises(RecipeError, match="fc6 of the model that the run begins from takes 16 pixels only"):
        begin_from(Recipe(), fixed, {"input_size": 24})
    assert begin_from(Recipe(), fixed, {"input_size": 24, "head": "gap"}).input_size == 24


def test_the_fit_is_the_models_where_the_run_learns_the_same_task_and_nothing_else_is_set(model, refitted):
    info = open_start(refitted(model, "letterbox"))[1]
    assert begin_from(Recipe(), info, {}).fit == "letterbox"
    assert begin_from(Recipe(), info, {"fit": "squash"}).fit == "squash"
    assert begin_from(Recipe(cutmix=0.0), info, {"boxes": "single"}).fit == "crop"


def test_a_model_for_grey_photos_is_refused(make_toy, tmp_path):
    grey = make_toy(
        tmp_path / "grey.safetensors", preprocessing=Preprocessing(36, 32, (0.5,), (0.5,)), input_channels=1
    )
    with pytest.raises(ModelFileError, match=r"takes pictures of 1 channel; training has colour photos"):
        open_start(grey)


# What learns


@pytest.mark.parametrize(
    ("configuration", "head", "trained", "layer"),
    [
        ("A", "gap", "head", "gap"),
        ("D", "fc", "head", "pool5"),
        ("D", "fc", "last-block", "pool4"),
        ("A-LRN", "gap", "last-block", "pool4"),
        ("toy", "gap", "last-block", "pool1"),
        ("A", "gap", "all", None),
    ],
)
def test_the_features_are_the_input_of_the_first_layer_that_learns(configuration, head, trained, layer):
    assert features_layer(Architecture(configuration, head, 2, 32), trained) == layer


@pytest.mark.parametrize("views", [0, 3])
@pytest.mark.parametrize(
    ("trained", "learning"),
    [("head", {"fc8"}), ("last-block", {"conv2_1", "bn2_1", "fc8"})],
)
def test_frozen_layers_keep_their_bytes_and_their_statistics(trained, learning, views, tune, tmp_path):
    run = tune(tmp_path / "run", trained=trained, views=views)
    go(run)
    (_, before), (_, after) = read_model(run.start.path), read_model(run.folder)
    state = load_file(state_files(run.folder)[0])
    for name, array in before.items():
        if name.split(".")[0] in learning:
            assert not np.array_equal(after[name], array), name
        else:
            for kept in (after[name], state[f"network.{name}"], state[f"average.{name}"]):
                assert kept.tobytes() == array.tobytes(), name
            assert f"momentum.{name}" not in state


def test_frozen_batch_norm_normalises_by_its_stored_statistics(model):
    network = build(*_of(model))
    network.train()
    freeze(network, "head")
    images = torch.randn(4, 3, 16, 16)
    expected = build(*_of(model)).features(images, ("gap",))["gap"]
    torch.testing.assert_close(network.features(images, ("gap",))["gap"], expected)
    freeze(network, "all")
    assert network.bn1_1.training
    assert network.bn1_1.weight.requires_grad


def _of(model: Path):
    info, weights = read_model(model)
    return info.architecture, weights


def test_each_block_learns_at_its_share_of_the_rate(model):
    network = build(*_of(model))
    factors = rate_factors(network, 0.5)
    expected = {"conv1_1": 0.25, "conv1_2": 0.25, "bn1_2": 0.25, "conv2_1": 0.5, "bn2_1": 0.5, "fc8": 1.0}
    assert {name: factors[f"{name}.weight"] for name in expected} == expected
    recipe = Recipe(layer_decay=0.5, momentum=0.0, weight_decay=0.0, nesterov=False)
    optimizer = make_optimizer(network, recipe)
    set_rate(optimizer, 0.1)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(before[name] - parameter, torch.full_like(parameter, 0.1 * factors[name]))


def test_the_blocks_of_the_papers_network_are_counted_from_above():
    depths = depth_of_layers(Architecture("D"))
    assert [depths[name] for name in ("conv1_2", "conv2_1", "conv5_3", "pool5", "fc6", "fc8")] == [5, 4, 1, 1, 0, 0]


def test_the_head_learns_first_and_the_rest_from_then_on(tune, model, tmp_path, monkeypatch):
    run = tune(tmp_path / "run", head_epochs=2, epochs=4, layer_decay=0.5)
    assert run.recipe.stages == (Stage(0, 2, "head", True), Stage(2, 4, "all", False))
    ends, end_epoch = [], loop._end_epoch

    def look(session, log):
        ends.append({name: array.copy() for name, array in weights_of(session.state.network).items()})
        end_epoch(session, log)

    monkeypatch.setattr(loop, "_end_epoch", look)
    display = Listen()
    go(run, display)
    before = read_model(model)[1]
    for number, weights in enumerate(ends):
        changed = {name for name, array in before.items() if not np.array_equal(array, weights[name])}
        biases = {
            name for name in before if name.startswith("conv") and name.endswith("bias")
        }  # batch norm undoes them
        assert changed - biases == ({"fc8.weight", "fc8.bias"} if number < 2 else before.keys() - biases), number
        assert number >= 2 or not changed & biases
    assert "epochs 1 to 2: fc8 learns, from the features (gap) of 3 pictures of each photo" in display.heard
    assert "epochs 3 to 4: conv1_1 to fc8 learn" in display.heard
    rates = [row["learning_rate"] for row in run.metrics()]
    assert rates[1] == pytest.approx(0, abs=1e-6)
    assert rates[2] > rates[3]  # the schedule began anew, with a warm-up


def test_classes_count_alike_however_few_their_photos():
    assert balanced_weights([30, 10]) == pytest.approx([40 / 60, 2])
    assert balanced_weights([5, 0, 5]) == [1, 0, 1]


def test_a_balanced_step_is_that_of_a_loss_weighted_by_class(photos, small_recipe):
    for path in sorted((photos / "red").glob("*.png"))[6:]:
        path.unlink()
    splits = open_splits(photos)
    recipe = small_recipe.with_fields({"class_weights": "balanced", "cutmix": 0.0, "label_smoothing": 0.0})
    state = begin(recipe, splits, CPU)
    counts = torch.tensor(splits.training.counts())
    assert state.class_weights.tolist() == pytest.approx((len(splits.training) / (2 * counts)).tolist())
    images, labels = torch.randn(6, 3, 16, 16), torch.tensor([0, 1, 0, 0, 1, 0])
    targets = torch.nn.functional.one_hot(labels, 2).float()
    loss_of = partial(task_of(recipe).loss, recipe=recipe, class_weights=state.class_weights, proxies=None)
    loss, logits = step._backward(state.network, (images, targets), 1.0, "float32", loss_of)
    each = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    assert float(loss) == pytest.approx(float((each * state.class_weights[labels]).mean()), rel=1e-5)


# Features


def test_features_are_those_of_the_full_forward(model, photos, tune, tmp_path):
    for trained, layer in (("head", "gap"), ("last-block", "pool1")):
        run = tune(tmp_path / trained, trained=trained)
        training = open_splits(photos).training
        network = begin(run.recipe, open_splits(photos), CPU, run.start).network
        found = open_features(run.folder, network, layer, training, run.recipe, precision="float32", begun_from="x")
        assert found.values.shape[:2] == (48, 3)
        assert found.values.dtype == np.float32
        photo = read_image(training.paths[5])
        images = torch.from_numpy(np.stack([preprocess(photo, run.recipe.preprocessing)]))
        with torch.no_grad():
            expected = network.eval()(images)
            made = network.after(layer)(torch.from_numpy(found.values[5, :1].copy()))
        torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)


def test_the_views_are_the_picture_to_predict_its_mirror_image_and_crops(photos, small_recipe):
    photo = read_image(next(photos.glob("red/*.png")))
    whole, mirrored, third, fourth = views_of(photo, 7, small_recipe, 4)
    np.testing.assert_array_equal(mirrored, whole[:, ::-1])
    assert not np.array_equal(third, fourth)
    again, *others = views_of(photo, 7, small_recipe.with_fields({"flip": False}), 4)
    np.testing.assert_array_equal(again, whole)
    assert not any(np.array_equal(view, mirrored) for view in others)
    np.testing.assert_array_equal(views_of(photo, 7, small_recipe, 9)[:4], [whole, mirrored, third, fourth])
    assert not np.array_equal(views_of(photo, 8, small_recipe, 3)[2], third)


def test_a_step_draws_views_and_photos_as_a_pure_function_of_seed_epoch_and_place(tune, photos, tmp_path):
    run = tune(tmp_path / "run", trained="head")
    splits = open_splits(photos)
    network = begin(run.recipe, splits, CPU, run.start).network
    found = open_features(run.folder, network, "gap", splits.training, run.recipe, precision="float32", begun_from="x")
    whole = list(found.batches(8, 3, (0, 0), 3))
    assert len(whole) == 18
    rest = list(found.batches(8, 3, (1, 4), 3))
    assert len(rest) == 8
    for one, other in zip(whole[10:], rest, strict=True):
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.labels, other.labels)
    first = torch.cat([batch.features for batch in whole[:6]])
    assert len({row.tobytes() for row in first.numpy()}) == 48
    assert not torch.equal(first, torch.cat([batch.features for batch in whole[6:12]]))


@pytest.mark.parametrize(
    ("gib", "kept"), [(4.0, (8, "float32")), (0.0015, (8, "float16")), (0.0003, (2, "float16")), (1e-6, (0, "float16"))]
)
def test_features_that_do_not_fit_are_kept_in_half_the_bytes_or_of_fewer_views(gib, kept):
    recipe = Recipe(trained="head", cache_gib=gib)  # of 512 channels: 16 KiB a photo
    assert kept_views(recipe, Architecture("A", "gap", 2, 128), "gap", 150) == kept


def test_without_room_for_features_the_head_learns_from_each_epochs_pictures(tune, tmp_path):
    run, display = tune(tmp_path / "run", trained="head", cache_gib=1e-9), Listen()
    go(run, display)
    assert "epochs 1 to 3: fc8 learns" in display.heard
    assert not (run.folder / "training" / VIEWS_FILE).exists()


def test_the_epochs_on_features_are_validated_as_the_whole_network_would_be(tune, photos, tmp_path):
    run = tune(tmp_path / "run", trained="head")
    report = go(run)
    row = run.metrics()[-1]
    weights = read_model(run.folder)[1]
    whole = validate(run.recipe, weights, open_splits(photos).validation, "cpu")
    assert row["validation_loss"] == pytest.approx(whole.loss, rel=1e-4)
    assert row["validation_top1"] == whole.top1.value == report.top1.value


def test_damaged_features_are_made_anew_and_whole_ones_are_not(tune, tmp_path, monkeypatch):
    run = tune(tmp_path / "run", trained="head")
    go(run)
    weights = arrays(run.folder / "model.safetensors")
    path = run.folder / "training" / VIEWS_FILE
    whole, made = path.read_bytes(), []
    monkeypatch.setattr(features_module, "rows_of", lambda *a, **n: made.append("anew") or rows_of(*a, **n))
    go(open_run(run.folder))
    assert made == []
    for damage in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b"", b"\x93NUMPY" + bytes(30)):
        path.write_bytes(damage)
        go(open_run(run.folder))
        assert path.read_bytes() == whole
    (path.parent / INDEX_FILE).write_text("{")
    go(open_run(run.folder))
    assert len(made) == 5
    assert arrays(run.folder / "model.safetensors") == weights


rows_of = features_module.rows_of


def test_a_photo_that_cannot_be_read_has_the_features_of_its_neighbour(tune, photos, tmp_path):
    training = open_splits(photos).training
    training.paths[4].write_bytes(b"damaged")
    run, display = tune(tmp_path / "run", trained="head"), Listen()
    go(run, display)
    assert sum(f"left out: {training.paths[4]}" in line for line in display.heard) == 1
    network = begin(run.recipe, open_splits(photos), CPU, run.start).network
    found = open_features(
        run.folder, network, "gap", training, run.recipe, precision="float32", begun_from=run.start.sha256
    )
    assert found.sources[[3, 4, 5]].tolist() == [3, 5, 5]


def test_features_of_other_photos_labels_or_settings_are_others(tune, photos, tmp_path):
    run = tune(tmp_path / "run", trained="head")
    training = open_splits(photos).training
    network = begin(run.recipe, open_splits(photos), CPU, run.start).network
    keys = set()
    other = Dataset(training.classes, training.paths, (1, *training.labels[1:]))
    recipes = [run.recipe, run.recipe.with_fields({"seed": 1}), run.recipe.with_fields({"flip": False})]
    for photos_of, recipe, begun_from in (
        *((training, recipe, "x") for recipe in recipes),
        (training, run.recipe, "y"),
        (other, run.recipe, "x"),
    ):
        open_features(run.folder, network, "gap", photos_of, recipe, precision="float32", begun_from=begun_from)
        keys.add(json.loads((run.folder / "training" / INDEX_FILE).read_text())["key"])
    assert len(keys) == 5


# Going on


@pytest.mark.parametrize("mode", MODES)
def test_a_resumed_run_ends_with_the_same_state_as_an_uninterrupted_one(mode, tune, tmp_path):
    fields = MODES[mode]
    go(whole := tune(tmp_path / "whole", **fields))
    stops = {"in mid-epoch": Stop(in_step=(1, 3)), "after the epoch": Stop(after_epoch=1)}
    if fields.get("views") != 0:
        stops["while features are made"] = StopAmongFeatures()
    broken = {moment: tune(tmp_path / moment, **fields, checkpoint_minutes=0) for moment in stops}
    for moment, run in broken.items():
        with pytest.raises(KeyboardInterrupt):
            go(run, stops[moment])
    (tmp_path / "base.safetensors").unlink()  # the state has it all
    for moment, run in broken.items():
        go(open_run(run.folder))
        assert end_of(whole) == end_of(run), moment


class StopAmongFeatures(Display):
    def reading(self, done, total, what="photos"):
        if (what, done) == ("computing the features", 9):
            raise Stopped


def test_the_papers_head_learns_from_the_features_below_fc6_and_goes_on(tune, random_weights, tmp_path):
    architecture = Architecture("toy", "fc", 3, 16, width=1 / 64)
    model = write(tmp_path / "fc.safetensors", random_weights, architecture)
    runs = [tune(tmp_path / name, begun_from=model, trained="head", learning_rate=0.01) for name in ("whole", "broken")]
    display = Listen()
    go(runs[0], display)
    assert "epochs 1 to 3: fc6 to fc8 learn, from the features (pool2) of 3 pictures of each photo" in display.heard

    with pytest.raises(KeyboardInterrupt):
        go(runs[1], Stop(in_step=(1, 2)))
    go(open_run(runs[1].folder))
    assert arrays(runs[0].folder / "model.safetensors") == arrays(runs[1].folder / "model.safetensors")


def test_a_run_that_has_no_state_yet_begins_from_the_very_file_that_it_was_to(tune, model, random_weights, tmp_path):
    run = tune(tmp_path / "run", trained="head")
    write(
        model,
        lambda architecture: random_weights(architecture, seed=1),
        Architecture("toy", "gap", 3, 16, batch_norm=True),
    )
    with pytest.raises(CheckpointError, match="is not the model that this run was to begin from: its SHA-256"):
        go(open_run(run.folder))
    model.unlink()
    with pytest.raises(ModelFileError, match="there is no model at"):
        go(open_run(run.folder))


def test_a_damaged_note_of_the_start_is_a_damaged_run(tune, tmp_path):
    run = tune(tmp_path / "run", trained="head")
    content = json.loads((run.folder / "recipe.json").read_text())
    del content["start"]["sha256"]
    (run.folder / "recipe.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"recipe\.json is damaged"):
        open_run(run.folder)


# Ending early


def test_a_run_that_ends_early_keeps_the_weights_of_its_best_epoch(tune, photos, tmp_path, monkeypatch):
    losses = [0.5, 0.3, 0.4, 0.35, 0.2]
    run = tune(tmp_path / "run", trained="head", early_stopping=2, epochs=9)
    seen, validate_features = [], loop._validate_features

    def pretend(session, tail):
        report = validate_features(session, tail)
        seen.append({name: array.copy() for name, array in weights_of(session.state.average.network).items()})
        vars(report)["loss"] = losses[len(seen) - 1]
        return report

    with monkeypatch.context() as patched:
        patched.setattr(loop, "_validate_features", pretend)
        patched.setattr(loop, "learning_curve", lambda *arguments, **named: None)
        go(run)
    assert len(run.metrics()) == 4  # the second was the best
    weights = read_model(run.folder)[1]
    for name, array in seen[1].items():
        np.testing.assert_array_equal(weights[name], array)
    page = (run.folder / "report.html").read_text()
    assert "It ended after 4 epochs of 9:</strong> the weights of epoch 2 are kept" in page


def test_epochs_in_which_only_the_head_learns_end_nothing():
    recipe = Recipe(early_stopping=2, head_epochs=3, epochs=9)
    progress = loop.Progress("float32", 1, 1, {}, [], "")
    for epoch, losses, is_over in (
        (3, [0.1, 0.2, 0.3], False),
        (4, [0.1, 0.2, 0.3, 0.4], False),
        (5, [0.1, 0.2, 0.3, 0.4, 0.5], True),
        (5, [0.1, 0.2, 0.3, 0.05, 0.5], False),
    ):
        there = loop.replace(progress, epoch=epoch, loss_history=losses)
        assert loop._is_over(recipe, there) == is_over, losses


# What there is to learn from


@pytest.mark.whole_report
def test_a_run_of_the_head_tells_how_much_more_photos_would_help(tune, tmp_path):
    run = tune(tmp_path / "run", trained="head")
    go(run)
    curve = json.loads((run.folder / "learning-curve.json").read_text())
    assert curve["photos"] == [12, 24, 36, 48]
    assert [len(values) for values in curve["top1"]] == [5] * 4
    assert curve["n"] == 12
    page = (run.folder / "report.html").read_text()
    assert "How much more photos would help" in page
    assert "Validation top-1 by photos" in page


@pytest.mark.parametrize(
    ("top1", "told"),
    [
        ([(0.5, 0.52), (0.6, 0.61), (0.65, 0.67), (0.7, 0.71)], "More photos would help: from 10 to 40 photos each"),
        ([(0.7, 0.5), (0.5, 0.7), (0.6, 0.6), (0.7, 0.5)], "More photos of the same kind would help little"),
        ([(0.5,), (0.6,), (0.65,), (0.7,)], "by one draw of each size"),
        (
            [(0.5, 0.52), (0.6, 0.61), (0.9, 0.9), (1, 75 / 76)],
            "less than one of the 76 that were asked about is missed",
        ),
        ([(1, 1), (1, 1), (1, 1), (1, 1)], "Whether more photos would help cannot be seen"),
        ([(0.5, 0.52), (0.6, 0.61), (0.9, 0.9), (74 / 76, 74 / 76)], "More photos would help"),
    ],
)
def test_a_learning_curve_says_whether_more_photos_help(top1, told):
    assert told in LearningCurve((10, 20, 30, 40), tuple(top1), 76).sentence


def test_the_gain_of_doubling_is_the_slope_by_the_logarithm():
    curve = LearningCurve((10, 20, 40, 80), ((0.5, 0.5), (0.6, 0.6), (0.7, 0.7), (0.8, 0.8)), 76)
    assert curve.gain == pytest.approx((0.1, 0.0), abs=1e-9)
    assert "over the draws, asked about 76 photos)" in curve.sentence
    assert math.isinf(LearningCurve((10, 20), ((0.5,), (0.6,)), 76).gain[1])


# Settings that do not go together


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"trained": "tail"}, "trained is 'tail'; expected all or last-block or head"),
        ({"trained": "head", "head_epochs": 2}, "head_epochs goes with trained=all or last-block"),
        ({"head_epochs": 40}, "head_epochs is 40; expected 0 to 39"),
        ({"head_epochs": 3, "schedule": "plateau"}, "head_epochs does not go with schedule=plateau"),
        ({"early_stopping": 3, "schedule": "plateau"}, "early_stopping does not go with schedule=plateau"),
        ({"early_stopping": 0}, "early_stopping is 0; expected 1 or more"),
        ({"layer_decay": 1.5}, "layer_decay is 1.5; expected 0 to 1"),
        ({"trained": "head", "cutmix": 0.5}, "cutmix pastes pixels"),
        ({"trained": "head", "first_size": 96}, "first_size goes with trained=all"),
        ({"class_weights": "even"}, "class_weights is 'even'; expected none or balanced"),
        ({"views": -1}, "views is -1; expected 0 to"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(fields, message):
    with pytest.raises(RecipeError, match=message):
        Recipe(**fields)
