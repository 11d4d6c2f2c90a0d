"""Writes docs/reference/ from the program itself: `python docs/generate.py`."""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from verydeep.cli.main import COMMANDS, cli
from verydeep.recipes import RECIPES, load_recipe
from verydeep.train.recipe import Recipe
from verydeep.train.start import ADOPTED

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Made by docs/generate.py: change the program, then run it. -->\n"


def main() -> None:
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """File name -> Markdown."""
    return {"command-line.md": command_line(), "recipe.md": recipe()}


def command_line() -> str:
    """Every command with its arguments and options."""
    context = click.Context(cli, info_name="verydeep")
    return "\n".join(
        [
            "# The command line",
            NOTE,
            "Data goes to stdout, everything else to stderr. "
            "Exit codes: 0; 1 failure; 2 misuse; 3 bad data; 75 a training that hung; 130 stopped by Ctrl-C, 143 by "
            "SIGTERM.",
            *(line for name in COMMANDS for line in _command(name, cli.get_command(context, name))),
            "",
        ]
    )


def recipe() -> str:
    """Every field of a recipe, and what the named recipes set it to."""
    named = {name: load_recipe(name) for name in RECIPES}
    lines = ["# The fields of a recipe", NOTE, "Change one with `verydeep train DATA --set field=value`.", ""]
    lines += [f"- `{name}`: {description}" for name, description in RECIPES.items()]
    for title, fields in _sections():
        lines += ["", f"## {title}", "", f"| field | {' | '.join(f'`{name}`' for name in named)} | |"]
        lines += ["|" + "---|" * (len(named) + 2)]
        for field, comment in fields.items():
            values = " | ".join(_setting(name, chosen, field) for name, chosen in named.items())
            lines += [f"| `{field}` | {values} | {comment} |"]
    return "\n".join([*lines, ""])


def _command(name: str, command: click.Command | None) -> Iterator[str]:
    assert command is not None
    if isinstance(command, click.Group):
        yield from ("", f"## {name}", "", inspect.cleandoc(command.help or ""))
        for below, part in command.commands.items():
            yield from _command(f"{name} {below}", part)
        return
    context = click.Context(command)
    arguments = [part.make_metavar(context) for part in command.params if isinstance(part, click.Argument)]
    usage = " ".join(("verydeep", name, *arguments))
    yield from ("", f"## {name}", "", f"    {usage}", "", inspect.cleandoc(command.help or ""), "")
    yield from ("| option | |", "|---|---|")
    for option in command.params:
        if isinstance(option, click.Option):
            yield f"| `{_spelling(option)}` | {option.help}{_default(option)} |"
    if command.epilog:
        yield from ("", command.epilog)


def _spelling(option: click.Option) -> str:
    if option.is_flag:
        return ", ".join(option.opts)
    choices = "\\|".join(option.type.choices) if isinstance(option.type, click.Choice) else ""
    return f"{', '.join(option.opts)} {option.metavar or choices or option.type.name.upper()}"


def _default(option: click.Option) -> str:
    return f"  [{option.default}]" if option.show_default else ""


def _sections() -> list[tuple[str, dict[str, str]]]:
    """The comments of the dataclass: [(heading, {field: what it is})]."""
    sections: list[tuple[str, dict[str, str]]] = []
    known = {field.name for field in dataclasses.fields(Recipe)}
    for line in inspect.getsource(Recipe).splitlines():
        if heading := re.fullmatch(r"    # (The .+)", line):
            sections.append((heading[1], {}))
        elif (field := re.match(r"    (\w+): [^#]+(?:# (.+))?$", line)) and field[1] in known:
            sections[-1][1][field[1]] = field[2] or ""
    return sections


def _setting(name: str, chosen: Recipe, field: str) -> str:
    return "the model's" if name == "finetune" and field in ADOPTED else _value(getattr(chosen, field))


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(f"{part:.3g}" for part in value)
    return "none" if value is None else f"{value}"


if __name__ == "__main__":
    main()
