"""Answers of `verydeep explain` -> lines or JSON on standard output, picture files, and a page."""

from collections.abc import Sequence
from pathlib import Path

import click

from verydeep.cli.document import JsonDocument
from verydeep.cli.explain_answers import Answer, Request
from verydeep.cli.photos import EXPLAINED, PictureFiles
from verydeep.errors import UsageError, printable
from verydeep.explain.drawing import to_png, to_svg
from verydeep.explain.page import Page
from verydeep.files import atomic_write
from verydeep.nouns import Failure
from verydeep.runtime import OpenedModel

HERE = "."


class Outputs:
    """Everything that an answer goes to. Raises StorageError where a folder or a file cannot be written."""

    def __init__(
        self,
        model: OpenedModel,
        request: Request,
        *,
        precision: str,
        as_json: bool,
        out: str | None,
        svg: bool,
        grid: str | None,
    ) -> None:
        if grid is not None and Path(grid).suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"cannot write a page into {grid}.", "Let its name end in .html.")
        folder = out or (None if as_json or grid else HERE)
        ending = f"{EXPLAINED}-{'+'.join(request.methods)}"
        self._files = PictureFiles(folder, ending, ".svg" if svg else ".png") if folder else None
        self._grid = grid
        names = ", ".join(request.methods)
        self._page = Page(f"What {model.path.stem} looks at", f"Method: {names}.") if grid else None
        self._write_page()  # what cannot be written is told before the work
        self._document = JsonDocument(model, precision) if as_json else None

    def write(self, answer: Answer) -> None:
        picture = self._draw(answer) if self._files else None
        if self._page:
            self._page.add(answer.path, answer.drawing)
        if self._document:
            self._document.add(answer.fields, {"picture": picture} if picture else {})
            return
        click.echo(click.style(printable(answer.path), bold=True))
        for line in answer.lines:
            click.echo(f"  {printable(line)}")
        if picture:
            click.echo(f"  {printable(str(picture))}")
        click.echo()

    def close(self, failures: Sequence[Failure]) -> None:
        """Ends the document and writes the page."""
        if self._document:
            self._document.close(failures)
        self._write_page()
        if self._grid:
            click.echo(f"wrote {printable(self._grid)}", err=True)

    def _write_page(self) -> None:
        if self._page and self._grid:
            atomic_write(self._grid, self._page.render())

    def _draw(self, answer: Answer) -> Path:
        assert self._files is not None
        path = self._files.path(answer.path)
        data = to_svg(answer.drawing) if path.suffix == ".svg" else to_png(answer.drawing)
        atomic_write(path, data, is_durable=False)  # it can be drawn again
        return path
