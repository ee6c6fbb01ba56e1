import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.clean.gate import HELD_FRAMES, RESYNC_RUN, RESYNC_RUN_OLD, Gate
from edge.clean.scan_gate import ScanGate
from edge.errors import Reason
from edge.messages import Block, Scan

MS = 1_000_000
S = 1000 * MS


def gate_of(low=-np.inf, high=np.inf, **options):
    return Gate(np.full(2, low, np.float32), np.full(2, high, np.float32), 2, **options)


class Feeder:
    def __init__(self, gate, wall_offset_ns=0):
        self.gate, self.wall, self.block = gate, wall_offset_ns, Block(2, 16)

    def __call__(self, seq, stamp, rows=((1.0, 2.0),), received=None, lane=0, step=MS):
        block, n = self.block, len(rows)
        block.rows[:n] = rows
        block.stamps[:n] = stamp + np.arange(n) * step
        block.n, block.seq, block.received_ns = n, seq, received if received is not None else stamp + 7
        ready = self.gate.admit(block, lane, self.wall)
        assert self.gate.counts.is_balanced
        return [(b.seq, b.n, int(b.stamps[0])) for b in ready]


def test_frames_in_order_are_used_as_they_come():
    feed = Feeder(gate_of())
    assert [feed(i, i * MS) for i in range(3)] == [[(0, 1, 0)], [(1, 1, MS)], [(2, 1, 2 * MS)]]
    assert feed.gate.counts.used == feed.gate.counts.received == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_removed_and_the_others_kept(bad):
    feed = Feeder(gate_of())
    assert feed(0, MS, [(1, 2), (bad, 2), (3, bad), (4, 5)]) == [(0, 2, MS)]
    assert feed.block.rows[:2].tolist() == [[1, 2], [4, 5]]
    assert feed.block.stamps[:2].tolist() == [MS, 4 * MS]
    assert feed.gate.counts.invalid == {Reason.NOT_FINITE: 2}


def test_range_bounds_are_inclusive():
    feed = Feeder(gate_of(-1, 1))
    assert feed(0, MS, [(-1, 1), (-1.0001, 0), (0, 1.0001), (0, 0)]) == [(0, 2, MS)]
    assert feed.gate.counts.invalid == {Reason.OUT_OF_RANGE: 2}


def test_a_frame_without_a_good_row_leaves_the_next_one_alone():
    feed = Feeder(gate_of(-1, 1))
    assert feed(0, MS, [(9, 9)]) == []
    assert feed(1, 2 * MS, [(0, 0)]) == [(1, 1, 2 * MS)]


def test_repeats_and_late_frames_are_told_apart():
    feed = Feeder(gate_of())
    for seq in (10, 11, 14):
        feed(seq, seq * MS)
    assert feed(11, 11 * MS) == feed(14, 14 * MS) == feed(12, 12 * MS) == []
    counts = feed.gate.counts
    assert (counts.duplicate, counts.late, counts.lost_frames, counts.used) == (2, 1, 2, 3)


def test_without_a_counter_the_stamp_tells():
    feed = Feeder(gate_of())
    assert feed(-1, 5 * MS)
    assert feed(-1, 5 * MS) == feed(-1, 4 * MS) == []
    assert (feed.gate.counts.duplicate, feed.gate.counts.late) == (1, 1)


def test_a_frame_that_comes_within_the_lateness_is_put_in_order():
    feed = Feeder(gate_of(lateness_ns=50 * MS))
    assert feed(0, 0) == [(0, 1, 0)]
    assert feed(2, 2 * MS) == feed(3, 3 * MS) == []
    assert feed.gate.counts.held == 2
    assert feed(2, 2 * MS) == []
    assert feed.gate.counts.duplicate == 1
    assert feed(1, 1 * MS) == [(1, 1, MS), (2, 1, 2 * MS), (3, 1, 3 * MS)]
    assert (feed.gate.counts.held, feed.gate.counts.used, feed.gate.counts.late) == (0, 4, 0)


