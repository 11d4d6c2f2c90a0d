"""Troubles planted into steps of training and losses of real ones: each is found and named, and health is left alone.

`python tests/train/test_guards.py` records stuck_traces.json and spike_traces.json anew, in some minutes.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812, torch's own custom

from verydeep.architecture import Architecture
from verydeep.data.loader import batch_random
from verydeep.errors import DatasetError, NonFiniteError, TrainingError
from verydeep.network import Network, initialize
from verydeep.train.guards import (
    BLOCKS,
    WINDOW,
    KeptBuffers,
    LossSpike,
    StuckLoss,
    Unreadable,
    check_saveable,
    checked_loss,
    find_nonfinite,
    nonfinite_error,
    prior_entropy,
    rate_factor,
    rises,
    robust_statistics,
    spread_of,
)
from verydeep.train.optimize import learning_rate, make_optimizer
from verydeep.train.precision import autocast
from verydeep.train.recipe import Recipe
from verydeep.train.step import _mix

TRACES = Path(__file__).parent / "stuck_traces.json"
SPIKES = Path(__file__).parent / "spike_traces.json"


class Step:
    """One step of a small network, as the loop makes it, in which a test may plant trouble."""

    def __init__(self, precision: str = "float32") -> None:
        self.precision = precision
        self.network = Network(Architecture("toy", head="gap", classes=3, input_size=16, batch_norm=True))
        initialize(self.network, "he", seed=0)
        self.optimizer = make_optimizer(self.network, Recipe())
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(6, 3, 16, 16, generator=generator)
        self.targets = F.one_hot(torch.arange(6) % 3, 3).float()

    def run(self) -> float:
        """Forward and backward: what `checked_loss` says."""
        with autocast(self.images.device, self.precision):
            logits = self.network(self.images)
        self.loss = F.cross_entropy(logits.float(), self.targets)
        self.optimizer.zero_grad()
        self.loss.backward()
        return checked_loss(self.loss, self.network)

    def find(self) -> str:
        parts = list(zip(self.images.split(3), self.targets.split(3), strict=True))
        return find_nonfinite(self.network, self.optimizer, parts, float(self.loss.detach()), self.precision)

    def plant(self, name: str, value: float) -> None:
        """Sets one number of a weight or statistic."""
        self.network.state_dict()[name].view(-1)[1] = value

    def plant_in_gradient(self, name: str, value: float) -> None:
        self.network.get_parameter(name).register_hook(lambda gradient: torch.full_like(gradient, value))


def spoil_momentum(step: Step) -> None:
    step.run()
    step.optimizer.step()
    step.optimizer.state[step.network.get_parameter("conv1_2.weight")]["momentum_buffer"][0, 0, 1, 1] = math.nan
    assert math.isfinite(step.run())  # no weight has seen it yet
    step.optimizer.step()


def spoil_two_gradients(step: Step) -> None:
    step.plant_in_gradient("conv1_1.weight", math.nan)
    step.plant_in_gradient("conv2_1.weight", math.inf)  # the backward pass comes by here first


TROUBLES: dict[str, tuple[Callable[[Step], object], str]] = {
    "NaN in a pixel": (lambda step: step.images[4, 1, 2].fill_(math.nan), "a pixel of the batch"),
    "infinity in a pixel": (lambda step: step.images[0, 0, 2].fill_(-math.inf), "a pixel of the batch"),
    "NaN in a target": (lambda step: step.targets[4].fill_(math.nan), "a target of the batch"),
    "NaN in a weight": (lambda step: step.plant("conv1_2.weight", math.nan), "conv1_2.weight"),
    "infinity in a bias": (lambda step: step.plant("fc8.bias", math.inf), "fc8.bias"),
    "NaN in batch norm's gamma": (lambda step: step.plant("bn2_1.weight", math.nan), "bn2_1.weight"),
    "NaN in a running mean": (lambda step: step.plant("bn1_1.running_mean", math.nan), "bn1_1.running_mean"),
    "infinity in a running variance": (lambda step: step.plant("bn1_2.running_var", math.inf), "bn1_2.running_var"),
    "NaN in the momentum": (spoil_momentum, "the momentum of conv1_2.weight"),
    "a layer that overflows": (lambda step: step.plant("conv2_1.weight", 3e38), "the output of conv2_1"),
    "a running variance that overflows": (lambda step: step.images.mul_(1e25), "bn1_1.running_var"),
    "a loss that overflows": (
        lambda step: step.network.fc8.bias.data.copy_(torch.tensor([3e38, 0, -3e38])),
        "the loss",
    ),
    "a gradient of NaN": (lambda step: step.plant_in_gradient("bn1_2.bias", math.nan), "the gradient of bn1_2.bias"),
    "two gradients": (spoil_two_gradients, "the gradient of conv2_1.weight"),
    "gradients too large together": (
        lambda step: step.plant_in_gradient("conv1_2.weight", 1e30),
        "the norm of all gradients together",
    ),
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_is_not_finite_is_noticed_at_the_step_and_called_by_its_name(trouble: str, precision: str) -> None:
    step = Step(precision)
    plant, what = TROUBLES[trouble]
    plant(step)
    kept = KeptBuffers(step.network)
    assert math.isnan(step.run())
    kept.restore()
    assert step.find() == what


def test_the_loss_of_a_healthy_step_is_left_as_it_is() -> None:
    step = Step()
    for _ in range(5):
        assert step.run() == float(step.loss.detach())
        step.optimizer.step()


def test_the_search_for_a_culprit_changes_neither_statistics_nor_gradients() -> None:
    step = Step()
    step.run()
    state = {name: values.clone() for name, values in step.network.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in step.network.parameters()]
    step.find()
    assert all(torch.equal(values, state[name]) for name, values in step.network.state_dict().items())
    assert all(map(torch.equal, gradients, (parameter.grad for parameter in step.network.parameters())))
    assert not any(module._forward_hooks for module in step.network.modules())


def test_statistics_of_a_step_that_is_given_up_are_put_back_to_the_last_bit() -> None:
    step = Step()
    before = {name: values.clone() for name, values in step.network.named_buffers()}
    kept = KeptBuffers(step.network)
    step.run()
    assert not any(torch.equal(values, before[name]) for name, values in step.network.named_buffers())
    kept.restore()
    assert all(torch.equal(values, before[name]) for name, values in step.network.named_buffers())


def test_the_error_says_where_and_names_only_remedies_that_are_left() -> None:
    plain = nonfinite_error("the output of fc7", Recipe(batch_norm=False), "bfloat16", 1233, 2, 0.05)
    assert isinstance(plain, NonFiniteError)
    assert plain.message.startswith("the output of fc7 is not finite at step 1,234 (epoch 3, learning rate 0.05)")
    for remedy in ("--set learning_rate=0.0125", "--set batch_norm=true", "warmup_epochs", "--set precision=float32"):
        assert remedy in plain.hint
    normalised = nonfinite_error("the loss", Recipe(batch_norm=True), "float32", 0, 0, 0.05)
    assert "batch_norm" not in normalised.hint
    assert "precision" not in normalised.hint


def test_a_run_that_goes_back_halves_its_learning_rate_each_time() -> None:
    assert [rate_factor(rollbacks) for rollbacks in range(4)] == [1, 0.5, 0.25, 0.125]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "make",
    [
        lambda value: torch.tensor([[1.0, 2.0], [value, 3.0]]),
        lambda value: torch.tensor([1.0, value], dtype=torch.bfloat16),
        lambda value: np.array([value, 5.0], np.float16),
    ],
)
def test_nothing_that_is_not_finite_can_be_saved(make: Callable[[float], object], value: float) -> None:
    fine = {"conv1_1.weight": make(0.0), "steps": torch.tensor(3), "nothing": np.empty((0, 3), np.float32)}
    check_saveable(fine)
    with pytest.raises(TrainingError, match=r"^momentum\.fc8\.bias holds a number that is not finite"):
        check_saveable({**fine, "momentum.fc8.bias": make(value)})


def test_the_entropy_of_the_classes_is_the_least_loss_of_an_answer_that_ignores_the_photo() -> None:
    assert prior_entropy([50] * 10, 0.0) == pytest.approx(math.log(10))
    assert prior_entropy([50] * 10, 0.1) == pytest.approx(math.log(10))  # smoothed, the targets are as even
    assert prior_entropy([7, 0], 0.0) == 0
    counts, smoothing = [60, 25, 15], 0.1
    labels = torch.arange(3).repeat_interleave(torch.tensor(counts))
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=100)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(logits.expand(100, 3), labels, label_smoothing=smoothing)
        value.backward()
        return value

    optimizer.step(loss)
    assert prior_entropy(counts, smoothing) == pytest.approx(float(loss().detach()), abs=1e-6)


# The recordings: photos of digits, 45 steps an epoch, of which one to warm up. True where nothing is ever learnt.
DIGITS = Recipe(input_size=32, test_resize=32, test_crop=32, width=0.125, batch_size=32, epochs=60, batch_norm=False)
RUNS: dict[str, tuple[bool, dict[str, object]]] = {
    "E from the paper's initialisation": (True, {"configuration": "E", "initialization": "paper"}),
    "E from Glorot's": (True, {"configuration": "E", "initialization": "glorot", "learning_rate": 0.01}),
    "A with batch norm": (False, {"configuration": "A", "batch_norm": True}),
    "B that starts slowly": (False, {"configuration": "B", "initialization": "glorot", "learning_rate": 0.001}),
    "D that sits still for 350 steps": (
        False,
        {"configuration": "D", "initialization": "glorot", "learning_rate": 0.01},
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_of_real_trainings_only_the_stuck_ones_are_told(name: str) -> None:
    trace, counts = json.loads(TRACES.read_text(encoding="utf-8"))[name], [180] * 10
    is_truly_stuck, fields = RUNS[name]
    stuck = StuckLoss(DIGITS.with_fields(fields), counts)
    told = [(step, text) for step, (loss, spread) in enumerate(trace) if (text := stuck.add(loss, spread))]
    assert len(told) == int(is_truly_stuck)
    if told:
        step, text = told[0]
        assert step < 1.5 * WINDOW + 45
        order = ["batch_norm=true", "--find-lr", "warm-up"]
        if fields["initialization"] == "paper":
            order.insert(1, "initialization=he or glorot")
        assert sorted(order, key=text.index) == order
        assert ("initialization" in text) == (len(order) == 4)


def feed(
    losses: np.ndarray, counts: tuple[int, ...] = (500, 500), spreads: np.ndarray | None = None, **fields: object
) -> list[int]:
    """The steps at which a training with these losses and answers, 10 steps an epoch, is told to be stuck."""
    spreads = np.full(len(losses), 0.001) if spreads is None else spreads
    recipe = Recipe(batch_size=100, **{"warmup_epochs": 0.0, "label_smoothing": 0.0, **fields})
    stuck = StuckLoss(recipe, counts)
    return [step for step, values in enumerate(zip(losses, spreads, strict=True)) if stuck.add(*map(float, values))]


def test_a_loss_that_is_exactly_the_entropy_is_stuck_and_told_once() -> None:
    assert feed(np.full(5 * WINDOW, np.float32(math.log(2)))) == [WINDOW - 1]


def test_there_is_no_verdict_before_a_window_after_the_warm_up() -> None:
    losses = np.full(2 * WINDOW, math.log(2))
    assert feed(losses, warmup_epochs=7.0) == [70 + WINDOW - 1 + (-70 % (WINDOW // BLOCKS))]
    assert feed(losses[: WINDOW - 1]) == []


def test_classes_that_weigh_alike_change_what_is_stuck_and_not_how_long_an_epoch_is() -> None:
    recipe = Recipe(batch_size=100, warmup_epochs=7.0, label_smoothing=0.0)
    balanced = StuckLoss(recipe, (900, 100), is_balanced=True)
    told = [step for step in range(2 * WINDOW) if balanced.add(math.log(2), 0.001)]
    assert told == [70 + WINDOW - 1 + (-70 % (WINDOW // BLOCKS))]


def test_of_many_stuck_trainings_nearly_all_are_told_soon() -> None:
    random = np.random.default_rng(0)
    for excess in (0.0, 0.01, 0.5):  # biases that shake at a high learning rate make it worse than the entropy
        told = [feed(math.log(2) + excess + 0.02 * random.standard_normal(2 * WINDOW)) for _ in range(50)]
        assert sum(map(len, told)) >= 49


@pytest.mark.parametrize("shape", ["a line", "a take-off"])
def test_of_many_slow_starts_hardly_any_is_told(shape: str) -> None:
    random = np.random.default_rng(0)
    steps = np.arange(4 * WINDOW)
    # over the first window it falls by 2 % of the entropy, twice what the losses of single steps scatter
    fall = 0.014 * steps / WINDOW if shape == "a line" else 0.014 * np.expm1(steps / WINDOW) / math.expm1(1)
    told = [feed(math.log(2) - fall + 0.007 * random.standard_normal(len(steps))) for _ in range(100)]
    assert sum(map(len, told)) <= 1


def test_a_loss_that_falls_from_far_above_the_entropy_is_left_alone() -> None:
    steps = np.arange(2 * WINDOW)
    noise = 0.02 * np.random.default_rng(0).standard_normal(len(steps))
    assert feed(1.2 - 0.03 * steps / WINDOW + noise) == []
    assert len(feed(1.2 + noise)) == 1


def test_a_network_that_knows_the_frequencies_of_uneven_classes_is_stuck_below_their_logarithm() -> None:
    counts = (900, 100)
    entropy = prior_entropy(counts, 0.0)
    assert entropy < 0.5 * math.log(2)
    noise = 0.02 * np.random.default_rng(0).standard_normal(2 * WINDOW)
    assert len(feed(entropy + noise, counts)) == 1
    assert feed(entropy - 0.05 + noise, counts) == []  # a plateau of one that has learnt something


def test_the_end_of_a_schedule_is_no_stuck_training() -> None:
    assert feed(np.full(3 * WINDOW, 0.35) + 0.05 * np.random.default_rng(0).standard_normal(3 * WINDOW)) == []


def test_a_loss_that_stands_still_is_no_stuck_training_while_the_answers_spread() -> None:
    random = np.random.default_rng(0)
    losses = math.log(2) + 0.003 * random.standard_normal(3 * WINDOW)
    chance = np.exp(0.2 * random.standard_normal(3 * WINDOW))
    assert feed(losses, spreads=1e-4 * np.exp(np.arange(3 * WINDOW) / WINDOW) * chance) == []
    assert len(feed(losses, spreads=1e-4 * chance)) == 1
    assert len(feed(losses, spreads=1e-4 * np.exp(-np.arange(3 * WINDOW) / WINDOW))) == 1
    assert len(feed(losses, spreads=np.zeros(3 * WINDOW))) == 1


def test_the_spread_is_that_of_the_answers_not_of_the_classes() -> None:
    assert float(spread_of(torch.tensor([[1.0, 7.0], [1.0, 7.0]]))) == 0
    assert float(spread_of(torch.tensor([[1.0, 7.0], [3.0, 7.0]], requires_grad=True))) == 0.5  # of 1 and 0
    assert float(spread_of(torch.tensor([[1.0, 7.0]]))) == 0


def test_a_line_through_blocks_rises_where_numpys_does() -> None:
    """By two of numpy's standard errors."""
    random = np.random.default_rng(0)
    places, verdicts = np.arange(BLOCKS), []
    for _ in range(100):
        blocks = 1 + 0.001 * random.standard_normal(BLOCKS) + random.uniform(0, 0.0004) * places
        (slope, _), covariance = np.polyfit(places, blocks, 1, cov=True)
        verdicts.append(rises(blocks))
        assert verdicts[-1] == (slope > 2 * math.sqrt(covariance[0, 0]))
    assert 10 < sum(verdicts) < 90


