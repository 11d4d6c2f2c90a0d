"""What the curves and the validation of a run say, in sentences a person can act on.

Each rule has its threshold as a constant beside its reason. A sentence that advises names the thing to do, or the
`--set field=value` to type in the next run.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from verydeep.errors import printable
from verydeep.evaluate import Report
from verydeep.evaluate.report import ClassRow
from verydeep.train.recipe import Recipe

Rows = Sequence[Mapping[str, float]]

LAST_PART = 0.2  # of the epochs: the end of a run. Shorter is noise, longer still holds the steep beginning
SHORTEST_END = 3  # epochs: a line through two points has no noise to compare it with
FEWEST_EPOCHS = 5  # under it, the end of the run is most of it
STANDARD_ERRORS = 2.0  # chance alone exceeds them once in twenty times
STUCK = 0.95  # of what there was to learn from the training photos is left: the loss is that of guessing
UNDERFIT = 1 / 3  # is left: a network that fits its task comes under a fifth, even on mixed photos
NEARLY_ALL = 0.1  # is left: more of the same photos would teach it little
MUCH_MORE = 2.0  # times as much is left of the validation photos, which are easier: they are whole and not mixed
NO_RATE = 0.01  # of the recipe's learning rate: steps this small change nothing that validation sees
RISE = 0.1  # of the validation loss above its lowest: less comes and goes within a healthy run
WRONG_TO_MIND = 0.05  # of the validation photos: with fewer wrong, knowing the others by heart does no harm
WEAK_CLASS = 0.75  # of the overall top-1: a class below it stands out among the ordinary differences of classes
LUCK = 0.05  # the chance that any class is named weak, where the network recognises all of them alike
CONFUSED = 0.1  # of the photos of two classes, taken for one another: each mistakes a tenth
FEWEST_MISTAKES = 5  # of a pair: fewer are anecdotes
WIDE_INTERVAL = 0.1  # of top-1, from end to end: wider, and no change of a recipe can be told from luck
UNEVEN = 5.0  # times as many photos of one class as of another: training sees the rare one too seldom
WAITING = 0.1  # of the training time spent waiting for photos: less is hardly felt
MOST_NAMED = 3  # classes or pairs in a sentence
NARROWEST = 0.1  # of the paper's channels: half of that is too few to be worth advising

_DEEPER = {"A": "B", "A-LRN": "B", "B": "D", "C": "D", "D": "E"}


def verdict(metrics: Rows, report: Report, recipe: Recipe, *, is_fine_tuned: bool = False) -> list[str]:
    """How good the model is, how its training went and what to try: sentences, the result first.

    metrics: the rows of METRICS_FILE, one an epoch; none are needed. report: the validation of the finished model.
    is_fine_tuned: whether it began from a trained model, whose network is not to be changed.
    """
    sentences = [_result(report)]
    if not metrics:
        sentences.append("How the training went was not recorded.")
    elif failure := _learnt_nothing(metrics, report, recipe):
        return [*sentences, failure, *_evidence(report), *_waited(metrics)]
    else:
        sentences += _early(metrics, recipe) if recipe.early_stopping else []
        if report.top1.successes == report.n:
            sentences.append(
                "Every validation photo is recognised: only more or harder ones could show what to improve."
            )
        elif recipe.early_stopping:
            sentences += _fit(_until_best(metrics), report, recipe, is_fine_tuned)
        else:
            sentences += [*_end(metrics, report, recipe), *_fit(metrics, report, recipe, is_fine_tuned)]
    return [*sentences, *_weak_classes(report), *_confused(report), *_evidence(report), *_waited(metrics)]


def loss_floor(recipe: Recipe, classes: int) -> float:
    """The least training loss that any network could reach, in nats, where classes have as many photos each.

    Label smoothing and mixed photos make targets that are not certain; the cross-entropy cannot be below the entropy
    of the target. Without either it is 0.
    """
    mixed = recipe.cutmix * _mean_entropy(_pasted_shares(), recipe, classes)
    if recipe.mixup:
        shares = np.random.default_rng(0).beta(recipe.mixup, recipe.mixup, 10_000)
        mixed += (1 - recipe.cutmix) * _mean_entropy(shares, recipe, classes)
    plain = 0.0 if recipe.mixup else 1 - recipe.cutmix
    return mixed + plain * _mean_entropy(np.zeros(1), recipe, classes)


def left_to_learn(metrics: Rows, recipe: Recipe, classes: int) -> float | None:
    """The training loss at the end of the run between its floor (0) and that of guessing (1).

    None where the recipe's targets hold nothing to learn.
    """
    floor, guess = loss_floor(recipe, classes), math.log(classes)
    if guess - floor < 1e-6:
        return None
    return float((np.mean([row["loss"] for row in _last(metrics)]) - floor) / (guess - floor))


def _result(report: Report) -> str:
    low, high = (100 * bound for bound in report.top1.interval)
    return (
        f"Of 100 new photos like these it would recognise about {100 * _top1(report):.0f} ({low:.0f} to {high:.0f}); "
        f"guessing among {len(report.classes):,} classes gives {100 / len(report.classes):.2g}."
    )


def _learnt_nothing(metrics: Rows, report: Report, recipe: Recipe) -> str | None:
    """The verdict on a run that did not get off the ground; it makes all others idle."""
    left = left_to_learn(metrics, recipe, len(report.classes))
    loss, guess = metrics[-1]["loss"], math.log(len(report.classes))
    if left is not None and left >= STUCK:
        return (
            f"It learnt nothing: the training loss ended at {loss:.2f}, and guessing costs ln({len(report.classes)}) = "
            f"{guess:.2f}. Is each photo in the folder of its class? If so, try {_list(_easier_start(recipe))}."
        )
    most_frequent = int(report.confusion.sum(axis=1).argmax())
    share = report.confusion[most_frequent].sum() / report.n
    if report.top1.interval[0] <= share:
        return (
            f"As far as {report.n:,} photos can tell, it is no better than always answering "
            f"{_quoted(report.classes[most_frequent])}, which is right for {share:.1%} of them. "
            f"Check that each photo is in the folder of its class, add photos"
            f"{' of the rare classes' if _is_uneven(report) else ''}, or try {_longer(recipe)}."
        )
    return None


def _end(metrics: Rows, report: Report, recipe: Recipe) -> Iterator[str]:
    """Was it still improving?"""
    count = len(_of_last_size(metrics))
    if count < FEWEST_EPOCHS:
        size = " at the full size" if count < len(metrics) else ""
        yield f"After {_epochs(count)}{size} it is too early to see where it goes; try {_longer(recipe)}."
        return
    end = [row["validation_top1"] for row in _last(metrics)]
    gain, noise = _gain(end), STANDARD_ERRORS * _gain_error(len(end), _standard_error(end[-1], report.n))
    told = f"in the last {len(end)} epochs validation top-1 changed by {_points(gain)}"
    if gain > noise:
        yield f"It was still improving: {told}, more than chance would. Try {_longer(recipe)}."
    elif gain < -noise:
        yield f"It was getting worse: {told}. Try {_shorter(_of_last_size(metrics), recipe)}."
    else:
        tail = f"less than {report.n:,} photos can tell from chance (\N{PLUS-MINUS SIGN}{100 * noise:.1f})"
        yield f"It had levelled off: {told}, {tail}.{_longer_cosine(metrics, report, recipe)}"


def _longer_cosine(metrics: Rows, report: Report, recipe: Recipe) -> str:
    """The cosine ends flat whatever the number of epochs: flat is then no proof that there is no more to gain."""
    left = left_to_learn(metrics, recipe, len(report.classes))
    is_at_zero = metrics[-1]["learning_rate"] < NO_RATE * recipe.learning_rate
    if recipe.schedule != "cosine" or not is_at_zero or left is None or _memorised(metrics, report, recipe):
        return ""
    return (
        f" Its learning rate had fallen to zero by then, so that is no proof that there is no more to gain: with a "
        f"longer schedule there may be. Try {_longer(recipe)}."
    )


def _early(metrics: Rows, recipe: Recipe) -> Iterator[str]:
    """Which epoch's weights are kept of a run that may end early."""
    best, last = len(_until_best(metrics)), len(metrics)
    told = f"the weights of epoch {best} are kept, whose validation loss was the lowest"
    if last < recipe.epochs:
        yield f"It ended after {_epochs(last)} of {recipe.epochs}: {told}; {last - best} more brought no lower one."
    else:
        yield f"It went on to its last epoch: {told}."


