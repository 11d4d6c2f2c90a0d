"""The repository's Markdown: its pages, its fenced blocks, and how the tests run them."""

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
PAGES = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), REPOSITORY / "benchmarks" / "README.md"]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*match) for match in FENCE.findall(page.read_text(encoding="utf-8"))]


def run_blocks(page: Path, folder: Path) -> str:
    """Runs the blocks marked python and sh in the order of the page, in `folder`; returns what they print."""
    printed = ""
    for language, text in blocks(page):
        if language in ("python", "sh"):
            program = [sys.executable, "-c", text] if language == "python" else ["sh", "-euc", VERYDEEP + text]
            done = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{page.name}:\n{text}\n{done.stdout}\n{done.stderr}"
            printed += done.stdout
    return printed


# the command of this very interpreter, whether or not its folder is on the path
VERYDEEP = f'verydeep() {{ "{sys.executable}" -m verydeep "$@"; }}\n'
