"""From a photo to a prediction nothing imports torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

IN_PYTHON = """
import sys
from verydeep.predict import Predictor
print(Predictor(sys.argv[1], engine="reference").predict(sys.argv[2]).label)
"""
ON_THE_COMMAND_LINE = """
import sys
from verydeep.cli.main import cli
cli.main(["predict", sys.argv[2], "--model", sys.argv[1], "--engine", "reference", "--out", sys.argv[3]],
         standalone_mode=False)
"""
EXPLAINED = """
import sys
from verydeep.cli.main import cli
cli.main(["explain", sys.argv[2], "--model", sys.argv[1], "--engine", "reference", "--out", sys.argv[3],
          "--class", "cat"], standalone_mode=False)
"""
HEAVY = ("torch", "jaxtyping", "torchvision", "sklearn", "scipy", "matplotlib")


@pytest.mark.parametrize(
    "program", [IN_PYTHON, ON_THE_COMMAND_LINE, EXPLAINED], ids=["python", "command line", "explained"]
)
def test_a_photo_becomes_a_prediction_and_is_explained_without_torch(
    program: str, toy_model: Path, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(photo)
    check = f"print(sorted(set(sys.modules) & {{'numpy', *{HEAVY!r}}}))"  # numpy shows that the check sees anything
    command = [sys.executable, "-c", program + check, toy_model, photo, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['numpy']"
    assert any(label in done.stdout for label in ("cat", "dog", "rocket"))
