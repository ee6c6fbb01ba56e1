"""The gate with a cleaner: rows that wait, clocks that start anew, devices that go, and every sample accounted for."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.clean.cleaner import Cleaner
from edge.clean.gate import RESYNC_RUN_OLD, Gate
from edge.clean.steps import Grid, Steps
from edge.errors import Reason
from edge.messages import Block

MS = 1_000_000
S = 1000 * MS
NAN = np.nan
WAIT = 50 * MS
LINEAR = {"policy": "linear", "age_ns": WAIT, "waiting_rows": 16}


def steps_of(**changes):
    return msgspec.structs.replace(Steps.plain(2), **{"max_rows": 16, **changes})


class Feeder:
    def __init__(self, lateness_ns=0, lanes=2, **changes):
        self.cleaner = Cleaner(steps_of(**changes), lanes)
        low, high = self.cleaner.steps.low, self.cleaner.steps.high
        self.gate = Gate(low, high, lanes, lateness_ns=lateness_ns, max_ahead_ns=10 * S, cleaner=self.cleaner)
        self.block = Block(2, 16)

    def __call__(self, seq, stamp, rows=((1.0, 2.0),), received=None, lane=0, step=MS):
        block, n = self.block, len(rows)
        block.rows[:n] = rows
        block.stamps[:n] = stamp + np.arange(n) * step
        block.n, block.seq, block.received_ns = n, seq, received if received is not None else stamp + 7
        return self.seen(self.gate.admit(block, lane, 0))

    def seen(self, blocks):
        counts = self.gate.counts
        assert counts.is_balanced
        return [(b.seq, b.received_ns, b.stamps[: b.n].tolist(), b.rows[: b.n, :2].tolist(), b.marks[: b.n].tolist()) for b in blocks]

    def release(self, now):
        return self.seen([block for _, block in self.gate.release(now, 0)])


def test_rows_that_waited_come_out_with_their_own_message():
    feed = Feeder(lateness_ns=WAIT, **LINEAR)
    assert feed(0, 10 * MS, [(1, 1)])
    assert feed(1, 20 * MS, [(NAN, 2)]) == feed(2, 30 * MS, [(NAN, 3), (NAN, 4)]) == []
    assert feed.gate.counts.held == 3
    assert feed(3, 50 * MS, [(5, 5)]) == [
        (1, 20 * MS + 7, [20 * MS], [[2.0, 2.0]], [1]),
        (2, 30 * MS + 7, [30 * MS, 31 * MS], [[3.0, 3.0], [pytest.approx(3.1), 4.0]], [1, 1]),
        (3, 50 * MS + 7, [50 * MS], [[5.0, 5.0]], [0]),
    ]
    counts = feed.gate.counts
    assert (counts.used, counts.held, counts.invalid) == (5, 0, {})
    assert feed.cleaner.summary()["linear"] == {"x0": 3}


def test_a_row_waits_no_longer_than_the_lateness_by_receipt():
    feed = Feeder(lateness_ns=WAIT, **LINEAR)
    feed(0, 10 * MS)
    feed(1, 20 * MS, [(NAN, 2)], received=20 * MS)
    feed(2, 30 * MS, [(3, 3)], received=30 * MS)
    assert feed.gate.counts.held == 0  # it was filled: now one that is not
    feed(3, 40 * MS, [(NAN, 4)], received=40 * MS)
    feed(4, 41 * MS, [(NAN, 5), (NAN, 6)], received=60 * MS)
    assert feed.release(90 * MS - 1) == []
    assert feed.release(90 * MS) == []
    assert feed.gate.counts.invalid == {Reason.MISSING: 1}
    assert feed.gate.counts.held == 2
    assert feed.release(1 << 62) == []
    assert feed.gate.counts.invalid == {Reason.MISSING: 3}
    assert not feed.cleaner.waiting


def test_complete_rows_behind_one_that_is_given_up_come_out():
    feed = Feeder(lateness_ns=WAIT, **LINEAR)
    feed(0, 10 * MS)
    feed(1, 20 * MS, [(NAN, 2)])
    feed(2, 30 * MS, [(3, NAN)])
    assert feed.gate.counts.held == 1
    feed(3, 31 * MS, [(NAN, 4)])
    feed(4, 32 * MS, [(NAN, 5)])
    feed(5, 33 * MS, [(NAN, 6)])
    assert feed.gate.counts.used == 3  # the fill of the second channel let the rows in front of it go
    assert feed.gate.counts.held == 3


def test_a_full_queue_gives_up_its_oldest_row():
    feed = Feeder(lateness_ns=WAIT, **LINEAR | {"waiting_rows": 3})
    feed(0, MS)
    feed(1, 2 * MS, [(NAN, 1)] * 5)
    assert (feed.gate.counts.held, feed.gate.counts.invalid) == (3, {Reason.MISSING: 2})
    assert [stamps for _, _, stamps, _, _ in feed(2, 7 * MS)] == [[4 * MS, 5 * MS, 6 * MS], [7 * MS]]


def test_a_frame_out_of_order_is_cleaned_in_order():
    feed = Feeder(lateness_ns=WAIT, policy="hold", age_ns=S)
    feed(0, 10 * MS, [(1, 1)])
    assert feed(2, 30 * MS, [(NAN, 3)]) == []
    assert [rows for _, _, _, rows, _ in feed(1, 20 * MS, [(2, 2)])] == [[[2.0, 2.0]], [[2.0, 3.0]]]


def test_a_clock_that_starts_anew_forgets_the_values_before_it():
    feed = Feeder(lateness_ns=WAIT, **LINEAR, max_rate=np.array([1.0, np.inf]))
    for seq in range(40):
        feed(seq, (seq + 1) * S, [(0, 0)])
    feed(40, 41 * S, [(NAN, 0)])
    used = [bool(feed(41 + i, S + i * MS, [(1000, 0)])) for i in range(RESYNC_RUN_OLD)]
    assert used == [False] * (RESYNC_RUN_OLD - 1) + [True]
    assert feed.gate.counts.invalid == {Reason.STAMP_PAST: RESYNC_RUN_OLD - 1, Reason.MISSING: 1}


def test_an_evicted_device_leaves_nothing():
    feed = Feeder(lateness_ns=WAIT, **LINEAR)
    feed(0, 10 * MS)
    feed(1, 20 * MS, [(NAN, 2)])
    feed.gate.reset(0)
    assert feed.gate.counts.is_balanced
    assert feed.gate.counts.dropped == {Reason.EVICTED: 1}
    assert feed.release(1 << 62) == []
    assert feed(0, MS, [(NAN, 2)]) == []
    assert feed.gate.counts.invalid == {Reason.MISSING: 1}


def test_a_long_message_comes_out_in_pieces_with_bounded_memory():
    feed = Feeder(grid=Grid.at(1000.0, S))
    out = feed(0, 0, [(0, 0), (100, 0)], step=100 * MS)
    assert [len(stamps) for _, _, stamps, _, _ in out] == [16] * 6 + [5]
    values = [row[0] for _, _, _, rows, _ in out for row in rows]
    assert values == pytest.approx(list(range(101)))
    assert feed.cleaner.resampled == 101
    assert feed.gate.counts.used == feed.gate.counts.received == 2


def test_a_block_longer_than_the_buffers_is_taken_in_parts():
    cleaner = Cleaner(steps_of(), 1)
    gate = Gate(cleaner.steps.low, cleaner.steps.high, 1, cleaner=cleaner)
    block = Block(2, 100)
    block.stamps[:] = np.arange(100) * MS
    block.rows[:, 0] = np.arange(100)
    block.n = 100
    out = gate.admit(block, 0, 0)
    assert [b.n for b in out] == [16] * 6 + [4]
    assert [x for b in out for x in b.rows[: b.n, 0].tolist()] == list(range(100))


@pytest.mark.parametrize("changes", [LINEAR | {"waiting_rows": 3}, {"policy": "hold", "age_ns": 3 * MS}, {"grid": Grid.at(700.0, 4 * MS)}])
@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-1, 40), st.integers(0, 60), st.sampled_from([1.0, NAN, 99.0]), st.integers(0, 1), st.integers(1, 4)),
        max_size=80,
    ),
    st.sampled_from([0, 5 * MS]),
)
def test_every_sample_is_accounted_for_whatever_comes(changes, frames, lateness):
    feed = Feeder(lateness_ns=lateness, high=np.array([10, 10], np.float32), **changes)
    received = 0
    for now, (seq, stamp, value, lane, n) in enumerate(frames):
        feed(seq, stamp * MS, [(value, 1.0), (1.0, value)] * n, received=now * MS, lane=lane)
        received += 2 * n
        feed.release(now * MS)
    feed.release(1 << 62)
    counts = feed.gate.counts
    assert (counts.held, counts.received) == (0, received)


@pytest.mark.parametrize("changes", [LINEAR, None])
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from([1.0, 2.5, NAN]), st.integers(1, 3)), max_size=40),
    st.integers(0, 40),
)
def test_a_saved_gate_goes_on_with_frames_and_rows_that_wait(changes, frames, at):
    def feeder():
        feed = Feeder(lateness_ns=WAIT, **changes or {})
        if changes is None:
            feed.gate.cleaner = None
        return feed

    def push(feed, frames, first):
        out = []
        for i, (ahead, value, n) in enumerate(frames, first):
            seq, now = ahead + i // 2, i * 9 * MS
            out += feed(seq, (seq * 4 + 1) * MS, [(value, 1.0)] * n, received=now)
            out += feed.release(now)
        return out

    whole, first, second = feeder(), feeder(), feeder()
    expected = push(whole, frames, 0)
    got = push(first, frames[:at], 0)
    second.gate.restore(0, first.gate.save(0))
    assert second.gate.counts.held == first.gate.counts.held
    assert second.gate.counts.is_balanced
    got += push(second, frames[at:], len(frames[:at]))
    assert repr(got) == repr(expected)
    assert second.gate.save(0) == whole.gate.save(0)


def test_a_gate_refuses_a_state_that_is_not_its_own():
    feed, plain = Feeder(lateness_ns=WAIT, **LINEAR), Feeder()
    plain.gate.cleaner = None
    feed(0, 10 * MS)
    feed(1, 20 * MS, [(NAN, 2)])
    state = feed.gate.save(0)
    for wrong in (b"", b"\xc1", state[:-1], state[1:], plain.gate.save(0), Feeder().gate.save(0), b"\x98\x02" + state[2:]):
        with pytest.raises(ValueError, match="state"):
            feed.gate.restore(0, wrong)
    assert feed.gate.save(0) == state
    feed.gate.restore(0, state)
    assert feed.gate.counts.is_balanced
    assert feed.gate.counts.dropped == {Reason.EVICTED: 1}
