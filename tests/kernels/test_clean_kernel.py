"""The parts of cleaning that are kernels of their own, against numpy and exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.clean.steps import Grid
from edge.kernels import clean_layout as k
from edge.kernels.hampel import spike_median
from edge.kernels.resample import grid_stamp, last_point
from edge.kernels.settle import score

NICE = st.sampled_from([0.0, -0.0, 0.5, 1.0, 1.5, -3.0, 1e9, 1e9 + 64, 3e38])


def medians(values, width, sigmas, floor):
    floats, ints = np.zeros((1, 2 * width)), np.zeros((1, 2), np.int64)
    return [spike_median(floats, ints, 0, 0, width, 0, 1, width, value, sigmas, floor) for value in values]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(NICE | st.floats(-10, 10, width=32), max_size=60),
    st.integers(3, 12),
    st.sampled_from([0.5, 3.0, 6.0]),
    st.sampled_from([0.0, 0.3]),
)
def test_a_spike_is_far_from_the_median_of_the_window(values, width, sigmas, floor):
    for i, got in enumerate(medians(values, width, sigmas, floor)):
        window = np.array(values[max(0, i - width + 1) : i + 1])
        expected = np.nan
        if len(window) == width:
            median = np.median(window)
            sigma = max(1.4826 * np.median(np.abs(window - median)), floor)
            if sigma > 0 and abs(values[i] - median) > sigmas * sigma:
                expected = median
        assert got == expected or (np.isnan(got) and np.isnan(expected))


def test_a_constant_with_one_spike_needs_a_floor():
    values = [5.0] * 11 + [50.0] + [5.0] * 4
    assert np.isnan(medians(values, 11, 6.0, 0.0)).all()
    assert [i for i, median in enumerate(medians(values, 11, 6.0, 0.01)) if median == 5.0] == [11]


def test_a_real_step_is_believed_when_it_fills_half_of_the_window():
    found = medians([0.0, 0.1] * 10 + [9.0, 9.1] * 10, 11, 6.0, 0.0)
    assert [i for i, median in enumerate(found) if not np.isnan(median)] == [20, 21, 22, 23, 24]


@pytest.mark.parametrize("rate", [0.001, 0.1, 1.0, 3.0, 25.6, 33.333, 50.0, 59.94, 44_100.0, 1e6, 333_333.5])
@pytest.mark.parametrize("origin", [0, 1_700_000_000_123_456_789, 4_000_000_000_000_000_000, -5_000_000_001])
def test_the_grid_is_exact_for_every_stamp(rate, origin):
    grid = Grid.at(rate, 0)
    period = Fraction(10**9) / Fraction(rate).limit_denominator(1000)
    for stamp in (origin, origin + 1, origin + 999_999_999, int(origin // period * period) + 1):
        point = last_point(stamp, grid.cycle_ns, grid.points)
        exact = stamp // period
        while (exact + 1) * period // 1 <= stamp:
            exact += 1
        assert point == exact
        assert grid_stamp(point, grid.cycle_ns, grid.points) == exact * period // 1 <= stamp
        assert grid_stamp(point + 1, grid.cycle_ns, grid.points) > stamp


@pytest.mark.parametrize("rate", [0.0, 3.14159, np.sqrt(2), 999_999.999, float("nan")])
def test_a_rate_without_a_grid_is_refused(rate):
    with pytest.raises(ValueError, match=r"rate|NaN"):
        Grid.at(rate, 0)


@pytest.mark.parametrize(("step_ms", "lost"), [(10, 0), (14, 0), (16, 1), (30, 2), (10_000, 999), (10**9, 1000)])
def test_missing_periods_count_as_rows_without_a_good_value(step_ms, lost):
    floats, ints = np.ones((1, 1)), np.zeros((1, k.I_HEADER), np.int64)
    ints[0, k.I_SETTLED] = 5
    score(floats, ints, 0, 5 + step_ms * 1_000_000, 1.0, 100.0)
    quality = 1.0
    for _ in range(lost):
        quality += (0 - quality) / 100
    assert floats[0, 0] == pytest.approx(quality + (1 - quality) / 100, rel=1e-12)


def test_a_wrong_dtype_is_refused():
    with pytest.raises(TypeError):
        score(np.ones((1, 1), np.float32), np.zeros((1, 8), np.int64), 0, 5, 1.0, 1.0)
