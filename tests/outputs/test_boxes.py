"""Boxes against their definitions, spelt out box by box."""

import math

import numpy as np
import pytest

from verydeep.architecture import Architecture
from verydeep.image.preprocess import crop_box, fit
from verydeep.nouns import FITS, Fit, Preprocessing
from verydeep.outputs.boxes import (
    MERGE_BELOW,
    area,
    centered,
    class_boxes,
    clip,
    edges,
    iou,
    match_scores,
    merge,
    slide,
    split,
    to_region,
    windows,
)

ACROSS = np.array([1.0, 0, 1, 0])


def random_boxes(count: int, seed: int = 0, side: float = 100) -> np.ndarray:
    random = np.random.default_rng(seed)
    corner, size = random.uniform(0, side, (count, 2)), random.uniform(1, side / 2, (count, 2))
    return np.concatenate([corner, corner + size], axis=1)


@pytest.mark.parametrize(("boxes", "count"), [("none", 0), ("single", 1), ("class", 3)])
def test_class_scores_come_first_then_four_numbers_of_each_box(boxes: str, count: int) -> None:
    architecture = Architecture("toy", "gap", classes=3, input_size=32, boxes=boxes)  # type: ignore[arg-type]
    answer = np.arange(2 * architecture.scores).reshape(2, -1).astype(np.float32)
    logits, found = split(answer, architecture)
    assert logits.tolist() == answer[:, :3].tolist()
    assert found.shape == (2, count, 4)
    assert found.reshape(2, -1).tolist() == answer[:, 3:].tolist()


def test_a_dense_answer_has_boxes_at_every_position() -> None:
    architecture = Architecture("toy", classes=2, input_size=32, boxes="class").dense()
    answer = np.random.default_rng(0).normal(size=(2, 10, 3, 5))
    logits, found = split(answer, architecture)
    assert logits.shape == (2, 2, 3, 5)
    for n, i, j, c in np.ndindex(2, 3, 5, 2):
        assert found[n, i, j, c].tolist() == answer[n, 2 + 4 * c : 6 + 4 * c, i, j].tolist()


def test_the_whole_picture_is_a_half_a_half_one_one() -> None:
    assert edges(np.array([0.5, 0.5, 1, 1])).tolist() == [0, 0, 1, 1]
    assert edges(np.array([0.25, 0.5, -1, 0.5])).tolist() == [0.25, 0.25, 0.25, 0.75]  # no width, none below zero
    boxes = random_boxes(20)
    assert edges(centered(boxes)) == pytest.approx(boxes)


def test_a_position_of_the_map_looks_at_its_own_square() -> None:
    architecture = Architecture("toy", classes=2, input_size=32, boxes="single").dense()
    answer = np.zeros((6, 3, 4), np.float32)
    answer[2:] = np.array([0.5, 0.5, 1, 1])[:, None, None]  # each sees all of its square
    answer[0] = np.arange(12).reshape(3, 4)
    found = windows(answer, architecture, 32, (40, 44))
    for number, (i, j) in enumerate(np.ndindex(3, 4)):
        left, top = 4 * j, 4 * i  # two pools
        assert found.places[number] == pytest.approx([left / 44, top / 40, (left + 32) / 44, (top + 32) / 40])
        assert found.boxes[number, 0] == pytest.approx(found.places[number])
        assert found.logits[number].tolist() == [number, 0]


def test_a_gap_head_answers_for_each_square_of_its_maps() -> None:
    random = np.random.default_rng(0)
    maps, weight, bias = random.normal(size=(2, 5, 6, 7)), random.normal(size=(3, 5)), random.normal(size=3)
    found = slide(maps, weight, bias, 4)
    assert found.shape == (2, 3, 3, 4)
    for i, j in np.ndindex(3, 4):
        mean = maps[:, :, i : i + 4, j : j + 4].mean(axis=(2, 3))
        assert found[:, :, i, j] == pytest.approx(mean @ weight.T + bias)


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (211, 187), (120, 1000), (40, 900), (900, 40)])
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (64, 64), (120, 96)])
@pytest.mark.parametrize("how", FITS)
def test_a_box_of_the_square_is_where_it_is_in_the_photo(
    shape: tuple[int, int], resize: int, crop: int, how: Fit
) -> None:
    photo = np.zeros((*shape, 3), np.uint8)
    preprocessing = Preprocessing(resize, crop, fit=how)
    region = np.array(crop_box(shape, preprocessing))
    true = to_region(np.array([0.2, 0.3, 0.6, 0.9]), clip(region, shape)).round()
    left, top, right, bottom = true.astype(int)
    photo[top:bottom, left:right] = 255
    bright = fit(photo, preprocessing)[..., 0] > 127
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / crop
    pixel = (region[2:] - region[:2]) / crop  # of the square, in the photo
    assert (np.abs(to_region(seen, region) - true) <= 1.1 * np.maximum(1, np.tile(pixel, 2))).all()


def test_what_is_beyond_the_photo_is_cut_off() -> None:
    boxes = np.array([[-5.0, 10, 200, 20], [-9, -9, -1, -1], [70, 0, 90, 30]])
    assert clip(boxes, (30, 80)).tolist() == [[0, 10, 80, 20], [0, 0, 0, 0], [70, 0, 80, 30]]
    assert area(clip(boxes, (30, 80))).tolist() == [800, 0, 300]


