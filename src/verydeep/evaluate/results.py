"""Published figures: one row of a CSV file each, with all that the figure depends on.

benchmarks/README.md says what the columns mean. Tables are made from these files, never written by hand.
"""

import csv
import io
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path

from verydeep import machine
from verydeep.errors import DataError
from verydeep.files import atomic_write


@dataclass(frozen=True)
class Result:
    """A row: the figure and its conditions. Everything is text, as it stands in the file."""

    date: str  # ISO 8601, UTC
    commit: str
    machine: str
    threads: str
    versions: str
    architecture: str
    engine: str
    dtype: str
    batch: str
    protocol: str
    n: str
    value: str
    spread: str


COLUMNS = tuple(field.name for field in fields(Result))


def result_row(
    *,
    architecture: str,
    engine: str,
    dtype: str,
    threads: int,
    batch: int,
    protocol: str,
    n: int,
    value: str,
    spread: str,
) -> Result:
    """A figure measured now, on this machine, with these versions."""
    packages = machine.versions("verydeep", "numpy", "pillow", *([engine] if engine != "reference" else []))
    return Result(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=machine.commit(),
        machine=f"{machine.processor()}, {machine.cores()} cores",
        threads=str(threads),
        versions=" ".join(f"{name}={version}" for name, version in packages.items()),
        architecture=architecture,
        engine=engine,
        dtype=dtype,
        batch=str(batch),
        protocol=protocol,
        n=str(n),
        value=value,
        spread=spread,
    )


def append_result(path: str | Path, result: Result) -> None:
    """Adds a row to a file of results, which is made where it is missing; a crash leaves the old file whole.

    Raises DataError where the file has other columns, and StorageError where it cannot be written.
    """
    path = Path(path)
    old = _read(path)
    rows = io.StringIO()
    writer = csv.DictWriter(rows, COLUMNS, lineterminator="\n")
    if not old:
        writer.writeheader()
    elif not old.endswith("\n"):
        rows.write("\n")
    writer.writerow(asdict(result))
    atomic_write(path, old + rows.getvalue())


def check_results(path: str | Path) -> None:
    """Raises DataError where a row could not be added because the file is something else."""
    _read(Path(path))


def _read(path: Path) -> str:
    """The text of the file, its columns checked; empty where it is missing."""
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise DataError(f"cannot read {path}: {reason}.", "Expected a CSV file of results.") from error
    header = tuple(next(csv.reader(text.splitlines()), []))
    if text and header != COLUMNS:
        raise DataError(
            f"{path} has the columns {', '.join(header)}; expected {', '.join(COLUMNS)}.",
            "Give the name of a file of results, or of one that does not exist.",
        )
    return text
