"""Every error that a user can cause says what is wrong and what to do, in this process and from another."""

import inspect
import pickle

import pytest

from verydeep import errors
from verydeep.errors import (
    DataError,
    ImageError,
    MissingExtraError,
    StorageError,
    UsageError,
    VerydeepError,
    printable,
)

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, VerydeepError)]


@pytest.mark.parametrize("kind", ALL)
def test_an_error_is_its_message_and_its_hint(kind: type[VerydeepError]) -> None:
    error = kind("x is 3; expected 1 or 2.", "Choose one of these.")
    assert (error.message, error.hint) == ("x is 3; expected 1 or 2.", "Choose one of these.")
    assert str(error) == "x is 3; expected 1 or 2. Choose one of these."
    assert str(kind("x is 3.")) == "x is 3."


@pytest.mark.parametrize("kind", ALL)
def test_an_error_travels_between_processes(kind: type[VerydeepError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what", "remedy")))  # noqa: S301, our own bytes
    assert type(error) is kind
    assert (error.message, error.hint, str(error)) == ("what", "remedy", "what remedy")


@pytest.mark.parametrize("kind", ALL)
def test_the_exit_code_follows_from_the_branch_of_the_tree(kind: type[VerydeepError]) -> None:
    branch = {UsageError: 2, DataError: 3, errors.InterruptedRun: 130, errors.HungRun: 75}
    assert kind.exit_code == next((code for base, code in branch.items() if issubclass(kind, base)), 1)


def test_programs_catch_our_errors_by_the_classes_they_know() -> None:
    assert issubclass(ImageError, ValueError)
    assert issubclass(UsageError, ValueError)
    assert issubclass(MissingExtraError, ImportError)
    assert issubclass(StorageError, OSError)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Größe 猫.jpg", "Größe 猫.jpg"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[2Jred", r"\x1b[2Jred"),
        ("\udcff", r"\udcff"),  # a byte of a file name that is no UTF-8
        ("\u202egnp.exe", r"\u202egnp.exe"),  # turns the direction of writing
        ("", ""),
    ],
)
def test_text_from_outside_is_shown_on_one_line_without_control_characters(text: str, shown: str) -> None:
    assert printable(text) == shown
