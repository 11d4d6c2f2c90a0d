"""`verydeep search PHOTO... --in FOLDER`: the photos of a folder that are most like a photo."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from verydeep.cli.options import EngineOptions, engine_options, formats_option, model_option, photos_argument
from verydeep.errors import DataError, ImageError, UsageError, printable

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from verydeep.cli.search_output import Answer
    from verydeep.nouns import Failure
    from verydeep.predict import Embedder
    from verydeep.predict.index import Entries

SHOWS_PROGRESS_FROM = 10  # photos


@click.command(
    epilog="Examples: `verydeep search cat.jpg --in photos`, `verydeep search cat.jpg --in photos -k 20 --out alike`, "
    "`verydeep search cat.jpg --in photos --index photos.index --json`."
)
@photos_argument
@click.option("--in", "folder", metavar="FOLDER", help="Where to look: all photos below it.")
@click.option("--index", "named", metavar="FILE", help="Where to keep what the network made of them.  [the cache]")
@model_option
@click.option("-k", "--top", type=click.IntRange(min=1), default=5, metavar="K", help="How many to show.  [5]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--out", metavar="FOLDER", help="Also draw each photo and those most like it on a sheet in FOLDER.")
@formats_option
@engine_options
def search(
    photos: tuple[str, ...],
    *,
    folder: str | None,
    named: str | None,
    model: str | None,
    top: int,
    as_json: bool,
    out: str | None,
    wanted: str | None,
    batch_size: int,
    **options: "Unpack[EngineOptions]",
) -> int:
    """Find the photos of a folder that are most like a photo.

    How alike two photos are is the cosine of what the network makes of them: 1 for copies. MODEL is an embedding model
    or a classifier. What it makes of the folder's photos is kept: the next search looks at new and changed ones only. A
    photo is never its own answer. Photos that cannot be read are told at the end, with exit code 3.
    """
    if not photos or folder is None:
        what = "folder to look in" if photos else "photo"
        raise UsageError(f"no {what} was given.", "verydeep search PHOTO --in FOLDER")
    from verydeep.cli.failures import tell_failures  # --help does without all of these
    from verydeep.cli.photos import find_photos, parse_formats, tell_drawn
    from verydeep.cli.progress import progress
    from verydeep.cli.search_output import Json, Lines, Sheets
    from verydeep.nouns import Failure
    from verydeep.predict import Embedder
    from verydeep.predict.index import compare, complete, index_file, known, maker_of

    formats = parse_formats(wanted)
    asked, there = find_photos(photos, formats), find_photos((_checked(folder),), formats)
    tell_drawn(asked.drawn + there.drawn)
    sheets = Sheets(out, formats) if out else None
    maker = maker_of(model, options["precision"])
    file = index_file(folder, maker, named)
    found = compare(known(file, maker, _note), folder, there.paths)
    embedder = Embedder(
        model,
        **options,
        photos=len(asked.paths) + len(found.new),
        formats=formats,
    )
    is_long = len(found.new) >= SHOWS_PROGRESS_FROM
    with progress("indexed", len(found.new)) if is_long else nullcontext(lambda done: None) as show:
        entries, failures = complete(file, maker, found, embedder, batch_size=batch_size, note=_note, on_progress=show)
    failures += [*there.failures, *asked.failures]
    facts = {"layer": embedder.output, "folder": folder, "indexed": len(entries), "index": str(file.path)}
    output = Json(embedder.model, options["precision"], facts) if as_json else Lines(folder)
    try:
        for answer in _answers(embedder, asked.paths, folder, entries, top, batch_size):
            if isinstance(answer, Failure):
                failures.append(answer)
            else:
                picture, unreadable = sheets.write(answer) if sheets else (None, [])
                output.write(answer, picture)
                failures += unreadable
    finally:  # whatever ended it: JSON is closed, and what is known is told
        output.close(failures)
        others = len(asked.failures + there.failures)
        what = "photos, folders and patterns" if others else "photos"
        tell_failures(failures, len(asked.paths + there.paths) + others, what=what)
    return DataError.exit_code if failures else 0


def _answers(
    embedder: "Embedder", paths: Sequence[str], folder: str, entries: "Entries", k: int, batch_size: int
) -> "Iterator[Answer | Failure]":
    """What is most like each photo, or why it cannot be read."""
    import numpy as np

    from verydeep.cli.photos import read_sources
    from verydeep.cli.search_output import Alike, Answer
    from verydeep.nouns import Failure
    from verydeep.predict.embedder import most_alike

    names = [os.path.join(folder, below) for below in entries]  # noqa: PTH118
    vectors = np.array([entry.vector for entry in entries.values()], np.float32)
    sources = read_sources(paths)
    embedded = embedder.embed_many([source for _, source in sources], batch_size)
    for (path, source), vector in zip(sources, embedded, strict=True):
        if isinstance(vector, Failure):
            yield replace(vector, path=path)
            continue
        alike: list[Alike] = []
        order, cosines = most_alike(vectors.reshape(len(names), len(vector)), vector)
        for position in order.tolist():
            if len(alike) == k:
                break
            if not _is_same(path, names[position]):
                alike.append(Alike(names[position], float(cosines[position])))
        yield Answer(path, source, tuple(alike))


def _checked(folder: str) -> str:
    """Raises ImageError where it is none: a photo, or a pattern."""
    from verydeep.files import is_folder

    if not is_folder(folder):
        raise ImageError(f"{folder} is not a folder; expected one with photos below it.", "Check the path.")
    return folder


def _is_same(photo: str, other: str) -> bool:
    """Whether they are one file, also by a link. Standard input is none."""
    with contextlib.suppress(OSError, ValueError):
        return os.path.samefile(photo, other)  # noqa: PTH121
    return False


def _note(line: str) -> None:
    click.echo(f"note: {printable(line)}", err=True)
