"""The errors that the paper published, and that each row is one of its two tables."""

import pytest

from verydeep.accounting.published import PUBLISHED
from verydeep.architecture import CONFIGURATIONS


def test_every_configuration_of_the_paper_has_its_errors():
    assert list(PUBLISHED) == [name for name in CONFIGURATIONS if name not in ("SegNet-Basic", "toy")]


def test_the_errors_are_the_papers():
    """Tables 3 and 4, row by row."""
    one = {"256": (256,), "384": (384,), "256-512": (384,)}
    several = {"256": (224, 256, 288), "384": (352, 384, 416), "256-512": (256, 384, 512)}
    expected = [
        ("A", "256", one, 29.6, 10.4), ("A-LRN", "256", one, 29.7, 10.5),
        ("B", "256", one, 28.7, 9.9), ("B", "256", several, 28.2, 9.6),
        ("C", "256", one, 28.1, 9.4), ("C", "384", one, 28.1, 9.3), ("C", "256-512", one, 27.3, 8.8),
        ("C", "256", several, 27.7, 9.2), ("C", "384", several, 27.8, 9.2), ("C", "256-512", several, 26.3, 8.2),
        ("D", "256", one, 27.0, 8.8), ("D", "384", one, 26.8, 8.7), ("D", "256-512", one, 25.6, 8.1),
        ("D", "256", several, 26.6, 8.6), ("D", "384", several, 26.5, 8.6), ("D", "256-512", several, 24.8, 7.5),
        ("E", "256", one, 27.3, 9.0), ("E", "384", one, 26.9, 8.7), ("E", "256-512", one, 25.5, 8.0),
        ("E", "256", several, 26.9, 8.7), ("E", "384", several, 26.7, 8.6), ("E", "256-512", several, 24.8, 7.5),
    ]  # fmt: skip
    found = [
        (name, row.train_scale, row.test_scales, row.top1, row.top5) for name, rows in PUBLISHED.items() for row in rows
    ]
    assert found == [(name, scale, scales[scale], top1, top5) for name, scale, scales, top1, top5 in expected]


@pytest.mark.parametrize("name", ["C", "D", "E"])
def test_several_scales_err_less_than_one(name):
    by_table = {table: [row for row in PUBLISHED[name] if row.table == table] for table in (3, 4)}
    assert [row.train_scale for row in by_table[3]] == [row.train_scale for row in by_table[4]]
    for one, several in zip(by_table[3], by_table[4], strict=True):
        assert several.top1 < one.top1
        assert several.top5 < one.top5


def test_the_best_of_both_tables_is_the_papers():
    best = min((row.top1, row.top5) for rows in PUBLISHED.values() for row in rows)
    assert best == (24.8, 7.5)
