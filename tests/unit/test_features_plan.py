"""Names, units, hash and documentation of features."""

from pathlib import Path

import pytest

from edge.features import reference
from edge.features.offline import compute
from edge.features.plan import FeaturePlan, Group, Span, StreamShape, feature_hash
from edge.features.statistics import STATISTICS

ROOT = Path(__file__).parents[2]
IMU = StreamShape("imu", {"ax": "g", "ay": "g"}, 100.0)


def group(**changes):
    fields = {"stream": "imu", "channels": ("ax",), "window": Span.parse("1s"), "hop": Span.parse(10), "stats": ("mean",), **changes}
    return Group(**fields)


def test_names_and_units_are_stable():
    plan = FeaturePlan([IMU], [group(channels=("ax", "ay"), stats=("mean", "var", "slope", "count")), group(window=Span.parse(64))])
    assert plan.names == (
        "imu.ax.mean.1s", "imu.ax.var.1s", "imu.ax.slope.1s", "imu.ax.count.1s",
        "imu.ay.mean.1s", "imu.ay.var.1s", "imu.ay.slope.1s", "imu.ay.count.1s",
        "imu.ax.mean.64",
    )  # fmt: skip
    assert plan.units[:4] == ("g", "(g)^2", "g/s", "1")
    assert plan.hash == feature_hash(plan.names, plan.units)


@pytest.mark.parametrize(("text", "shown"), [("1000ms", "1s"), ("90s", "90s"), ("120s", "2min"), ("0.5s", "500ms"), (7, "7"), ("1h", "1h")])
def test_equal_spans_have_equal_names(text, shown):
    assert str(Span.parse(text)) == shown


@pytest.mark.parametrize("text", ["1 week", "", "-1s", "0s", 0, -4, "s", "1e3ms"])
def test_a_span_that_is_none_is_said(text):
    with pytest.raises(ValueError, match=r"samples|duration"):
        Span.parse(text)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"stream": "gps"}, "unknown stream 'gps'"),
        ({"channels": ("az",)}, "no channel 'az'"),
        ({"stats": ("meen",)}, "unknown statistic 'meen'"),
        ({"window": Span.parse("20h")}, "at most 1048576"),
    ],
)
def test_a_plan_that_cannot_be_is_said(changes, says):
    with pytest.raises(ValueError, match=says):
        FeaturePlan([IMU], [group(**changes)])


def test_a_time_window_needs_a_rate():
    with pytest.raises(ValueError, match=r"rate_hz"):
        FeaturePlan([StreamShape("imu", {"ax": "g"})], [group()])


def test_rows_that_do_not_fit_are_said():
    import numpy as np

    plan = FeaturePlan([IMU], [group()])
    stamps = np.arange(3)
    with pytest.raises(ValueError, match="unknown stream"):
        compute(plan, {"gps": (stamps, np.zeros((3, 2), np.float32))})
    with pytest.raises(ValueError, match="shape"):
        compute(plan, {"imu": (stamps, np.zeros((3, 3), np.float32))})
    with pytest.raises(ValueError, match="finite"):
        compute(plan, {"imu": (stamps, np.full((3, 2), np.nan, np.float32))})
    with pytest.raises(ValueError, match="rise"):
        compute(plan, {"imu": (stamps * 0, np.zeros((3, 2), np.float32))})


def test_the_documentation_is_the_table():
    assert (ROOT / reference.PAGE).read_text(encoding="utf-8") == reference.page(), "run: python -m edge.features.reference"
    assert all(f"`{name}`" in reference.page() for name in STATISTICS)
