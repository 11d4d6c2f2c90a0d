"""The errors that the paper published, and that each row is one of its two tables."""

import pytest

from verydeep.accounting.published import PUBLISHED
from verydeep.architecture import CONFIGURATIONS


def test_every_configuration_of_the_paper_has_its_errors():
    assert list(PUBLISHED) == [name for name in CONFIGURATIONS if name != "toy"]


def test_deeper_errs_less_where_all_are_trained_and_tested_at_256_pixels():
    """Table 3, down to D; E is no better there."""
    errors = {name: rows[0] for name, rows in PUBLISHED.items()}
    assert {(row.train_scale, row.test_scales, row.table) for row in errors.values()} == {("256", (256,), 3)}
    assert [(row.top1, row.top5) for row in errors.values()] == [
        (29.6, 10.4), (29.7, 10.5), (28.7, 9.9), (28.1, 9.4), (27.0, 8.8), (27.3, 9.0)
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["C", "D", "E"])
def test_several_scales_err_less_than_one(name):
    by_table = {table: [row for row in PUBLISHED[name] if row.table == table] for table in (3, 4)}
    assert [row.train_scale for row in by_table[3]] == [row.train_scale for row in by_table[4]]
    for one, several in zip(by_table[3], by_table[4], strict=True):
        assert several.top1 <= one.top1
        assert several.top5 <= one.top5


def test_the_best_single_network_is_the_papers():
    best = min((row.top1, row.top5) for rows in PUBLISHED.values() for row in rows)
    assert best == (24.8, 7.5)
