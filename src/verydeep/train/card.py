"""The model card: what a model is, what it was trained on and how well it does, for the folder of its run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from verydeep.accounting import account_layers, total
from verydeep.architecture import Architecture
from verydeep.errors import printable
from verydeep.evaluate import Report
from verydeep.evaluate.calibration import MIN_PHOTOS
from verydeep.evaluate.report import Proportion
from verydeep.train.recipe import Recipe
from verydeep.weights import ModelInfo

if TYPE_CHECKING:
    from verydeep.train.tasks import Validation


def model_card(
    info: ModelInfo,
    report: "Validation",
    recipe: Recipe,
    metrics: Sequence[Mapping[str, float]],
    details: Sequence[str] = (),
) -> str:
    """Markdown. Every accuracy in it names its protocol, n and a 95 % interval. details: lines on how well it does."""
    crop = info.preprocessing.crop
    totals = total(account_layers(info.architecture, (crop, crop)))
    origin = info.origin
    lines = [
        f"# {info.architecture.name} for {len(info.classes)} classes",
        "",
        f"Classes: {', '.join(cell(name) for name in info.classes)}.",
        "",
        "| | |",
        "|---|---|",
        f"| validation | {report.headline} |",
        f"| parameters | {totals.parameters:,} |",
        f"| multiply-adds a photo (at {crop} pixels) | {totals.macs:,} |",
        f"| trained on | {origin['photos']:,} photos of {cell(origin['data'])}, at {recipe.sizes_in_words} |",
        *[f"| fine-tuned from | {cell(text)} |" for text in begun_from(origin)],
        f"| training time | {metrics[-1]['seconds'] / 60:.0f} minutes, {len(metrics)} epochs |" if metrics else "",
        f"| command | `{cell(origin['command'])}` |",
        f"| made by | {origin['program']} on {origin['date']}, {origin['precision']} on {cell(origin['machine'])} |",
        *[f"| {name} | {cell(origin[name])} |" for name in ("source", "licence") if name in origin],
        "",
        *details,
        "",
        "## Use it",
        "",
        f"    {use(info.architecture, 'model.safetensors')}",
        "",
    ]
    return "\n".join(lines)


def use(architecture: Architecture, model: str) -> str:
    """The command that uses a model. model: as the command shall name it."""
    what = "search PHOTO --in FOLDER" if architecture.task == "embed" else "predict PHOTO"
    return f"verydeep {what} --model {model}"


def begun_from(origin: Mapping[str, Any]) -> list[str]:
    """What a model was fine-tuned from, one sentence for each, the last one first: with what it was trained on."""
    told = []
    while isinstance(start := origin.get("start"), Mapping):
        facts = [f"sha256 {start['sha256']}", f"{start['classes']} classes"]
        facts += [f"{name} {start[name]}" for name in ("data", "source", "licence") if name in start]
        told.append(f"{start['name']}: {'; '.join(facts)}")
        origin = start
    return told


def cell(text: str) -> str:
    """A name from outside, which may not break the table."""
    return printable(text).replace("|", "\\|")


def share(proportion: Proportion) -> str:
    """ "22 of 40" """
    return f"{proportion.successes} of {proportion.n}" if proportion.n else "none"


def uncalibrated(report: Report, has_folds: bool) -> str:
    """Why the confidence of a model was not fitted to its validation photos, and what to do, in sentences."""
    way = "Add photos." if has_folds else "Add photos, or train with `--folds 5`, which validates on every photo."
    return (
        "How far its confidence can be trusted was not learnt, nor when it should say that a photo is none of the "
        f"classes: photos to validate on, {report.n}; expected, {MIN_PHOTOS} or more. {way}"
    )


def confidence(info: ModelInfo, report: Report) -> str:
    """How far its confidence can be trusted, and when it names no class, in sentences."""
    calibration = info.calibration
    if not calibration.photos:
        return uncalibrated(report, has_folds="folds" in info.origin)
    named = report.right_when_answered
    rejection = (
        f"A photo whose best class has less than {calibration.reject_below:.0%} is said to be probably none of the "
        f"classes; so are {report.n - named.n} of the {report.n} validation photos, and of the others it names "
        f"{named.successes} of {named.n} right."
        if calibration.reject_below
        else f"It never says that a photo is none of the classes: to learn when, {MIN_PHOTOS} photos have to be "
        f"recognised, and {report.top1.successes} were."
    )
    error = f"{report.calibration_error:.3f}"
    if report.uncalibrated_error is not None:
        error = f"{report.uncalibrated_error:.3f} before, {error} after"
    return (
        f"Its logits are divided by {calibration.temperature:.2f}, so that its confidence matches its accuracy "
        f"(expected calibration error {error}, n = {report.n}). {rejection} All this was fitted on these same photos."
    )
