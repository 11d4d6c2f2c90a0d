"""`make demo` from its first line to its last."""

import sys

import pytest
from pages import REPOSITORY
from PIL import Image

from verydeep.image import read_image


@pytest.fixture
def demo(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(REPOSITORY))
    monkeypatch.delitem(sys.modules, "demo", raising=False)
    monkeypatch.chdir(tmp_path)
    import demo

    return demo


def test_the_digits_are_1437_to_train_on_and_360_others(demo, tmp_path):
    demo.write_digits(tmp_path)
    names = {part: {path.name for path in tmp_path.glob(f"{part}/*/*.png")} for part in ("train", "val")}
    assert (len(names["train"]), len(names["val"])) == (1437, 360)
    assert not names["train"] & names["val"]
    assert read_image(tmp_path / "train" / "0" / "0000.png").shape == (32, 32, 3)


@pytest.fixture
def few_digits(demo, monkeypatch):
    """Every fifth of the demo's, for it is the steps that are tested, not what is learnt."""
    write = demo.write_digits

    def write_few(folder):
        write(folder)
        for path in folder.glob("*/*/*.png"):
            if int(path.stem) % 5:
                path.unlink()

    monkeypatch.setattr(demo, "write_digits", write_few)


@pytest.mark.slow
@pytest.mark.usefixtures("few_digits")
def test_the_demo_runs_again_and_again_and_shows_its_pictures(demo, toy_model, capfd, tmp_path):
    for _ in range(2):
        demo.main(models=(str(toy_model),), epochs=1)
    out, _ = capfd.readouterr()
    assert "verydeep predict demo/photos --model" in out
    assert "verydeep train YOUR-FOLDER" in out
    for sheet in ("photos-toy.jpg", "doubtful-digits.jpg"):
        with Image.open(tmp_path / "demo" / sheet) as picture:
            assert min(picture.size) > 500
