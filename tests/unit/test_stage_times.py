"""Stage times: a hand-over is counted when it happened."""

import numpy as np

from edge.kernels.histogram import BUCKETS, bucket_value, read_quantiles
from edge.pipeline.timing import StageTimes


def test_a_tick_without_output_does_not_move_the_last_hand_over() -> None:
    times = StageTimes([5_100_000])
    times.add((1_000, 1_000, 1_000, 1_000, 1_000, 1_000), ended_ns=110_000, received_ns=100_000)
    times.handed_over(120_000)
    times.handed_over(20_000_000)  # the reactor's next tick
    assert times.summary()["total"]["max"] == 20.0  # us
    assert times.late == 0


def test_a_hand_over_holds_for_everything_noted_before_it() -> None:
    times = StageTimes([60_000, 140_000])
    for received_ns in (10_000, 90_000):
        times.add((1_000, 1_000, 1_000, 1_000, 1_000, 1_000), ended_ns=received_ns + 5_000, received_ns=received_ns)
    times.handed_over(100_000)
    assert times.summary()["total"] == {"p50": 10.239, "p99": 90.0, "max": 90.0, "count": 2}
    assert times.late == 1


def test_quantiles_are_those_of_the_cumulated_counts() -> None:
    rng = np.random.default_rng(1)
    counts = np.zeros((5, BUCKETS), np.int64)
    for stage in range(4):
        np.add.at(counts[stage], rng.integers(0, (1, 40, 300, BUCKETS - 1)[stage] + 1, 10 ** (3 - stage)), 1)
    longest = np.array([0, 10**6, 10**4, 1 << 62, 0], np.int64)
    found = np.zeros((5, 3), np.int64)
    read_quantiles(counts, longest, found)
    for stage in range(5):
        total = counts[stage].sum()
        places = np.searchsorted(counts[stage].cumsum(), [0.5 * total, 0.99 * total])
        want = [min(bucket_value(int(place)), longest[stage]) for place in places] if total else [0, 0]
        assert found[stage].tolist() == [total, *want]
