"""Trainings of embeddings: they learn, go on to the same weights whatever the loss, and say how well photos find."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import add_run
import numpy as np
import pytest
import torch
from PIL import Image
from trainings import CPU, Listen, Stop, arrays, end_of, go, splits_of

from verydeep.data.class_batches import ClassBatches
from verydeep.data.datasets import Dataset, Splits, split
from verydeep.data.loader import Shuffled
from verydeep.errors import DatasetError, RecipeError
from verydeep.evaluate.embedding_report import EmbeddingReport, evaluate_embedding
from verydeep.evaluate.retrieval import check_retrievable, retrieve
from verydeep.nouns import Preprocessing
from verydeep.predict import Embedder
from verydeep.recipes import load_recipe
from verydeep.runtime import open_model
from verydeep.train import memory
from verydeep.train.checkpoint import Progress, state_files
from verydeep.train.display import Display
from verydeep.train.find_rate import find_rate
from verydeep.train.loop import begin, train
from verydeep.train.losses import PROXIES, make_proxies
from verydeep.train.optimize import rate_factors
from verydeep.train.order import batch_in_words, batch_order
from verydeep.train.plan import measure
from verydeep.train.recipe import Recipe
from verydeep.train.report import render_report
from verydeep.train.run import Run, create_run, open_run
from verydeep.train.start import begin_from, describe_start, open_start
from verydeep.train.tasks import embed_page
from verydeep.weights import ModelInfo, read_model

REPOSITORY = Path(__file__).parents[2]
EMBED = {"head": "embedding", "dimensions": 6, "cutmix": 0.0, "save_as": "float32", "batch_size": 12}
LOSSES = ("triplet", "contrastive", "softmax")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen photos of each of three colours, barely told apart by it, 24 x 20 pixels."""
    folder = tmp_path_factory.mktemp("colours") / "photos"
    random = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green", "blue")):
        (folder / name).mkdir(parents=True)
        for number in range(15):
            pixels = random.integers(0, 200, (20, 24, 3), np.uint8)
            pixels[..., channel] += 40
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def recipe(small_recipe: Recipe) -> Recipe:
    return small_recipe.with_fields(EMBED)


@pytest.fixture(scope="module")
def trained(data: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, EmbeddingReport]:
    run = create_run(tmp_path_factory.mktemp("runs") / "run", recipe.with_fields({"epochs": 8}), data, ("test",), {})
    return run, go(run)


@pytest.fixture
def model(make_toy: Callable[..., Path], tmp_path: Path) -> Path:
    """A classifier of other things."""
    path = tmp_path / "base.safetensors"
    return make_toy(path, preprocessing=Preprocessing(18, 16), input_size=16, batch_norm=True)


# What comes of it


def test_photos_find_their_class_and_model_card_and_measurements_say_how_well(
    trained: tuple[Run, EmbeddingReport],
) -> None:
    run, report = trained
    assert report.n == 9
    assert report.score >= 0.8  # 0.25 by chance
    rows = run.metrics()
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["validation_recall1"] == report.score
    assert rows[-1]["validation_loss"] == pytest.approx(report.loss, abs=1e-5)
    card = (run.folder / "README.md").read_text()
    assert f"| validation | recall@1 {report.score:.1%} (95 % interval " in card
    assert "| MAP@R | " in card
    assert "verydeep search PHOTO --in FOLDER --model model.safetensors" in card
    origin = read_model(run.folder)[0].origin["validation"]
    assert origin["recall1"]["value"] == report.score
    assert origin["n"] == 9
    assert (row := add_run.row(run.folder))["protocol"] == f"recall@1: {report.protocol}"
    assert row["value"] == report.score


def test_evaluation_of_the_model_is_the_validation_of_its_training(trained: tuple[Run, EmbeddingReport]) -> None:
    run, report = trained
    for engine in ("torch", "reference"):
        opened = open_model(run.folder, engine=engine)
        again = evaluate_embedding(opened.engine, opened.info, splits_of(run.data, run.recipe).validation)
        assert again.paths == report.paths
        np.testing.assert_allclose(again.vectors, report.vectors, atol=1e-5)
        assert again.loss == pytest.approx(report.loss, abs=1e-4)
        assert again.figures == report.figures
    found = np.stack(list(Embedder(run.folder, engine="reference").embed_many(report.paths)))
    assert retrieve(found, report.labels).recall(1) == report.figures["recall@1"]


def test_the_page_shows_what_photos_find_right_and_wrong(trained: tuple[Run, EmbeddingReport]) -> None:
    run, report = trained
    page = (run.folder / "report.html").read_text()
    for name in ("recall@1", "recall@2", "recall@4", "recall@8", "MAP@R"):
        assert f'<th scope="row">{name}</th>' in page
    assert "Of 100 new photos like these about" in page
    shown = min(embed_page.QUERIES, round(report.score * report.n)) + min(
        embed_page.QUERIES, round((1 - report.score) * report.n)
    )
    assert page.count("data:image/jpeg;base64,") == 5 * shown
    assert page.count('<span class="right">') + page.count('<span class="wrong">') == 4 * shown
    assert "verydeep search PHOTO --in FOLDER --model model.safetensors" in page


