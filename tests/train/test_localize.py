"""Trainings on boxes: they learn, go on to the same weights, begin from classifiers, and mind photos without a box."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import add_run
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812, torch's own custom
from PIL import Image
from trainings import CPU, MOMENTS, break_off, end_of, go, splits_of

from verydeep.errors import DatasetError
from verydeep.evaluate.localization import evaluate_localization
from verydeep.evaluate.localization_report import LocalizationReport
from verydeep.network import Network
from verydeep.network.initialize import initialize
from verydeep.nouns import Preprocessing
from verydeep.outputs.boxes import edges, iou
from verydeep.runtime import open_model
from verydeep.train.loop import begin
from verydeep.train.recipe import Recipe
from verydeep.train.report import render_report
from verydeep.train.run import Run, create_run, open_run
from verydeep.train.start import begin_from, describe_start, new_layers, open_start
from verydeep.train.tasks import task_of
from verydeep.train.tasks.localize import TASK, box_costs
from verydeep.weights import ModelInfo, read_model

LOCALIZE = {
    "head": "fc",
    "boxes": "single",
    "width": 0.125,
    "initialization": "he",
    "dropout": 0.0,
    "learning_rate": 0.01,
    "warmup_epochs": 1,
    "box_weight": 2.0,
    "cutmix": 0.0,
    "train_scales": None,
    "train_areas": (0.8, 1.0),
    "input_size": 32,
    "test_resize": 32,
    "test_crop": 32,
    "save_as": "float32",
}
LOSSES = ["euclidean", "l1", "giou"]


@pytest.fixture(scope="module")
def data(make_boxed_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_boxed_photos(tmp_path_factory.mktemp("boxed") / "things")


@pytest.fixture(scope="module")
def recipe(small_recipe: Recipe) -> Recipe:
    return small_recipe.with_fields(LOCALIZE)


@pytest.fixture(scope="module")
def trained(data: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, LocalizationReport]:
    run = create_run(tmp_path_factory.mktemp("runs") / "run", recipe.with_fields({"epochs": 10}), data, ("test",), {})
    return run, go(run)


# What comes of it


def check_learned(report: LocalizationReport) -> None:
    """A red or a blue thing in noise; the best single box for all photos has a mean IoU of 0.4."""
    assert report.n == 12
    assert (report.class_top1.value or 0) > 0.8
    assert report.mean_iou.value > 0.45


def test_it_learns_boxes_and_writes_model_card_and_measurements(trained: tuple[Run, LocalizationReport]) -> None:
    run, report = trained
    check_learned(report)
    rows = run.metrics()
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["validation_loss"] < rows[0]["validation_loss"]
    card = (run.folder / "README.md").read_text()
    assert f"| validation | class and box {report.score:.1%} (95 % interval " in card
    assert "| the box, its class told | " in card
    info, _ = read_model(run.folder)
    assert (info.architecture.task, info.architecture.boxes) == ("localize", "single")
    assert info.origin["validation"]["class_and_box"]["value"] == report.score
    assert add_run.row(run.folder)["protocol"] == f"class and box: {report.protocol}"


def test_boxes_of_each_class_are_learned(data: Path, recipe: Recipe, tmp_path: Path) -> None:
    chosen = recipe.with_fields({"boxes": "class", "epochs": 12})
    run = create_run(tmp_path / "run", chosen, data, ("test",), {})
    check_learned(go(run))
    _, weights = read_model(run.folder)
    assert len(weights["fc8.bias"]) == 2 + 2 * 4


@pytest.mark.parametrize("fit", ["letterbox", "squash"])
def test_boxes_are_learned_in_photos_that_are_seen_whole(fit: str, data: Path, recipe: Recipe, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", recipe.with_fields({"fit": fit, "epochs": 12}), data, ("test",), {})
    report = go(run)
    check_learned(report)
    again = evaluate_localization(
        [open_model(run.folder, engine="reference")], splits_of(run.data, run.recipe).validation
    )
    np.testing.assert_allclose(again.own_boxes, report.own_boxes, atol=0.01)
    opened = open_model(run.folder, engine="reference", is_dense=True)
    check_learned(evaluate_localization([opened], splits_of(run.data, run.recipe).validation, "dense"))


def test_evaluation_of_the_model_is_the_validation_of_its_training(trained: tuple[Run, LocalizationReport]) -> None:
    run, report = trained
    for engine in ("torch", "reference"):
        again = evaluate_localization(
            [open_model(run.folder, engine=engine)], splits_of(run.data, run.recipe).validation
        )
        assert again.paths == report.paths
        np.testing.assert_allclose(again.own_boxes, report.own_boxes, atol=0.01)
        assert again.loss == pytest.approx(report.loss, abs=0.001)


def test_training_and_evaluation_tell_the_same_probabilities(
    make_boxed_photos: Callable[..., Path], recipe: Recipe, tmp_path: Path
) -> None:
    data = make_boxed_photos(tmp_path / "things", train=16, val=60)  # enough to fit a temperature to
    run = create_run(tmp_path / "run", recipe.with_fields({"epochs": 2}), data, ("test",), {})
    told = go(run).to_dict()
    assert told["calibration"]["temperature"] != 1
    again = evaluate_localization([open_model(run.folder, engine="torch")], splits_of(data, recipe).validation)
    assert again.to_dict()["calibration"] == told["calibration"]
    for one, other in zip(told["photos"], again.to_dict()["photos"], strict=True):
        first, second = ([said["probability"] for said in photo["predictions"]] for photo in (one, other))
        assert first == pytest.approx(second, abs=1e-5)


def test_the_page_shows_figures_and_photos_with_both_boxes(trained: tuple[Run, LocalizationReport]) -> None:
    run, report = trained
    page = (run.folder / "report.html").read_text()
    assert "class and box, first answer" in page
    assert "<h3>Best boxes</h3>" in page
    assert f"The mean IoU, the class told, is {report.mean_iou.value:.3f}" in page
    assert page.count("data:image/jpeg;base64,") == report.n


@pytest.mark.parametrize("fields", [{}, {"box_loss": "euclidean", "learns_classes": False}])
def test_losses_that_differ_in_kind_are_no_sign_of_overfitting(
    fields: dict[str, object], trained: tuple[Run, LocalizationReport], recipe: Recipe
) -> None:
    chosen = recipe.with_fields(fields)
    task = task_of(chosen)
    rows = [{f"validation_{task.metric}": 0.5, "loss": 0.01, "validation_loss": 2.0}] * 10
    told = task.verdict(rows, trained[1], chosen, is_fine_tuned=True)
    assert "levelled off" in " ".join(told)
    assert "verfit" not in " ".join(told)


PAYLOAD = "<script>document.title='hacked'</script>"


def test_text_from_outside_does_nothing_in_the_page(data: Path, recipe: Recipe, tmp_path: Path) -> None:
    photo = tmp_path / "a<b>&'.png"
    shutil.copy(data / "images" / "00.png", photo)
    classes = (PAYLOAD, '"><img src=x onerror=alert(1)>')
    box = np.array([1.0, 2.0, 20.0, 30.0])
    report = LocalizationReport(
        protocol="centre <crop>",
        protocol_name="",
        classes=classes,
        paths=(photo, tmp_path / "<i>gone.png"),
        labels=np.array([0, 1]),
        true_boxes=(box[np.newaxis], box[np.newaxis]),
        posteriors=np.array([[0.7, 0.3], [0.6, 0.4]]),
        top_boxes=np.tile(box, (2, 2, 1)),
        own_boxes=np.tile(box, (2, 1)),
    )
    info = ModelInfo(recipe.architecture(2), classes, recipe.preprocessing, origin={"data": PAYLOAD})
    weights = {"conv1_1.weight": np.random.default_rng(0).normal(size=(8, 3, 3, 3))}
    page = render_report(info, report, recipe, metrics=[], weights=weights)
    assert "<script>" not in page
    assert "onerror=alert(1)>" not in page
    assert "<i>gone" not in page
    assert "centre &lt;crop&gt;" in page
    assert page.count("The photo can no longer be shown.") == 1


# The losses


def true_and_said() -> tuple[torch.Tensor, torch.Tensor]:
    """(n, 4) boxes as middle, width and height: near each other, apart, one in the other, the same, and one beyond."""
    true = torch.tensor([[0.5, 0.5, 0.4, 0.6], [0.2, 0.3, 0.2, 0.2], [0.5, 0.5, 1, 1], [0.4, 0.6, 0.3, 0.5]])
    said = torch.tensor([[0.55, 0.48, 0.5, 0.5], [0.8, 0.7, 0.3, 0.1], [0.4, 0.6, 0.2, 0.3], [0.4, 0.6, 0.3, 0.5]])
    return torch.cat([true, true[:1] + 0.5]), torch.cat([said, said[:1]])


def cost(said: Sequence[float], true: Sequence[float], loss: str) -> float:
    """Of one box, number by number."""
    differences = [abs(one - other) for one, other in zip(said, true, strict=True)]
    if loss == "euclidean":
        return sum(difference**2 for difference in differences)
    if loss == "l1":
        return sum(each**2 / (2 * 0.05) if each < 0.05 else each - 0.05 / 2 for each in differences)
    one, other = edges(np.array(said, float)), edges(np.array(true, float))
    hull = [*np.minimum(one, other)[:2], *np.maximum(one, other)[2:]]
    whole = (hull[2] - hull[0]) * (hull[3] - hull[1])
    overlap = float(iou(one, other))
    areas = said[2] * said[3] + true[2] * true[3]
    union = areas / (1 + overlap)  # areas = union + common, and common = overlap * union
    return 1 - (overlap - (whole - union) / whole)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_of_boxes_is_what_its_paper_says(loss: str) -> None:
    true, said = true_and_said()
    expected = [cost(one, other, loss) for one, other in zip(said.tolist(), true.tolist(), strict=True)]
    assert box_costs(said, true, loss).tolist() == pytest.approx(expected, abs=1e-4)
    assert box_costs(said, true, loss)[3] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "box", [[0.5, 0.5, 0, 0], [0.5, 0.5, -0.3, -2], [9, -9, 0, 0], [0, 0, 0, 0], [0.5, 0.5, 1e4, 1e4]]
)
def test_boxes_without_size_have_gradients_that_lead_back(loss: str, box: list[float]) -> None:
    said = torch.tensor([box], dtype=torch.float32, requires_grad=True)
    found = box_costs(said, torch.tensor([[0.5, 0.5, 0.4, 0.6]]), loss).sum()
    found.backward()
    assert torch.isfinite(found)
    assert said.grad is not None
    assert torch.isfinite(said.grad).all()


@pytest.mark.parametrize("boxes", ["single", "class"])
def test_the_loss_adds_classes_and_boxes_photo_by_photo(boxes: str, recipe: Recipe) -> None:
    chosen = recipe.with_fields({"boxes": boxes, "label_smoothing": 0.1, "box_weight": 3.0})
    architecture = chosen.architecture(3)
    answers = torch.randn(4, architecture.scores, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 2, 1, 2])
    taught = true_and_said()[0][:4].clone()
    taught[1] = 0  # of which nothing is shown
    targets = TASK.targets(labels, taught, architecture)
    weights = torch.tensor([0.5, 2.0, 1.0])
    named = [
        F.cross_entropy(answers[i : i + 1, :3], labels[i : i + 1], label_smoothing=0.1).item() * weights[labels[i]]
        for i in range(4)
    ]
    first = [3 if boxes == "single" else 3 + 4 * int(label) for label in labels]
    found = [answers[i, start : start + 4].tolist() for i, start in enumerate(first)]
    placed = [cost(found[i], taught[i].tolist(), "l1") for i in (0, 2, 3)]
    expected = (sum(named) + 3.0 * sum(placed)) / 4
    assert TASK.loss(answers, targets, chosen, weights, None).item() == pytest.approx(float(expected), abs=1e-5)
    alone = TASK.loss(answers, targets, chosen.with_fields({"learns_classes": False}), weights, None).item()
    assert alone == pytest.approx(3.0 * sum(placed) / 4, abs=1e-5)


def test_photos_without_a_box_teach_the_class_alone(recipe: Recipe) -> None:
    architecture = recipe.architecture(3)
    answers = torch.randn(4, architecture.scores, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = TASK.targets(torch.tensor([0, 2, 1, 2]), torch.zeros(4, 4), architecture)
    TASK.loss(answers, targets, recipe, None, None).backward()
    assert answers.grad is not None
    assert answers.grad[:, :3].abs().min() > 0
    assert not answers.grad[:, 3:].any()


def test_boxes_begin_near_the_whole_picture(recipe: Recipe) -> None:
    network = Network(recipe.with_fields({"boxes": "class"}).architecture(3))
    initialize(network, "he", seed=1)
    bias = network.get_parameter("fc8.bias").detach()
    assert bias.tolist() == [0] * 3 + [0.5, 0.5, 1, 1] * 3
    weight = network.get_parameter("fc8.weight").detach()
    assert float(weight[3:].std()) == pytest.approx(0.1 * float(weight[:3].std()), rel=0.1)


# To the same weights


@pytest.fixture(scope="module")
def whole(data: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing happened to."""
    short = recipe.with_fields({"epochs": 2, "checkpoint_minutes": 0.0, "dropout": 0.5, "boxes": "class"})
    run = create_run(tmp_path_factory.mktemp("runs") / "whole", short, data, ("test",), {})
    go(run)
    return run


