"""What `verydeep data` prints. Names, labels and messages come from outside: each stays on its line, and no formula."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from verydeep.cli.spreadsheet import csv_row
from verydeep.cli.terminal import shortened
from verydeep.data.annotations import AnnotatedSet
from verydeep.data.convert import Converted
from verydeep.data.findings import SEVERITIES, Finding, Place, counted
from verydeep.data.fits import FitCosts
from verydeep.data.prospect import LEARNERS, Prospect, Training
from verydeep.data.stats import ClassRow, Spread, Statistics
from verydeep.errors import printable

PLACES = 5  # of a finding that are shown; --json and --csv have all
FILES = 4  # of a place
CLASSES = 60  # rows of a table; --json has all
LONGEST_LABEL = 40  # columns of a terminal
PIPED_COLUMNS = 120  # where there is no terminal whose width could be asked for
_COLOURS = {"error": "red", "warning": "yellow", "note": "bright_black"}


def print_check(annotated: AnnotatedSet, findings: Sequence[Finding], prospect: Prospect, given: Sequence[str]) -> None:
    """A block for each finding, then the counts, then what could be trained. given: what names the photos."""
    for finding in findings:
        mark = click.style(f"{finding.severity:<8}", fg=_COLOURS[finding.severity], bold=True)
        click.echo(mark + click.style(printable(finding.message), bold=True))
        for place in finding.places[:PLACES]:
            click.echo(f"          {printable(_place(place))}")
        if len(finding.places) > PLACES:
            click.echo(f"          ... and {len(finding.places) - PLACES:,} more")
        if finding.action:
            click.echo(click.style(f"        {printable(finding.action)}", dim=True))
    counts = {severity: sum(finding.severity == severity for finding in findings) for severity in SEVERITIES}
    told = ", ".join(counted(count, severity) for severity, count in counts.items() if count)
    photos = counted(len(annotated.photos), "photo")
    click.echo(
        ("\n" if findings else "") + f"{photos}, {printable(annotated.found)}: {told or 'nothing to find fault with'}"
    )
    for position, training in enumerate(prospect.trainings):
        click.echo(printable(f"{'or' if position else 'would train'} {_would(training)}"))
        click.echo(f"    {printable(_command(training, given))}")
    for refusal in prospect.refusals:
        click.echo(printable(refusal))


def print_check_json(
    annotated: AnnotatedSet, findings: Sequence[Finding], prospect: Prospect, given: Sequence[str]
) -> None:
    trainings = [training.to_dict() | {"command": _command(training, given)} for training in prospect.trainings]
    document = {
        "format": annotated.format,
        "found": annotated.found,
        "photos": len(annotated.photos),
        "classes": list(annotated.classes),
        "trainings": trainings,
        "refusals": prospect.refusals,
        **{f"{level}s": sum(finding.severity == level for finding in findings) for level in SEVERITIES},
        "findings": [finding.to_dict() for finding in findings],
    }
    click.echo(json.dumps(document, indent=1))


def print_check_csv(findings: Sequence[Finding]) -> None:
    """A row for each file of each place; what has no file has an empty cell."""
    click.echo(csv_row(("severity", "kind", "file", "note", "message")))
    for finding in findings:
        for place in finding.places or (Place(()),):
            for file in place.files or ("",):
                click.echo(csv_row((finding.severity, finding.kind, file, place.note, finding.message)))


def print_stats(annotated: AnnotatedSet, measured: Statistics) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_COLUMNS
    for what, text in _facts(annotated, measured):
        console.print(Text.assemble((f"  {what:<18} ", "bright_black"), printable(text)), soft_wrap=True)
    if measured.classes:
        console.print(_class_table(measured))
    if len(measured.classes) > CLASSES:
        console.print(f"  and {len(measured.classes) - CLASSES:,} more classes: --json has all", style="bright_black")


def print_stats_json(annotated: AnnotatedSet, measured: Statistics) -> None:
    click.echo(json.dumps({"found": annotated.found, **measured.to_dict()}, indent=1))


def print_converted(converted: Converted, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(converted.to_dict(), indent=1))
    else:
        click.echo(
            f"wrote {counted(converted.photos, 'photo')} as {converted.format} into {printable(str(converted.out))}"
        )
    for loss in converted.losses:
        click.echo(f"note: {printable(loss)}", err=True)
    for failure in converted.failures[:PLACES]:
        click.echo(f"error: left out: {printable(failure)}", err=True)
    if len(converted.failures) > PLACES:
        click.echo(
            f"error: left out: {len(converted.failures) - PLACES:,} more; `verydeep data check` tells all", err=True
        )


def _would(training: Training) -> str:
    """a classifier of 2 classes on 10 photos and validate on 2, a fifth, drawn: ..."""
    drawn = ", a fifth, drawn" if training.is_drawn else ""
    return (
        f"{LEARNERS[training.task]} of {training.classes:,} classes on {counted(training.photos, 'photo')} "
        f"and validate on {training.validation_photos:,}{drawn}: {training.reason}"
    )


def _command(training: Training, given: Sequence[str]) -> str:
    begun = ("--from", training.model) if training.model else ()
    return shlex.join(("verydeep", "train", *given, "--recipe", training.recipe, *begun))


def _place(place: Place) -> str:
    more = f" and {len(place.files) - FILES:,} more" if len(place.files) > FILES else ""
    files = " = ".join(place.files[:FILES]) + more
    if files and place.note.startswith(files):  # a reason that begins with the name
        return place.note
    return f"{files}: {place.note}" if files and place.note else files or place.note


def _facts(annotated: AnnotatedSet, measured: Statistics) -> list[tuple[str, str]]:
    unread = f"; {counted(measured.unreadable, 'cannot', 'cannot')} be read" if measured.unreadable else ""
    sides = measured.photos
    by_side = f" ({', '.join(f'{side} {count:,}' for side, count in sides.items())})" if len(sides) > 1 else ""
    facts = [
        ("read", f"{annotated.format}: {annotated.found}"),
        ("photos", f"{sum(sides.values()):,}{by_side}{unread}"),
        ("classes", f"{len(measured.classes):,}"),
        ("objects", f"{measured.objects:,}" if measured.objects else ""),
        ("objects a photo", _spread(measured.objects_per_photo)),
        ("width", _spread(measured.width, "pixels")),
        ("height", _spread(measured.height, "pixels")),
        ("shorter side", _spread(measured.shorter_side, "pixels")),
        ("width / height", _spread(measured.aspect)),
        *_fits(measured.fits),
        ("side of a box", _spread(measured.box_side, "pixels, the root of its area")),
        ("boxes, of the photo", _shares(measured.box_sizes)),
        ("pixels not counted", f"in {counted(measured.uncounted, 'photo')}" if measured.uncounted else ""),
        ("pixels ignored", f"{measured.ignored_pixels:.1%}" if measured.ignored_pixels else ""),
    ]
    return [(what, text) for what, text in facts if text]


def _fits(costs: FitCosts | None) -> list[tuple[str, str]]:
    if costs is None:
        return []
    lost = costs.lost_objects or 0.0
    objects = f", and over half of {lost:.0%} of the objects" if lost >= 0.005 else ""
    stretched = f"{costs.stretched:.3g} times as narrow or flat" if costs.stretched > 1.005 else "as they are"
    told = f"crop: {costs.cut:.0%} cut away{objects}; letterbox: {costs.filled:.0%} filled up; squash: {stretched}"
    return [("as squares", f"{told} (medians)"), ("suggested", f"fit={costs.suggested}: {costs.reason}")]


def _spread(spread: Spread | None, unit: str = "") -> str:
    if spread is None:
        return ""
    low, middle, high = (f"{value:,.4g}" if value < 1000 else f"{value:,.0f}" for value in _numbers(spread))
    return f"{low} to {high}, median {middle}" + (f" {unit}" if unit else "")


def _numbers(spread: Spread) -> tuple[float, float, float]:
    return spread.smallest, spread.median, spread.largest


def _shares(sizes: Mapping[str, int]) -> str:
    total = sum(sizes.values())
    return ", ".join(f"{name}: {count / total:.0%}" for name, count in sizes.items()) if total else ""


def _class_table(measured: Statistics) -> Table:
    sides = list(measured.photos)
    has_objects = any(row.objects for row in measured.classes)
    has_pixels = any(row.pixel_share is not None for row in measured.classes)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("class", overflow="fold")
    headers = ["photos"] if len(sides) < 2 else [*sides, "together"]
    headers += ["objects"] * has_objects + ["pixels"] * has_pixels
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for row in measured.classes[:CLASSES]:
        counts = [row.photos.get(side, 0) for side in sides]
        cells = [f"{count:,}" for count in (counts if len(sides) < 2 else [*counts, sum(counts)])]
        cells += [f"{row.objects:,}"] * has_objects + [_pixels(row)] * has_pixels
        table.add_row(shortened(printable(row.label), LONGEST_LABEL), *cells)
    return table


def _pixels(row: ClassRow) -> str:
    if row.pixel_share is None:
        return "-"
    return "< 0.01%" if 0 < row.pixel_share < 0.0001 else f"{row.pixel_share:.2%}"
