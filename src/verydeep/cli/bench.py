"""`verydeep bench [MODEL]`: measured speed and memory, beside the predicted and beside other engines."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from verydeep.cli.options import whole_numbers
from verydeep.errors import UsageError, printable

if TYPE_CHECKING:
    from verydeep.architecture import Architecture
    from verydeep.bench.report import Report


@click.command(
    epilog="Examples: `verydeep bench`, `verydeep bench --architecture D --batches 1,16 --layers`, "
    "`verydeep bench imagenette --rivals ncnn,openvino --precisions fast --starts 0`."
)
@click.argument("model", required=False)
@click.option("--architecture", metavar="NAME", help="Random weights of D, A-LRN, B-bn-gap-0.5x ... in place of MODEL.")
@click.option("--classes", type=int, default=1000, metavar="N", help="Of --architecture.  [1000]")
@click.option("--size", type=click.IntRange(min=1), metavar="PIXELS", help="Side of the inputs.  [the model's; 224]")
@click.option("--batches", default="1", metavar="N,N", help="Images at once, each measured by itself.  [1]")
@click.option("--threads", type=click.IntRange(1, 1024), metavar="N", help="Of every engine.  [all cores]")
@click.option("--precisions", default="float32,fast,int8", metavar="P,P", help="Of the native engine.  [all]")
@click.option("--rivals", default="all", metavar="R,R", help="all, none, or names like ncnn, openvino-int8.  [all]")
@click.option("--photos", multiple=True, metavar="PATH", help="A photo or folder of inputs.  [random numbers]")
@click.option("--rounds", type=click.IntRange(min=1), default=20, metavar="N", help="Turns of each engine.  [20]")
@click.option("--starts", type=click.IntRange(min=0), default=3, metavar="N", help="Rounds of cold starts.  [3]")
@click.option("--layers", is_flag=True, help="Time every layer, beside its prediction.")
@click.option("--patience", type=click.IntRange(1, 86_400), default=120, metavar="S", help="Of an answer.  [120 s]")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--append", metavar="FILE.csv", help="Add the figures as rows to a file of results.")
@click.option("--picture", metavar="FILE", help="Draw the roofline with every layer into FILE, .svg or .png.")
def bench(
    model: str | None,
    *,
    architecture: str | None,
    classes: int,
    size: int | None,
    batches: str,
    threads: int | None,
    precisions: str,
    rivals: str,
    photos: tuple[str, ...],
    rounds: int,
    starts: int,
    layers: bool,
    patience: int,
    as_json: bool,
    append: str | None,
    picture: str | None,
) -> None:
    """Measure speed, error, memory and start of a network on this machine, beside the engines that people use.

    MODEL is a model file, a folder with one, or the name of a built-in model. All engines are alive at the same time,
    each in a process of its own, and take turns; what others disturbed is not counted. Let nothing else run meanwhile.
    Rivals are measured where they are installed: pip install 'verydeep[bench]'.
    """
    from verydeep import machine  # --help does without all of these
    from verydeep.accounting import account_layers, total
    from verydeep.bench.contestants import chosen
    from verydeep.bench.inputs import make_subject
    from verydeep.bench.measure import Plan, measure, work_folder
    from verydeep.bench.roofline import check_picture
    from verydeep.evaluate.results import check_results
    from verydeep.weights import read_info

    if append:
        check_results(append)  # an hour of measuring should not end in a file that cannot be added to
    if picture:
        check_picture(picture)
    subject = _subject(model, architecture, classes, size)
    sizes = whole_numbers("--batches", batches, "1,16", 99_999)
    network = read_info(subject).architecture if isinstance(subject, Path) else subject
    image_size = (size, size) if size else None
    gmacs = max(sizes) * total(account_layers(network, image_size)).macs / 1e9
    plan = Plan(
        contestants=chosen(rivals, [word.strip() for word in precisions.split(",")], gmacs),
        batches=sizes,
        threads=threads or machine.cores(),
        rounds=rounds,
        starts=starts,
        has_layers=layers or picture is not None,
        patience_s=patience,
    )
    with work_folder() as folder:
        made = make_subject(folder, subject, image_size=image_size, batch=max(sizes), photos=_photos(photos))
        report = measure(made, plan, _note, _show_progress)
        _publish(report, append, picture)
        _print(report, as_json)


def _subject(model: str | None, architecture: str | None, classes: int, size: int | None) -> "Path | Architecture":
    from verydeep.bench.inputs import architecture_named
    from verydeep.runtime import find_model

    if architecture is None:
        return find_model(model)
    if model is not None:
        raise UsageError(f"got the model {model!r} and the architecture {architecture!r}.", "Name one of the two.")
    return architecture_named(architecture, classes=classes, input_size=size or 224)


def _photos(arguments: tuple[str, ...]) -> tuple[str, ...]:
    from verydeep.cli.photos import SUFFIXES, find_photos

    return find_photos(arguments, tuple(SUFFIXES)).paths if arguments else ()


def _note(sentence: str) -> None:
    click.echo(f"note: {printable(sentence)}", err=True)


def _show_progress(phase: str, rounds: int, done: int) -> None:
    """Every round on a terminal, each quarter elsewhere."""
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(f"\r{phase}: round {done} of {rounds}\x1b[K", err=True, nl=done == rounds)
    elif 4 * done // rounds > 4 * (done - 1) // rounds:
        click.echo(f"{phase}: round {done} of {rounds}", err=True)


def _publish(report: "Report", append: str | None, picture: str | None) -> None:
    from verydeep.evaluate.results import append_result

    if append:
        rows = list(report.rows())
        for row in rows:
            append_result(append, row)
        click.echo(f"added {len(rows)} rows to {printable(append)}", err=True)
        if not rows:
            _note("other programs used the processor all the time: such figures are not published.")
    if picture:
        from verydeep.bench.roofline import draw_roofline

        if not report.groups[0].layers:
            _note("there is no picture: the native engine did not take part, which alone can time its layers.")
            return
        draw_roofline(report, picture)
        click.echo(f"wrote {printable(picture)}", err=True)


def _print(report: "Report", as_json: bool) -> None:
    if as_json:
        import json

        from verydeep.bench.report import without_nan

        click.echo(json.dumps(without_nan(report.to_dict()), indent=2, allow_nan=False))
    else:
        from verydeep.cli.bench_tables import print_report  # --json does without rich

        print_report(report)
