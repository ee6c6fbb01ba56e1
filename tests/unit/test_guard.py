"""When a model at work must stop: every rule at its edge, and what must not stop it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.inference.guard import Guard, Limits

BUDGET = 1000
V = [np.full(3, i, np.float32) for i in range(50)]


def guard(**changes):
    return Guard(Limits(**({"budget_ns": BUDGET, "windows": 2, "window_frames": 100, "faults": 3} | changes)))


def run(one, took, n=1):
    """The trouble of the n-th run, if any came; every run has other scores."""
    for i in range(n):
        trouble = one.ran(took, [float(i), -took], V[i % 50])
        if trouble is not None:
            return i + 1, trouble
    return None


def test_a_model_within_its_budget_goes_on_for_ever():
    assert run(guard(), BUDGET, 10_000) is None


def test_one_percent_may_be_slow():
    one = guard()
    for _ in range(20):
        assert run(one, BUDGET, 99) is None
        assert run(one, BUDGET * 1000) is None


def test_a_model_that_becomes_slow_is_known_after_two_frames_a_window():
    found, trouble = run(guard(), BUDGET + 1, 100)
    assert (found, trouble.kind) == (4, "latency")
    assert "2 windows one after the other, slowest 0.001 ms" in trouble.reason


def test_windows_over_the_budget_must_follow_each_other():
    one = guard(windows=2)
    for _ in range(10):
        assert run(one, BUDGET + 1, 2) is None  # a bad window, closed at once
        assert run(one, BUDGET, 100) is None  # a good one
    assert run(one, BUDGET + 1, 2) is None
    assert run(one, BUDGET, 50) is None
    assert run(one, BUDGET + 1, 2)[0] == 2


def test_small_windows_allow_none():
    assert run(guard(window_frames=20, windows=1), BUDGET + 1, 2)[0] == 1


def test_frames_that_are_skipped_for_its_slowness_count_as_slow():
    one = guard(windows=1)
    assert one.skipped() is None
    trouble = one.skipped()
    assert trouble.kind == "latency"
    assert "slowest" not in trouble.reason


@pytest.mark.parametrize(("kind", "text"), [("not_finite", "gave NaN or infinity 3 times"), ("failed", "failed 3 times")])
def test_faults_within_a_window_stop_it(kind, text):
    one = guard()
    assert one.fault(kind, "x") is None
    run(one, 0, 97)
    assert one.fault(kind, "x") is None
    trouble = one.fault(kind, "the last one")
    assert trouble.kind == kind
    assert trouble.reason == f"{text} within 100 frames: the last one"


def test_faults_that_are_further_apart_do_not():
    one = guard()
    for _ in range(10):
        assert one.fault("failed", "x") is None
        assert one.fault("failed", "x") is None
        run(one, 0, 100)


def test_faults_count_within_the_last_frames_not_since_the_last_fault():
    one = guard()
    for _ in range(20):
        assert one.fault("failed", "x") is None
        run(one, 0, 49)  # one in 50: never three within 100
    assert one.fault("failed", "x") is None
    run(one, 0, 48)
    assert one.fault("failed", "x") is not None


def test_a_window_shorter_than_the_faults_is_as_long_as_they_are():
    one = guard(window_frames=1)
    assert [one.fault("failed", "x") is not None for _ in range(3)] == [False, False, True]


def test_one_fault_stops_it_where_one_is_allowed():
    assert guard(faults=1).fault("failed", "x") is not None


def test_equal_scores_for_other_vectors_are_frozen_only_where_it_is_asked_for():
    for frames, expected in ((0, None), (10, 11)):
        one = guard(frozen_frames=frames)
        found = next((i + 1 for i in range(40) if one.ran(0, [0.5, 0.5], V[i])), None)
        assert found == expected


def test_equal_vectors_and_scores_that_move_are_not_frozen():
    one = guard(frozen_frames=5)
    assert not any(one.ran(0, [0.5], V[0]) for _ in range(100))
    assert not any(one.ran(0, [0.5 + (i % 4 == 0)], V[i % 50]) for i in range(100))


def test_lanes_that_are_each_stuck_at_their_own_scores_are_found_and_one_that_moves_is_enough():
    one = guard(frozen_frames=20)
    found = next(i for i in range(40) if one.ran(0, [i % 2 + 0.5], V[i % 50], i % 2))
    assert found == 21, "the first run of each lane repeats nothing"
    moving = guard(frozen_frames=20)
    assert not any(moving.ran(0, [0.5 if i % 2 else float(i)], V[i % 50], i % 2) for i in range(400))


def test_scores_of_a_device_that_left_are_not_its_followers():
    one = guard(frozen_frames=2)
    for i in range(20):
        assert one.ran(0, [0.5], V[i], 3) is None
        one.forget(3)


@given(st.lists(st.booleans(), max_size=400), st.integers(1, 4), st.sampled_from([1, 10, 100, 250]))
def test_latency_never_stops_it_with_at_most_one_percent_slow_in_any_window(slow, windows, frames):
    one = guard(windows=windows, window_frames=frames)
    trouble = None
    for i, is_slow in enumerate(slow):
        trouble = trouble or one.ran(BUDGET + is_slow, [float(i)], V[0])
    if trouble is not None:
        assert sum(slow) >= windows * (frames // 100 + 1)
    if not any(slow):
        assert trouble is None
