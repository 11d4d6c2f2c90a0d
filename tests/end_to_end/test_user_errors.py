"""Whatever a person gets wrong at the command line: a line that says what, a line that helps, the right exit code.

Every case also shows that nothing is lost: all files are afterwards what they were, and there is none beside them.
"""

import hashlib
import json
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from verydeep.weights import read_model, write_model

Run = Callable[..., Any]
NOBODY = 65534
LONG = "n" * 5000
POSIX = pytest.mark.skipif(os.name == "nt", reason="another kind of system")


@pytest.fixture(scope="module")
def everything(toy_model: Path) -> Iterator[Path]:
    """A folder of all that is right and all that is wrong; its parents may be entered by every user of the machine."""
    folder = Path(tempfile.mkdtemp(prefix="verydeep-"))
    folder.chmod(0o755)
    _photos(folder)
    _models(folder, toy_model)
    (folder / "prices.csv").write_text("apples,pears\n1,2\n")
    (folder / "run").mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def here(everything: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That folder as the working directory, the same after the test as before."""
    monkeypatch.chdir(everything)
    before = _state(everything)
    yield everything
    assert _state(everything) == before


def _photos(folder: Path) -> None:
    random = np.random.default_rng(0)
    for name in (
        "photo.jpg", "photos/cat/1.png", "photos/cat/2.png", "photos/dog/1.png", "photos/dog/2.png",
        "one-class/cat/1.png", "one-class/cat/2.png", "one-photo/cat/1.png", "one-photo/dog/1.png",
        "one-photo/dog/2.png",
        "wolves/wolf/1.png", "wolves/cat/1.png", "loose/1.png", "phone/cat/1.png", "phone/cat/2.png",
        "split/train/cat/1.png", "split/train/dog/1.png", "split/val/cat/1.png", "split/val/wolf/1.png",
        "locked/cat/1.png",
    ):  # fmt: skip
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    (folder / "phone" / "dog").mkdir()
    (folder / "phone" / "dog" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    (folder / "empty" / "cat").mkdir(parents=True)
    (folder / "texts" / "cat").mkdir(parents=True)
    for path in (folder / "text.jpg", folder / "texts" / "cat" / "1.jpg"):
        path.write_text("I was renamed.")
    (folder / "empty.jpg").touch()
    (folder / "half.jpg").write_bytes((folder / "photo.jpg").read_bytes()[:900])
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(10_000))) + _chunk(b"IEND", b"")
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _models(folder: Path, toy_model: Path) -> None:
    info, weights = read_model(toy_model)
    content = toy_model.read_bytes()
    (folder / "model.safetensors").write_bytes(content)
    (folder / "half.safetensors").write_bytes(content[: len(content) // 2])
    (folder / "garbage.safetensors").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "empty.safetensors").touch()
    (folder / "other.safetensors").write_bytes(safetensors.numpy.save(weights))
    (folder / "weights.pth").write_bytes(pickle.dumps({"conv1_1.weight": [1.0] * 100}))
    header_length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + header_length])["__metadata__"]["verydeep"]
    newer = {"verydeep": json.dumps(json.loads(header) | {"format_version": 99})}
    (folder / "newer.safetensors").write_bytes(safetensors.numpy.save(weights, newer))
    broken = weights | {"fc8.bias": np.full(3, np.nan, np.float32)}
    (folder / "nan.safetensors").write_bytes(safetensors.numpy.save(broken, {"verydeep": header}))
    broken = weights | {"fc8.bias": np.zeros(4, np.float32)}
    (folder / "shapes.safetensors").write_bytes(safetensors.numpy.save(broken, {"verydeep": header}))
    write_model(folder / "cats-and-dogs.safetensors", replace(info, classes=("cat", "dog", "\x1b[2J")), weights)


def _state(folder: Path) -> dict[str, str]:
    """Every file and folder below, with a checksum of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def check(done: Any, code: int, message: str, hint: str) -> None:
    """The two lines and the exit code; whatever the names in them, they are two lines of printable text."""
    assert done.code == code, done.err
    assert done.out == ""
    told = [line for line in done.err.splitlines() if line.startswith(("error: ", "hint: "))]
    assert [line.split(":")[0] for line in told] == ["error", "hint"], done.err
    assert told == done.err.splitlines()[-2:]
    assert all(line.isprintable() for line in told)
    assert message in told[0]
    assert hint in told[1]
    assert "Traceback" not in done.err


MODEL = "--model model.safetensors --engine reference"
IN_THIS_PROCESS = [
    # A command, an option or an argument that there is not
    ("describ D", 2, "no command 'describ'; there are describe, predict, search, explain", "--help"),
    ("--colour", 2, "No such option", "verydeep --help"),
    (f"predict photo.jpg {MODEL} --tpo 3", 2, "--top", "verydeep predict --help"),
    ("describe", 2, "Missing argument 'CONFIGURATION|MODEL'", "describe --help"),
    ("describe D E", 2, "unexpected extra argument", "describe --help"),
    ("evaluate model.safetensors", 2, "Missing argument 'DATA'", "evaluate --help"),
    ("predict", 2, "no photo was given", "verydeep predict PHOTO"),
    ("explain", 2, "no photo was given", "verydeep explain PHOTO"),
    ("search", 2, "no photo was given", "verydeep search PHOTO --in FOLDER"),
    ("search photo.jpg", 2, "no folder to look in was given", "verydeep search PHOTO --in FOLDER"),
    ("train", 2, "no folder of photos was given", "verydeep train DATA"),
    ("doctor --fix", 2, "No such option", "doctor --help"),
    # A name that there is not
    ("describe VGG17", 2, "'VGG17' is neither a configuration nor a model file", "A, A-LRN, B, C, D, E"),
    (f"describe {LONG}", 2, "is neither a configuration nor a model file", "A, A-LRN, B, C, D, E"),
    ("describe D --head ears", 2, "'ears' is not one of 'fc', 'gap', 'conv'", "describe --help"),
    ("describe D --precision int3", 2, "'int3' is not one of 'float32'", "describe --help"),
    ("train photos --recipe best", 2, "no recipe 'best'; there are modern, paper, small", "--set field=value"),
    ("train photos --set epoch=3", 2, "a recipe has no field epoch", "It has configuration, batch_norm"),
    ("train photos --set epochs", 2, "--set epochs is not FIELD=VALUE", "--set epochs=30"),
    ("train photos --set epochs=few", 2, "epochs=few is not a whole number", "--set epochs=30"),
    ("train photos --device tpu", 2, "the device tpu is not there", "--device auto"),
    (f"predict photo.jpg {MODEL} --formats pcx", 2, "no picture format 'pcx'; there are JPEG", "commas"),
    ("predict photo.jpg --model model.safetensors --engine caffe", 2, "'caffe' is not one of 'auto'", "--help"),
    (f"predict photo.jpg {MODEL} --device tpu", 2, "'tpu' is not one of 'auto', 'cpu'", "predict --help"),
    (f"predict photo.jpg {MODEL} --precision float8", 2, "'float8' is not one of 'float32'", "--help"),
    ("evaluate model.safetensors photos --protocol centre", 2, "no protocol 'centre'; there are center", "Choose"),
    ("predict photo.jpg --model vgg", 3, "there is no model 'vgg'", "model file"),
    (f"explain photo.jpg {MODEL} --method lime", 2, "no method 'lime'; there are gradcam, gradient", "commas"),
    (f"explain photo.jpg {MODEL} --layer conv9_9", 2, "conv9_9 is no layer of the network; there are", "Choose"),
    # A number out of its range
    ("describe D --batch 0", 2, "a batch of 0", ""),
    ("describe D --batch -3", 2, "a batch of -3", ""),
    ("describe D --batch many", 2, "'many' is not a valid integer", "describe --help"),
    ("describe D --classes 0", 2, "classes is 0; expected a whole number from 1", "classes"),
    ("describe D --size -224", 2, "input_size is -224; expected a whole number from 1", "input_size"),
    ("describe D --width 0", 2, "width is 0.0; expected a number above 0", "0.5 half"),
    ("describe D --width nan", 2, "width is nan; expected a number above 0", "0.5 half"),
    ("describe D --channels 0", 2, "input_channels is 0", "input_channels"),
    ("describe D --size 31 --head gap", 2, "an input size of 31 is too small for configuration D", "32 pixels or more"),
    ("describe D --image 100x100", 2, "100 x 100 pixels does not fit the fc head", "dense view"),
    ("describe D --head gap --image 16x500", 2, "16 x 500", "at least 32 pixels"),
    ("describe D --image large", 2, "--image is 'large'; expected a size like 384", "the height first"),
    ("describe D --peak-gflops 0 --bandwidth-gbs 10", 2, "a peak of 0.0 GFLOP/s; expected", "data sheet"),
    ("describe D --peak-gflops 100", 2, "both the peak and the bandwidth", "--bandwidth-gbs"),
    (f"search photo.jpg --in photos {MODEL} --top 0", 2, "0 is not in the range", "search --help"),
    (f"predict photo.jpg {MODEL} --top 0", 2, "0 is not in the range", "predict --help"),
    (f"predict photo.jpg {MODEL} --batch-size -1", 2, "-1 is not in the range", "predict --help"),
    (f"predict photo.jpg {MODEL} --threads 0", 2, "0 is not in the range", "predict --help"),
    ("predict photo.jpg --model model.safetensors --threads 99999", 2, "at most 1024", "all cores"),
    ("train photos --set batch_size=0", 2, "batch_size is 0; expected 1 to", "in between"),
    ("train photos --set learning_rate=nan", 2, "learning_rate is nan; expected 0 to", "in between"),
    ("train photos --set input_size=16", 2, "an input size of 16 is too small for configuration A", "32 pixels"),
    # Options that exclude each other
    (f"predict photo.jpg {MODEL} --json --csv", 2, "--json and --csv exclude each other", "Choose one"),
    (f"predict - - {MODEL}", 2, "given more than once", "only once"),
    ("train --resume run --set epochs=3", 2, "--resume goes on as it was begun", "begin another run"),
    ("train --resume run --recipe paper", 2, "--resume goes on as it was begun", "begin another run"),
    ("describe model.safetensors --classes 5", 2, "classes cannot be changed", "Leave these options out"),
    # A photo that is none
    (f"predict nowhere.jpg {MODEL}", 3, "nowhere.jpg cannot be read: No such file", "Check path"),
    (f"predict {LONG}.jpg {MODEL}", 3, "File name too long", "Check path"),
    (f"predict text.jpg {MODEL}", 3, "text.jpg is not a picture", "JPEG, PNG, WebP"),
    (f"predict empty.jpg {MODEL}", 3, "empty.jpg is empty", "again"),
    (f"predict half.jpg {MODEL}", 3, "half.jpg cannot be decoded as JPEG", "again"),
    (f"predict bomb.png {MODEL}", 3, "60,000 x 60,000 pixels; the limit is 50,000,000", "smaller"),
    (f"predict photo.jpg/inside.jpg {MODEL}", 3, "Not a directory", "Check path"),
    (f"predict empty {MODEL}", 3, "there is no photo in empty or below it", "--formats"),
    (f"predict *.tiff {MODEL}", 3, "no photo matches '*.tiff'", "Check the pattern"),
    (f"search photo.jpg --in nowhere {MODEL}", 3, "nowhere is not a folder; expected one with", "Check the path"),
    (f"search photo.jpg --in photo.jpg {MODEL}", 3, "photo.jpg is not a folder; expected one with", "Check the path"),
    (f"search photo.jpg --in empty {MODEL}", 3, "there is no photo in empty or below it", "--formats"),
    (f"search photo.jpg --in photos --index prices.csv {MODEL}", 2, "prices.csv is no index of photos", "another file"),
    (f"search photo.jpg --in photos --index model.safetensors {MODEL}", 2, "is no index of photos", "another file"),
    (f"search photo.jpg --in photos --index photos {MODEL}", 1, "cannot read photos: Is a directory", "another file"),
    (f"explain nowhere.jpg {MODEL}", 3, "nowhere.jpg cannot be read: No such file", "Check path"),
    (f"predict /dev/null {MODEL}", 3, "/dev/null is a pipe or a device", "Name a picture file"),
    (f"predict a\nb\x1b(0.jpg {MODEL}", 3, r"a\nb\x1b(0.jpg cannot be read", "Check path"),
    (f"predict {os.fsdecode(b'caf') + chr(0xDCE9)}.jpg {MODEL}", 3, r"caf\udce9.jpg cannot be read", "Check path"),
    # A folder of photos that is none
    ("train nowhere", 3, "nowhere does not exist; expected a folder of class folders", "Check the path"),
    ("train photo.jpg", 3, "photo.jpg is a file; expected a folder of class folders", "Check the path"),
    (f"train {LONG}", 3, "File name too long", "Check the path"),
    ("train photos\x1b[2J", 3, r"photos\x1b[2J does not exist", "Check the path"),
    ("train empty", 3, "empty has no folder with photos in it", "empty/<class>/<photo>.jpg"),
    ("train loose", 3, "loose has no folder with photos in it", "loose/<class>/<photo>.jpg"),
    ("train one-class", 3, "photos are of one class only, 'cat'; expected two or more", "something else"),
    ("train one-photo", 3, "class 'cat' has 1 photo; expected one to train on and one to validate on", "Add photos"),
    ("train phone", 3, "phone/dog has no photo (.jpg, .jpeg, .png, .webp), but other files such as IMG_1.H", "Convert"),
    ("train split", 3, "val has classes that train lacks: wolf. Train has cat, dog", "Add photos of them to train"),
    ("evaluate model.safetensors nowhere", 3, "nowhere does not exist", "Check the path"),
    ("evaluate model.safetensors wolves", 3, "the model does not know: wolf. It knows cat, dog, rocket", "Rename"),
    ("evaluate model.safetensors texts", 3, "none of the 1 photos can be read", ""),
    # A model that is none
    ("predict photo.jpg --model nowhere.safetensors", 3, "there is no model 'nowhere.safetensors'", "model file"),
    ("predict photo.jpg --model photos", 3, "there is no model at photos", "model.safetensors"),
    ("predict photo.jpg --model photo.jpg", 3, "photo.jpg is not a model file", "verydeep train"),
    ("predict photo.jpg --model empty.safetensors", 3, "empty.safetensors is not a model file", "verydeep train"),
    ("predict photo.jpg --model half.safetensors", 3, "half.safetensors is not a whole safetensors file", "again"),
    ("predict photo.jpg --model garbage.safetensors", 3, "garbage.safetensors is not a model file", "verydeep train"),
    ("predict photo.jpg --model weights.pth", 3, "weights.pth is not a model file", "verydeep train"),
    ("predict photo.jpg --model other.safetensors", 3, "safetensors file of another program", "verydeep train"),
    ("predict photo.jpg --model newer.safetensors", 3, "format version 99; this verydeep reads up to 2", "pip install"),
    ("predict photo.jpg --model nan.safetensors", 3, "nan.safetensors holds NaN or infinity in fc8.bias", "again"),
    ("predict photo.jpg --model shapes.safetensors", 3, "fc8.bias is (4,), expected (3,)", "another network"),
    ("describe half.safetensors", 3, "half.safetensors is not a whole safetensors file", "again"),
    ("evaluate newer.safetensors photos", 3, "format version 99; this verydeep reads up to 2", "pip install"),
    ("evaluate photos model.safetensors", 3, "there is no model at photos", "model.safetensors"),
    ("evaluate cats-and-dogs.safetensors wolves", 3, r"It knows cat, dog, \x1b[2J", "Rename"),
    # A run that is none
    ("train --resume nowhere", 3, "nowhere is no run: it has no recipe.json", "`verydeep train` made"),
    ("train --resume photos", 3, "photos is no run: it has no recipe.json", "`verydeep train` made"),
    ("train --resume photo.jpg", 3, "photo.jpg is no run", "`verydeep train` made"),
    ("train photos --out photos", 2, "photos is not empty; expected a new or empty folder", "--out FOLDER"),
    # A file that cannot be written
    ("train photos --out photo.jpg", 1, "cannot write photo.jpg: a file of that name is in the way", "another name"),
    ("train photos --out photo.jpg/run", 1, "a part of the path is a file, not a folder", "another name"),
    (f"train photos --out {LONG}", 1, "the name is too long", "shorter name"),
    ("describe D --picture d.gif", 2, "cannot draw into d.gif: it is neither SVG nor PNG", ".svg or .png"),
    ("describe D --picture photo.jpg/d.svg", 1, "cannot write photo.jpg: a file of that name is in the way", "name"),
    (f"predict photo.jpg {MODEL} --out photo.jpg", 1, "cannot write photo.jpg: a file of that name", "another name"),
    ("evaluate model.safetensors photos --append prices.csv", 3, "has the columns apples, pears; expected", "results"),
    ("evaluate model.safetensors photos --append photos", 3, "cannot read photos: Is a directory", "CSV file"),
]  # fmt: skip


@POSIX
@pytest.mark.parametrize(
    ("command", "code", "message", "hint"), IN_THIS_PROCESS, ids=[ascii(case[0])[1:60] for case in IN_THIS_PROCESS]
)
@pytest.mark.usefixtures("here")
def test_an_error_is_a_line_that_says_what_and_a_line_that_helps(
    command: str, code: int, message: str, hint: str, run: Run
) -> None:
    if command.startswith(("train", "predict photo.jpg --model model.safetensors --threads")):
        pytest.importorskip("torch")
    check(run(*command.split(" ")), code, message, hint)


@pytest.mark.usefixtures("here")
def test_no_command_at_all_shows_the_help(run: Run) -> None:
    done = run()
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: verydeep ")
    assert "Classify photos." in done.err


# A machine that says no


@contextmanager
def as_somebody() -> Iterator[None]:
    """Root may do everything, so its rights are laid down for a moment."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    except OSError as error:
        pytest.skip(f"needs to become another user: {error}")
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@POSIX
@pytest.mark.parametrize(
    ("command", "locked", "code", "message", "hint"),
    [
        (f"predict photo.jpg {MODEL}", "photo.jpg", 3, "photo.jpg cannot be read: Permission denied", "permissions"),
        (f"predict photo.jpg {MODEL}", "model.safetensors", 3, "cannot read model.safetensors: Permission", "permiss"),
        (f"predict locked {MODEL}", "locked", 3, "cannot read the folder locked: Permission denied", "permissions"),
        ("describe model.safetensors", "model.safetensors", 3, "cannot read model.safetensors: Permission", "permiss"),
        ("train locked", "locked", 3, "cannot read the folder locked: Permission denied", "permissions"),
        ("train locked", "locked/cat", 3, "cannot read the folder locked/cat: Permission denied", "permissions"),
        ("train locked/cat", "locked", 3, "cannot read the folder locked/cat: Permission denied", "permissions"),
        ("evaluate model.safetensors locked", "locked", 3, "cannot read the folder locked: Permission", "permissions"),
        ("evaluate model.safetensors photos --append prices.csv", "prices.csv", 3, "cannot read prices.csv", ""),
        ("train photos --out mine", "", 1, "cannot write mine: permission is denied", "a folder that you may write to"),
        ("train --resume run", "run", 3, "recipe.json cannot be read: Permission denied", "permissions"),
        ("describe D --picture d.svg", "", 1, "cannot write d.svg: permission is denied", "that you may write to"),
        (f"predict photo.jpg {MODEL} --out mine", "", 1, "cannot write mine: permission is denied", "may write"),
        ("evaluate model.safetensors photos --append r.csv", "", 1, "cannot write r.csv: permission is denied", ""),
    ],
)  # fmt: skip
def test_a_lack_of_permission_is_told_with_the_file(  # noqa: PLR0917, most of them from the list above
    command: str, locked: str, code: int, message: str, hint: str, run: Run, here: Path
) -> None:
    if command.startswith("train"):
        pytest.importorskip("torch")
    arguments = command.split(" ")
    run(*arguments[:1], "--help")  # what is imported late may lie where nobody else may read
    _warm_up(run)
    modes = {path: path.stat().st_mode for path in {here, here / locked}}
    here.chmod(0o555)
    if locked:
        (here / locked).chmod(0)
    try:
        with as_somebody():
            done = run(*arguments)
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    check(done, code, message, hint)


def _warm_up(run: Run) -> None:
    """Everything that these commands import, while we may read it."""
    assert run("predict", "photo.jpg", *MODEL.split()).code == 0
    assert run("evaluate", "model.safetensors", "photos", "--engine", "reference", "--json").code == 0
    assert run("describe", "D", "--picture", os.devnull + ".svg").code in (0, 1)


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[None]:
    """A file system of its own at `folder`, in memory."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip("needs the right to mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()


@POSIX
@pytest.mark.parametrize(
    "command",
    [
        "describe E --picture disk/e.svg",
        f"predict photo.jpg {MODEL} --out disk",
        "evaluate model.safetensors photos --engine reference --append disk/results.csv",
    ],
)
def test_a_full_disk_is_told_and_leaves_what_was_there(command: str, run: Run, here: Path) -> None:
    with small_disk(here / "disk", "size=16k"):
        (here / "disk" / "old").write_bytes(bytes(8000))
        (here / "disk" / "results.csv").touch()
        with (here / "disk" / "filler").open("wb") as filler:
            filler.write(bytes(8192))
        before = _state(here / "disk")
        done = run(*command.split(" "))
        assert _state(here / "disk") == before
    assert done.code == 1
    *_, error, hint = done.err.splitlines()
    assert error.startswith("error: cannot write disk/")
    assert error.endswith(": the disk is full.")
    assert hint == "hint: Free some space, or choose another folder."
    assert "Traceback" not in done.err


@POSIX
def test_a_training_that_fills_the_disk_says_how_to_go_on(run: Run, here: Path) -> None:
    pytest.importorskip("torch")
    settings = (
        "configuration=toy", "input_size=16", "test_resize=18", "test_crop=16", "epochs=1", "precision=float32",
    )  # fmt: skip
    with small_disk(here / "disk", "size=16k"):
        done = run("train", "photos", "--out", "disk/run", *(word for text in settings for word in ("--set", text)))
        assert (here / "disk" / "run" / "recipe.json").stat().st_size > 0
        assert not list((here / "disk").rglob(".*"))
    assert (done.code, done.out) == (1, "")
    *_, error, hint = done.err.splitlines()
    state = "disk/run/training/state-000000-000000000.safetensors"  # before the first step
    assert error == f"error: cannot write {state}: the disk is full."
    assert hint.endswith("Then go on with: verydeep train --resume disk/run")


@POSIX
@pytest.mark.parametrize(
    "command",
    ["describe D --picture disk/d.svg", "train photos --out disk/run", f"predict photo.jpg {MODEL} --out disk/x"],
)
def test_a_read_only_file_system_is_told(command: str, run: Run, here: Path) -> None:
    if command.startswith("train"):
        pytest.importorskip("torch")
    with small_disk(here / "disk", "ro"):
        done = run(*command.split(" "))
    check(done, 1, "the file system is read-only", "a folder that you may write to")


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ...")],
    ids=["NumPy's", "torch's"],
)
@pytest.mark.usefixtures("here")
def test_a_lack_of_memory_is_told(error: Exception, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("verydeep.accounting.summary.account_layers", fail)
    check(run("describe", "D"), 1, "not enough memory", "smaller")


# Where a process of its own matters


def in_a_process(*arguments: str, before: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """`verydeep *arguments`. before: Python code that is run first."""
    program = f"{before}\nimport sys; from verydeep.cli.main import main; sys.argv[0] = 'verydeep'; main()"
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "input": ""} | options
    return subprocess.run([sys.executable, "-c", program, *arguments], text=True, check=False, **options)


@pytest.mark.parametrize(
    ("command", "missing", "message"),
    [
        ("train photos", "torch", "training needs torch, which is not installed"),
        ("train photos", "jaxtyping", "training needs jaxtyping, which is not installed"),
        ("predict photo.jpg --model model.safetensors --engine torch", "torch", "needs the library torch"),
        ("evaluate model.safetensors photos --engine torch", "torch", "needs the library torch"),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_missing_extra_is_told_with_the_command_that_installs_it(command: str, missing: str, message: str) -> None:
    if missing == "jaxtyping":
        pytest.importorskip("torch")
    done = in_a_process(*command.split(" "), before=f"import sys; sys.modules[{missing!r}] = None")
    assert (done.returncode, done.stdout) == (1, "")
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert hint.startswith("hint: pip install 'verydeep[train]'")


@pytest.mark.usefixtures("here")
def test_without_the_extra_predict_works_all_the_same() -> None:
    done = in_a_process(
        "predict", "photo.jpg", "--model", "model.safetensors", before="import sys; sys.modules['torch'] = None"
    )
    assert (done.returncode, done.stderr) == (0, "")


@POSIX
@pytest.mark.parametrize("command", ["describe D", "describe D --json", f"predict photo.jpg {MODEL}"])
@pytest.mark.usefixtures("here")
def test_an_output_that_cannot_be_written_is_told(command: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("w") as full:
        done = in_a_process(*command.split(" "), stdout=full)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: the output: No space left on device.",
        "hint: Check the path, its permissions and the space on the disk.",
    ]


@POSIX
@pytest.mark.parametrize("command", ["--help", "describe D", f"predict photo.jpg {MODEL}"])
@pytest.mark.usefixtures("here")
def test_a_reader_that_has_had_enough_is_no_reason_for_words(command: str) -> None:
    """As in `verydeep predict photos | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    done = in_a_process(*command.split(" "), stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@POSIX
@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("stdin", "code", "message"),
    [("", 3, "is empty; expected a photo"), ("hello", 3, "is not a picture"), (None, 2, "no image on standard input")],
)
def test_a_standard_input_without_an_image_is_told(stdin: str | None, code: int, message: str) -> None:
    closed = "import sys; sys.stdin = None" if stdin is None else ""
    done = in_a_process("predict", "-", *MODEL.split(), before=closed, input=stdin or "")
    assert (done.returncode, done.stdout) == (code, "")
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert hint.startswith("hint: ")


@POSIX
@pytest.mark.usefixtures("here")
def test_ctrl_c_ends_a_prediction_after_a_whole_line() -> None:
    command = [sys.executable, "-m", "verydeep", "predict", *["photo.jpg"] * 20_000, *MODEL.split()]
    predicting = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert predicting.stdout is not None
    first = predicting.stdout.readline()
    predicting.send_signal(signal.SIGINT)
    out, err = predicting.communicate(timeout=60)
    assert predicting.returncode == 130
    assert err.splitlines()[-2:] == ["error: interrupted.", "hint: Run it again; no file is left half written."]
    assert "Traceback" not in err
    lines = (first + out).splitlines()
    assert len(lines) < 20_000
    assert set(lines) == {first.rstrip("\n")}


@POSIX
@pytest.mark.slow
def test_ctrl_c_ends_a_training_and_the_processes_that_load_its_photos(tmp_path: Path) -> None:
    """A terminal sends it to all of them at once. 600 photos are loaded by a process of their own."""
    pytest.importorskip("torch")
    source = tmp_path / "photos" / "cat" / "0.png"
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(300):
            path = tmp_path / "photos" / label / f"{number}.png"
            if path == source:
                Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(source)
            else:
                path.hardlink_to(source)
    settings = (
        "configuration=toy", "input_size=16", "test_resize=18", "test_crop=16", "batch_size=4", "precision=float32",
    )  # fmt: skip
    words = [word for text in settings for word in ("--set", text)]
    command = [sys.executable, "-m", "verydeep", "train", "photos", "--out", "run", *words]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as training:
        assert training.stderr is not None
        told = [next(training.stderr) for _ in range(3)]  # two lines of what is trained on what, and the first epoch
        os.killpg(training.pid, signal.SIGINT)
        _, err = training.communicate(timeout=60)
    assert told[2].startswith("epoch 1/")
    assert training.returncode == 130
    assert "Traceback" not in err
    error, hint = err.splitlines()[-2:]
    assert error.startswith("error: stopped by SIGINT in epoch ")
    assert hint == "hint: Go on with: verydeep train --resume run"
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"recipe.json", "metrics.jsonl", "training"}