PAYLOAD = "<script>document.title='hacked'</script>"


def test_text_from_outside_does_nothing_in_the_page(recipe: Recipe, tmp_path: Path) -> None:
    vectors = np.eye(6, dtype=np.float32)[[0, 0, 1, 1, 0]]
    labels = np.array([0, 0, 1, 1, 1])
    paths = tuple(tmp_path / f"<i>gone{number}.png" for number in range(5))
    report = EmbeddingReport("<b>", (PAYLOAD, '"><img src=x>'), paths, labels, vectors, retrieve(vectors, labels), 0.5)
    info = ModelInfo(recipe.architecture(2), report.classes, recipe.preprocessing, origin={"data": PAYLOAD})
    weights = {"conv1_1.weight": np.random.default_rng(0).normal(size=(8, 3, 3, 3))}
    page = render_report(info, report, recipe, metrics=[], weights=weights)
    for payload in (PAYLOAD, "<i>gone", "<img src=x", "<b>:"):
        assert payload not in page
    assert page.count("The photo can no longer be shown") == 5 * 5
    assert "Not found" in page


def test_a_collapse_and_weak_classes_are_told(recipe: Recipe) -> None:
    rows = [{"loss": 0.197}]
    assert "It has collapsed" in next(embed_page.collapsed(rows, recipe))
    for other, loss in (("triplet", 0.1), ("softmax", 2.0)):
        assert not list(embed_page.collapsed([{"loss": loss}], recipe.with_fields({"embedding_loss": other})))
    assert not list(embed_page.collapsed(rows, recipe.with_fields({"margin": 1.0})))
    vectors = np.eye(6, dtype=np.float32)[[0, 0, 0, 0, 1, 2]]
    labels = np.array([0, 0, 0, 0, 1, 1])
    report = EmbeddingReport("p", ("a", "b"), (), labels, vectors, retrieve(vectors, labels), 0.5)
    assert "Weakest classes: 'b' 0% of 2." in next(embed_page.weak(report))


# Going on


@pytest.mark.parametrize(
    "case", [*[(loss, mode) for loss in LOSSES for mode in ("all", "head")], ("softmax", "early")], ids="-".join
)
def test_a_resumed_run_ends_with_the_same_state_as_an_uninterrupted_one(
    case: tuple[str, str], data: Path, recipe: Recipe, model: Path, tmp_path: Path
) -> None:
    loss, mode = case
    fields: dict[str, Any] = {"embedding_loss": loss, "epochs": 2, "checkpoint_minutes": 0}
    start, info = open_start(model)
    if mode == "head":
        fields |= {"trained": "head", "views": 3}
    if mode == "early":
        fields |= {"early_stopping": 3, "ema_decay": 0.0}
    chosen = begin_from(recipe, info, fields) if mode == "head" else recipe.with_fields(fields)

    whole, broken = (
        create_run(tmp_path / name, chosen, data, ("test",), {}, start=start if mode == "head" else None)
        for name in ("whole", "broken")
    )
    go(whole)
    with pytest.raises(KeyboardInterrupt):
        go(broken, Stop(in_step=(1, 1)))
    go(open_run(broken.folder))
    assert end_of(whole) == end_of(broken)
    kept = {name for name in arrays(state_files(whole.folder)[0]) if name.endswith(PROXIES)}
    expected = {f"network.{PROXIES}", f"momentum.{PROXIES}"}
    expected |= {f"best.{PROXIES}"} if mode == "early" else {f"average.{PROXIES}"}
    assert kept == (expected if loss == "softmax" else set())
    assert not [name for name in read_model(whole.folder)[1] if PROXIES in name]


def test_proxies_learn_with_the_head_and_begin_where_the_seed_says(data: Path, recipe: Recipe) -> None:
    softmax = recipe.with_fields({"embedding_loss": "softmax", "layer_decay": 0.5})
    state = begin(softmax, splits_of(data, recipe), CPU)
    assert state.proxies is not None
    assert torch.equal(state.proxies, make_proxies(3, 6, softmax.seed))
    assert any(state.proxies is one for group in state.optimizer.param_groups for one in group["params"])
    assert rate_factors(state.network, 0.5)[PROXIES] == 1
    assert begin(recipe, splits_of(data, recipe), CPU).proxies is None


# Batches


def test_batches_have_as_many_photos_of_each_class_where_photos_are_compared(recipe: Recipe) -> None:
    labels = [number % 10 for number in range(100)]
    few = batch_order(recipe.with_fields({"batch_size": 64}), labels)
    assert isinstance(few, ClassBatches)
    assert (few.classes, few.photos, few.steps) == (10, 6, 2)  # there are no 16 classes
    assert batch_in_words(recipe, few) == "batch 60: 6 photos of each of 10 classes"
    many = batch_order(recipe.with_fields({"batch_size": 32, "photos_per_class": 8}), labels)
    assert isinstance(many, ClassBatches)
    assert (many.classes, many.photos) == (4, 8)
    for fields in ({"embedding_loss": "softmax"}, {"head": "gap"}):
        assert batch_order(recipe.with_fields(fields), labels) == Shuffled(100, 12, 0)
    with pytest.raises(DatasetError, match="all 3 photos are of one class"):
        batch_order(recipe, [1, 1, 1])


