"""The options shared by the commands that run a network."""

import click
import pytest

from verydeep.cli import options
from verydeep.cli.evaluate import evaluate
from verydeep.cli.predict import predict
from verydeep.runtime import open as runtime

SHARED = ("engine", "device", "precision", "threads", "batch_size")


def test_the_choices_are_what_the_runtime_knows() -> None:
    assert ("auto", *runtime.ENGINES) == options.ENGINES
    assert options.DEVICES == runtime.DEVICES
    assert options.PRECISIONS == runtime.PRECISIONS


@pytest.mark.parametrize("command", [predict, evaluate], ids=lambda command: command.name)
def test_the_shared_options_come_last_in_one_order(command: click.Command) -> None:
    assert [parameter.name for parameter in command.params][-5:] == list(SHARED)