def _until_best(metrics: Rows) -> Rows:
    """The epochs up to the one with the lowest validation loss."""
    return metrics[: int(np.argmin([row["validation_loss"] for row in metrics])) + 1]


def _fit(metrics: Rows, report: Report, recipe: Recipe, is_fine_tuned: bool) -> Iterator[str]:
    """Over- or underfitting, or neither."""
    comparable = _of_last_size(metrics)
    left = left_to_learn(metrics, recipe, len(report.classes))
    if rise := _rise(comparable, report):
        yield f"It overfits: {rise}. Try {_list(_more_variety(recipe, is_fine_tuned))}."
    elif left is not None and _memorised(metrics, report, recipe):
        yield (
            f"It overfits: {_learnt(left)}, but {1 - _left_of_validation(metrics, report, recipe):.0%} of what the "
            f"validation photos ask for. Try {_list(_more_variety(recipe, is_fine_tuned))}."
        )
    elif left is not None and left > UNDERFIT:
        yield f"It underfits: {_learnt(left)} only. Try {_list(_more_room(recipe, is_fine_tuned))}."
    elif left is not None and len(comparable) >= FEWEST_EPOCHS:
        yield f"It neither over- nor underfits: {_learnt(left)}, and the validation loss did not rise again."
    best = max(comparable, key=lambda row: row["validation_top1"])
    lost = best["validation_top1"] - metrics[-1]["validation_top1"]
    # sqrt(2): a difference of two has the noise of both
    if lost > STANDARD_ERRORS * math.sqrt(2) * _standard_error(best["validation_top1"], report.n):
        yield (
            f"It was best after epoch {best['epoch']:.0f}, with {best['validation_top1']:.1%}, and has lost "
            f"{100 * lost:.1f} points since. Try {_shorter(comparable, recipe)}."
        )


