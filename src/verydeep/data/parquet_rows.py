"""The rows of a Parquet file as lines of JSON: a program that `tabular` runs in a process of its own.

    python parquet_rows.py FILE MOST_ROWS

prints ["columns", names], then ["row", {name: cell}] for each row, and at last ["end"] or ["error", reason]. Columns of
text, of numbers, and of lists and structures of these are printed; those of bytes, such as photos, are not.

pyarrow ends its process on some damaged files, and a small file can unpack to any size: both are to happen here. So it
is the only thing that is imported.
"""

import contextlib
import json
import sys
from typing import Any

_BATCH = 256  # rows that are unpacked at a time
_SLICE = 8  # rows that are copied at a time: all of them may have the same long text, which is there once until then
_MEMORY_BYTES = 6 << 30  # addresses, of which pyarrow's libraries take one or two
_PROCESSOR_SECONDS = 600
_DEEPEST = 4
_PLAIN_KINDS = ("string", "large_string", "integer", "floating", "boolean", "null")


def main(path: str, most_rows: int) -> None:
    limit()
    try:
        from pyarrow import parquet, types

        file = parquet.ParquetFile(path, memory_map=False, pre_buffer=False)
        names = [field.name for field in file.schema_arrow if _is_plain(types, field.type)]
        tell("columns", names)
        left = most_rows if names else 0
        batches = file.iter_batches(_BATCH, columns=names, use_threads=False) if left else ()
        for batch in batches:
            rows = batch.slice(0, left)
            for start in range(0, rows.num_rows, _SLICE):
                for cells in rows.slice(start, _SLICE).to_pylist():
                    tell("row", cells)
            left -= batch.num_rows
            if left <= 0:
                break
    except Exception as error:  # whatever pyarrow raises
        tell("error", str(error) or type(error).__name__)
    else:
        tell("end")


def limit() -> None:
    """What the process may take; a crash leaves no core file."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (_PROCESSOR_SECONDS, _PROCESSOR_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def tell(*message: object) -> None:
    print(json.dumps(message))


def _is_plain(types: Any, kind: Any, depth: int = 0) -> bool:
    if depth > _DEEPEST:
        return False
    if types.is_dictionary(kind) or types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_plain(types, kind.value_type, depth + 1)
    if types.is_struct(kind):
        return all(_is_plain(types, field.type, depth + 1) for field in kind)
    return any(getattr(types, f"is_{plain}")(kind) for plain in _PLAIN_KINDS)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