def test_after_the_lateness_the_wait_is_over_and_the_missing_one_is_late():
    feed = Feeder(gate_of(lateness_ns=50 * MS))
    feed(0, 0)
    feed(2, 2 * MS, received=2 * MS)
    feed(4, 4 * MS, received=30 * MS)
    assert feed.gate.release(51 * MS, 0) == []
    assert [(lane, b.seq) for lane, b in feed.gate.release(52 * MS, 0)] == [(0, 2)]
    assert feed(1, MS) == []
    assert feed.gate.counts.late == 1
    assert [(lane, b.seq) for lane, b in feed.gate.release(80 * MS, 0)] == [(0, 4)]
    assert (feed.gate.counts.held, feed.gate.counts.lost_frames) == (0, 2)


def test_waiting_frames_are_bounded():
    feed = Feeder(gate_of(lateness_ns=S))
    feed(0, 0)
    ready = [feed(seq, seq * MS) for seq in range(2, 2 + HELD_FRAMES)]
    assert all(part == [] for part in ready[:-1])
    assert len(ready[-1]) == HELD_FRAMES
    assert feed.gate.counts.held == 0


def test_an_evicted_device_leaves_no_held_frame_uncounted():
    feed = Feeder(gate_of(lateness_ns=S))
    feed(0, 0)
    feed(2, 2 * MS)
    feed.gate.reset(0)
    assert feed.gate.counts.is_balanced
    assert feed.gate.counts.dropped == {Reason.EVICTED: 1}
    assert feed(0, 0) == [(0, 1, 0)]


@pytest.mark.parametrize("bits", [16, 32])
def test_a_counter_that_wraps_loses_nothing(bits):
    feed = Feeder(gate_of())
    top = (1 << bits) - 1
    for i, seq in enumerate((top - 1, top, 0, 1)):
        assert feed(seq, (i + 1) * MS) == [(seq, 1, (i + 1) * MS)]
    assert (feed.gate.counts.lost_frames, feed.gate.counts.resyncs) == (0, 0)


def test_a_sender_that_restarts_with_a_running_clock_is_used_at_once():
    feed = Feeder(gate_of())
    for seq in range(100):
        feed(seq, (seq + 1) * MS)
    assert feed(0, 500 * MS) == [(0, 1, 500 * MS)]
    assert feed.gate.counts.resyncs == 1


def test_a_sender_that_restarts_with_its_clock_is_believed_after_a_run():
    feed = Feeder(gate_of())
    for seq in range(100):
        feed(seq, (seq + 1) * S)
    used = [bool(feed(seq, (seq + 1) * MS)) for seq in range(40)]
    assert used == [False] * (RESYNC_RUN_OLD - 1) + [True] * (41 - RESYNC_RUN_OLD)


def test_what_a_broker_repeats_after_a_reconnect_is_not_a_restart():
    feed = Feeder(gate_of())
    for seq in range(100):
        feed(seq, (seq + 1) * MS)
    for seq in range(80, 100):
        assert feed(seq, (seq + 1) * MS) == []
    assert feed(100, 101 * MS)
    assert feed.gate.counts.duplicate == 20


def test_one_stamp_in_the_far_future_is_refused_and_forgotten():
    feed = Feeder(gate_of(max_ahead_ns=10 * S))
    feed(0, S)
    assert feed(1, 1 << 62) == []
    assert feed(2, 2 * S)
    assert feed.gate.counts.invalid == {Reason.STAMP_FUTURE: 1}


def test_a_clock_that_was_really_set_ahead_is_believed_after_a_run():
    feed = Feeder(gate_of(max_ahead_ns=10 * S))
    feed(0, S)
    used = [bool(feed(seq, 10**6 * S + seq * MS)) for seq in range(1, 41)]
    assert used.index(True) == RESYNC_RUN_OLD - 1
    assert feed.gate.counts.resyncs == 1


def test_a_stamp_that_does_not_rise_is_refused():
    feed = Feeder(gate_of())
    feed(0, 5 * MS)
    assert feed(1, 5 * MS) == feed(2, 4 * MS) == []
    assert feed.gate.counts.invalid == {Reason.STAMP_PAST: 2}
    assert feed.gate.counts.standing == 1


def test_rows_that_overlap_the_block_before_are_late():
    feed = Feeder(gate_of())
    feed(0, MS, [(1, 1), (2, 2)])
    assert feed(1, 2 * MS, [(9, 9), (3, 3)]) == [(1, 1, 3 * MS)]
    assert feed.gate.counts.late == 1


