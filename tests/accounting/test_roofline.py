"""Predicted times against hand counts."""

import pytest

from verydeep.accounting.layers import account_layers
from verydeep.accounting.roofline import predict_times
from verydeep.architecture import Architecture
from verydeep.errors import UsageError

ACCOUNTS = account_layers(Architecture("D"))


def test_a_convolution_takes_as_long_as_its_arithmetic() -> None:
    times = {time.name: time for time in predict_times(ACCOUNTS, peak_gflops=100, bandwidth_gbs=10)}
    conv = times["conv1_2"]
    assert conv.flops == 2 * 1_849_688_064
    assert conv.time_ms == conv.compute_ms == pytest.approx(2 * 1_849_688_064 / 100e9 * 1e3)
    assert conv.is_compute_bound


def test_fc6_takes_as_long_as_its_weights_need_to_arrive() -> None:
    times = {time.name: time for time in predict_times(ACCOUNTS, peak_gflops=100, bandwidth_gbs=10)}
    fc6 = times["fc6"]
    assert fc6.traffic_bytes == 4 * (102_764_544 + 7 * 7 * 512 + 4096)
    assert fc6.time_ms == pytest.approx(fc6.traffic_bytes / 10e9 * 1e3)
    assert not fc6.is_compute_bound


def test_a_batch_moves_the_weights_once() -> None:
    one, many = (predict_times(ACCOUNTS, 100, 10, batch_size) for batch_size in (1, 64))
    fc6, fc6_of_many = one[-3], many[-3]
    assert fc6_of_many.flops == 64 * fc6.flops
    assert fc6_of_many.traffic_bytes == 4 * 102_764_544 + 64 * 4 * (7 * 7 * 512 + 4096)


def test_half_the_bytes_take_half_the_time_to_move() -> None:
    single, half = (predict_times(ACCOUNTS, 100, 10, precision=precision) for precision in ("float32", "bfloat16"))
    assert [time.traffic_ms for time in half] == pytest.approx([time.traffic_ms / 2 for time in single])


def test_maps_may_be_wider_than_weights() -> None:
    conv = predict_times(ACCOUNTS, 100, 10, precision="int8", map_precision="float32")[1]  # conv1_2
    assert conv.traffic_bytes == 4 * 2 * 64 * 224 * 224 + 64 * 64 * 9 + 4 * 64


def test_a_pool_computes_nothing_and_moves_its_maps() -> None:
    pool1 = next(time for time in predict_times(ACCOUNTS, 100, 10) if time.name == "pool1")
    assert pool1.flops == 0
    assert pool1.traffic_bytes == 4 * 64 * (224 * 224 + 112 * 112)


@pytest.mark.parametrize(("peak", "bandwidth"), [(0, 1), (1, 0), (-1, 1), (float("nan"), 1), (1, float("inf"))])
def test_a_machine_that_cannot_be_is_refused(peak: float, bandwidth: float) -> None:
    with pytest.raises(UsageError, match="expected a number from"):
        predict_times(ACCOUNTS, peak, bandwidth)
