"""`verydeep evaluate MODEL DATA`: how accurate a model is, on what terms, and where it errs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from verydeep.cli.options import engine_options
from verydeep.errors import DataError

if TYPE_CHECKING:
    from verydeep.evaluate import Report
    from verydeep.evaluate.results import Result
    from verydeep.runtime import OpenedModel


@click.command(
    epilog="Examples: `verydeep evaluate imagenette photos/val`, `verydeep evaluate trained/flowers flowers --json`."
)
@click.argument("model")
@click.argument("data")
@click.option("--protocol", default="center", help="center: what predict does; dense: the paper's.  [center]")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, with the answer for each photo.")
@click.option("--append", metavar="FILE.csv", help="Add top-1 as a row to a file of results.")
@engine_options
def evaluate(
    model: str,
    data: str,
    protocol: str,
    as_json: bool,
    append: str | None,
    engine: str,
    device: str,
    precision: str,
    threads: int | None,
    batch_size: int,
) -> int:
    """Measure a model's accuracy on a folder of class folders.

    MODEL is a model file, a folder with one, or the name of a built-in model. DATA is DATA/<class>/<photo>; where it
    has a folder of validation photos (val, valid, validation, test), those are taken. Classes are matched by name.
    Photos that cannot be read are told at the end, with exit code 3, and are in no figure.
    """
    from verydeep.cli.failures import tell_failures  # --help does without all of these
    from verydeep.cli.progress import progress
    from verydeep.data.datasets import open_validation
    from verydeep.evaluate import evaluate as run
    from verydeep.evaluate.protocols import protocol_named
    from verydeep.evaluate.results import append_result, check_results
    from verydeep.runtime import open_model

    is_dense = protocol_named(protocol).is_dense
    if append:
        check_results(append)  # an hour of evaluation should not end in a file that cannot be added to
    opened = open_model(model, engine=engine, device=device, precision=precision, threads=threads, is_dense=is_dense)
    dataset = open_validation(data)
    with progress("evaluated", len(dataset)) as show:
        report = run(
            opened.engine,
            opened.info,
            dataset,
            protocol,
            batch_size=batch_size,
            conditions=f"{precision}, engine {opened.engine_name}",
            threads=threads,
            on_progress=show,
        )
    if append:
        append_result(append, _result(report, opened, data, precision, threads, batch_size))
    if as_json:
        _print_json(report, opened, data)
    else:
        from verydeep.cli.evaluate_tables import print_report  # --json does without rich

        print_report(report, protocol, f"{opened.path} ({opened.info.architecture.name})", data)
    tell_failures(report.failures, report.n + len(report.failures), " and are in no figure")
    return DataError.exit_code if report.failures else 0


def _print_json(report: "Report", opened: "OpenedModel", data: str) -> None:
    import json

    subject = {"model": str(opened.path), "architecture": opened.info.architecture.to_dict(), "data": data}
    click.echo(json.dumps(subject | report.to_dict(), indent=2))


def _result(
    report: "Report", opened: "OpenedModel", data: str, precision: str, threads: int | None, batch_size: int
) -> "Result":
    from verydeep import machine
    from verydeep.evaluate.results import result_row

    low, high = report.top1.interval
    return result_row(
        architecture=opened.info.architecture.name,
        engine=opened.engine_name,
        dtype=precision,
        threads=threads or machine.cores(),
        batch=batch_size,
        protocol=f"top-1 on {Path(data).resolve().name}: {report.protocol}",
        n=report.n,
        value=f"{report.top1.value:.4f}",
        spread=f"{low:.4f}..{high:.4f}",
    )
