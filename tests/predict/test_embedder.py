"""Photos -> embeddings, by classifiers and by embedding models."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.errors import ImageError, UsageError, VerydeepError
from verydeep.image import preprocess, read_image
from verydeep.nouns import Failure
from verydeep.predict import Embedder
from verydeep.predict.embedder import most_alike
from verydeep.weights import read_model, write_model


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Seven photos, the fourth damaged."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(7):
        coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
        Image.fromarray(coarse).resize((50, 40)).save(folder / f"{seed}.png")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:200])
    return sorted(folder.iterdir())


@pytest.mark.parametrize(("head", "output"), [("fc", "relu7"), ("gap", "gap"), ("embedding", "logits")])
def test_an_embedding_is_the_direction_of_what_that_layer_makes_of_the_photo(
    head: str, output: str, make_toy: Callable[..., Path], paths: list[Path], tmp_path: Path
) -> None:
    model = make_toy(tmp_path / "model.safetensors", head=head, width=0.5, dimensions=6)
    embedder = Embedder(model, engine="reference")
    assert embedder.output == output
    found = list(embedder.embed_many(paths, batch_size=2))
    for path, vector in zip(paths, found, strict=True):
        if path.name == "3.png":
            assert isinstance(vector, Failure)
            assert vector.path == str(path)
            assert str(path) in vector.reason
            continue
        image = preprocess(read_image(path), embedder.model.info.preprocessing)
        features = embedder.model.engine.run(image[None], (output,))[output][0]
        assert vector.dtype == np.float32
        assert vector == pytest.approx(features / np.linalg.norm(features), abs=1e-6)


def test_paths_bytes_arrays_and_generators_will_do(toy_model: Path, paths: list[Path]) -> None:
    embedder = Embedder(toy_model, engine="reference")
    sources = (kind for kind in (str(paths[0]), paths[0].read_bytes(), read_image(paths[0])))
    first, *others = embedder.embed_many(sources)
    assert all(np.array_equal(first, other) for other in [*others, embedder.embed(paths[0])])
    assert list(embedder.embed_many([])) == []
    with pytest.raises(UsageError, match="expected several photos"):
        embedder.embed_many(str(paths[0]))
    with pytest.raises(ImageError, match=r"3\.png"):
        embedder.embed(paths[3])


def test_a_model_of_pixels_is_refused(segnet_model: Path) -> None:
    with pytest.raises(UsageError, match="answers for each pixel"):
        Embedder(segnet_model, engine="reference")


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_network_that_overflows_is_told(toy_model: Path, paths: list[Path], tmp_path: Path) -> None:
    info, weights = read_model(toy_model)
    huge = {name: array * np.float32(1e15) for name, array in weights.items()}
    write_model(tmp_path / "huge.safetensors", info, huge)
    with pytest.raises(VerydeepError, match="NaN or infinity"):
        list(Embedder(tmp_path / "huge.safetensors", engine="reference").embed_many(paths[:1]))


def test_the_most_alike_come_first_and_copies_in_their_order() -> None:
    vectors = np.array([[0, 1], [1, 0], [0.8, 0.6], [1, 0], [-1, 0]], np.float32)
    order, cosines = most_alike(vectors, np.array([1, 0], np.float32))
    assert order.tolist() == [1, 3, 2, 0, 4]
    assert cosines == pytest.approx([0, 1, 0.8, 1, -1])


def test_copies_have_a_likeness_of_1_however_many_dimensions_are_summed() -> None:
    random = np.random.default_rng(0)
    for dimensions in (2, 256, 4096):
        vector = random.normal(size=dimensions)
        vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        order, cosines = most_alike(np.stack([vector] * 37), vector)
        assert set(cosines.tolist()) == {1}
        assert order.tolist() == list(range(37))


def test_the_engines_agree_on_how_alike_photos_are(toy_model: Path, paths: list[Path]) -> None:
    pytest.importorskip("verydeep.runtime._native", reason="the native engine was not built")
    good = [path for path in paths if path.name != "3.png"]
    one, other = (
        np.stack(list(Embedder(toy_model, engine=engine).embed_many(good))) for engine in ("reference", "native")
    )
    np.testing.assert_allclose(one, other, atol=1e-5)
