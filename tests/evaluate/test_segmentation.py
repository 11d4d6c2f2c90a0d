"""The figures of masks: by hand, against scipy's distances, and where there is nothing to measure."""

import json
import math

import numpy as np
import pytest

from verydeep.data.targets import IGNORED
from verydeep.errors import DatasetError
from verydeep.evaluate.segmentation import (
    SegmentationScores,
    bootstrap_mean_iou,
    boundary_f1,
    global_accuracy,
    intersection_over_union,
    pixel_confusion,
)

# Sky above, a road below with one pixel of a car on it; the last pixel is ignored.
TRUE = np.array([[0, 0, 0, 0], [1, 2, 1, 1], [1, 1, 1, IGNORED]], np.uint8)
FOUND = np.array([[0, 0, 1, 0], [1, 2, 2, 1], [1, 1, 1, 0]], np.uint8)
CONFUSION = [[3, 1, 0, 0], [0, 5, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]  # the fourth class is nowhere


def scores(*pairs: tuple[np.ndarray, np.ndarray], classes: str = "abcd") -> SegmentationScores:
    return SegmentationScores.of([found for found, _ in pairs], [true for _, true in pairs], classes)


def test_figures_worked_out_by_hand() -> None:
    found = scores((FOUND, TRUE))
    assert found.confusion.tolist() == CONFUSION
    assert found.global_accuracy == pytest.approx(9 / 11)
    assert found.class_accuracies[:3] == pytest.approx([3 / 4, 5 / 6, 1])
    assert found.class_average == pytest.approx((3 / 4 + 5 / 6 + 1) / 3)
    assert found.ious[:3] == pytest.approx([3 / 4, 5 / 7, 1 / 2])
    assert found.mean_iou == pytest.approx((3 / 4 + 5 / 7 + 1 / 2) / 3)
    assert math.isnan(found.ious[3])
    assert math.isnan(found.class_accuracies[3])


def test_a_class_that_is_predicted_but_never_there_counts_as_zero() -> None:
    true = np.zeros((4, 4), np.uint8)
    found = true.copy()
    found[0, 0] = 2
    result = scores((found, true))
    assert result.ious[:3] == pytest.approx([15 / 16, np.nan, 0], nan_ok=True)
    assert result.mean_iou == pytest.approx(15 / 32)
    assert result.class_average == pytest.approx(15 / 16)  # the mean over classes that are there


def test_pixels_are_added_up_over_photos_and_not_means_of_photos() -> None:
    small = (np.zeros((1, 2), np.uint8), np.array([[0, 1]], np.uint8))
    large = (np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8))
    assert scores(small, large).global_accuracy == pytest.approx(101 / 102)
    assert scores(small, large).mean_iou == pytest.approx((101 / 102 + 0) / 2)


def test_where_all_is_ignored_there_are_no_figures() -> None:
    nothing = (np.zeros((3, 3), np.uint8), np.full((3, 3), IGNORED, np.uint8))
    for found in (scores(nothing), scores()):
        for value in (found.global_accuracy, found.class_average, found.mean_iou, found.boundary_f1):
            assert math.isnan(value)
        assert all(map(math.isnan, found.mean_iou_interval))
        fields = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert fields["mean_iou"] == {"value": None, "interval_95": [None, None]}
        assert fields["classes"][0] == {"label": "a", "accuracy": None, "iou": None, "boundary_f1": None}
    both = scores(nothing, (FOUND, TRUE))
    assert both.mean_iou == scores((FOUND, TRUE)).mean_iou
    assert both.boundary_f1 == scores((FOUND, TRUE)).boundary_f1


def test_one_class_alone_is_right_everywhere() -> None:
    found = scores((np.zeros((5, 6), np.uint8), np.zeros((5, 6), np.uint8)), classes="a")
    assert (found.global_accuracy, found.mean_iou, found.boundary_f1) == (1, 1, 1)
    assert found.mean_iou_interval == (1, 1)


def test_figures_of_a_confusion_are_those_of_the_masks() -> None:
    true, found = np.random.default_rng(0).integers(0, 6, (2, 40, 50), np.uint8)
    confusion = pixel_confusion(found, true, 6)
    for row, column in np.ndindex(6, 6):
        assert confusion[row, column] == ((true == row) & (found == column)).sum()
    pairs = [(true == number, found == number) for number in range(6)]
    ious = [(one & other).sum() / (one | other).sum() for one, other in pairs]
    np.testing.assert_allclose(intersection_over_union(confusion), ious)
    assert global_accuracy(confusion) == (true == found).mean()


