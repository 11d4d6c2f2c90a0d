"""Packed weights in the cache: used again, made again, and never the reason of a failure."""

import contextlib
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from verydeep import files
from verydeep.architecture import Architecture
from verydeep.runtime import open_model
from verydeep.weights import read_model, write_model

pytest.importorskip("verydeep.runtime._native", reason="the native engine was not built")

from verydeep.runtime import array_file, packing

RandomWeights = Callable[..., dict[str, np.ndarray]]
IMAGES = np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "packed"


@pytest.fixture
def model(toy_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(toy_model, tmp_path / "model.safetensors"))


@pytest.fixture
def packs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that weights are packed."""
    calls: list[int] = []
    pack = packing._pack

    def count(*arguments: object) -> packing.Packed:
        calls.append(1)
        return pack(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(packing, "_pack", count)
    return calls


def logits(model: Path) -> np.ndarray:
    return open_model(model, engine="native").engine.run(IMAGES)["logits"]


def test_a_second_start_maps_what_the_first_has_packed(model: Path, cache: Path, packs: list[int]) -> None:
    first = logits(model)
    (file,) = cache.iterdir()
    os.utime(file, (1, 1))
    assert np.array_equal(logits(model), first)
    assert len(packs) == 1
    assert [path.name for path in cache.iterdir()] == [file.name]
    assert file.stat().st_mtime > 1e9  # used now: it is deleted last
    assert file.stat().st_mode & 0o77 == 0  # weights may be nobody else's business


def test_another_content_instruction_set_or_view_is_packed_anew(
    model: Path, cache: Path, packs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = logits(model)
    info, weights = read_model(model)
    weights["conv1_1.weight"] = -weights["conv1_1.weight"]
    write_model(model, info, weights)
    assert not np.array_equal(logits(model), first)
    monkeypatch.setenv("VERYDEEP_ISA", "portable")
    logits(model)
    assert len(packs) == len(list(cache.iterdir())) == 3


def test_a_model_file_changed_in_place_is_packed_anew(model: Path, cache: Path, packs: list[int]) -> None:
    """Even where its size and its time of change are as before."""
    first = logits(model)
    status = model.stat()
    content = bytearray(model.read_bytes())
    content[-200:] = content[-400:-200]
    model.write_bytes(content)
    os.utime(model, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(packs) == 1
    assert not np.array_equal(logits(model), first)
    assert len(packs) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "index", "longer", "noise", "folder"])
def test_a_damaged_file_is_made_again(damage: str, model: Path, cache: Path, packs: list[int]) -> None:
    first = logits(model)
    (file,) = cache.iterdir()
    content = file.read_bytes()
    if damage == "folder":
        file.unlink()
        file.mkdir()
    else:
        damaged = {
            "cut": content[:-1],
            "empty": b"",
            "index": content.replace(b'"place": 0', b'"place": 8', 1),
            "longer": content + bytes(64),
            "noise": os.urandom(len(content)),
        }[damage]
        file.write_bytes(damaged)
    assert np.array_equal(logits(model), first)
    assert len(packs) == 2
    if damage != "folder":
        assert file.read_bytes() == content


def test_where_nothing_can_be_kept_weights_are_packed_at_each_start(
    model: Path, tmp_path: Path, packs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "file" / "below"))
    assert np.array_equal(logits(model), logits(model))
    assert len(packs) == 2


def test_a_full_disk_leaves_nothing_behind(
    model: Path, cache: Path, packs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = logits(model)
    shutil.rmtree(cache)
    written: list[int] = []

    def filling_up(*arguments: Any, **options: Any) -> Any:
        file = open(*arguments, **options)  # noqa: SIM115, closed by whoever asked for it

        def write(data: Any) -> int:
            written.append(len(data))
            if len(written) > 3:
                raise OSError(28, "No space left on device")
            return file.write(data)

        return contextlib.closing(SimpleNamespace(write=write, fileno=file.fileno, close=file.close))

    monkeypatch.setattr(array_file, "open", filling_up, raising=False)
    assert np.array_equal(logits(model), first)
    assert len(written) == 4
    assert list(cache.iterdir()) == []
    assert len(packs) == 2


def test_a_cache_that_may_only_be_read_is_used(
    model: Path, cache: Path, packs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = logits(model)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert np.array_equal(logits(model), first)
    assert len(packs) == 1


def test_two_processes_that_pack_at_once_both_end_right(model: Path, cache: Path) -> None:
    program = (
        "import sys, numpy as np; from verydeep.runtime import open_model\n"
        "images = np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)\n"
        "print(open_model(sys.argv[1], engine='native').engine.run(images)['logits'].tobytes().hex())"
    )
    command = [sys.executable, "-c", program, str(model)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = {process.communicate()[0].strip() for process in running}
    assert answers == {logits(model).tobytes().hex()}
    assert len(list(cache.iterdir())) == 1


def test_old_files_make_room_for_new_ones(
    model: Path, cache: Path, packs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits(model)
    (first,) = cache.iterdir()
    os.utime(first, (1, 1))
    monkeypatch.setattr(packing, "FOLDER_BYTES", first.stat().st_size * 3 // 2)
    monkeypatch.setenv("VERYDEEP_ISA", "portable")
    logits(model)
    assert len(list(cache.iterdir())) == 1
    assert not first.exists()


def test_arrays_that_come_from_no_file_are_not_kept(cache: Path, random_weights: RandomWeights) -> None:
    from verydeep.runtime.native_engine import NativeEngine

    architecture = Architecture("toy", "gap", classes=3, input_size=32)
    NativeEngine(architecture, random_weights(architecture))
    assert not cache.exists()


def test_a_file_larger_than_all_may_be_is_not_written(
    model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "FOLDER_BYTES", 1000)
    logits(model)
    assert list(cache.iterdir()) == []


def test_a_folder_of_packed_weights_is_private_to_its_suffix(cache: Path, model: Path) -> None:
    """Other files that lie there are left alone."""
    files.make_folder(cache)
    (cache / "notes.txt").write_text("mine", encoding="utf-8")
    logits(model)
    assert (cache / "notes.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("make", [packing._in_bytes, packing._halved], ids=["int8", "float16"])
def test_a_large_layer_is_packed_without_copies_of_it(
    make: Callable[[np.ndarray], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """fc6 of D would take a whole copy in float32 for each step."""
    monkeypatch.setattr(packing, "_PART_VALUES", 1 << 16)
    weight = np.random.default_rng(0).normal(size=(1001, 8, 8, 64)).astype(np.float32)  # 16 MB
    tracemalloc.start()
    made = make(weight)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    kept = sum(array.nbytes for array in (made if isinstance(made, tuple) else (made,)))
    assert peak < kept + weight.nbytes / 10


def test_bytes_are_the_weights_in_steps_of_a_127th_of_the_largest_of_their_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packing, "_PART_VALUES", 100)  # seven outputs at once, and a rest
    weight = np.random.default_rng(0).normal(size=(30, 14)).astype(np.float32)
    weight[3] = 0
    whole, scales = packing._in_bytes(weight)
    assert (whole.dtype, scales.dtype) == (np.int8, np.float32)
    np.testing.assert_allclose(whole * scales[:, None], weight, atol=float(scales.max()) / 2 * 1.001)
    assert sorted(np.abs(whole.astype(int)).max(axis=1))[1:] == [127] * 29
    assert not whole[3].any()