# More recordings: the name says what is different. In those of the second kind one step is a hundred times too long.
MIXED: dict[str, dict[str, object]] = {
    "A, a quarter of the batches mixed by cutmix": {"cutmix": 0.25},
    "A, all of them mixed by mixup": {"mixup": 0.2},
}
THROWN: dict[str, dict[str, object]] = {
    "A, thrown off its way": {"learning_rate": 0.01},
    "A, a quarter mixed, thrown off its way": {"learning_rate": 0.01, "cutmix": 0.25},
}
THROWN_AT = 300
BY_ITSELF = "A at four times the learning rate, which jumps by itself"  # from 0.505 at step 1400 to 2.2 at step 1411
ON_A = {"configuration": "A", "batch_norm": True}


def jumps(losses: np.ndarray | list[float]) -> list[int]:
    """The steps at which a jump of these losses is told."""
    spike = LossSpike(DIGITS)
    return [step for step, loss in enumerate(losses) if spike.add(step, float(loss), size=32)]


@pytest.mark.parametrize("name", RUNS)
def test_real_trainings_that_start_slowly_or_learn_nothing_have_no_spikes(name: str) -> None:
    trace = json.loads(TRACES.read_text(encoding="utf-8"))[name]
    assert jumps([loss for loss, _ in trace]) == []


