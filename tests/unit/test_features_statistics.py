"""How statistics are written: canonical names, parameters, and what is refused with what would be right."""

import numpy as np
import pytest

from edge.features.offline import compute
from edge.features.plan import FeaturePlan, Group, Span, StreamShape
from edge.features.statistics import STATISTICS, parse_stat

IMU = StreamShape("imu", {"ax": "m/s^2", "ay": "m/s^2", "temp": "degC"}, 100.0)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("mean", ["mean"]),
        (" quantile( 0.90 ) ", ["quantile(0.9)"]),
        ("quantile(1e-1)", ["quantile(0.1)"]),
        ("lag( 3)", ["lag(3)"]),
        ("lag(0)", ["lag(0)"]),
        ("lag(2-0)", ["lag(2)", "lag(1)", "lag(0)"]),
        ("lag( 1 - 3 )", ["lag(1)", "lag(2)", "lag(3)"]),
        ("corr( ay )", ["corr(ay)"]),
        ("magnitude(ay, az)", ["magnitude(ay,az)"]),
        ("band_energy( 20.0 - 40 )", ["band_energy(20-40)"]),
        ("time_since( > 5.00)", ["time_since(>5)"]),
        ("time_since(<=-0.5)", ["time_since(<=-0.5)"]),
        ("histogram(-1, 1.0, 2)", ["histogram(-1,1,2)[0]", "histogram(-1,1,2)[1]"]),
        ("histogram(3)", ["histogram(3)[0]", "histogram(3)[1]", "histogram(3)[2]"]),
        ("entropy(8)", ["entropy(8)"]),
        ("time_since(==16777215)", ["time_since(==16777215)"]),
        ("quantile(0.9999999)", ["quantile(0.9999999)"]),
    ],
)
def test_equal_statistics_have_equal_names(text, names):
    assert [part.text for part in parse_stat(text)] == names


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("meen", "unknown statistic 'meen'; there are mean"),
        ("", "unknown statistic"),
        ("mean(3)", "takes no parameters"),
        ("quantile", r"needs parameters; write quantile\(0.9\)"),
        ("quantile(1.5)", "not within 0 and 1"),
        ("quantile(x)", "'x' is not a number"),
        ("quantile(nan)", "not finite"),
        ("autocorr(0)", "whole number from 1"),
        ("autocorr(1-3)", "whole number from 1"),
        ("lag(70000-0)", "a range has at most 65536 samples"),
        ("lag(0-9999999)", "a range has at most"),
        ("lag(-1)", "whole number from 1"),
        ("lag(1.5)", "whole number from 1"),
        ("corr()", "needs one other channel"),
        ("corr(ax,ay)", "needs one other channel"),
        ("magnitude(ay,ay)", "each once"),
        ("band_energy(40-20)", "must begin below its end"),
        ("band_energy(20)", "not a band"),
        ("time_since(5)", "not a condition"),
        ("time_since(>)", "not a condition"),
        ("histogram(1,2)", "takes bins, or lowest, highest and bins"),
        ("histogram(2,1,4)", "lowest edge must be below"),
        ("histogram(0,1,9999)", "from 1 to 1024"),
        ("histogram(0,inf,4)", "not finite"),
    ],
)
def test_what_cannot_be_is_said(text, says):
    with pytest.raises(ValueError, match=says):
        parse_stat(text)


@pytest.mark.parametrize(
    ("stat", "says"),
    [
        ("corr(ax)", "another channel than itself"),
        ("corr(az)", "no channel 'az'"),
        ("lag(64)", "at most 63"),
        ("lag(64-0)", "at most 63"),
        ("autocorr(64)", "at most 63"),
    ],
)
def test_what_a_window_or_stream_makes_impossible_is_said(stat, says):
    group = Group("imu", ("ax",), Span(64, by_time=False), Span(1, by_time=False), (stat,))
    with pytest.raises(ValueError, match=says):
        FeaturePlan([IMU], [group])


def test_every_statistic_has_a_unit_a_formula_and_a_cost():
    stats = [stat.form.split(" or ")[0] or name for name, stat in STATISTICS.items()]
    stats = [stat.replace("magnitude(ay,az)", "magnitude(ay)").replace("autocorr(5)", "autocorr(2)") for stat in stats]
    plan = FeaturePlan([IMU], [Group("imu", ("ax",), Span(64, by_time=False), Span(1, by_time=False), tuple(stats))])
    units = dict(zip((name.split(".")[2] for name in plan.names), plan.units, strict=True))
    assert units["mean"] == "m/s^2"
    assert units["slope"] == "m/s^2/s"
    assert units["dominant_frequency"] == "Hz"
    assert all(stat.formula and stat.cost for stat in STATISTICS.values())


def test_a_covariance_has_both_units():
    plan = FeaturePlan([IMU], [Group("imu", ("ax",), Span(8, by_time=False), Span(1, by_time=False), ("cov(temp)",))])
    assert plan.units == ("(m/s^2)*(degC)",)


def test_a_range_of_lags_is_the_raw_window():
    plan = FeaturePlan([IMU], [Group("imu", ("ay", "ax"), Span(16, by_time=False), Span(4, by_time=False), ("lag(15-0)", "last"))])
    rows = np.arange(120, dtype=np.float32).reshape(40, 3)
    stamps, vectors = compute(plan, {"imu": (np.arange(40, dtype=np.int64) * 10_000_000, rows)})
    assert len(vectors) == len(stamps) > 3
    for stamp, vector in zip(stamps, vectors, strict=True):
        last = int(stamp // 10_000_000) + 1
        for at, channel in ((0, 1), (17, 0)):
            assert vector[at : at + 16].tolist() == rows[last - 16 : last, channel].tolist()
            assert vector[at + 16] == rows[last - 1, channel]
