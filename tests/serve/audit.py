"""What a process opens, starts and connects to, as Python's audit hooks tell it; a line of a file for each event.

As a program, `python audit.py FILE BYTES SECONDS`, it is the server's decoder, watched in the same way.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.sendto")
NETWORK += ("socket.bind", "urllib.Request", "http.client.connect", "ftplib.connect", "smtplib.connect")
PROGRAMS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "os.forkpty")
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
CHANGES += ("os.chown", "os.utime", "tempfile.mkstemp", "tempfile.mkdtemp", "shutil.copyfile", "shutil.rmtree")
LOOKS = ("open", "os.listdir", "os.scandir", "glob.glob")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Event:
    process: int
    name: str
    arguments: list[Any]

    @property
    def is_change(self) -> bool:
        """Of the file system."""
        return self.name in CHANGES or (self.name == "open" and bool(int(self.arguments[2]) & _WRITING))


def watch(path: str) -> None:
    """From now on, and for as long as the process lives."""
    watched = {*NETWORK, *PROGRAMS, *CHANGES, *LOOKS}
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name in watched:
            line = json.dumps([os.getpid(), name, [str(one)[:300] for one in arguments]])
            os.write(file, line.encode() + b"\n")

    sys.addaudithook(hook)


class Watch:
    """The events that were not read yet of a server that is watched."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0

    def read(self) -> list[Event]:
        with self._path.open(encoding="utf-8") as file:
            file.seek(self._place)
            lines = file.read()
            self._place = file.tell()
        return [Event(*json.loads(line)) for line in lines.splitlines()]


if __name__ == "__main__":
    from verydeep.serve import decoder

    watch(sys.argv[1])
    decoder.main(int(sys.argv[2]), float(sys.argv[3]), sys.stdin.buffer, sys.stdout.buffer)
