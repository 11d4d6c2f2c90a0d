"""Damaged files, drawn by their number: each decodes or gives one ImageError, whatever was damaged."""

import io
import json
import subprocess
import sys
from dataclasses import asdict

import damaged_photos
import numpy as np
import pytest
from damaged_photos import SIDES, mutated, seeds

from verydeep.errors import ImageError
from verydeep.image import ALL_FORMATS, decode, fit
from verydeep.nouns import Preprocessing
from verydeep.serve.decoder import LENGTHS, start_of_frame


def test_every_seed_decodes():
    assert len(seeds()) >= 60
    for number, data in enumerate(seeds()):
        assert sorted(decode(data, str(number), formats=ALL_FORMATS).shape) == sorted((3, *SIDES))


@pytest.mark.slow
@pytest.mark.soak(
    "D1",
    goal="10,000,000 damaged files: an image, or an error that names the file, within 1 s",
    here="2,000,000 files from over 60 seeds, or as many as 2 processes decode in 290 s",
)
@pytest.mark.parametrize("fault", ["", "OSErrors only", "no name", "warnings"])
def test_a_damaged_file_decodes_or_gives_one_error_that_names_it(amount, measured, fault):
    processes = amount(1, 2)
    arguments = [str(processes), str(amount(1000 if fault else 4000, 2_000_000)), str(amount(10, 290)), fault]
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "always", damaged_photos.__file__, str(first), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for first in range(processes)
    ]  # fmt: skip
    ended = [(*process.communicate(), process.returncode) for process in running]
    signals = sum(code != 0 for _, _, code in ended)
    stray_lines = sum(len(stderr.splitlines()) for _, stderr, _ in ended)
    found = [json.loads(stdout) for stdout, _, code in ended if code == 0]
    files, refused, nameless, foreign = (
        sum(one[name] for one in found) for name in ("files", "refused", "nameless", "foreign")
    )
    slowest = max(one["slowest"] for one in found)
    measured(files=files, refused=refused, signals=signals, nameless=nameless, foreign=foreign)
    measured(stray_lines=stray_lines, slowest_seconds=round(slowest, 3))
    print(*(example for one in found for example in one["examples"]), *(stderr for _, stderr, _ in ended), sep="\n")
    assert (signals, foreign > 0) == (0, fault == "OSErrors only")
    assert (nameless > 0) == (fault == "no name")
    assert (stray_lines > 0) == (fault == "warnings")
    assert 0.1 < refused / files < 0.9  # the damage is neither too rough to get far nor too mild to be seen
    assert slowest < amount(10, 1)


@pytest.mark.soak(
    "D4",
    goal="a decoder within its limits gives the same pictures and the same errors as one without",
    here="20,000 damaged photos",
)
def test_a_decoder_behind_its_limits_answers_as_one_without(amount, measured):
    """If it loaded something late, when it may open nothing any more, it would refuse good photos."""
    originals, preprocessing = seeds(), Preprocessing(resize=36, crop=32)
    photos = originals + [mutated(originals, number) for number in range(amount(500, 20_000))]
    questions = b"".join(
        start_of_frame({**asdict(preprocessing), "name": "a photo"}, len(photo)) + photo for photo in photos
    )
    command = [sys.executable, "-m", "verydeep.serve.decoder", str(1 << 30), "10"]
    result = subprocess.run(command, input=questions, capture_output=True, check=True)
    answers, decoded = io.BytesIO(result.stdout), 0
    assert answers.read(len(start_of_frame({}))) == start_of_frame({})
    for photo in photos:
        head, data = [answers.read(length) for length in LENGTHS.unpack(answers.read(LENGTHS.size))]
        got = json.loads(head)
        expected = attempt(photo, preprocessing)
        if isinstance(expected, ImageError):
            assert (got, data) == ({"error": expected.message, "hint": expected.hint}, b"")
        else:
            assert np.array_equal(np.frombuffer(data, np.uint8).reshape(*got["shape"], 3), expected)
            decoded += 1
    assert (answers.read(), result.stderr) == (b"", b"")
    measured(photos=len(photos), decoded=decoded)


def attempt(photo: bytes, preprocessing: Preprocessing) -> np.ndarray | ImageError:
    try:
        return fit(decode(photo, "a photo"), preprocessing)
    except ImageError as error:
        return error
