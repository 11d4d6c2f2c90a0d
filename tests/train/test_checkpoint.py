"""What is saved of a run, and what becomes of it when the disk damages it."""

import json
import random
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from verydeep.data.datasets import open_splits
from verydeep.errors import CheckpointError, TrainingError
from verydeep.train.checkpoint import State, _checksum, _read, forget_newer, load_state, save_state, state_files
from verydeep.train.loop import begin
from verydeep.train.recipe import Recipe

CPU = torch.device("cpu")
RECIPE = Recipe(configuration="toy", input_size=16, test_resize=18, test_crop=16, precision="float32")


@pytest.fixture
def photos(tmp_path) -> Path:
    for name in ("red", "blue"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (20, 20), name).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


@pytest.fixture
def state(photos) -> State:
    """A state whose every array holds other numbers than a new one's."""
    state = begin(RECIPE, open_splits(photos), CPU)
    for parameter in state.network.parameters():
        parameter.grad = torch.randn_like(parameter)
    state.optimizer.step()
    state.average.update(state.network, 0)
    return state


def advance(state: State, batch: int) -> None:
    state.progress = replace(state.progress, batch=batch, step=batch, losses=[0.1 * i for i in range(batch)])


def loaded(folder: Path, photos: Path) -> tuple[State, list[str]]:
    state = begin(RECIPE, open_splits(photos), CPU)
    return state, load_state(folder, state, open_splits(photos))


def test_a_state_comes_back_to_the_last_bit(state, photos, tmp_path):
    advance(state, 7)
    save_state(tmp_path, state)
    back, told = loaded(tmp_path, photos)
    assert told == []
    assert back.progress == state.progress
    arrays = state.arrays()
    assert any(name.startswith("momentum.") for name in arrays)
    assert back.arrays().keys() == arrays.keys()
    for name, array in back.arrays().items():
        assert torch.equal(array, arrays[name]), name
        assert array.stride() == arrays[name].stride(), name  # channels last, or a resumed run would be slower


def test_the_newest_two_are_kept(state, tmp_path):
    for batch in (0, 5, 30, 200):
        advance(state, batch)
        save_state(tmp_path, state)
    assert [path.name for path in state_files(tmp_path)] == [
        "state-000000-000000200.safetensors",
        "state-000000-000000030.safetensors",
    ]


def test_the_newest_between_two_epochs_is_kept_where_a_run_may_roll_back_to_it(state, photos, tmp_path):
    state.progress = replace(state.progress, recipe=replace(RECIPE, on_nonfinite="roll back").to_dict())
    for epoch, batch in ((0, 0), (0, 30), (1, 0), (1, 5), (1, 9), (1, 12)):
        state.progress = replace(state.progress, epoch=epoch, batch=batch)
        save_state(tmp_path, state)
    kept = [(1, 12), (1, 9), (1, 0), (0, 0)]
    assert [path.stem for path in state_files(tmp_path)] == [f"state-{epoch:06}-{batch:09}" for epoch, batch in kept]
    back = begin(replace(RECIPE, on_nonfinite="roll back"), open_splits(photos), CPU)
    assert load_state(tmp_path, back, open_splits(photos), is_at_epoch=True) == []
    assert (back.progress.epoch, back.progress.batch) == (1, 0)
    forget_newer(tmp_path, back.progress)
    assert [path.stem for path in state_files(tmp_path)] == ["state-000001-000000000", "state-000000-000000000"]
    state_files(tmp_path)[0].write_bytes(b"damaged")
    assert "is damaged" in load_state(tmp_path, back, open_splits(photos), is_at_epoch=True)[0]
    assert (back.progress.epoch, back.progress.batch) == (0, 0)


def test_a_state_of_an_older_version_is_gone_on_with(state, photos, tmp_path):
    """It knew no recipe, and of unreadable photos what was said, but not which they are."""
    advance(state, 3)
    save_state(tmp_path, state)
    (path,) = state_files(tmp_path)
    saved, arrays = _read(path)
    progress = asdict(saved) | {"unreadable": ["a.jpg is empty."], "unreadable_validation": []}
    del progress["recipe"]
    text = json.dumps(progress)
    safetensors.torch.save_file(arrays, path, {"progress": text, "checksum": _checksum(text, arrays)})
    back, told = loaded(tmp_path, photos)
    assert (told, back.progress.batch, back.progress.unreadable) == ([], 3, {})
    assert back.progress.recipe == RECIPE.to_dict()
    save_state(tmp_path, back)
    with pytest.raises(CheckpointError, match=r"width was 1\.0, is 2\.0"):
        load_state(tmp_path, begin(replace(RECIPE, width=2.0), open_splits(photos), CPU), open_splits(photos))


def test_what_the_machine_chose_for_a_run_holds_for_its_optimizer_too(state, photos, tmp_path):
    state.progress = replace(state.progress, precision="bfloat16")
    save_state(tmp_path, state)
    back, _ = loaded(tmp_path, photos)
    assert (back.progress.precision, back.optimizer.precision) == ("bfloat16", "bfloat16")


@pytest.mark.slow
def test_any_damage_is_noticed_and_stepped_over(state, photos, tmp_path):
    """Bits flipped anywhere in the file, or its end cut off."""
    for batch in (3, 4):
        advance(state, batch)
        save_state(tmp_path, state)
    path = state_files(tmp_path)[0]
    whole = path.read_bytes()
    choices = random.Random(0)
    for trial in range(100):
        damaged = bytearray(whole)
        if trial % 10 == 0:
            del damaged[choices.randrange(len(damaged)) :]
        else:
            # half of them in the header, which is the smaller part
            at = choices.randrange(2000 if trial % 2 else len(damaged))
            damaged[at] ^= 1 << choices.randrange(8)
        path.write_bytes(damaged)
        back, told = loaded(tmp_path, photos)
        assert back.progress.batch == 3, trial
        assert len(told) == 1
        assert f"{path} is damaged" in told[0]
        assert "going on from the state before it" in told[0]
        assert not path.exists()  # or it would be counted as one of the two that are kept


def test_a_run_whose_states_are_all_damaged_is_refused(state, photos, tmp_path):
    for batch in (3, 4):
        advance(state, batch)
        save_state(tmp_path, state)
    for path in state_files(tmp_path):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="no other is there"):
        loaded(tmp_path, photos)


def test_what_a_killed_save_left_is_removed(state, photos, tmp_path):
    save_state(tmp_path, state)
    leftovers = [tmp_path / "training" / name for name in (".verydeep-0123.tmp", ".tmpA1b2C3")]
    for path in leftovers:
        path.write_bytes(b"half")
    loaded(tmp_path, photos)
    assert not any(path.exists() for path in leftovers)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nothing_that_is_not_finite_is_ever_saved(value, state, photos, tmp_path):
    advance(state, 3)
    save_state(tmp_path, state)
    advance(state, 4)
    with torch.no_grad():
        next(state.network.parameters())[0, 0, 0, 0] = value
    with pytest.raises(TrainingError, match=r"network\.conv1_1\.weight"):
        save_state(tmp_path, state)
    back, told = loaded(tmp_path, photos)
    assert (back.progress.batch, told) == (3, [])


def test_a_state_of_another_network_is_refused(state, photos, tmp_path):
    save_state(tmp_path, state)
    other = begin(replace(RECIPE, width=2.0), open_splits(photos), CPU)
    with pytest.raises(CheckpointError, match=r"changed after the training began: width was 1\.0, is 2\.0"):
        load_state(tmp_path, other, open_splits(photos))
