"""The processes that a server has started, as Linux tells of them."""

import contextlib
import ipaddress
from pathlib import Path

_LISTENS = "0A"  # a state in /proc/net/tcp


def children(process: int) -> set[int]:
    """Those that run, or have ended and are not asked after."""
    return {number for number, (parent, _) in _all().items() if parent == process}


def zombies(process: int) -> set[int]:
    """Of the children, those that have ended and are not asked after."""
    return {number for number, (parent, state) in _all().items() if parent == process and state == "Z"}


def are_gone(processes: set[int]) -> bool:
    return not processes & {number for number, (_, state) in _all().items() if state != "Z"}


def listening(process: int) -> set[str]:
    """The addresses at which it takes connections."""
    own = {str(file.readlink()) for file in Path(f"/proc/{process}/fd").iterdir()}
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process}/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENS and f"socket:[{fields[9]}]" in own:
                words = bytes.fromhex(fields[1].partition(":")[0])  # of four bytes, in this machine's order
                number = b"".join(words[start : start + 4][::-1] for start in range(0, len(words), 4))
                found.add(str(ipaddress.ip_address(number)))
    return found


def _all() -> dict[int, tuple[int, str]]:
    """Parent and state of each."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):  # it has ended since
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                found[int(folder.name)] = (int(fields[1]), fields[0])
    return found
