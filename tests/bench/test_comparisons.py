"""Who the best rival is, and whether that is known."""

from verydeep.bench.comparisons import compare
from verydeep.bench.contestants import named
from verydeep.bench.turns import Chunk, Record

PLANNED = tuple(map(named, ("native", "torch-engine", "torch", "ncnn", "mnn", "ncnn-int8")))


def record(*seconds: float, is_clean: bool = True) -> Record:
    """A chunk of one run in each round."""
    return Record([Chunk(number, [{"total": value}], is_clean) for number, value in enumerate(seconds)])


def test_the_best_rival_is_the_fastest_of_its_class() -> None:
    records = {"native": record(2, 2), "torch-engine": record(1, 1), "torch": record(9, 9), "ncnn": record(3, 3)}
    records |= {"mnn": record(5, 5), "ncnn-int8": record(1, 1)}
    of_floats, of_bytes = compare(PLANNED, records)
    assert (of_floats.number_class, of_floats.best_rival, of_floats.without) == ("float32", "ncnn", ())
    assert (of_floats.times.value, of_floats.times.n, of_floats.times.is_clean) == (1.5, 2, True)
    assert (of_bytes.number_class, of_bytes.best_rival, of_bytes.times.value) == ("8 bits", "ncnn-int8", 0.5)


def test_rivals_that_were_lost_or_disturbed_are_named_beside_the_best() -> None:
    records = {"native": record(2, 2), "torch": record(9, 9), "mnn": record(3, 3, is_clean=False)}
    (made,) = compare(PLANNED, records)
    assert made.best_rival == "torch (best without ncnn and mnn)"
    assert made.times.is_clean
    assert made.to_dict()["without"] == ["ncnn", "mnn"]


def test_where_all_rivals_were_disturbed_the_comparison_says_so() -> None:
    (made,) = compare(PLANNED[:4], {"native": record(2, 2), "ncnn": record(3, 3, is_clean=False)})
    assert made.best_rival == "ncnn (best without torch)"
    assert not made.times.is_clean


def test_only_rounds_that_both_have_are_compared() -> None:
    theirs = Record([Chunk(1, [{"total": 8.0}], is_clean=True), Chunk(2, [{"total": 1.0}], is_clean=False)])
    (made,) = compare(PLANNED[:3], {"native": record(1, 2, 4), "torch": theirs})
    assert (made.times.value, made.times.n) == (4, 1)
    assert not list(compare(PLANNED[:3], {"native": record(1), "torch": theirs}))
