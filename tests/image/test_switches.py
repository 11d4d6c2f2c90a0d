"""The switches of the process belong to the program that uses verydeep."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import switches

import verydeep


@pytest.mark.slow
@pytest.mark.soak(
    "D7",
    goal="no switch of Pillow, warnings or logging is changed by importing everything and decoding the corpus",
    here="every module; the seeds, 50,000 damaged files and, where they are, the 535 bad ones",
)
@pytest.mark.parametrize("fault", ["", "no bomb", "a filter stays"])
def test_the_switches_of_the_process_stay_as_they_are(amount, measured, fault, request):
    paths = amount([], sorted(bad_inputs(request)) if amount(False, True) else [])
    result = subprocess.run(
        [sys.executable, switches.__file__, str(amount(300, 50_000)), fault],
        input="\n".join(map(str, paths)), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(result.stdout)
    measured(**{name: found[name] for name in ("imported", "decoded")}, missing=len(found["missing"]))
    assert found["changed"] == {"": [], "no bomb": ["MAX_IMAGE_PIXELS"], "a filter stays": ["warnings"]}[fault]
    assert fault or found["imported"] > 50


def bad_inputs(request: pytest.FixtureRequest) -> list[Path]:
    folder = request.getfixturevalue("shared_data") / "bad-inputs" / "files"
    return [path for path in folder.rglob("*") if path.is_file()]


def test_no_line_sets_a_switch_of_pillow():
    sources = Path(verydeep.__file__).parent.rglob("*.py")
    lines = [line for path in sources for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line for line in lines if "MAX_IMAGE_PIXELS" in line or "LOAD_TRUNCATED_IMAGES" in line] == []