def test_iou_is_the_shared_area_over_the_united() -> None:
    pairs = [
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7),
        ([0, 0, 2, 1], [0, 0, 1, 1], 0.5),
        ([0, 0, 1, 1], [1, 0, 2, 1], 0),  # they touch
        ([0, 0, 1, 1], [0, 0, 1, 1], 1),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0),
        ([5, 5, 4, 4], [0, 0, 9, 9], 0),  # its right edge is left of the left one
    ]
    one, other, expected = (np.array(column, float) for column in zip(*pairs, strict=True))
    assert iou(one, other).tolist() == expected.tolist()
    boxes = random_boxes(30)
    table = iou(boxes[:, None], boxes[None])
    assert table == pytest.approx(table.T)
    assert np.diag(table) == pytest.approx(np.ones(30))
    grid = np.indices((160, 160)).reshape(2, -1).T + 0.5
    whole = boxes.round()
    inside = [(grid[:, 1] > b[0]) & (grid[:, 1] < b[2]) & (grid[:, 0] > b[1]) & (grid[:, 0] < b[3]) for b in whole]
    for i, j in ((0, 1), (3, 9), (4, 4), (7, 21)):
        counted = (inside[i] & inside[j]).sum() / max(1, (inside[i] | inside[j]).sum())
        assert iou(whole[i], whole[j]) == pytest.approx(counted)


def test_boxes_match_the_better_the_nearer_and_the_more_they_share() -> None:
    square = np.array([10.0, 10, 20, 20])
    assert match_scores(square, square) == pytest.approx(-1)
    assert match_scores(square, square + 10 * ACROSS) == pytest.approx(1)
    moved = [match_scores(square, square + step * ACROSS) for step in range(30)]
    assert (np.diff(moved) > 0).all()
    boxes = random_boxes(12)
    scores = match_scores(boxes[:, None], boxes[None])
    assert match_scores(7 * boxes[:, None], 7 * boxes[None]) == pytest.approx(scores)  # there is no unit in it
    assert np.isfinite(match_scores(np.zeros(4), np.zeros(4)))


def merged_one_by_one(boxes: np.ndarray, ratings: np.ndarray, limit: float) -> list[tuple[list[float], float]]:
    """The same, as the paper writes it: the best pair of a list, until it is not good enough."""
    groups = [([box], rating) for box, rating in zip(boxes, ratings, strict=True)]

    def score(one: int, other: int) -> float:
        a, b = (np.mean(groups[index][0], axis=0) for index in (one, other))
        unit = ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])) / 2
        across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        distance = math.hypot((a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2)
        return float(distance / math.sqrt(unit) - max(0, across) * max(0, down) / unit)

    while len(groups) > 1:
        pairs = [(score(i, j), i, j) for i in range(len(groups)) for j in range(i + 1, len(groups))]
        least, one, other = min(pairs)
        if least > limit:
            break
        groups[one] = (groups[one][0] + groups[other][0], groups[one][1] + groups[other][1])
        del groups[other]
    return [(np.mean(members, axis=0).tolist(), rating) for members, rating in groups]


@pytest.mark.parametrize("limit", [MERGE_BELOW, 0.0, 1.5])
@pytest.mark.parametrize("seed", range(3))
def test_merging_is_that_of_the_best_pair_again_and_again(seed: int, limit: float) -> None:
    boxes = random_boxes(18, seed, side=40)
    ratings = np.random.default_rng(seed).uniform(size=18)
    expected = merged_one_by_one(boxes, ratings, limit)
    merged, rated = merge(boxes, ratings, limit)
    assert len(merged) == len(expected) <= (18 if limit < 0 else 17)
    for (box, rating), found, sum_ in zip(expected, merged, rated, strict=True):
        assert found == pytest.approx(box)
        assert sum_ == pytest.approx(rating)
    assert rated.sum() == pytest.approx(ratings.sum())


def test_windows_about_one_thing_become_one_box_and_others_stay() -> None:
    random = np.random.default_rng(0)
    near = np.array([10, 10, 50, 40]) + random.uniform(-2, 2, (9, 4))
    far = np.array([80, 60, 95, 95]) + random.uniform(-1, 1, (4, 4))
    merged, rated = merge(np.concatenate([near, far]), np.full((13, 2), [1.0, 0.5]))
    assert merged == pytest.approx(np.stack([near.mean(axis=0), far.mean(axis=0)]))
    assert rated.tolist() == [[9, 4.5], [4, 2]]


def test_nothing_and_boxes_without_an_area_are_merged_without_complaint() -> None:
    assert merge(np.empty((0, 4)), np.empty(0))[0].shape == (0, 4)
    assert len(merge(random_boxes(1), np.ones(1))[0]) == 1
    assert np.isfinite(merge(np.zeros((3, 4)), np.ones(3))[0]).all()


def test_each_class_has_the_box_that_its_own_windows_rate_most() -> None:
    here, there = np.array([0.0, 0, 10, 10]), np.array([50.0, 50, 70, 70])
    windows_ = np.stack([here, here + 0.5, there])
    ratings = np.array([[0.4, 0.1], [0.4, 0.1], [0.5, 0.9]])
    shared = class_boxes(windows_[:, None], ratings, [1, 0])
    assert shared.tolist() == [there.tolist(), (here + 0.25).tolist()]
    own = np.stack([windows_, windows_ + 100], axis=1)
    assert class_boxes(own, ratings, [0, 1]).tolist() == [(here + 0.25).tolist(), (there + 100).tolist()]