@pytest.mark.parametrize("name", MIXED)
def test_real_trainings_on_mixed_photos_have_no_spikes(name: str) -> None:
    assert jumps(json.loads(SPIKES.read_text(encoding="utf-8"))[name]) == []


@pytest.mark.parametrize("name", THROWN)
def test_of_a_real_training_that_is_thrown_off_its_way_the_spike_is_told_once_within_ten_steps(name: str) -> None:
    (step,) = jumps(json.loads(SPIKES.read_text(encoding="utf-8"))[name])
    assert THROWN_AT < step <= THROWN_AT + 10


def test_a_jump_that_comes_by_itself_is_told_as_it_begins() -> None:
    (step,) = jumps(json.loads(SPIKES.read_text(encoding="utf-8"))[BY_ITSELF])
    assert 1400 < step <= 1410


def noise(kind: str, steps: int, seed: int) -> np.ndarray:
    """Losses of single steps about 1. "mixed 25 %": as many of them are those of mixed batches, higher by 1."""
    random = np.random.default_rng(seed)
    if kind == "skew":
        return random.lognormal(sigma=1.0, size=steps)
    share = int(kind.split()[1]) / 100
    return 1 + 0.1 * random.standard_normal(steps) + (random.random(steps) < share)


KINDS = ["mixed 0 %", "mixed 5 %", "mixed 10 %", "mixed 25 %", "mixed 50 %"]


