"""Photos -> the class of each pixel: at the photos' own size, upright, and as the evaluation does it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.errors import ImageError, UsageError, VerydeepError
from verydeep.image import preprocess, read_image
from verydeep.nouns import Failure, Preprocessing, SegmentationPrediction
from verydeep.outputs import segment
from verydeep.predict import Predictor, Segmenter
from verydeep.runtime.border import with_border
from verydeep.weights import ModelInfo, read_model, write_model

SIZES = [(41, 67), (67, 41), (64, 64), (20, 36), (120, 37)]  # height and width


def coarse(size: tuple[int, int], seed: int) -> Image.Image:
    """Patches of colour with noise: where all is even, the largest value of a pool is wherever rounding left it."""
    random = np.random.default_rng(seed)
    patches = Image.fromarray(random.integers(20, 200, (5, 5, 3), np.uint8))
    pixels = np.asarray(patches.resize(size[::-1], Image.Resampling.BILINEAR))
    return Image.fromarray(pixels + random.integers(0, 40, pixels.shape, np.uint8))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Photos of several sizes, the fourth damaged."""
    folder = tmp_path_factory.mktemp("photos")
    for number, size in enumerate(SIZES):
        coarse(size, number).save(folder / f"{number}.png")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:200])
    return sorted(folder.iterdir())


@pytest.mark.parametrize("engine", ["reference", "torch", "native"])
def test_each_pixel_of_the_photo_has_the_class_that_the_whole_photo_gives(
    engine: str, segnet_model: Path, paths: list[Path]
) -> None:
    if engine == "torch":
        pytest.importorskip("torch")
    if engine == "native":
        pytest.importorskip("verydeep.runtime._native")
    segmenter = Segmenter(segnet_model, engine=engine)
    reference = Segmenter(segnet_model, engine="reference").model
    found = list(segmenter.segment_many(paths, batch_size=2))
    for path, prediction in zip(paths, found, strict=True):
        if path.name == "3.png":
            assert isinstance(prediction, Failure)
            assert prediction.path == str(path)
            continue
        assert isinstance(prediction, SegmentationPrediction)
        photo = read_image(path)
        image = preprocess(photo, reference.info.preprocessing, is_dense=True)
        logits = reference.engine.run(with_border(image[None], reference.info.architecture))["logits"][0]
        expected = segment(logits[:, : image.shape[1], : image.shape[2]], photo.shape[:2])
        assert (prediction.path, prediction.names) == (str(path), ("sky", "road", "car"))
        assert prediction.classes.shape == photo.shape[:2]
        assert (prediction.classes == expected.classes).mean() > 0.99
        # where two values of a pool are equal but for their last digit, engines may take another one
        assert (np.abs(prediction.probabilities - expected.probabilities) < 1e-4).mean() > 0.9
        alone = segmenter.segment(path)
        assert (alone.classes == prediction.classes).mean() > 0.999


def test_a_photo_larger_than_a_window_is_put_together_from_windows(
    segnet_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, weights = read_model(segnet_model)
    large = ModelInfo(info.architecture, info.classes, Preprocessing(400, 32))
    write_model(tmp_path / "large.safetensors", large, weights)
    segmenter = Segmenter(tmp_path / "large.safetensors")
    run, seen = segmenter.model.engine.run, []

    def note_and_run(images: np.ndarray, outputs: Sequence[str] = ("logits",)) -> dict[str, np.ndarray]:
        seen.append(max(images.shape))
        return run(images, outputs)

    monkeypatch.setattr(segmenter.model.engine, "run", note_and_run)
    prediction = segmenter.segment(coarse((50, 150), 9))  # 400 x 1200 pixels for the network
    assert prediction.classes.shape == (50, 150)
    assert len(seen) > 1
    assert max(seen) <= 768


def test_photos_are_upright_as_they_are_looked_at(segnet_model: Path, tmp_path: Path) -> None:
    image = coarse((40, 60), 3)
    stored = image.transpose(Image.Transpose.ROTATE_90)  # as a phone stores it that says: turn it by 90 degrees
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "turned.png", exif=exif)
    image.save(tmp_path / "upright.png")
    segmenter = Segmenter(segnet_model)
    turned, upright = (segmenter.segment(tmp_path / name) for name in ("turned.png", "upright.png"))
    assert turned.classes.shape == (40, 60)
    assert np.array_equal(turned.classes, upright.classes)


def test_arrays_bytes_and_pictures_are_photos_too(segnet_model: Path, paths: list[Path]) -> None:
    segmenter = Segmenter(segnet_model)
    expected = segmenter.segment(paths[0])
    photo = read_image(paths[0])
    for source in (photo, paths[0].read_bytes(), Image.fromarray(photo)):
        found = segmenter.segment(source)
        assert found.path == ""
        assert np.array_equal(found.classes, expected.classes)
        assert found.shares == expected.shares


def test_what_cannot_be_segmented_is_told(
    segnet_model: Path, toy_model: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="an answer for whole photos"):
        Segmenter(toy_model)
    segmenter = Segmenter(segnet_model)
    with pytest.raises(ImageError, match="too narrow"):
        segmenter.segment(np.zeros((4, 200, 3), np.uint8))
    with pytest.raises(UsageError, match="single"):
        segmenter.segment_many(str(paths[0]))
    nothing = {"logits": np.full((1, 3, 36, 58), np.nan, np.float32)}
    monkeypatch.setattr(segmenter.model.engine, "run", lambda *arguments: nothing)
    with pytest.raises(VerydeepError, match="NaN or infinity"):
        segmenter.segment(paths[0])


def test_a_model_of_pixels_is_no_predictor_of_photos(segnet_model: Path) -> None:
    with pytest.raises(UsageError, match="Segmenter"):
        Predictor(segnet_model)
