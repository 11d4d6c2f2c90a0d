"""`verydeep COMMAND`: finds the command, runs it, and turns every error of a user into one line and an exit code.

Exit codes: 0; 1 failure; 2 misuse; 3 bad data. Data goes to stdout, everything else to stderr.
"""

import importlib
import io
import os
import sys

import click

import verydeep
from verydeep.errors import VerydeepError

# name -> (where it is, the line that `verydeep --help` shows for it: importing all to ask them would take a second)
COMMANDS = {
    "describe": ("verydeep.cli.describe:describe", "Shapes, parameters, memory and time of a network, layer by layer."),
    "predict": ("verydeep.cli.predict:predict", "Classify photos."),
    "train": ("verydeep.cli.train:train", "Train a network on a folder of class folders."),
    "evaluate": ("verydeep.cli.evaluate:evaluate", "Measure a model's accuracy on a folder of class folders."),
    "doctor": ("verydeep.cli.doctor:doctor", "What works on this machine, and what to install for the rest."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            ctx.fail(f"no command {cmd_name!r}; there are {', '.join(COMMANDS)}.")
        module, name = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(verydeep.__version__, prog_name="verydeep")
def cli() -> None:
    """The VGG networks of Simonyan & Zisserman: understand, train, evaluate and use them.

    Start with `verydeep describe D`, or `verydeep predict PHOTO`.
    """


def main() -> None:
    """The entry point: never a traceback for what a user can cause."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name may hold letters that the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except VerydeepError as error:
        _complain(error.message, error.hint)
        sys.exit(error.exit_code)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "verydeep"
        _complain(error.format_message(), f"see `{command} --help`.")
        sys.exit(2)
    except click.ClickException as error:
        _complain(error.format_message(), "")
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted.", "")
        sys.exit(130)
    except BrokenPipeError:  # `verydeep describe D | head`: whoever read us has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _complain(message: str, hint: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
