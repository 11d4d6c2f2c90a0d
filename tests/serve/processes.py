"""The processes that a server has started, as Linux tells of them."""

import contextlib
from pathlib import Path


def children(process: int) -> set[int]:
    """Those that run, or have ended and are not asked after."""
    return {number for number, (parent, _) in _all().items() if parent == process}


def zombies(process: int) -> set[int]:
    """Of the children, those that have ended and are not asked after."""
    return {number for number, (parent, state) in _all().items() if parent == process and state == "Z"}


def are_gone(processes: set[int]) -> bool:
    return not processes & {number for number, (_, state) in _all().items() if state != "Z"}


def _all() -> dict[int, tuple[int, str]]:
    """Parent and state of each."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):  # it has ended since
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                found[int(folder.name)] = (int(fields[1]), fields[0])
    return found
