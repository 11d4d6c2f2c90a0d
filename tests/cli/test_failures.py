"""What could not be read, as a person is told it."""

import pytest

from verydeep.cli.failures import tell_failures
from verydeep.nouns import Failure


def test_each_failure_has_its_line_and_each_advice_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    failures = [
        Failure("a\nb.jpg", "the file is empty.", "Get it again."),
        Failure("c.jpg", "c.jpg is empty.", "Get it again."),
        Failure("d.jpg", "d.jpg is\x1b[2J a text.", ""),
    ]
    tell_failures(failures, 7, " and are in no figure")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "error: 3 of 7 photos could not be read and are in no figure:",
        r"  a\nb.jpg: the file is empty.",
        "  c.jpg is empty.",
        r"  d.jpg is\x1b[2J a text.",
        "hint: Get it again.",
    ]


def test_the_only_photo_needs_no_list(capsys: pytest.CaptureFixture[str]) -> None:
    tell_failures([Failure("a.jpg", "a.jpg is empty.", "Get it again.")], 1)
    assert capsys.readouterr().err.splitlines() == ["error: a.jpg is empty.", "hint: Get it again."]


def test_nothing_is_said_where_nothing_failed(capsys: pytest.CaptureFixture[str]) -> None:
    tell_failures([], 3)
    assert capsys.readouterr() == ("", "")
