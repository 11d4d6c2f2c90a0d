"""Published figures: one row of a CSV file each, with all that the figure depends on.

benchmarks/README.md says what the columns mean. Tables are made from these files, never written by hand.
"""

import contextlib
import csv
import errno
import io
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from verydeep import machine
from verydeep.errors import DataError
from verydeep.files import make_folder, storage_error
from verydeep.weights.files import MODEL_FILE, model_sha256

if os.name == "posix":
    import fcntl


@dataclass(frozen=True)
class Result:
    """A row: the figure and its conditions. Everything is text, as it stands in the file."""

    date: str  # ISO 8601, UTC
    commit: str
    machine: str
    threads: str
    versions: str
    model: str
    architecture: str
    engine: str
    dtype: str
    batch: str
    protocol: str
    n: str
    value: str
    spread: str


_ALWAYS = ("verydeep", "numpy", "pillow")
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
    model: str = "-",
    gpu: str = "",
    packages: Sequence[str] = (),
) -> Result:
    """A figure measured now, on this machine, with these versions.

    model: of `model_label`; "-" where none took part. gpu: the name of the one that computed, if any. packages: that
    took part beside those that always do.
    """
    took_part = dict.fromkeys((*_ALWAYS, *([engine] if engine == "torch" else []), *packages))
    return Result(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=machine.commit(),
        machine=", ".join(filter(None, (machine.processor(), machine.vectors(), f"{machine.cores()} cores", gpu))),
        threads=str(threads),
        versions=" ".join(f"{name}={version}" for name, version in machine.versions(*took_part).items()),
        model=model,
        architecture=architecture,
        engine=engine,
        dtype=dtype,
        batch=str(batch),
        protocol=protocol,
        n=str(n),
        value=value,
        spread=spread,
    )


def model_label(path: Path) -> str:
    """A model file's name, or its folder's where it is called as every run calls it, and the start of its SHA-256."""
    name = path.resolve().parent.name if path.name == MODEL_FILE else path.stem
    return f"{name} sha256:{model_sha256(path)[:12]}"


def append_result(path: str | Path, result: Result) -> None:
    """Adds a row to a file of results, which is made where it is missing; programs may add rows at the same time.

    The row is on the disk when it returns. Raises DataError where the file has other columns, and StorageError where
    it cannot be written, the file as it was.
    """
    path = Path(path)
    make_folder(path.parent)
    try:
        with path.open("a+b", buffering=0) as file:
            _lock(file)
            file.seek(0)
            content = file.read()
            row = _row(result, _checked(path, content)).encode()
            try:
                if file.write(row) < len(row):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(len(content))  # no half of a row
                raise
    except OSError as error:
        raise storage_error(path, error) from error


def check_results(path: str | Path) -> None:
    """Raises DataError where a row could not be added because the file is something else."""
    path = Path(path)
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.", "Expected a CSV file of results.") from error
    _checked(path, content)


def _row(result: Result, old: str) -> str:
    """What to write at the end of `old`: the row, below the columns in a file that is empty."""
    rows = io.StringIO()
    writer = csv.DictWriter(rows, COLUMNS, lineterminator="\n")
    if not old:
        writer.writeheader()
    elif not old.endswith("\n"):
        rows.write("\n")
    writer.writerow(asdict(result))
    return rows.getvalue()


def _checked(path: Path, content: bytes) -> str:
    """The text of a file of results. Raises DataError where it is something else."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"cannot read {path}: it is not text.", "Expected a CSV file of results.") from error
    header = tuple(next(csv.reader(text.splitlines()), []))
    if text and header != COLUMNS:
        raise DataError(
            f"{path} has the columns {', '.join(header)}; expected {', '.join(COLUMNS)}.",
            "Give the name of a file of results, or of one that does not exist.",
        )
    return text


def _lock(file: IO[bytes]) -> None:
    """Others that want to add a row wait until the file is closed. On Windows nobody waits."""
    if os.name == "posix":
        fcntl.flock(file, fcntl.LOCK_EX)