def test_all_photos_of_a_batch_are_compared_however_little_memory_there_is(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda device: 1)
    architecture = recipe.architecture(3)
    assert memory.fitting_micro_batch(recipe, architecture, CPU, "float32") == 12
    softmax = recipe.with_fields({"embedding_loss": "softmax"})
    assert memory.fitting_micro_batch(softmax, architecture, CPU, "float32") == 1
    monkeypatch.setattr(memory, "available_bytes", lambda device: 1 << 40)
    progress = Progress("float32", 12, 1, {}, [], "")
    assert "train anew with --set batch_size=8" in memory.explain_memory(recipe, architecture, progress, CPU).hint


def test_a_plan_and_a_search_of_the_learning_rate_are_of_these_batches(data: Path, recipe: Recipe) -> None:
    splits = splits_of(data, recipe)
    plan = measure(recipe, splits, begin(recipe, splits, CPU), None)
    assert plan.micro_batch == 12
    assert plan.total_seconds > 0
    found = find_rate(recipe, splits, begin(recipe, splits, CPU), None, steps=30)
    assert found.losses[0] < 1  # of triplets, not of classes


# What it begins from


def test_from_a_classifier_all_but_the_head_is_taken_over(data: Path, recipe: Recipe, model: Path) -> None:
    start, info = open_start(model)
    chosen = begin_from(load_recipe("embed"), info, {"input_size": 32, "test_crop": 32, "test_resize": 36})
    assert (chosen.configuration, chosen.width, chosen.head, chosen.dimensions) == ("toy", 1.0, "embedding", 128)
    told = describe_start(start, chosen.architecture(3), ("red", "green", "blue"))
    assert told.endswith(": fc8 is new: the head embedding instead of gap")


def test_from_an_embedding_the_head_is_kept_whatever_the_classes(
    trained: tuple[Run, EmbeddingReport], photos: Path, tmp_path: Path
) -> None:
    before = read_model(trained[0].folder)[1]
    start, info = open_start(trained[0].folder)
    chosen = begin_from(load_recipe("embed"), info, {"learning_rate": 0.0, "epochs": 1, "save_as": "float32"})
    assert (chosen.dimensions, chosen.test_crop) == (6, 16)
    run, display = create_run(tmp_path / "run", chosen, photos, ("test",), {}, start=start), Listen()
    go(run, display)
    assert any(line.endswith(": its head is kept") for line in display.heard)
    assert any("32 photos of each of 2 classes" in line for line in display.heard)
    after = read_model(run.folder)[1]
    np.testing.assert_array_equal(after["fc8.weight"], before["fc8.weight"])


# What is refused


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"micro_batch": 4}, "micro_batch is 4; the triplet loss compares all photos of a batch"),
        ({"photos_per_class": 8}, "batch_size is 12, photos_per_class 8; expected photos of two classes"),
        ({"photos_per_class": 1}, "photos_per_class is 1; expected 2 to"),
        ({"margin": 3.0}, "margin is 3.0; expected 0 to 2"),
        ({"embedding_loss": "arcface"}, "embedding_loss is 'arcface'; expected triplet or contrastive or softmax"),
        ({"class_weights": "balanced"}, "class_weights goes with a head that tells classes"),
        ({"mixup": 0.2}, "mixup goes with a classifier only"),
    ],
)
def test_what_does_not_go_together_is_told(fields: dict[str, Any], message: str, recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe.with_fields(fields)


def test_softmax_takes_parts_of_a_batch(recipe: Recipe) -> None:
    assert recipe.with_fields({"embedding_loss": "softmax", "micro_batch": 4}).micro_batch == 4


def test_of_eight_photos_of_a_class_as_many_validate_as_can_be_found() -> None:
    """Which is why the tutorial asks for eight."""

    def drawn(each: int) -> Splits:
        labels = [0] * each + [1] * each
        return split(Dataset(("red", "blue"), tuple(Path(f"{n}.png") for n in range(2 * each)), tuple(labels)), seed=0)

    check_retrievable(drawn(8).validation.labels)
    with pytest.raises(DatasetError, match="none of the 2 photos") as refused:
        check_retrievable(drawn(7).validation.labels)
    assert "eight where training draws a fifth" in refused.value.hint
    assert "with eight photos or more" in (REPOSITORY / "docs" / "tutorial" / "embedding.md").read_text()


def test_a_validation_in_which_nothing_can_be_found_is_told_before_the_training(
    data: Path, recipe: Recipe, tmp_path: Path
) -> None:
    splits = splits_of(data, recipe)
    alone = replace(splits, validation=splits.validation.take([0, 3, 6]))
    assert len(set(alone.validation.labels)) == 3
    run = create_run(tmp_path / "run", recipe, data, ("test",), {})
    with pytest.raises(DatasetError, match="none of the 3 photos has another of its class"):
        train(run, alone, Display(), "cpu")
    assert not state_files(run.folder)
    assert json.loads((run.folder / "recipe.json").read_text())
