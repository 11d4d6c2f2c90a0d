"""What the fits cost a set of photos, and which is suggested for which proportions."""

import pytest

from verydeep.data.fits import fit_costs


@pytest.mark.parametrize(
    ("sizes", "suggested"),
    [
        ([(400, 300)] * 9 + [(300, 400)] * 5, "crop"),  # a camera's, lying and upright
        ([(500, 500)], "crop"),
        ([(600, 400)] * 19 + [(2000, 400)], "crop"),  # a panorama among twenty
        ([(1920, 1080)] * 7, "squash"),
        ([(1920, 1080)] * 19 + [(400, 400)], "squash"),
        ([(1080, 1920)] * 3, "squash"),
        ([(1920, 1080)] * 5 + [(1080, 1920)] * 5, "letterbox"),
        ([(900, 300)] * 4, "letterbox"),  # alike, but no longer to be known
        ([(400, 300)] * 8 + [(1200, 400)] * 2, "letterbox"),
    ],
)
def test_a_fit_is_suggested_from_the_proportions(sizes, suggested):
    costs = fit_costs(sizes)
    assert costs is not None
    assert costs.suggested == suggested


@pytest.mark.parametrize(
    ("shown", "lost", "suggested"),
    [([1.0, 0.5, 0.9], 0.0, "crop"), ([1.0] * 9 + [0.4], 0.1, "crop"), ([1.0] * 8 + [0.4, 0.0], 0.2, "squash")],
)
def test_a_crop_that_loses_objects_is_not_suggested(shown, lost, suggested):
    costs = fit_costs([(400, 300)] * 5, shown)
    assert costs is not None
    assert (costs.lost_objects, costs.suggested) == (pytest.approx(lost), suggested)
    mixed = fit_costs([(400, 300), (300, 400)] * 5, shown)
    assert mixed is not None
    assert mixed.suggested == suggested.replace("squash", "letterbox")
    assert ("a crop loses 20% of the objects" in mixed.reason) is (lost > 0.1)


def test_the_costs_are_those_of_the_photo_in_the_middle():
    costs = fit_costs([(400, 400), (600, 400), (1200, 400)])
    assert costs is not None
    assert costs.cut == pytest.approx(1 - (7 / 8) ** 2 / 1.5, abs=0.005)
    assert costs.filled == pytest.approx(1 / 3, abs=0.005)
    assert costs.stretched == pytest.approx(1.5)
    assert costs.lost_objects is None
    assert "33% of the photos are over 2 times as long as wide" in costs.reason


def test_square_photos_are_told_to_be_so():
    costs = fit_costs([(64, 64)] * 3 + [(400, 300)])
    assert costs is not None
    assert (costs.suggested, costs.reason) == ("crop", "most photos are nearly square")


def test_there_is_no_suggestion_without_a_photo():
    assert fit_costs([]) is None
