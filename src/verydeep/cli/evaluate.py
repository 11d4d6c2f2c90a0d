"""`verydeep evaluate MODEL DATA`: how accurate a model is, on what terms, and where it errs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verydeep.cli.options import annotation_options, engine_options
from verydeep.errors import DataError

if TYPE_CHECKING:
    from verydeep.evaluate import Report
    from verydeep.evaluate.results import Result
    from verydeep.runtime import OpenedModel
    from verydeep.weights import ModelInfo


@click.command(
    epilog="Examples: `verydeep evaluate imagenette photos/val`, "
    "`verydeep evaluate trained/flowers-modern flowers --json`."
)
@click.argument("model")
@click.argument("data")
@annotation_options
@click.option("--protocol", default="center", help="center: what predict does; dense: the paper's.  [center]")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, with the answer for each photo.")
@click.option("--append", metavar="FILE.csv", help="Add top-1 as a row to a file of results.")
@engine_options
def evaluate(
    model: str,
    data: str,
    wanted: str | None,
    root: Path | None,
    protocol: str,
    as_json: bool,
    append: str | None,
    engine: str,
    device: str,
    precision: str,
    threads: int | None,
    batch_size: int,
) -> int:
    """Measure a model's accuracy on photos whose classes are known.

    MODEL is a model file, a folder with one, or the name of a built-in model. DATA is DATA/<class>/<photo>, or photos
    with annotations, as `verydeep train` takes them; where it has a folder of validation photos (val, valid,
    validation, test), or the annotations name some, those are taken; where training drew some from DATA, those; else
    all. Classes are matched by name.
    Photos that cannot be read are told at the end, with exit code 3, and are in no figure.
    """
    from verydeep.cli.failures import tell_failures  # --help does without all of these
    from verydeep.cli.progress import progress
    from verydeep.data.datasets import open_validation
    from verydeep.evaluate import evaluate as run
    from verydeep.evaluate.protocols import protocol_named
    from verydeep.evaluate.results import append_result, check_results
    from verydeep.runtime import open_model
    from verydeep.runtime.open import find_model
    from verydeep.weights import read_info

    is_dense = protocol_named(protocol).is_dense
    if append:
        check_results(append)  # an hour of evaluation should not end in a file that cannot be added to
    drawn_seed = _drawn_seed(read_info(find_model(model)), data)
    dataset, which = open_validation(data, drawn_seed, wanted, root, lambda line: click.echo(line, err=True))
    opened = open_model(
        model,
        engine=engine,
        device=device,
        precision=precision,
        threads=threads,
        is_dense=is_dense,
        photos=len(dataset),
    )
    with progress("evaluated", len(dataset)) as show:
        report = run(
            opened.engine,
            opened.info,
            dataset,
            protocol,
            batch_size=batch_size,
            conditions=f"{_conditions(opened, precision)}; {which}",
            threads=threads,
            on_progress=show,
        )
    if append:
        append_result(append, _result(report, opened, data, precision, batch_size))
    if as_json:
        settings = {"engine": opened.engine_name, "device": opened.engine.device, "precision": precision}
        _print_json(_subject(opened, data) | settings | {"batch_size": batch_size} | report.to_dict())
    else:
        from verydeep.cli.evaluate_tables import print_report  # --json does without rich

        print_report(report, f"{opened.path} ({opened.info.architecture.name})", data)
    tell_failures(report.failures, report.n + len(report.failures), " and are in no figure")
    return DataError.exit_code if report.failures else 0


def _conditions(opened: "OpenedModel", precision: str) -> str:
    device = opened.engine.device
    return f"{precision}, engine {opened.engine_name}" + (f" on {device}" if device != "cpu" else "")


def _subject(opened: "OpenedModel", data: str) -> dict[str, Any]:
    """What was evaluated, and on what."""
    architecture = opened.info.architecture
    return {
        "model": str(opened.path),
        "architecture": {"name": architecture.name} | architecture.to_dict(),
        "data": data,
    }


def _drawn_seed(info: "ModelInfo", data: str) -> int | None:
    """The seed with which training drew its validation photos from this very folder; None where it did not."""
    seed = info.origin.get("drawn_validation_seed")
    is_the_same = info.origin.get("data") == Path(data).resolve().name
    return seed if is_the_same and isinstance(seed, int) else None


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


def _result(report: "Report", opened: "OpenedModel", data: str, precision: str, batch_size: int) -> "Result":
    from verydeep.evaluate.results import model_label, result_row
    from verydeep.weights.files import model_path

    low, high = report.top1.interval
    return result_row(
        model=model_label(model_path(opened.path)),
        architecture=opened.info.architecture.name,
        engine=opened.engine_name,
        dtype=precision,
        threads=opened.engine.threads,
        gpu=opened.engine.device_name,
        batch=batch_size,
        protocol=f"top-1 on {_data_name(data)}: {report.protocol}",
        n=report.n,
        value=f"{report.top1.value:.4f}",
        spread=f"{low:.4f}..{high:.4f}",
    )


def _data_name(data: str) -> str:
    """The folder's name, and that of the folder around it where it is one that every data set has: "flowers/val"."""
    from verydeep.data.datasets import VALIDATION_FOLDERS

    folder = Path(data).resolve()
    is_part = folder.name in ("train", *VALIDATION_FOLDERS)
    return f"{folder.parent.name}/{folder.name}" if is_part else folder.name