@pytest.mark.parametrize("kind", [*KINDS, "skew"])
def test_chance_makes_no_spike_in_ten_thousand_steps(kind: str) -> None:
    assert jumps(noise(kind, 10_000, seed=0)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_rise_by_more_than_five_standard_deviations_is_told_once_within_ten_steps(kind: str) -> None:
    for seed in range(20):
        losses = noise(kind, 2 * WINDOW, seed)
        begin = WINDOW + 50 + seed
        losses[begin : begin + 30 * (1 + seed)] += 6 * losses[:begin].std()
        (step,) = jumps(losses)
        assert begin < step <= begin + 10


def test_each_of_two_spikes_is_told_also_where_the_second_is_lower_and_follows_soon() -> None:
    losses = noise("mixed 0 %", 2 * WINDOW, seed=0)
    losses[250:280] *= 4
    losses[300:330] *= 2
    first, second = jumps(losses)
    assert 250 < first <= 260
    assert 300 < second <= 310


def test_an_odd_batch_and_a_slow_rise_are_no_spikes() -> None:
    losses = noise("mixed 0 %", 2 * WINDOW, seed=0)
    losses[300] = 100
    assert jumps(losses) == []
    assert jumps(np.linspace(1, 3, 5 * WINDOW)) == []
    assert jumps(noise("mixed 0 %", 5 * WINDOW, seed=0) + np.linspace(0, 3, 5 * WINDOW)) == []


def test_losses_that_are_all_alike_rise_by_more_than_rounding_or_not_at_all() -> None:
    losses = np.full(2 * WINDOW, np.float32(math.log(10)))
    losses[300:] += 1e-6
    assert jumps(losses) == []


def test_there_is_no_spike_before_there_is_a_usual_loss() -> None:
    losses = noise("mixed 0 %", 2 * WINDOW, seed=0)
    losses[WINDOW - 30 :] += 5
    assert jumps(losses) == []
    assert LossSpike(DIGITS).add(0, 7.0, size=32) is None


def test_a_jump_where_the_pictures_grow_is_no_spike_and_one_that_comes_later_is() -> None:
    losses = noise("mixed 0 %", 4 * WINDOW, seed=0)
    losses[300:] += 1
    losses[600:] += 1
    (step,) = jumps(losses)  # as if they were of one size; the loss never falls back, so that no other is told
    assert 300 < step <= 310
    spike = LossSpike(DIGITS)
    (step,) = (n for n, loss in enumerate(losses) if spike.add(n, float(loss), size=32 if n < 300 else 64))
    assert 600 < step <= 610


def test_a_spike_is_told_in_one_line_with_step_losses_and_remedies() -> None:
    spike = LossSpike(DIGITS.with_fields({"learning_rate": 0.02}))
    told = [text for step in range(2000, 2300) if (text := spike.add(step, 0.5 if step < 2240 else 2.5, size=32))]
    assert told == [
        "the loss has jumped at step 2,248: 2.500 in the last 8 steps, usually 0.500. Where it does not fall back, or "
        "jumps again, train anew with a lower learning rate, --set learning_rate=0.005, or batch norm, --set "
        "batch_norm=true, or a longer warm-up, --set warmup_epochs=...."
    ]


def test_the_robust_deviation_is_the_standard_deviation_of_a_normal_distribution_and_heeds_no_odd_values() -> None:
    values = np.random.default_rng(0).normal(3, 2, 100_000)
    assert robust_statistics(values) == pytest.approx((3, 2), rel=0.01)
    values[:1000] = 1e9
    assert robust_statistics(values) == pytest.approx((3, 2), rel=0.03)


def test_unreadable_photos_are_told_once_also_after_a_restart() -> None:
    unreadable = Unreadable(100)
    assert unreadable.note({7: "b.jpg is cut off.", 3: "a.jpg is empty."}) == ["b.jpg is cut off.", "a.jpg is empty."]
    assert unreadable.note({3: "a.jpg is empty."}) == []
    assert unreadable.known == {"3": "a.jpg is empty.", "7": "b.jpg is cut off."}
    resumed = Unreadable(100, json.loads(json.dumps(unreadable.known)))
    assert resumed.note({3: "elsewhere/a.jpg is empty.", 8: "c.jpg is empty."}) == ["c.jpg is empty."]


def test_one_unreadable_photo_of_a_few_is_borne_and_a_second_stops() -> None:
    unreadable = Unreadable(12, what="validation photos")
    unreadable.note({1: "1.jpg is empty."})
    unreadable.check()
    unreadable.note({2: "2.jpg is empty."})
    with pytest.raises(DatasetError, match="2 of 12 validation photos cannot be read, more than 5%"):
        unreadable.check()


def test_five_per_cent_of_unreadable_photos_are_borne_and_one_more_stops_with_their_names() -> None:
    unreadable = Unreadable(400)
    unreadable.note({number: f"{number:03}.jpg is empty." for number in range(20)})
    unreadable.check()
    unreadable.note({20: "020.jpg is empty."})
    with pytest.raises(DatasetError, match=r"21 of 400 .* than 5%: \(1\) 000\.jpg is .*009\.jpg is empty\. and 11"):
        unreadable.check()


def record(fields: dict[str, object], steps: int, thrown_at: int = -1) -> list[tuple[float, float]]:
    """Loss and spread of each of the first steps of a training on scikit-learn's digits, magnified to 32 pixels.

    thrown_at: the step whose learning rate is a hundred times too high.
    """
    from sklearn.datasets import load_digits

    recipe, digits = DIGITS.with_fields(fields), load_digits()
    images = F.interpolate(torch.from_numpy(digits.images).float()[:, None], recipe.input_size, mode="bilinear")
    images = ((images - images.mean()) / images.std()).expand(-1, 3, -1, -1)
    labels = torch.from_numpy(digits.target)
    network = Network(recipe.architecture(classes=10), recipe.dropout)
    initialize(network, recipe.initialization, recipe.seed, recipe.initial_std)
    optimizer = make_optimizer(network, recipe)
    epoch = -(-len(labels) // recipe.batch_size)
    random, trace = np.random.default_rng(recipe.seed), []
    for step in range(steps):
        if step % epoch == 0:
            order = np.array_split(random.permutation(len(labels)), epoch)
        batch = torch.from_numpy(order[step % epoch])
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, (step + 1) / epoch, []) * (100 if step == thrown_at else 1)
        mixing = batch_random(recipe.seed, *divmod(step, epoch))
        mixed, targets = _mix(images[batch], F.one_hot(labels[batch], 10).float(), recipe, mixing)
        logits = network(mixed)
        loss = F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trace.append((round(loss.item(), 4), float(f"{spread_of(logits).item():.3g}")))
    return trace


def write(path: Path, traces: dict[str, list]) -> None:
    lines = [f"{json.dumps(name)}: {json.dumps(trace)}" for name, trace in traces.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    traces = {name: record(fields, steps=450) for name, (_, fields) in RUNS.items()}
    write(TRACES, traces)
    healthy = {name: record(ON_A | fields, steps=450) for name, fields in MIXED.items()}
    thrown = {name: record(ON_A | fields, steps=450, thrown_at=THROWN_AT) for name, fields in THROWN.items()}
    by_itself = {BY_ITSELF: record(ON_A | {"learning_rate": 0.2}, steps=1450)}
    write(SPIKES, {name: [loss for loss, _ in trace] for name, trace in (healthy | thrown | by_itself).items()})
