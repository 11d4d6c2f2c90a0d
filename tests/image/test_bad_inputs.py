"""535 files that break or surprise decoders: all of them give the right pixels or one ImageError, and nothing else."""

import csv
import json
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import decode_worker
import numpy as np
import pytest
from faults import plant
from PIL import Image
from pillow_reference import RECORD, describe, reference, versions

from verydeep.errors import ImageError
from verydeep.image import ALL_FORMATS, decode, read_image
from verydeep.image.orientation import orientation


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "bad-inputs"


@pytest.fixture(scope="module")
def paths(folder: Path) -> list[Path]:
    found = sorted(path for path in (folder / "files").rglob("*") if path.is_file())
    assert len(found) == 535
    return found


def recorded() -> dict[str, tuple[str, int, int, str]]:
    with RECORD.open(newline="") as file:
        file.readline()
        rows = csv.DictReader(file)
        return {r["file"]: (r["format"], int(r["height"]), int(r["width"]), r["sha256"]) for r in rows}


def attempt(path: Path, **options) -> np.ndarray | str:
    try:
        return read_image(path, **options)
    except ImageError as error:
        return error.message


@pytest.mark.soak(
    "D5",
    goal="500 files have the pixels that are recorded for these libraries, or are refused",
    here="535 files: 305 have them, 230 are refused",
)
@pytest.mark.parametrize("fault", ["", "lying down"])
def test_every_jpeg_png_and_webp_has_the_recorded_pixels_and_every_other_file_gives_one_error(
    folder, paths, measured, fault, monkeypatch
):
    plant(fault, monkeypatch.setattr)
    with RECORD.open() as file:
        if file.readline().strip() != versions():
            pytest.skip(f"pixels were recorded with other libraries than {versions()}")
    decoded = {}
    for path in paths:
        outcome = attempt(path)
        if isinstance(outcome, str):
            assert str(path) in outcome
            assert outcome.isprintable()
        else:
            decoded[path.relative_to(folder).as_posix()] = describe(path, outcome)
    expected = recorded()
    wrong = [name for name in expected if decoded.get(name) != expected[name]]
    measured(files=len(paths), decoded=len(decoded), wrong=len(wrong))
    assert (decoded == expected) == (not fault)
    assert len(decoded) == 305


def test_the_recorded_files_are_of_every_kind(folder):
    kinds = set()
    for name in recorded():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(folder / name) as image:
                image.load()
        kinds |= {image.mode, f"orientation {orientation(image.info)}", *image.info}
        kinds |= {f"{image.mode} with transparency"} if image.has_transparency_data else set()
    expected = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "P with transparency", "icc_profile", "gamma"}
    assert kinds >= expected | {f"orientation {number}" for number in range(1, 9)}


@pytest.mark.soak(
    "D5",
    goal="a file that is cut off by one byte or more is refused, or nothing of its picture is missing",
    here="305 photos, each cut off at 12 places",
)
@pytest.mark.parametrize("fault", ["", "filled with grey"])
def test_a_file_that_is_cut_off_is_refused_or_has_every_pixel(folder, amount, measured, fault, monkeypatch):
    chosen = list(recorded())[:: amount(10, 1)]
    cuts = amount([1.0, 0.7], [1.0, 0.9999, 0.999, 0.99, 0.95, 0.9, 0.8, 0.7, 0.5, 0.3, 0.1, 0.01])
    counts = Counter(cut=0, refused=0, same=0, wrong=0)
    for name in chosen:
        data, whole = (folder / name).read_bytes(), read_image(folder / name)
        with monkeypatch.context() as patched:
            plant(fault, patched.setattr)
            for cut in cuts:
                counts["cut"] += 1
                try:
                    got = decode(data[: int(cut * (len(data) - 1))], name)
                except ImageError:
                    counts["refused"] += 1
                else:
                    counts["same" if np.array_equal(got, whole) else "wrong"] += 1
    measured(**counts)
    assert (counts["wrong"] == 0) == (not fault)
    assert counts["refused"] > 0
    assert counts["same"] > 0  # a PNG without its last mark


@pytest.mark.slow
def test_what_plain_pillow_loads_whole_decodes_to_the_same_pixels(paths):
    wrong = []
    for path in paths:
        expected, outcome = reference(path.read_bytes()), attempt(path)
        is_same = isinstance(outcome, str) if expected is None else np.array_equal(outcome, expected)
        if not is_same:
            wrong.append(path)
    assert wrong == []


def test_the_nine_turned_landscapes_are_one_upright_landscape(folder):
    upright = read_image(folder / "files/exif-orientation/Landscape_1.jpg").astype(int)
    for number in range(9):
        turned = read_image(folder / f"files/exif-orientation/Landscape_{number}.jpg")
        assert turned.shape == upright.shape
        assert np.abs(turned - upright).mean() < 4  # grey levels: each was compressed anew; a wrong turn gives over 40


def test_the_other_formats_decode_on_request(folder, paths):
    outcomes = {path.relative_to(folder).as_posix(): attempt(path, formats=ALL_FORMATS) for path in paths}
    decoded = [name for name, outcome in outcomes.items() if not isinstance(outcome, str)]
    assert set(recorded()) < set(decoded)
    assert len(decoded) >= 415  # 420 with Pillow 13.0.0: 42 BMP, 27 GIF, 39 TIFF and 7 AVIF more


def run_worker(paths: list[Path], *arguments: str) -> tuple[list[dict], str]:
    script = Path(decode_worker.__file__)
    result = subprocess.run(
        [sys.executable, "-W", "always", script, *arguments],
        input="\n".join(map(str, paths)), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("formats", ["photo", "all"])
def test_nothing_is_printed_neither_by_python_nor_by_the_libraries_in_c(paths, formats):
    outcomes, stderr = run_worker(paths, formats)
    assert stderr == ""
    assert len(outcomes) == 536
    assert [outcome for outcome in outcomes if "bug" in outcome] == []


def test_only_the_plugins_of_the_accepted_formats_are_imported_whatever_the_files_are_called(paths, tmp_path):
    renamed = []
    for number, path in enumerate(paths):
        renamed.append(tmp_path / f"{number}.jpg")
        renamed[-1].symlink_to(path)
    outcomes, _ = run_worker(renamed, "photo")
    assert outcomes[-1]["plugins"] == ["PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.WebPImagePlugin"]
    assert sum("shape" in outcome for outcome in outcomes) == 305


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("formats", ["photo", "all"])
def test_a_refused_file_costs_at_most_32_mib(paths, formats):
    outcomes, _ = run_worker(paths, formats, "--measure")
    refused = {outcome["path"]: outcome["extra_mib"] for outcome in outcomes if "error" in outcome}
    accepted = [outcome["extra_mib"] for outcome in outcomes if "shape" in outcome]
    assert len(refused) + len(accepted) == 535
    assert max(refused.values()) <= 32
    assert max(accepted) > 32  # the measurement sees memory: the largest of these photos takes 60 MiB