@pytest.mark.parametrize(
    ("found", "true", "message"),
    [
        (
            np.zeros((3, 4), np.uint8),
            np.zeros((4, 3), np.uint8),
            r"of \(3, 4\) pixels goes with a true one of \(4, 3\)",
        ),
        (np.zeros((2, 2), np.uint8), np.full((2, 2), 7, np.uint8), "true mask holds the number 7; expected 0 to 2"),
        (np.full((2, 2), 9, np.uint8), np.zeros((2, 2), np.uint8), "predicted mask holds the number 9"),
        (np.zeros((2, 2), np.uint8), np.full((2, 2), -1, np.int64), "holds the number -1"),
    ],
)
def test_masks_that_do_not_fit_are_refused(found: np.ndarray, true: np.ndarray, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        pixel_confusion(found, true, 3)


def square(left: int, top: int, side: int, shape: tuple[int, int] = (300, 400)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[top : top + side, left : left + side] = 1
    return mask


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (3, 1.0), (4, None), (60, 0.0)])
def test_a_contour_within_the_tolerance_is_right(shift: int, expected: float | None) -> None:
    """The diagonal is 500 pixels, the tolerance 3.75."""
    found = boundary_f1(square(100 + shift, 100, 50), square(100, 100, 50), 2)
    if expected is None:  # the left and right edges are too far now, the upper and lower ones not
        assert 0.4 < found[1] < 0.6
    else:
        assert found[1] == expected


def test_precision_and_recall_make_the_f1() -> None:
    """Of two squares one was found: all of the found contour is right, half of the true one was found."""
    true = np.maximum(square(50, 50, 40), square(200, 50, 40))
    assert boundary_f1(square(50, 50, 40), true, 2)[1] == pytest.approx(2 * 1 * 0.5 / 1.5)


def test_a_class_without_a_contour_in_both_masks_is_right_and_in_one_alone_wrong() -> None:
    whole = np.zeros((30, 40), np.uint8)
    assert boundary_f1(whole, whole, 2)[0] == 1
    assert boundary_f1(square(10, 10, 5, (30, 40)), whole, 2)[0] == 0
    assert math.isnan(boundary_f1(square(10, 10, 5, (30, 40)), whole, 2)[1])  # it is not there: paper of SegNet


def test_ignored_pixels_have_no_contour() -> None:
    true = square(100, 100, 50)
    found = true.copy()
    true[120:140, 90:110] = IGNORED  # over the left edge
    found[120:140, 80:100] = 1  # a bulge, within what is ignored but for 10 columns
    true[120:140, 80:90] = IGNORED
    assert boundary_f1(found, true, 2)[1] == 1


def test_a_class_of_one_pixel_has_a_contour() -> None:
    true = np.zeros((300, 400), np.uint8)
    true[150, 200] = 1
    near, far = np.roll(true, 3, axis=1), np.roll(true, 4, axis=0)
    assert boundary_f1(near, true, 2)[1] == 1
    assert boundary_f1(far, true, 2)[1] == 0


def test_distances_of_contours_are_scipys() -> None:
    ndimage = pytest.importorskip("scipy.ndimage", reason="needs scipy, the oracle")
    random = np.random.default_rng(3)
    true, found = ((ndimage.gaussian_filter(random.normal(size=(120, 160)), 4) > 0).astype(np.uint8) for _ in range(2))
    contours = []
    for mask in (found, true):
        inner = ndimage.binary_erosion(mask == 1, border_value=1)
        contours.append((mask == 1) & ~inner)
    for tolerance in (0.0075, 0.02, 0.1):
        near = [ndimage.distance_transform_edt(~contour) <= tolerance * 200 for contour in contours]
        precision, completeness = near[1][contours[0]].mean(), near[0][contours[1]].mean()
        expected = 2 * precision * completeness / (precision + completeness)
        assert boundary_f1(found, true, 2, tolerance=tolerance)[1] == pytest.approx(expected)


def test_a_low_wide_photo_has_no_neighbours_above() -> None:
    true = np.zeros((1, 1000), np.uint8)
    true[0, 500:] = 1
    assert boundary_f1(np.roll(true, 7), true, 2)[1] > 0.5  # the tolerance is 7.5
    found = np.zeros((1, 1000), np.uint8)
    found[0, 520:] = 1
    assert boundary_f1(found, true, 2)[1] == 0


def test_an_interval_holds_the_value_and_shrinks_with_more_photos() -> None:
    random = np.random.default_rng(0)
    photos = []
    for _ in range(60):
        true = random.integers(0, 3, (20, 20), np.uint8)
        wrong = random.random((20, 20)) < random.uniform(0.05, 0.6)
        photos.append((np.where(wrong, (true + 1) % 3, true).astype(np.uint8), true))
    many, few = scores(*photos, classes="abc"), scores(*photos[:10], classes="abc")
    for found in (many, few):
        low, high = found.mean_iou_interval
        assert low < found.mean_iou < high
    assert many.mean_iou_interval[1] - many.mean_iou_interval[0] < 0.7 * (
        few.mean_iou_interval[1] - few.mean_iou_interval[0]
    )
    assert bootstrap_mean_iou(many.confusions) == many.mean_iou_interval  # the same numbers every time
    assert bootstrap_mean_iou(many.confusions, seed=1) != many.mean_iou_interval


def test_what_is_written_down_is_what_was_measured() -> None:
    fields = scores((FOUND, TRUE)).to_dict()
    assert (fields["photos"], fields["pixels"]) == (1, 11)
    assert fields["global_accuracy"] == pytest.approx(9 / 11)
    assert fields["confusion"] == CONFUSION
    assert [row["label"] for row in fields["classes"]] == list("abcd")