@pytest.mark.parametrize("lead_ms", [59 * 60_000, 1500])
def test_one_wrong_stamp_does_not_silence_a_synced_stream(lead_ms):
    wall = 1_700_000_000 * S
    feed = Feeder(gate_of(is_synced=True), wall_offset_ns=wall)  # a lead below max_ahead_ms
    feed(0, wall, received=0)
    feed(1, wall + lead_ms * MS, received=10 * MS)
    used = sum(bool(feed(i, wall + i * 10 * MS, received=i * 10 * MS)) for i in range(2, 102))
    counts = feed.gate.counts
    assert (used, counts.resyncs, counts.invalid) == (100 - RESYNC_RUN + 1, 1, {Reason.STAMP_PAST: RESYNC_RUN - 1})


def test_a_synced_clock_that_is_set_back_to_the_truth_is_followed_and_repeats_are_not():
    wall = 1_700_000_000 * S
    feed = Feeder(gate_of(is_synced=True), wall_offset_ns=wall)
    for i in range(20):  # half a second ahead
        feed(-1, wall + i * 10 * MS + S // 2, received=i * 10 * MS)
    used = [bool(feed(-1, wall + i * 10 * MS, received=i * 10 * MS)) for i in range(20, 40)]
    assert used == [False] * (RESYNC_RUN - 1) + [True] * (20 - RESYNC_RUN + 1)
    for i in range(20, 40):  # a broker repeats what was sent
        assert feed(-1, wall + i * 10 * MS, received=i * 10 * MS + S) == []
    assert feed.gate.counts.resyncs == 1


def test_synced_clocks_are_held_against_wall_time():
    wall = 1_700_000_000 * S
    feed = Feeder(gate_of(is_synced=True, max_age_ns=100 * MS, max_ahead_ns=50 * MS), wall_offset_ns=wall)
    now = 10 * S
    assert feed(0, wall + now - 20 * MS, received=now)
    assert feed(1, wall + now - 200 * MS, received=now) == []
    assert feed(2, wall + now + 200 * MS, received=now) == []
    assert feed(3, wall + now, received=now)
    assert feed.gate.counts.dropped == {Reason.STALE: 1}
    assert feed.gate.counts.invalid == {Reason.STAMP_FUTURE: 1}


def test_stamps_made_of_the_receipt_do_not_look_like_a_restart():
    feed = Feeder(gate_of())
    for seq in range(50):
        feed(seq, seq * MS, received=seq * MS)
    for i in range(RESYNC_RUN + 2):
        assert feed(10 + i, (60 + i) * MS, received=(60 + i) * MS) == []
    assert feed.gate.counts.duplicate == RESYNC_RUN + 2


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(-1, 40),
            st.integers(0, 60),
            st.sampled_from([1.0, np.nan, 99.0]),
            st.integers(0, 1),
            st.integers(1, 4),
        ),
        max_size=80,
    ),
    st.sampled_from([0, 5 * MS]),
)
def test_every_sample_is_accounted_for_whatever_comes(frames, lateness):
    feed = Feeder(gate_of(-10, 10, lateness_ns=lateness))
    received = 0
    for now, (seq, stamp, value, lane, n) in enumerate(frames):
        feed(seq, stamp * MS, [(value, 1.0)] * n, received=now * MS, lane=lane)
        received += n
        feed.gate.release(now * MS, 0)
        assert feed.gate.counts.is_balanced
    feed.gate.release(1 << 62, 0)
    counts = feed.gate.counts
    assert counts.is_balanced
    assert counts.held == 0
    assert counts.received == received


def scan(seq, stamp, points):
    return Scan(np.array(points, np.float32).reshape(-1, 3), ("x", "y", "z"), seq, stamp, 0)


def test_scans_are_admitted_in_order_once_and_only_with_points():
    gate = ScanGate(1)
    outcomes = []
    for item in (
        scan(0, 10, [1, 2, 3]),
        scan(0, 10, [1, 2, 3]),
        scan(1, 5, [1, 2, 3]),
        scan(2, 20, []),
        scan(3, 30, [np.nan, 1, 1]),
        scan(4, 40, [np.nan, 1, 1, 1, 1, 1]),
    ):
        gate.hold()
        assert gate.counts.is_balanced
        outcomes.append(gate.admit(item, 0))
        assert gate.counts.is_balanced
    assert outcomes == [True, False, False, False, False, True]
    assert (gate.counts.duplicate, gate.counts.late) == (1, 1)
    assert gate.counts.invalid == {Reason.EMPTY: 1, Reason.NOT_FINITE: 1}
