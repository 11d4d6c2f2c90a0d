import numpy as np
import pytest

from verydeep.architecture import Architecture
from verydeep.errors import UsageError
from verydeep.outputs import embedding_output, embeddings


@pytest.mark.parametrize(
    ("head", "expected"), [("fc", "relu7"), ("conv", "relu7"), ("gap", "gap"), ("embedding", "logits")]
)
def test_photos_are_compared_below_the_last_layer_or_by_the_embedding(head: str, expected: str) -> None:
    architecture = Architecture("A", head, classes=3)
    assert embedding_output(architecture) == expected
    assert expected in architecture.outputs


def test_a_network_that_gives_boxes_beside_classes_has_features_too() -> None:
    assert embedding_output(Architecture("A", "gap", classes=3, boxes="class")) == "gap"


def test_a_network_that_answers_for_pixels_is_refused() -> None:
    with pytest.raises(UsageError, match="answers for each pixel"):
        embedding_output(Architecture("A", "segnet", classes=3))


def test_embeddings_have_length_1_and_the_direction_of_the_features() -> None:
    features = np.array([[3, 4], [-0.3, 0.4], [6e30, 8e30], [3e-30, 4e-30]], np.float32)
    found = embeddings(features)
    assert found.dtype == np.float32
    assert found[:3] == pytest.approx(np.array([[0.6, 0.8], [-0.6, 0.8], [0.6, 0.8]]))
    assert np.abs(found[3]).max() < 1e-15  # too short to have a direction


def test_zeros_stay_zeros() -> None:
    assert embeddings(np.zeros((2, 5), np.float32)).tolist() == [[0] * 5] * 2


def test_a_map_is_averaged_before_its_length_is_taken() -> None:
    features = np.array([[[[0.0, 6.0]], [[8.0, 0.0]]]])  # (1, 2, 1, 2): the means are 3 and 4
    assert embeddings(features) == pytest.approx(np.array([[0.6, 0.8]]))
