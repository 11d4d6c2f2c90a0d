"""`verydeep data check|stats|convert DATA`: look at annotated photos before anything is trained on them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verydeep.cli.options import annotation_options
from verydeep.errors import DatasetError, UsageError, printable

if TYPE_CHECKING:
    from PIL.Image import Image

    from verydeep.data.annotations import AnnotatedSet
    from verydeep.data.convert import Photos

# As data/writers has them, which would import numpy: --help does without.
WRITERS = ("labelme", "voc", "coco", "table", "folders", "masks", "imagefolder", "webdataset")

_data_argument = click.argument("data", type=click.Path(path_type=Path))
_threads_option = click.option("--threads", type=click.IntRange(min=1), metavar="N", help="For reading.  [all cores]")


@click.group()
def data() -> None:
    """Look at annotated photos: what is wrong with them, what there is, the same in another format.

    DATA is a folder, or a file with annotations: class folders, tables, Labelme, VOC, COCO, masks, WebDataset,
    imagefolder.
    """


@data.command(epilog="Examples: `verydeep data check photos`, `verydeep data check photos --csv > findings.csv`.")
@_data_argument
@annotation_options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, with all files.")
@click.option(
    "--csv",
    "as_csv",
    is_flag=True,
    help="Print a table for spreadsheets; a cell that begins with = + - @ or ' gets a ' before it.",
)
@_threads_option
def check(data: Path, wanted: str | None, root: Path | None, as_json: bool, as_csv: bool, threads: int | None) -> int:
    """Find what is wrong with photos and their annotations, and say which training suits them.

    Every photo is decoded. Found are files that cannot be read or are missing; photos that are doubled, also across
    train and val, also nearly; boxes outside of their photo or without area; sizes that do not fit; classes that are
    rare, on one side only, or spelt in several ways; masks with numbers that no class stands for; photos that no
    annotation names. At the end are the trainings that would take them, as commands to copy: what the annotations are
    for comes first. The exit code is 3 where there are errors, and 0 where there are only warnings and notes.
    """
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other.", "Choose one of the two.")
    from verydeep.cli.data_output import print_check, print_check_csv, print_check_json
    from verydeep.cli.progress import progress
    from verydeep.data.check import check as find
    from verydeep.data.prospect import prospect
    from verydeep.data.survey import count_files, survey

    annotated = _read(data, wanted, root)
    with progress("looked at", count_files(annotated)) as show:
        seen = survey(annotated, show, threads)
    findings = find(seen)
    if as_csv:
        print_check_csv(findings)
    else:
        given = [str(data), *(("--format", wanted) if wanted else ()), *(("--root", str(root)) if root else ())]
        (print_check_json if as_json else print_check)(annotated, findings, prospect(seen), given)
    return DatasetError.exit_code if any(finding.severity == "error" for finding in findings) else 0


@data.command(
    epilog="Examples: `verydeep data stats photos`, `verydeep data stats photos --fits squares.png --photos 8`."
)
@_data_argument
@annotation_options
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON; a sheet is drawn only with --out.")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Of the sheet.  [DATA-sheet.jpg, here]")
@click.option(
    "--fits", metavar="FILE", type=click.Path(path_type=Path), help="Draw a sheet of photos as squares, by each fit."
)
@click.option("--photos", "shown", type=click.IntRange(min=0), default=24, metavar="N", help="On a sheet.  [24]")
@_threads_option
def stats(
    data: Path,
    wanted: str | None,
    root: Path | None,
    as_json: bool,
    out: Path | None,
    fits: Path | None,
    shown: int,
    threads: int | None,
) -> int:
    """Count photos, classes, objects and pixels, measure sizes, and draw a sheet of photos with boxes and masks.

    The photos of the sheet are spread over the classes. Its file is .jpg or .png. A file that is
    there is replaced only where --out or --fits names it.

    A network sees squares. `verydeep train --set fit=...` says how photos become some: crop, letterbox or squash.
    What each would cost these photos is told, with a suggestion from their proportions; --fits draws photos as all
    three, to choose by. Photos are seen whole and in their proportions by `verydeep evaluate --protocol dense`.
    """
    from verydeep.cli.data_output import print_stats, print_stats_json
    from verydeep.cli.progress import progress
    from verydeep.data.sheet import draw_fits, draw_sheet
    from verydeep.data.stats import measure

    if out is None and fits is None and not as_json and shown:
        out = _new_sheet(data)
    for option, file in (("--out", out), ("--fits", fits)):
        if file is not None and file.suffix.lower() not in (".jpg", ".jpeg", ".png"):
            raise UsageError(f"{option} is {file}; expected a file .jpg or .png.", "Give it one of these suffixes.")
    annotated = _read(data, wanted, root)
    with progress("measured", len(annotated.photos)) as show:
        measured = measure(annotated, show, threads)
    (print_stats_json if as_json else print_stats)(annotated, measured)
    for file, draw in ((out, draw_sheet), (fits, draw_fits)):
        if file is not None and shown:
            _write_sheet(draw(annotated, shown, threads), file)
    return 0


@data.command(
    epilog="Examples: `verydeep data convert labelme-folder as-coco --to coco`, "
    "`verydeep data convert boxes.csv as-voc --to voc --link`."
)
@_data_argument
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--to", "target", type=click.Choice(WRITERS), required=True, help="The format to write.")
@annotation_options
@click.option("--link", is_flag=True, help="Hard links in the place of copies of photos, where that is possible.")
@click.option("--no-photos", is_flag=True, help="Write annotations alone; they name the photos where they are.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def convert(
    data: Path,
    out: Path,
    target: str,
    wanted: str | None,
    root: Path | None,
    link: bool,
    no_photos: bool,
    as_json: bool,
) -> int:
    """Write annotated photos in another format into a new folder, OUT.

    What the format cannot hold is told. Photos and annotations that cannot be read are left out and told at the end,
    with exit code 3.
    """
    if link and no_photos:
        raise UsageError("--link and --no-photos exclude each other.", "Choose one of the two.")
    from verydeep.cli.data_output import print_converted
    from verydeep.cli.progress import progress
    from verydeep.data.convert import check_target
    from verydeep.data.convert import convert as write

    check_target(out)
    annotated = _read(data, wanted, root)
    photos: Photos = "none" if no_photos else "link" if link else "copy"
    with progress("converted", len(annotated.photos)) as show:
        converted = write(annotated, out, target, photos, show)
    print_converted(converted, as_json)
    return DatasetError.exit_code if converted.failures else 0


def _read(data: Path, wanted: str | None, root: Path | None) -> "AnnotatedSet":
    """All that is known of the photos; which format it is, and which others there are, is told."""
    from verydeep.data.formats import detect, read_detected

    detection = detect(data, wanted, root)
    click.echo(printable(detection.line()), err=True)
    annotated = read_detected(detection, data, root)
    for remark in annotated.remarks:
        click.echo(remark, err=True)
    return annotated


def _new_sheet(data: Path) -> Path | None:
    """Where to draw a sheet that nobody named; None where a file is, which is told."""
    out = Path(f"{data.resolve().stem if data.is_file() else data.resolve().name}-sheet.jpg")
    if not os.path.lexists(out):
        return out
    name = printable(str(out))
    click.echo(f"note: no sheet is drawn, for {name} is there; --out {name} replaces it", err=True)
    return None


def _write_sheet(sheet: "Image | None", out: Path) -> None:
    import io

    from verydeep.files import atomic_write

    if sheet is None:
        click.echo("note: no sheet was drawn, for none of the photos can be read", err=True)
        return
    file = io.BytesIO()
    options: dict[str, Any] = {} if out.suffix.lower() == ".png" else {"quality": 90}
    sheet.save(file, "PNG" if out.suffix.lower() == ".png" else "JPEG", **options)
    atomic_write(out, file.getvalue(), is_durable=False)  # it can be drawn again
    click.echo(f"wrote {printable(str(out))}", err=True)
