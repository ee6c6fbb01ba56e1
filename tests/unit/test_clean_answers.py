"""Cleaning with answers that can be worked out by hand, hard numbers, and saved states that do not fit."""

import msgspec
import numpy as np
import pytest

from edge.clean.cleaner import Cleaner
from edge.clean.counts import Counts
from edge.clean.steps import Grid, Steps
from edge.messages import Block

MS = 1_000_000
NAN = np.nan


def cleaner_of(channels=1, **changes):
    return Cleaner(msgspec.structs.replace(Steps.plain(channels), **changes), 1)


def run(cleaner, values, stamps=None, counts=None):
    """(stamp in ms, columns, marks) of every row that comes out."""
    rows = np.array(values, np.float32).reshape(len(values), -1)
    block = Block(rows.shape[1], len(rows))
    block.rows[:] = rows
    block.stamps[:] = (np.arange(len(rows)) * MS) if stamps is None else np.array(stamps) * MS
    block.n = len(rows)
    out = cleaner.clean(block, 0, counts or Counts())
    return [(int(b.stamps[i]) / MS, b.rows[i].tolist(), int(b.marks[i])) for b in out for i in range(b.n)]


def column(rows, c=0):
    return [values[c] for _, values, _ in rows]


def test_a_step_beyond_the_rate_is_accepted_once_enough_time_has_passed():
    cleaner = cleaner_of(max_rate=np.array([1000.0]))
    assert column(run(cleaner, [0, 5, 5, 5, 5, 5, 5])) == [0, 5, 5]  # 5 is 5 ms away at 1000 a second
    assert cleaner.summary()["rate"] == {"x0": 4}


def test_a_value_is_stuck_when_it_is_equal_for_longer():
    cleaner = cleaner_of(watches_stuck=np.array([True]), stuck_ns=3 * MS)
    assert [int(stamp) for stamp, _, _ in run(cleaner, [1, 1, 1, 1, 1, 1, 2, 2])] == [0, 1, 2, 3, 6, 7]


def test_a_gap_restarts_windows_and_stuck_values():
    cleaner = cleaner_of(watches_stuck=np.array([True]), stuck_ns=3 * MS, gap_ns=10 * MS)
    assert len(run(cleaner, [1, 1, 1], [0, 3, 14])) == 3


def test_held_values_grow_old():
    cleaner = cleaner_of(policy="hold", age_ns=2 * MS)
    rows = run(cleaner, [1, NAN, NAN, NAN, 2, NAN])
    assert [(stamp, values[0], marks) for stamp, values, marks in rows] == [(0, 1, 0), (1, 1, 1), (2, 1, 1), (4, 2, 0), (5, 2, 1)]


def test_a_linear_fill_never_reaches_further_than_it_may():
    cleaner = cleaner_of(policy="linear", age_ns=3 * MS, waiting_rows=8)
    assert column(run(cleaner, [0, NAN, NAN, 6], [0, 1, 2, 3])) == [0, 2, 4, 6]
    cleaner = cleaner_of(policy="linear", age_ns=3 * MS, waiting_rows=8)
    assert column(run(cleaner, [0, NAN, NAN, NAN, 8], [0, 1, 4, 5, 9])) == [0, 8]


def test_a_resampled_row_is_marked_with_either_neighbour():
    cleaner = cleaner_of(policy="constant", constants=np.array([4.0]), grid=Grid.at(2000.0, 2 * MS))
    rows = run(cleaner, [0, NAN, 8, 9], [0, 1, 2, 9])
    assert [(stamp, values[0], marks) for stamp, values, marks in rows] == [
        (0, 0, 0), (0.5, 2, 1), (1, 4, 1), (1.5, 6, 1), (2, 8, 0), (9, 9, 0),
    ]  # fmt: skip


def test_a_matrix_turns_axes_and_a_bad_axis_spoils_only_what_needs_it():
    turn = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    cleaner = cleaner_of(3, matrices=(((0, 1, 2), turn),), policy="constant", constants=np.full(3, 7.0))
    assert [values[:3] for _, values, _ in run(cleaner, [(1, 2, 3), (NAN, 2, 3)])] == [[2, -1, 6], [2, 7, 6]]


def test_offsets_of_an_epoch_keep_what_float32_keeps():
    base = np.float32(1e9)
    values = [base, base + np.float32(64), base + np.float32(128)]
    cleaner = cleaner_of(offset=np.array([1e9]), scale=np.array([0.5]), derived=((0,),))
    assert column(run(cleaner, values)) == [0, 32, 64]
    filled = cleaner_of(policy="linear", age_ns=9 * MS, waiting_rows=4)
    assert column(run(filled, [base, NAN, base + np.float32(128)])) == [1e9, 1e9 + 64, 1e9 + 128]


@pytest.mark.parametrize("bad", [NAN, np.inf, -np.inf, 3e38])
def test_one_bad_value_leaves_nothing_behind(bad):
    steps = {
        "high": np.array([1e6], np.float32), "max_rate": np.array([1e6]), "watches_spikes": np.array([True]), "spike_window": 3,
        "sigmas": 6.0, "watches_stuck": np.array([True]), "stuck_ns": 9 * MS, "grid": Grid.at(1000.0, 9 * MS), "derived": ((0,),),
    }  # fmt: skip
    rows = run(cleaner_of(**steps), [1, 2, 3, bad, 5, 6, 7, 8])
    assert column(rows) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert np.isfinite([values for _, values, _ in rows]).all()


def test_late_rows_are_counted_and_change_nothing():
    cleaner, counts = cleaner_of(), Counts()
    counts.received = 4
    assert column(run(cleaner, [1, 2, 3, 4], [0, 2, 1, 3], counts)) == [1, 2, 4]
    assert (counts.late, counts.used) == (1, 3)


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing():
    steps = {"watches_spikes": np.array([True]), "spike_window": 3, "sigmas": 6.0}
    cleaner, other = cleaner_of(**steps), cleaner_of(**steps | {"spike_window": 5})
    run(cleaner, [1, 2, 3])
    state = cleaner.save(0)
    run(cleaner, [9], [9])
    now = cleaner.save(0)
    flipped = bytearray(state)
    flipped[-3] ^= 1
    for wrong in (b"", b"nonsense", state[:-1], state + b"\0", state[:4] + b"\xff" + state[5:], bytes(flipped), other.save(0)):
        with pytest.raises(ValueError, match="state of a cleaner"):
            cleaner.restore(0, wrong)
    assert cleaner.save(0) == now
    cleaner.restore(0, state)
    assert cleaner.save(0) == state


@pytest.mark.parametrize(
    "changes",
    [
        {"high": np.zeros(2, np.float32)}, {"spike_window": 2}, {"watches_spikes": np.array([True])}, {"policy": "linear"},
        {"waiting_rows": 3}, {"derived": ((1,),)}, {"derived": ((0,),) * 63},
    ],
)  # fmt: skip
def test_steps_that_the_kernels_cannot_hold_are_refused(changes):
    with pytest.raises(ValueError, match=r"."):
        cleaner_of(**changes)


def test_a_lane_knows_nothing_of_another():
    cleaner = Cleaner(msgspec.structs.replace(Steps.plain(1), policy="hold", age_ns=9 * MS), 2)
    assert column(run(cleaner, [1])) == [1]
    block = Block(1, 1)
    block.rows[0], block.n = NAN, 1
    assert list(cleaner.clean(block, 1, Counts())) == []
    assert cleaner.quality(0) == 1.0
    assert cleaner.quality(1) == 0.99
