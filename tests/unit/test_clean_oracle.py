"""The kernels against cleaning written plainly, for every step and all of them together."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.clean.cleaner import ACTIONS, Cleaner
from edge.clean.counts import Counts
from edge.clean.steps import Grid, Steps
from edge.errors import Reason
from edge.messages import Block
from tests.unit.clean_oracle import Oracle

MS = 1_000_000
C = 3
REASONS = {
    "not_finite": Reason.NOT_FINITE, "range": Reason.OUT_OF_RANGE, "rate": Reason.RATE, "stuck": Reason.STUCK, "missing": Reason.MISSING,
}  # fmt: skip
MATRIX = np.array([[0.9, 0.1, 0.0], [-0.1, 1.1, 0.0], [0.02, 0.03, 1.0]])
OFFSETS = {"offset": [0.5, 0.0, -1.0], "scale": [1.01, 2.0, 1.0], "factor": [1.0, 0.25, 1.8], "shift": [0.0, 3.0, 32.0]}
SPIKES = {"window": 5, "sigmas": 3.0, "floor": [0.01, 0.0, 0.5], "spikes": [0, 1]}
OPTIONS: dict[str, dict[str, object]] = {
    "range": {"low": [-2.0, -5.0, -9.0], "high": [2.0, 5.0, 9.0]},
    "calibrate": OFFSETS,
    "matrix": OFFSETS | {"matrices": [((2, 0, 1), MATRIX)]},
    "rate": {"max_rate": [100.0, 10.0, np.inf]},
    "spike": SPIKES,
    "even window": SPIKES | {"window": 4},
    "stuck": {"stuck_ns": 3 * MS, "stuck": [0, 2]},
    "hold": {"policy": "hold", "age": 4 * MS},
    "linear": {"policy": "linear", "age": 4 * MS, "capacity": 6},
    "constant": {"policy": "constant", "constants": [1.0, np.nan, 2.0]},
    "gap": SPIKES | {"gap": 3 * MS, "stuck_ns": 3 * MS, "stuck": [1]},
    "quality": {"rate_hz": 1000.0, "policy": "linear", "age": 4 * MS, "capacity": 6},
    "derive": {"derived": [(0, 1, 2), (2, 0)], "policy": "hold", "age": 4 * MS},
    "grid": {"grid": (300.0, 8 * MS, False), "policy": "hold", "age": 4 * MS, "derived": [(0, 1)]},
    "grid hold": {"grid": (1700.0, 4 * MS, True), "policy": "constant", "constants": [1.0] * 3},
    "all": OFFSETS | SPIKES | {
        "matrices": [((2, 0, 1), MATRIX)], "low": [-8.0, -9.0, -90.0], "high": [8.0, 9.0, 90.0], "max_rate": [9000.0, np.inf, np.inf],
        "stuck_ns": 6 * MS, "stuck": [0, 1, 2], "policy": "linear", "age": 5 * MS, "capacity": 6, "rate_hz": 1000.0, "gap": 9 * MS,
        "derived": [(0, 1)], "grid": (700.0, 8 * MS, False),
    },
}  # fmt: skip


def steps_of(options, max_rows=7):
    plain = Steps.plain(C)
    names = {"window": "spike_window", "age": "age_ns", "capacity": "waiting_rows", "gap": "gap_ns"}
    changes = {names.get(name, name): value for name, value in options.items()}
    for name in ("spikes", "stuck"):
        changes[f"watches_{name}"] = np.isin(np.arange(C), changes.pop(name, []))
    for name in ("offset", "scale", "factor", "shift", "max_rate", "floor", "constants"):
        if name in changes:
            changes[name] = np.array(changes[name], np.float64)
    for name in ("low", "high"):
        if name in changes:
            changes[name] = np.array(changes[name], np.float32)
    if "matrices" in changes:
        changes["matrices"] = tuple(changes["matrices"])
    if "derived" in changes:
        changes["derived"] = tuple(changes["derived"])
    if "grid" in changes:
        rate, gap, holds = changes["grid"]
        changes["grid"] = Grid.at(rate, gap, holds=holds)
    return msgspec.structs.replace(plain, max_rows=max_rows, **changes)


class Runner:
    """Feeds a cleaner and keeps what comes out."""

    def __init__(self, steps, lanes=2, lane=1):
        self.cleaner, self.counts, self.lane = Cleaner(steps, lanes), Counts(), lane
        self.rows = []

    def push(self, stamps, rows, received=0, seq=-1):
        block = Block(C, max(len(stamps), 1))
        block.rows[: len(rows)] = rows
        block.stamps[: len(rows)] = stamps
        block.n, block.received_ns, block.seq = len(rows), received, seq
        self.counts.received += len(rows)
        self.take(self.cleaner.clean(block, self.lane, self.counts))
        return self

    def take(self, blocks):
        assert self.counts.is_balanced
        assert self.counts.held == self.cleaner.held(self.lane)
        for block in blocks:
            assert 1 <= block.n <= self.cleaner.steps.max_rows
            for i in range(block.n):
                self.rows.append((int(block.stamps[i]), block.rows[i].tolist(), int(block.marks[i])))

    def run(self, stamps, rows, cuts):
        for start, stop in zip([0, *cuts], [*cuts, len(stamps)], strict=True):
            if start < stop:
                self.push(stamps[start:stop], rows[start:stop])
        return self


STREAMS = st.lists(
    st.tuples(
        st.sampled_from([-1, 0, 1, 1, 1, 1, 1, 2, 3, 7, 12]),
        st.lists(st.sampled_from([0.0, 0.0, 0.1, -0.2, 0.3, 1.0, 3.5, 30.0, np.nan, np.inf, 3e38]), min_size=C, max_size=C),
        st.integers(0, 900_000),
    ),
    max_size=50,
)


def arrays(stream):
    stamps = np.cumsum([0] + [step * MS for step, _, _ in stream])[1:] + [jitter * (step > 0) for step, _, jitter in stream]
    return 1_700_000_000_000_000_000 + stamps.astype(np.int64), np.array([row for _, row, _ in stream], np.float32).reshape(-1, C)


def compare(rows, expected):
    assert [(stamp, marks) for stamp, _, marks in rows] == [(stamp, marks) for stamp, _, marks in expected]
    for (_, got, _), (_, want, _) in zip(rows, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("name", OPTIONS)
@settings(max_examples=60, deadline=None)
@given(stream=STREAMS, cut=st.integers(0, 50))
def test_every_step_does_what_the_oracle_does(name, stream, cut):
    stamps, rows = arrays(stream)
    oracle = Oracle(C, **OPTIONS[name])
    for stamp, row in zip(stamps.tolist(), rows.tolist(), strict=True):
        oracle.push(stamp, row)
    runner = Runner(steps_of(OPTIONS[name])).run(stamps, rows, [min(cut, len(stamps))])
    compare(runner.rows, oracle.rows)
    counts = runner.counts
    assert counts.used == oracle.outcome["used"]
    assert counts.late == oracle.outcome["late"]
    assert counts.held == len(oracle.queue)
    assert counts.invalid == {REASONS[name]: n for name, n in oracle.outcome.items() if name in REASONS and n}
    done = {(action, c): n for action, row in zip(ACTIONS, runner.cleaner.actions.tolist(), strict=True) for c, n in enumerate(row) if n}
    assert done == oracle.actions
    assert runner.cleaner.quality(1) == pytest.approx(oracle.quality, rel=1e-12)
    assert all(np.isfinite(values).all() for _, values, _ in runner.rows)


@pytest.mark.parametrize("name", OPTIONS)
@settings(max_examples=40, deadline=None)
@given(stream=STREAMS, cuts=st.lists(st.integers(0, 50), max_size=6), at=st.integers(0, 50))
def test_splits_and_saved_states_give_the_same_bits_and_the_past_stays(name, stream, cuts, at):
    stamps, rows = arrays(stream)
    steps = steps_of(OPTIONS[name])
    whole = Runner(steps).run(stamps, rows, [])
    parts = Runner(steps).run(stamps, rows, sorted(min(cut, len(stamps)) for cut in cuts))
    assert repr(parts.rows) == repr(whole.rows)
    assert parts.cleaner.save(1) == whole.cleaner.save(1)
    first = Runner(steps).run(stamps[:at], rows[:at], [])
    assert repr(first.rows) == repr(whole.rows[: len(first.rows)])
    second = Runner(steps, lanes=1, lane=0)
    second.cleaner.restore(0, first.cleaner.save(1))
    second.counts.received = second.counts.held = second.cleaner.held(0)
    second.run(stamps[at:], rows[at:], [])
    assert repr(first.rows + second.rows) == repr(whole.rows)
    assert second.cleaner.save(0) == whole.cleaner.save(1)
