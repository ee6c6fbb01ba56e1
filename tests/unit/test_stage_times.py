"""Stage times: a hand-over is counted when it happened."""

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
