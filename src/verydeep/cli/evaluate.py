"""`verydeep evaluate MODEL DATA`: how accurate a model is, on what terms, and where it errs."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from verydeep.cli.options import EngineOptions, annotation_options, engine_options, whole_numbers
from verydeep.errors import DataError, UsageError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from verydeep.data.datasets import Dataset
    from verydeep.evaluate import Report
    from verydeep.evaluate.embedding_report import EmbeddingReport
    from verydeep.evaluate.localization_report import LocalizationReport
    from verydeep.evaluate.results import Result
    from verydeep.evaluate.segmentation_report import SegmentationReport
    from verydeep.runtime import OpenedModel
    from verydeep.weights import ModelInfo

    AnyReport: TypeAlias = Report | EmbeddingReport | LocalizationReport | SegmentationReport


@click.command(
    epilog="Examples: `verydeep evaluate imagenette photos/val`, "
    "`verydeep evaluate trained/flowers-modern flowers --json`, `verydeep evaluate one flowers --with other`, "
    "`verydeep evaluate birds-boxes birds --protocol dense --scales 160,192,224`."
)
@click.argument("model")
@click.argument("data")
@click.option("--with", "others", multiple=True, metavar="MODEL", help="Fuse it with MODEL's; may be repeated.")
@click.option("--classifier", metavar="MODEL", help="That names the classes in place of models with boxes.")
@annotation_options
@click.option("--protocol", default="center", help="center: what predict does; dense: the paper's.  [center]")
@click.option("--scales", metavar="PIXELS", help="Of dense with boxes: shorter sides, 160,192,224.  [the model's one]")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, with the answer for each photo.")
@click.option("--append", metavar="FILE.csv", help="Add what it is judged by as a row to a file of results.")
@engine_options
def evaluate(
    model: str,
    data: str,
    others: tuple[str, ...],
    classifier: str | None,
    wanted: str | None,
    root: Path | None,
    protocol: str,
    scales: str | None,
    as_json: bool,
    append: str | None,
    batch_size: int,
    **options: "Unpack[EngineOptions]",
) -> int:
    """Measure a model's accuracy on photos whose classes, boxes or masks are known.

    MODEL is a model file, a folder with one, or the name of a built-in model. DATA is DATA/<class>/<photo>, or photos
    with annotations, as `verydeep train` takes them; where it has a folder of validation photos (val, valid,
    validation, test), or the annotations name some, those are taken; where training drew some from DATA, those; else
    all. Classes are matched by name. An embedding model is measured by how many photos are most like one of their own
    class, of any classes; one with boxes by how many it names and finds, with an IoU over 0.5.
    --with measures what several models say together: the mean of their posteriors, their boxes merged. With
    --classifier another model says what is there, and those with boxes where it is, as in the paper's localisation.
    Photos that cannot be read are told at the end, with exit code 3, and are in no figure.
    """
    from verydeep.cli.failures import tell_failures  # --help does without all of these
    from verydeep.cli.progress import progress
    from verydeep.data.datasets import open_validation
    from verydeep.evaluate.protocols import check_fusable, protocol_named
    from verydeep.evaluate.results import append_result, check_results
    from verydeep.runtime import find_model, open_model
    from verydeep.weights import read_info

    is_dense = protocol_named(protocol).is_dense
    if append:
        check_results(append)  # an hour of evaluation should not end in a file that cannot be added to
    infos = [(path, read_info(path)) for path in map(find_model, (model, *others))]
    check_fusable(infos)
    task = infos[0][1].architecture.task
    sizes = whole_numbers("--scales", scales, "160,192,224", 4096) if scales is not None else ()
    if task != "localize" and (sizes or classifier is not None):
        option = "scales" if sizes else "classifier"
        raise UsageError(f"--{option} is for models with boxes; {infos[0][0]} is one to {task} with.", "Leave it out.")
    if classifier is not None:
        infos.append((find_model(classifier), read_info(find_model(classifier))))
    if task == "segment":
        from verydeep.cli.evaluate_segments import check_protocol

        check_protocol(protocol)
    if is_dense and task == "embed":
        raise UsageError(
            "the protocol dense is for classifiers; an embedding model is evaluated by center.", "Leave it out."
        )
    dataset, which = open_validation(
        data, _drawn_seed(infos, data), wanted, root, lambda line: click.echo(line, err=True), task=task
    )
    if (path := _trained_on_all(infos, data)) is not None:
        click.echo(
            f"{path} was trained with --folds, on all photos of {Path(data).resolve().name}: this tells how well it "
            "remembers them. For photos that it has not seen, see the folds' figure in its card, README.md.",
            err=True,
        )
        which += ", on which it was trained"
    photos = len(dataset)
    every = [open_model(path, **options, is_dense=is_dense, photos=photos) for path, _ in infos]
    opened, naming = (every[:-1], every[-1]) if classifier is not None else (every, None)
    precision = options["precision"]
    with progress("evaluated", len(dataset)) as show:
        report = _measure(
            opened,
            dataset,
            protocol,
            **({"scales": sizes, "classifier": naming} if task == "localize" else {}),
            batch_size=batch_size,
            conditions=f"{_conditions(every, precision)}; {which}",
            threads=options["threads"],
            on_progress=show,
        )
    if append:
        for row in _results(report, every, data, precision, batch_size):
            append_result(append, row)
    if as_json:
        _print_json(_subject(opened, naming, data, precision) | {"batch_size": batch_size} | report.to_dict())
    else:
        _print_tables(report, _joined(f"{one.path} ({one.info.architecture.name})" for one in every), data)
    tell_failures(report.failures, len(report.paths) + len(report.failures), " and are in no figure")
    return DataError.exit_code if report.failures else 0


def _measure(opened: "Sequence[OpenedModel]", photos: "Dataset", protocol: str, **settings: Any) -> "AnyReport":
    """By the measure of what the models answer. settings: of `evaluate_fused` or `evaluate_localization`."""
    from verydeep.evaluate import evaluate_fused
    from verydeep.evaluate.embedding_report import evaluate_embedding
    from verydeep.evaluate.localization import evaluate_localization
    from verydeep.evaluate.segmentation_report import evaluate_segmentation

    first = opened[0]
    task = first.info.architecture.task
    if task == "embed":
        return evaluate_embedding(first.engine, first.info, photos, **settings)
    if task == "segment":
        return evaluate_segmentation(first.engine, first.info, photos, **settings)
    if task == "localize":
        return evaluate_localization(opened, photos, protocol, **settings)
    return evaluate_fused(opened, photos, protocol, **settings)


def _print_tables(report: "AnyReport", model: str, data: str) -> None:
    from verydeep.cli.evaluate_boxes import print_localization  # --json does without rich
    from verydeep.cli.evaluate_segments import print_segmentation
    from verydeep.cli.evaluate_tables import print_embedding_report, print_report
    from verydeep.evaluate import Report
    from verydeep.evaluate.localization_report import LocalizationReport
    from verydeep.evaluate.segmentation_report import SegmentationReport

    if isinstance(report, Report):
        print_report(report, model, data)
    elif isinstance(report, SegmentationReport):
        print_segmentation(report, model, data)
    elif isinstance(report, LocalizationReport):
        print_localization(report, model, data)
    else:
        print_embedding_report(report, model, data)


def _conditions(opened: "Sequence[OpenedModel]", precision: str) -> str:
    engines, devices = _joined(one.engine_name for one in opened), _joined(one.engine.device for one in opened)
    return f"{precision}, engine {engines}" + (f" on {devices}" if devices != "cpu" else "")


def _joined(names: Iterable[str]) -> str:
    """Of several models, as tables and rows of results have them: "one + other", or "one" where all have the same."""
    return " + ".join(dict.fromkeys(filter(None, names)))


def _subject(
    opened: "Sequence[OpenedModel]", naming: "OpenedModel | None", data: str, precision: str
) -> dict[str, Any]:
    """What was evaluated, on what, and what computed it. naming: the classifier beside models with boxes."""

    def described(one: "OpenedModel") -> dict[str, Any]:
        architecture = one.info.architecture
        return {"model": str(one.path), "architecture": {"name": architecture.name} | architecture.to_dict()}

    first, *others = map(described, opened)
    every = [*opened, naming] if naming else opened
    engines, devices = _joined(one.engine_name for one in every), _joined(one.engine.device for one in every)
    computed = {"engine": engines, "device": devices, "precision": precision}
    named = {"classifier": described(naming)} if naming else {}
    return first | {"fused_with": others} | named | {"data": data} | computed


def _drawn_seed(models: "Sequence[tuple[Path, ModelInfo]]", data: str) -> int | None:
    """The seed with which training drew its validation photos from this very folder; None where it did not.

    Raises UsageError where several models drew different ones.
    """
    seeds: dict[int, Path] = {}
    for path, info in models:
        seed = info.origin.get("drawn_validation_seed")
        if info.origin.get("data") == Path(data).resolve().name and isinstance(seed, int):
            seeds.setdefault(seed, path)
    if len(seeds) > 1:
        (seed, one), (other_seed, other) = list(seeds.items())[:2]
        raise UsageError(
            f"{one} drew the photos to validate on by seed {seed}, {other} by {other_seed}; expected the same: "
            "what one is asked about, the other has learnt.",
            "Give photos that neither was trained on.",
        )
    return next(iter(seeds), None)


def _trained_on_all(models: "Sequence[tuple[Path, ModelInfo]]", data: str) -> Path | None:
    """The model that was trained on all photos of this folder, or of the one around it; None where none was."""
    folder = Path(data).resolve()
    names = (folder.name, folder.parent.name)
    return next((path for path, info in models if info.origin.get("folds") and info.origin.get("data") in names), None)


def _print_json(fields: dict[str, Any]) -> None:
    """A field a line, and of a list an entry a line: a matrix of ten classes is ten lines, not a hundred."""
    import json

    def compact(value: object) -> str:
        return json.dumps(value, allow_nan=False)

    lines = []
    for name, value in fields.items():
        entries = ",\n    ".join(map(compact, value)) if isinstance(value, list) else ""
        lines.append(f"  {compact(name)}: " + (f"[\n    {entries}\n  ]" if entries else compact(value)))
    click.echo("{\n" + ",\n".join(lines) + "\n}")


def _headlines(report: "AnyReport") -> list[tuple[str, float, tuple[float, float]]]:
    """What a model is judged by: the names of the figures, their values and their intervals."""
    from verydeep.evaluate import Report
    from verydeep.evaluate.localization_report import LocalizationReport
    from verydeep.evaluate.segmentation_report import SegmentationReport

    if isinstance(report, SegmentationReport):
        return [("mean IoU", report.score, report.scores.mean_iou_interval)]
    if isinstance(report, LocalizationReport):
        told = report.given_class
        return [
            ("class and box", report.score, report.top1.interval),
            ("the box, its class told,", told.successes / told.n, told.interval),
        ]
    if isinstance(report, Report):
        return [("top-1", report.score, report.top1.interval)]
    return [("recall@1", report.score, report.figures["recall@1"].interval)]


def _results(
    report: "AnyReport", opened: "Sequence[OpenedModel]", data: str, precision: str, batch_size: int
) -> Iterator["Result"]:
    from verydeep.evaluate.results import model_label, result_row
    from verydeep.weights.files import model_path

    for figure, value, (low, high) in _headlines(report):
        yield result_row(
            model=_joined(model_label(model_path(one.path)) for one in opened),
            architecture=_joined(one.info.architecture.name for one in opened),
            engine=_joined(one.engine_name for one in opened),
            dtype=precision,
            threads=max(one.engine.threads for one in opened),
            gpu=_joined(one.engine.device_name for one in opened),
            packages=["torch"] * any(one.engine_name == "torch" for one in opened),
            batch=batch_size,
            protocol=f"{figure} on {_data_name(data)}: {report.protocol}",
            n=report.n,
            value=f"{value:.4f}",
            spread=f"{low:.4f}..{high:.4f}",
        )


def _data_name(data: str) -> str:
    """The folder's name, and that of the folder around it where it is one that every data set has: "flowers/val"."""
    from verydeep.data.datasets import VALIDATION_FOLDERS

    folder = Path(data).resolve()
    is_part = folder.name in ("train", *VALIDATION_FOLDERS)
    return f"{folder.parent.name}/{folder.name}" if is_part else folder.name