def _memorised(metrics: Rows, report: Report, recipe: Recipe) -> bool:
    """Whether it knows its training photos, and much less of the others."""
    left = left_to_learn(metrics, recipe, len(report.classes))
    return (
        left is not None
        and left < NEARLY_ALL
        and _left_of_validation(metrics, report, recipe) > MUCH_MORE * left
        and 1 - report.top1.interval[1] > WRONG_TO_MIND
    )


def _left_of_validation(metrics: Rows, report: Report, recipe: Recipe) -> float:
    """As `left_to_learn`, of the validation loss: its floor is what label smoothing teaches to say of a sure class."""
    classes = len(report.classes)
    floor = -math.log(1 - recipe.label_smoothing * (1 - 1 / classes))
    loss = float(np.mean([row["validation_loss"] for row in _last(metrics)]))
    return min(1.0, max(0.0, (loss - floor) / (math.log(classes) - floor)))


def _rise(metrics: Rows, report: Report) -> str:
    """How the validation loss rises while the training loss falls; empty where it does not."""
    width = len(_last(metrics))
    loss, training = (
        np.convolve([row[name] for row in metrics], np.ones(width) / width, "valid")
        for name in ("validation_loss", "loss")
    )
    lowest = int(loss.argmin())
    noise = STANDARD_ERRORS * _loss_error(report)
    if loss[-1] - loss[lowest] <= max(RISE * loss[lowest], noise) or training[-1] >= training[lowest]:
        return ""
    epoch = metrics[lowest + width // 2]["epoch"]
    return (
        f"since about epoch {epoch:.0f} the validation loss has risen from {loss[lowest]:.2f} to {loss[-1]:.2f} while "
        f"the training loss fell from {training[lowest]:.2f} to {training[-1]:.2f}"
    )


def _weak_classes(report: Report) -> Iterator[str]:
    """Classes that are recognised much less often than the others, by more than chance."""
    weak = [row for row in report.class_rows if _is_weak(row, report)]
    weak.sort(key=lambda row: (row.recall.value or 0.0, -row.recall.n))
    if weak:
        named = [f"{_quoted(row.label)} ({row.recall.successes} of {row.recall.n})" for row in weak[:MOST_NAMED]]
        more = f", and {len(weak) - MOST_NAMED} more" if len(weak) > MOST_NAMED else ""
        yield (
            f"Seldom recognised: {', '.join(named)}{more}. Look at what they are taken for below: are those photos "
            f"labelled rightly? If so, add photos of {'it' if len(weak) == 1 else 'them'} to train on."
        )


def _is_weak(row: ClassRow, report: Report) -> bool:
    if row.recall.value is None or row.recall.value >= WEAK_CLASS * _top1(report):
        return False
    # Of many classes some are low by chance: the chance of naming any one of them wrongly is shared among them.
    return _chance_of_so_few(row.recall.successes, row.recall.n, _top1(report)) < LUCK / len(report.classes)


def _confused(report: Report) -> Iterator[str]:
    """Pairs of classes that are taken for one another; of two classes in all every mistake is such a one."""
    if len(report.classes) == 2:
        return
    wrong, photos = report.confusion + report.confusion.T, report.confusion.sum(axis=1)
    pairs = [
        (int(wrong[i, j]), f"{_quoted(report.classes[i])} and {_quoted(report.classes[j])}", int(photos[i] + photos[j]))
        for i, j in zip(*np.nonzero(np.triu(wrong, 1) >= FEWEST_MISTAKES), strict=True)
    ]
    pairs = sorted((pair for pair in pairs if pair[0] >= CONFUSED * pair[2]), key=lambda pair: -pair[0])
    if pairs:
        named = [f"{names} ({count} of their {of} photos)" for count, names, of in pairs[:MOST_NAMED]]
        yield (
            f"Taken for one another: {'; '.join(named)}. More photos of {'both' if len(pairs) == 1 else 'these'} would "
            f"help most; if people cannot tell them apart either, make them one class."
        )


def _evidence(report: Report) -> Iterator[str]:
    """What limits how far the figures can be believed."""
    low, high = report.top1.interval
    if high - low > WIDE_INTERVAL:
        yield (
            f"The validation photos are few: {report.n} leave top-1 anywhere from {low:.0%} to {high:.0%}. Four times "
            f"as many would halve that; until then differences of a few points between runs mean nothing."
        )
    if absent := [row.label for row in report.class_rows if not row.recall.n]:
        named = ", ".join(_quoted(label) for label in absent[:MOST_NAMED])
        more = f" and {len(absent) - MOST_NAMED} more" if len(absent) > MOST_NAMED else ""
        yield f"There is no validation photo of {named}{more}: nothing is known of how well it is recognised."
    if _is_uneven(report):
        rows = sorted((row for row in report.class_rows if row.recall.n), key=lambda row: row.recall.n)
        mean = np.mean([row.recall.value for row in rows])
        yield (
            f"The classes are uneven: {rows[-1].recall.n} validation photos of {_quoted(rows[-1].label)}, "
            f"{rows[0].recall.n} of {_quoted(rows[0].label)}. Counting every class alike, {mean:.1%} are recognised. "
            f"If the training photos are as uneven, photos of the rare classes help most."
        )


def _waited(metrics: Rows) -> Iterator[str]:
    """Did the processor stand idle for want of photos?"""
    rows = [row for row in metrics if row.get("training_seconds") and "waiting_seconds" in row]
    share = sum(row["waiting_seconds"] for row in rows) / (sum(row["training_seconds"] for row in rows) or 1)
    if share > WAITING:
        yield (
            f"{share:.0%} of the training time it waited for photos. Photos whose shorter side is no larger than "
            f"training needs are read faster, so are those on a local disk; more processor cores help, too."
        )


def _easier_start(recipe: Recipe) -> list[str]:
    return [
        f"`--set learning_rate={recipe.learning_rate / 10:g}`",
        *(["`--set batch_norm=true`"] if not recipe.batch_norm else []),
        *(["`--set initialization=he --set initial_std=none`"] if recipe.initialization == "paper" else []),
        *(["`--set warmup_epochs=1`"] if not recipe.warmup_epochs else []),
    ]


def _more_variety(recipe: Recipe, is_fine_tuned: bool) -> list[str]:
    """Against overfitting."""
    less = {"all": "last-block", "last-block": "head"}.get(recipe.trained) if is_fine_tuned else None
    is_on_views = recipe.stages[-1].has_views
    return [
        "more photos",
        *([_fewer_layers(recipe, less)] if less else []),
        *([f"more views, `--set views={min(1000, 2 * recipe.views)}`"] if is_on_views else []),
        *(["`--set cutmix=0.5`"] if not (recipe.cutmix or recipe.mixup or is_on_views) else []),
        *(["`--set label_smoothing=0.1`"] if not recipe.label_smoothing else []),
        *(["`--set train_scales=none --set train_areas=0.35,1`"] if not recipe.train_areas else []),
        *(["`--set flip=true` if your photos may be mirrored"] if not recipe.flip else []),
        *([] if is_fine_tuned or recipe.width <= NARROWEST else [_narrower(recipe)]),
    ]


def _fewer_layers(recipe: Recipe, trained: str) -> str:
    """With what has to be set along with it."""
    others = " --set head_epochs=0" if trained == "head" and recipe.head_epochs else ""
    others += " --set cutmix=0" if recipe.cutmix else ""
    return f"fewer layers that learn, `--set trained={trained}{others}`"


def _narrower(recipe: Recipe) -> str:
    return f"a smaller network, `--set width={recipe.width / 2:g}`"


def _more_room(recipe: Recipe, is_fine_tuned: bool) -> list[str]:
    """Against underfitting."""
    more = {"head": "last-block", "last-block": "all"}.get(recipe.trained)
    if is_fine_tuned:
        return [
            *([f"more layers that learn, `--set trained={more}`"] if more else []),
            _longer(recipe),
            *(["`--set cutmix=0`"] if recipe.cutmix else []),
            *(["`--set mixup=0`"] if recipe.mixup else []),
            *(
                [f"`--set layer_decay={math.sqrt(recipe.layer_decay):.2g}`"]
                if recipe.layer_decay < 1 and not more
                else []
            ),
        ]
    deeper = _DEEPER.get(recipe.configuration)
    return [
        _longer(recipe),
        *(["`--set batch_norm=true`"] if not recipe.batch_norm else []),
        *(["`--set cutmix=0`"] if recipe.cutmix else []),
        *(["`--set mixup=0`"] if recipe.mixup else []),
        *([f"a wider network, `--set width={min(1.0, 2 * recipe.width):g}`"] if recipe.width < 1 else []),
        *([f"a deeper network, `--set configuration={deeper}`"] if deeper else []),
    ]


def _longer(recipe: Recipe) -> str:
    return f"`--set epochs={min(2 * recipe.epochs, 100_000)}`"


def _shorter(metrics: Rows, recipe: Recipe) -> str:
    best = max(metrics, key=lambda row: row["validation_top1"])
    return f"`--set epochs={max(round(best['epoch']), math.ceil(recipe.warmup_epochs), recipe.head_epochs + 1)}`"


def _mean_entropy(shares: np.ndarray, recipe: Recipe, classes: int) -> float:
    """Of targets that hold `share` of a second photo, whose class is the first one's once in `classes` times."""
    different = _entropy(np.stack([1 - shares, shares], axis=1), recipe.label_smoothing, classes)
    same = _entropy(np.ones((1, 1)), recipe.label_smoothing, classes)
    return float(different.mean() * (1 - 1 / classes) + same.mean() / classes)


def _entropy(parts: np.ndarray, smoothing: float, classes: int) -> np.ndarray:
    """parts: (n, k) the shares of the classes in the picture, k of them -> (n,) nats, after label smoothing."""
    named = (1 - smoothing) * parts + smoothing / classes
    others = (classes - parts.shape[1]) * _surprise(np.array(smoothing / classes))
    total: np.ndarray = _surprise(named).sum(axis=1) + others
    return total


def _surprise(probability: np.ndarray) -> np.ndarray:
    """-p ln p, 0 for p = 0."""
    surprise: np.ndarray = -probability * np.log(np.maximum(probability, np.finfo(float).tiny))
    return surprise


def _pasted_shares(points: int = 24) -> np.ndarray:
    """The shares of the photo that cutmix replaces, on a grid of its three random numbers; see `cutmix`."""
    middle = (np.arange(points) + 0.5) / points
    side = np.sqrt(middle)[:, None]
    length = np.minimum(middle + side / 2, 1) - np.maximum(middle - side / 2, 0)  # (side, centre)
    shares: np.ndarray = (length[:, :, None] * length[:, None, :]).ravel()
    return shares


def _last(metrics: Rows) -> Rows:
    """The end of a run, at one size of the pictures."""
    return _of_last_size(metrics)[-max(SHORTEST_END, round(LAST_PART * len(metrics))) :]


def _of_last_size(metrics: Rows) -> Rows:
    """The epochs whose pictures have the last one's size; where it was not recorded, it is taken to be that."""
    size = metrics[-1].get("image_size")
    return [row for row in metrics if row.get("image_size", size) == size]


def _gain(values: Sequence[float]) -> float:
    """The rise of the straight line through equally distant values, from the first to the last."""
    return float(np.polyfit(np.arange(len(values)), values, 1)[0]) * (len(values) - 1)


def _gain_error(count: int, error: float) -> float:
    """The standard error of `_gain`, where each value has the standard error `error`.

    Of the slope of a least-squares line it is error / sqrt(sum of squared distances from the middle), and that sum
    is count (count^2 - 1) / 12. Successive validations are of the same photos, so the true noise is smaller.
    """
    return (count - 1) * error / math.sqrt(count * (count**2 - 1) / 12)


def _standard_error(share: float, n: int) -> float:
    """Of a share of n photos; of none or all, as of one photo more."""
    share = min(max(share, 1 / (n + 2)), 1 - 1 / (n + 2))
    return math.sqrt(share * (1 - share) / n)


def _chance_of_so_few(successes: int, n: int, share: float) -> float:
    """That at most so many of n photos are recognised, where each is with the chance `share`: the binomial's sum."""
    if share == 1:
        return float(successes == n)
    ways = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(successes + 1))
    return sum(math.exp(way + k * math.log(share) + (n - k) * math.log1p(-share)) for k, way in enumerate(ways))


def _loss_error(report: Report) -> float:
    """The standard error of the validation loss."""
    own = np.take_along_axis(report.posteriors, report.labels[:, None], axis=1)
    return float(np.log(np.maximum(own, np.finfo(np.float32).tiny)).std() / math.sqrt(report.n))


def _is_uneven(report: Report) -> bool:
    counts = [row.recall.n for row in report.class_rows if row.recall.n]
    return max(counts) >= UNEVEN * min(counts)


def _top1(report: Report) -> float:
    return report.top1.successes / report.n


def _learnt(left: float) -> str:
    return f"it learnt {min(1.0, 1 - left):.0%} of what its training photos can teach, by their loss"


def _points(change: float) -> str:
    return f"{100 * change:+.1f} points"


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' if count > 1 else ''}"


def _quoted(name: str) -> str:
    return f"\N{LEFT DOUBLE QUOTATION MARK}{printable(name)}\N{RIGHT DOUBLE QUOTATION MARK}"


def _list(things: Sequence[str]) -> str:
    """["a", "b", "c"] -> "a, b or c" """
    return " or ".join(filter(None, (", ".join(things[:-1]), things[-1])))
