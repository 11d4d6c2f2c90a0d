"""`verydeep predict` with an embedding model: the vector of each photo, as JSON or CSV."""

from typing import TYPE_CHECKING

import click

from verydeep.cli.document import JsonDocument
from verydeep.cli.failures import tell_failures
from verydeep.cli.photos import read_sources
from verydeep.cli.spreadsheet import csv_row
from verydeep.errors import DataError, ImageError, UsageError
from verydeep.nouns import Failure

if TYPE_CHECKING:
    from verydeep.cli.photos import Found
    from verydeep.predict import Embedder


def check_embeds(has_format: bool, out: str | None) -> None:
    """Raises UsageError where a person would see hundreds of numbers, and where something is to be drawn."""
    if out or not has_format:
        what = "draws nothing" if out else "tells no classes"
        raise UsageError(
            f"this is an embedding model: it makes a vector of each photo, by which photos are compared, and {what}.",
            "Find photos that are alike: verydeep search PHOTO --in FOLDER --model MODEL. For the vectors: --json",
        )


def print_embeddings(embedder: "Embedder", found: "Found", precision: str, batch_size: int, *, as_csv: bool) -> int:
    """The vector of each photo. Returns the exit code."""
    failures = list(found.failures)
    dimensions = embedder.model.info.architecture.dimensions
    document = None if as_csv else JsonDocument(embedder.model, precision, {"dimensions": dimensions})
    if as_csv:
        click.echo(csv_row(["path", *(f"e{number}" for number in range(1, dimensions + 1)), "error"]))
    sources = read_sources(found.paths)
    try:
        vectors = embedder.embed_many([source for _, source in sources], batch_size)
        for (path, _), vector in zip(sources, vectors, strict=True):
            if isinstance(vector, ImageError):
                failures.append(Failure(path, vector.message, vector.hint))
            elif document:
                document.add({"path": path, "embedding": [round(value, 6) for value in vector.tolist()]})
            else:
                numbers = ",".join(f"{value:.6f}" for value in vector.tolist())  # no formulas, though - begins some
                click.echo(f"{csv_row([path])},{numbers},")
    finally:  # whatever ended it: JSON is closed, and what is known is told
        if document:
            document.close(failures)
        else:
            for one in failures:
                click.echo(csv_row([one.path, *[""] * dimensions, f"{one.reason} {one.hint}".rstrip()]))
        what = "photos, folders and patterns" if found.failures else "photos"
        tell_failures(failures, len(found.paths) + len(found.failures), what=what)
    return DataError.exit_code if failures else 0
