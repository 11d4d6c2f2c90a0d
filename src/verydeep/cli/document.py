"""The JSON of commands that answer photo by photo."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from verydeep.nouns import Failure
from verydeep.runtime import OpenedModel


class JsonDocument:
    """One document on stdout, in ASCII: which model answers and how, "photos" as they come, "failures" at the end.

    more: what a command says besides of how it answers.
    """

    def __init__(self, model: OpenedModel, precision: str, more: Mapping[str, object] | None = None) -> None:
        self._is_first = True
        fields = {
            "model": str(model.path),
            "architecture": model.info.architecture.to_dict(),
            "engine": model.engine_name,
            "precision": precision,
            "calibration": model.info.calibration.to_dict(),
            **(more or {}),
        }
        click.echo(f'{json.dumps(fields)[:-1]}, "photos": [', nl=False)

    def add(self, photo: Mapping[str, object], files: Mapping[str, Path]) -> None:
        """files: that the photo was drawn into."""
        named = {name: str(path) for name, path in files.items()}
        click.echo(("\n" if self._is_first else ",\n") + json.dumps({**photo, **named}), nl=False)
        self._is_first = False

    def close(self, failures: Sequence[Failure]) -> None:
        click.echo(f'\n], "failures": {json.dumps([failure.to_dict() for failure in failures])}}}')
