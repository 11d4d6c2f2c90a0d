"""`verydeep COMMAND`: finds the command, runs it, and turns every error of a user into one line and an exit code.

Exit codes: 0; 1 failure; 2 misuse; 3 bad data; 75 a training that hung; 130 stopped by Ctrl-C, 143 by SIGTERM, 129 by
SIGHUP. Data goes to stdout, everything else to stderr.
"""

import contextlib
import importlib
import io
import os
import sys
from typing import Any

import click

import verydeep
from verydeep.errors import VerydeepError, printable

# name -> (where it is, the line that `verydeep --help` shows for it: importing all to ask them would take a second)
COMMANDS = {
    "describe": ("verydeep.cli.describe:describe", "Shapes, parameters, memory and time of a network, layer by layer."),
    "predict": ("verydeep.cli.predict:predict", "Classify photos."),
    "search": ("verydeep.cli.search:search", "Find the photos of a folder that are most like a photo."),
    "explain": ("verydeep.cli.explain:explain", "Show what in a photo the answer comes from."),
    "train": ("verydeep.cli.train:train", "Train a network on photos whose classes are known."),
    "evaluate": ("verydeep.cli.evaluate:evaluate", "Measure a model's accuracy on photos whose classes are known."),
    "data": ("verydeep.cli.data:data", "Look at annotated photos: check, count and draw, convert them."),
    "calibrate": ("verydeep.cli.calibrate:calibrate", "Measure on photos what --precision fast and int8 have to know."),
    "serve": ("verydeep.cli.serve:serve", "Answer over HTTP what is on photos."),
    "bench": ("verydeep.cli.bench:bench", "Measure speed and memory on this machine, beside other engines."),
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

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command. Click would print an empty line at Ctrl-C; `main` tells it in a line of its own."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise click.Abort from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(verydeep.__version__, prog_name="verydeep")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """The VGG networks of Simonyan & Zisserman: understand, train, evaluate and use them.

    Start with `verydeep describe D`, or `verydeep predict PHOTO`.
    """
    if os.environ.get("NO_COLOR"):  # no-color.org
        ctx.color = False  # the commands inherit it


def main() -> None:
    """The entry point: never a traceback for what a user can cause."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name may hold letters that the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(cli.main(prog_name="verydeep", standalone_mode=False) or 0)
    except VerydeepError as error:
        _complain(error.message, error.hint)
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:  # `verydeep` alone
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        _complain(error.format_message(), f"see `{context.command_path if context else 'verydeep'} --help`.")
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted.", "Run it again; no file is left half written.")
        sys.exit(130)
    except OSError as error:  # whatever writes files says so by a StorageError
        name = error.filename if isinstance(error.filename, str) else "the output"
        _complain(f"{name}: {error.strerror or error}.", "Check the path, its permissions and the space on the disk.")
        _forget_output()
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        _complain("there is not enough memory for this.", "Make the batch, the network or the image smaller.")
        sys.exit(1)


def _complain(message: str, hint: str) -> None:
    """One line each, whatever the names in them hold."""
    click.echo(f"error: {printable(message)}", err=True)
    if hint:
        click.echo(f"hint: {printable(hint)}", err=True)


def _forget_output() -> None:
    """What could not be written would be tried again, and fail again, when Python ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or not a file at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_out_of_memory(error: Exception) -> bool:
    """NumPy raises a MemoryError; torch, which may not be imported here, a RuntimeError of its own."""
    if isinstance(error, MemoryError):
        return True
    said = ("can't allocate memory", "not enough memory", "out of memory")  # on Linux, on Windows, by CUDA and MPS
    return type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in said)