@pytest.mark.parametrize("moment", MOMENTS[1:3])
def test_a_resumed_run_ends_with_the_same_weights(moment: str, whole: Run, data: Path, tmp_path: Path) -> None:
    broken = create_run(tmp_path / "broken", whole.recipe, data, ("test",), {})
    break_off(broken, moment)
    go(open_run(broken.folder))
    assert end_of(whole) == end_of(broken)


# From a model


@pytest.fixture
def make_start(make_toy: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """A function (*classes, **fields) -> a model of photos of this size. fields: of its Architecture."""
    fields = {"head": "fc", "width": 0.125, "batch_norm": True}
    return lambda *classes, **more: make_toy(
        tmp_path / "start.safetensors", classes, Preprocessing(32, 32), **fields, **more
    )


@pytest.mark.parametrize("boxes", ["single", "class"])
@pytest.mark.parametrize("order", ["same", "other"])
def test_from_a_classifier_the_scores_of_its_classes_are_kept(
    boxes: str, order: str, data: Path, recipe: Recipe, make_start: Callable[..., Path]
) -> None:
    classes = ("blue", "red") if order == "same" else ("red", "blue")
    start, info = open_start(make_start(*classes))
    chosen = begin_from(recipe, info, {"boxes": boxes, "dropout": 0.0})
    splits = splits_of(data, recipe)
    names = splits.training.classes
    architecture = chosen.architecture(2)
    assert new_layers(start, architecture, names) == ("fc8",)
    assert "the boxes that fc8 gives are new, its scores of the classes" in describe_start(start, architecture, names)
    weights = read_model(start.path)[1]
    begun = {name: array.numpy() for name, array in begin(chosen, splits, CPU, start).network.state_dict().items()}
    for name, array in weights.items():
        if not name.startswith("fc8"):
            assert np.array_equal(begun[name], array), name
    for part in ("fc8.weight", "fc8.bias"):
        for row, name in enumerate(names):
            assert np.array_equal(begun[part][row], weights[part][classes.index(name)])


@pytest.mark.parametrize("boxes", ["single", "class"])
def test_from_a_localizer_of_the_same_classes_all_rows_find_their_class(
    boxes: str, data: Path, recipe: Recipe, make_start: Callable[..., Path]
) -> None:
    path = make_start("red", "blue", boxes=boxes)
    start, info = open_start(path)
    chosen = begin_from(recipe, info, {"boxes": boxes})
    splits = splits_of(data, recipe)
    assert splits.training.classes == ("blue", "red")
    assert new_layers(start, chosen.architecture(2), splits.training.classes) == ()
    bias = begin(chosen, splits, CPU, start).network.get_parameter("fc8.bias").detach().numpy()
    old = read_model(path)[1]["fc8.bias"]
    others = [*old[6:], *old[2:6]] if boxes == "class" else list(old[2:])
    assert bias.tolist() == [old[1], old[0], *others]


def test_from_single_boxes_to_those_of_classes_the_scores_are_kept(
    data: Path, recipe: Recipe, make_start: Callable[..., Path]
) -> None:
    path = make_start("red", "blue", boxes="single")
    start, info = open_start(path)
    begun = begin(begin_from(recipe, info, {"boxes": "class"}), splits_of(data, recipe), CPU, start).network
    old = read_model(path)[1]["fc8.bias"]
    assert begun.get_parameter("fc8.bias").tolist() == [old[1], old[0], *[0.5, 0.5, 1, 1] * 2]


def test_boxes_alone_leave_the_scores_of_the_classes(
    data: Path, recipe: Recipe, make_start: Callable[..., Path], tmp_path: Path
) -> None:
    """As in the paper, from a classifier, by the Euclidean loss; where its layers below stay, so do its answers."""
    start, info = open_start(make_start("blue", "red"))
    fields = {"learns_classes": False, "box_loss": "euclidean", "epochs": 2, "weight_decay": 0.0, "learning_rate": 1e-4}
    chosen = begin_from(recipe, info, fields)
    run = create_run(tmp_path / "run", chosen, data, ("test",), {}, start=start)
    report = go(run)
    before, after = read_model(start.path)[1], read_model(run.folder)[1]
    for part in ("fc8.weight", "fc8.bias"):
        np.testing.assert_array_equal(after[part][:2], before[part])
    assert not np.array_equal(after["fc7.weight"], before["fc7.weight"])
    rows = run.metrics()
    assert rows[-1]["loss"] < rows[0]["loss"]
    check_judged_by_boxes(run, report)


def check_judged_by_boxes(run: Run, report: LocalizationReport) -> None:
    """In the metrics, in what is printed, in the card and on the page; early stopping goes by the boxes, too."""
    found = report.given_class
    assert report.score == found.value != report.top1.value
    last = run.metrics()[-1]
    assert last["validation_given_class"] == pytest.approx(found.value)
    assert last["validation_loss"] == pytest.approx(1 - report.mean_iou.value, abs=1e-3)
    assert report.headline.startswith(f"the box, its class told, {found.value:.1%} (95 % interval ")
    assert f"| validation | {report.headline} |" in (run.folder / "README.md").read_text()
    page = (run.folder / "report.html").read_text()
    assert f"<strong>{found.value:.1%}</strong> of 12 validation photos found, their class told" in page
    assert "evaluate MODEL DATA --classifier CLASSIFIER" in page


# What teaches


def without_boxes(data: Path, folder: Path, numbers: Sequence[int]) -> Path:
    """The data, but these photos have a class and no box."""
    shutil.copytree(data, folder)
    lines = (folder / "boxes.csv").read_text().splitlines()
    kept = [
        ",".join([*line.split(",")[:3], "", "", "", ""]) if number in numbers else line
        for number, line in enumerate(lines, start=-1)
    ]
    (folder / "boxes.csv").write_text("\n".join(kept))
    return folder


def test_photos_without_a_box_are_trained_on_and_in_no_figure_of_boxes(
    data: Path, recipe: Recipe, tmp_path: Path
) -> None:
    some = without_boxes(data, tmp_path / "some", [0, 1, 2, 50])
    report = go(create_run(tmp_path / "run", recipe.with_fields({"epochs": 1}), some, ("test",), {}))
    assert (report.n, report.without_box) == (11, 1)
    assert np.isfinite(report.loss)


def test_where_no_photo_to_validate_on_has_a_box_it_says_so(data: Path, recipe: Recipe, tmp_path: Path) -> None:
    none = without_boxes(data, tmp_path / "none", range(40, 52))
    with pytest.raises(DatasetError, match="none of the 12 photos to validate on has a box"):
        splits_of(none, recipe)


def test_rectangles_of_labelme_are_the_same_boxes(data: Path, recipe: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "labelme"
    folder.mkdir()
    for line in (data / "boxes.csv").read_text().splitlines()[1:]:
        name, label, _, *numbers = line.split(",")
        left, top, right, bottom = map(float, numbers)
        shutil.copy(data / name, folder)
        shape = {"label": label, "shape_type": "rectangle", "points": [[left, top], [right, bottom]], "flags": {}}
        document = {"version": "5.0.1", "flags": {}, "shapes": [shape], "imageData": None}
        document |= {"imagePath": Path(name).name, "imageHeight": 32, "imageWidth": 40}
        (folder / Path(name).with_suffix(".json").name).write_text(json.dumps(document))
    table, drawn = splits_of(data, recipe), splits_of(folder, recipe)
    told = {
        path.name: side.targets.told(place)
        for side in (table.training, table.validation)
        for place, path in enumerate(side.paths)
    }
    assert drawn.is_drawn
    for side in (drawn.training, drawn.validation):
        assert side.classes == ("blue", "red")
        for place, path in enumerate(side.paths):
            assert side.targets.told(place) == told[path.name]


def test_birds_are_taken_as_they_are(shared_data: Path, recipe: Recipe, tmp_path: Path) -> None:
    source = shared_data / "cub-birds-loc"
    if not source.is_dir():
        pytest.skip(f"needs {source}")
    for side, count in (("train", 16), ("val", 6)):
        header, *lines = (source / f"boxes_{side}.csv").read_text().splitlines()
        lines = lines[:: len(lines) // count][:count]
        for line in lines:
            photo = tmp_path / "birds" / line.split(",")[0]
            photo.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / line.split(",")[0], photo)
        (tmp_path / "birds" / f"boxes_{side}.csv").write_text("\n".join([header, *lines]))
    report = go(create_run(tmp_path / "run", recipe.with_fields({"epochs": 1}), tmp_path / "birds", ("test",), {}))
    assert report.n == 6
    for path, box in zip(report.paths, report.own_boxes, strict=True):
        with Image.open(path) as photo:
            width, height = photo.size
        assert (box >= 0).all()
        assert (box <= (width, height, width, height)).all()
