"""Rolling statistics against a slow float64 oracle that shares no code with the kernel, and what must hold for any input."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.features.plan import FeaturePlan, Group, Span, StreamShape
from edge.features.rolling import RollingFeatures
from edge.features.statistics import STATISTICS
from edge.kernels import layout as k
from edge.messages import Block
from tests.kernels.windows import EVERY, FOREVER, MS, ONE, Oracle, plan_for, push_all

SPANS = [Span(1, by_time=False), Span(2, by_time=False), Span(7, by_time=False), Span(64, by_time=False), Span(20 * MS, by_time=True)]
TOLERANCE = 2e-6  # float32 results


def test_the_oracle_knows_every_statistic():
    assert {name.split("(")[0] for name in EVERY} == set(STATISTICS)


def check(window, hop, stamps, rows, marks=None, names=EVERY, tolerance=TOLERANCE):
    plan = plan_for(window, hop, names)
    got_stamps, got = push_all(plan, stamps, rows, marks=None if marks is None else marks.astype(np.int64))
    oracle = Oracle(stamps, rows[:, 0].astype(float), rows[:, 1].astype(float), window, marks)
    due = oracle.emitted(hop)
    np.testing.assert_array_equal(got_stamps, stamps[due])
    for column, name in enumerate(plan.names):
        stat = name.removeprefix("s.a.").rsplit(".", 1)[0]
        want = np.array([oracle.value(stat, i) for i in due], float)
        assert np.isfinite(want).all(), name
        error = np.abs(got[:, column] - want).max(initial=0.0) / np.abs(want).max(initial=1e-9)
        assert error < tolerance, (name, error, got[:3, column], want[:3])
    return got


def recording(n, seed=1, step=(MS // 2, 2 * MS)):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n, 2)).astype(np.float32)
    rows[random.random(n) < 0.2, 0] = 0.5  # ties
    return np.cumsum(random.integers(*step, n)).astype(np.int64), rows


@pytest.mark.parametrize("window", [*SPANS, Span(300, by_time=False)], ids=str)
@pytest.mark.parametrize("hop", [Span(1, by_time=False), Span(5, by_time=False), Span(7 * MS, by_time=True)], ids=str)
def test_every_statistic_matches_its_definition(window, hop):
    stamps, rows = recording(400)
    assert len(check(window, hop, stamps, rows))


def test_values_that_were_filled_in_count_as_missing():
    stamps, rows = recording(300, seed=2)
    marks = np.random.default_rng(2).random(300) < 0.3
    for window in (Span(50, by_time=False), Span(30 * MS, by_time=True)):
        got = check(window, ONE, stamps, rows, marks, names=("missing_ratio", "mean"))
        assert 0.2 < got[:, 0].mean() < 0.7


@pytest.mark.parametrize("window", [Span(1500, by_time=False), Span(3000, by_time=False)], ids=str)
def test_order_statistics_of_many_blocks(window):
    """Trends, ties and jumps: blocks are split, thinned out and joined at the ends and in the middle."""
    random = np.random.default_rng(4)
    parts = [np.arange(3000) * 0.5, random.normal(size=3000), np.full(2000, 7.0), -np.arange(4000.0), random.integers(0, 5, 4000)]
    rows = np.repeat(np.concatenate(parts).astype(np.float32)[:, None], 2, axis=1)
    stamps = np.arange(1, len(rows) + 1, dtype=np.int64) * MS
    check(window, Span(97, by_time=False), stamps, rows, names=("median", "quantile(0.99)", "quantile(0.01)", "iqr", "mad"))


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6, 1e8, 1e9, -1e9])
def test_an_offset_costs_no_precision(offset):
    # The float32 input itself is coarse at 1e9; the statistics must be exact for the input as it is.
    random = np.random.default_rng(2)
    rows = (offset + random.normal(size=(600, 2)) * max(1.0, abs(offset) * 1e-6)).astype(np.float32)
    stamps = np.arange(1, 601, dtype=np.int64) * MS
    names = [name for name in EVERY if not name.startswith(("histogram", "entropy", "dominant"))]
    check(Span(50, by_time=False), ONE, stamps, rows, names=names, tolerance=5e-6)


def test_constant_input_has_exactly_no_spread():
    rows = np.full((300, 2), 16_777_215.0, np.float32)
    stamps = np.arange(1, 301, dtype=np.int64) * MS
    none = ("var", "std", "p2p", "slope", "skew", "kurtosis", "iqr", "mad", "ewvar", "cov(b)", "corr(b)", "autocorr(1)", "jerk")
    none += ("band_energy(20-200)", "dominant_frequency", "spectral_centroid", "spectral_entropy", "mean_crossings", "derivative")
    _, got = push_all(plan_for(Span(32, by_time=False), stat_names=none), stamps, rows)
    assert (got == 0).all()


def test_an_outlier_leaves_no_trace_after_it_left_the_window():
    stamps, rows = recording(300, seed=3)
    spoiled = rows.copy()
    spoiled[100, 0] = 3e38
    names = [name for name in EVERY if not name.startswith(FOREVER)]
    plan = plan_for(Span(40, by_time=False), stat_names=names)
    clean, other = (push_all(plan, stamps, table)[1] for table in (rows, spoiled))
    after = 100 + 40 - 39  # first vector whose window begins after the outlier
    np.testing.assert_allclose(other[after:], clean[after:], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(other[:61], clean[:61])


@settings(deadline=None, max_examples=60)
@given(data=st.data(), length=st.integers(1, 200), window=st.sampled_from(SPANS), hop=st.sampled_from([1, 3, 10]))
def test_any_split_into_blocks_gives_the_same_bits(data, length, window, hop):
    stamps, rows = recording(length, seed=length, step=(1, 3 * MS))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(length - 1, 1)), max_size=20)))
    plan = plan_for(window, Span(hop, by_time=False))
    assert push_all(plan, stamps, rows)[1].tobytes() == push_all(plan, stamps, rows, cuts, lane=1)[1].tobytes()


@settings(deadline=None, max_examples=40)
@given(length=st.integers(2, 200), cut=st.integers(1, 199), window=st.sampled_from(SPANS))
def test_a_longer_input_never_changes_an_earlier_output(length, cut, window):
    stamps, rows = recording(length, seed=length)
    _, whole = push_all(plan_for(window), stamps, rows)
    _, part = push_all(plan_for(window), stamps[:cut], rows[:cut])
    assert whole[: len(part)].tobytes() == part.tobytes()


@settings(deadline=None, max_examples=40)
@given(length=st.integers(2, 300), cut=st.integers(0, 300), window=st.sampled_from(SPANS), max_rows=st.sampled_from([1, 7, 64]))
def test_a_state_that_is_put_back_goes_on_with_the_same_bits(length, cut, window, max_rows):
    stamps, rows = recording(length, seed=length)
    cut = min(cut, length)
    plan = plan_for(window, max_rows=max_rows)
    _, whole = push_all(plan, stamps, rows)
    first, second = RollingFeatures(plan, 2), RollingFeatures(plan, 3)
    _, before = push_all(plan, stamps[:cut], rows[:cut], engine=first, lane=1)
    push_all(plan, stamps[: cut // 2], rows[: cut // 2] * 2, engine=second, lane=2)  # what was there is gone
    second.restore(2, first.save(1))
    _, after = push_all(plan, stamps[cut:], rows[cut:], engine=second, lane=2)
    assert np.concatenate([before, after]).tobytes() == whole.tobytes()


def test_a_state_of_another_plan_is_refused():
    engine = RollingFeatures(plan_for(Span(8, by_time=False)), 1)
    state = engine.save(0)
    flipped = state[:-9] + bytes([state[-9] ^ 4]) + state[-8:]
    for damaged in (state[:-1], b"", state[:20], state + b"x", flipped):
        with pytest.raises(ValueError, match=r"state"):
            engine.restore(0, damaged)
    with pytest.raises(ValueError, match="another plan"):
        RollingFeatures(plan_for(Span(9, by_time=False)), 1).restore(0, state)


def test_a_gap_starts_the_windows_anew():
    stamps, rows = recording(60)
    stamps[30:] += 500 * MS
    plan = plan_for(Span(10, by_time=False), max_gap_ns=100 * MS)
    got_stamps, got = push_all(plan, stamps, rows)
    fresh_stamps, fresh = push_all(plan, stamps[30:], rows[30:])
    assert got[21:].tobytes() == fresh.tobytes()
    np.testing.assert_array_equal(got_stamps[21:], fresh_stamps)


def test_a_gap_can_keep_the_windows():
    stamps, rows = recording(40)
    stamps[20:] += 500 * MS
    plan = plan_for(Span(10, by_time=False), stat_names=("mean",), max_gap_ns=100 * MS, on_gap="keep")
    assert len(push_all(plan, stamps, rows)[0]) == 31


def test_a_silence_that_empties_a_time_window_lets_it_fill_again():
    stamps, rows = recording(60)
    stamps[30:] += 500 * MS
    plan = plan_for(Span(20 * MS, by_time=True), stat_names=("count",))
    got_stamps, _ = push_all(plan, stamps, rows)
    assert (got_stamps < stamps[30]).any()
    assert got_stamps[got_stamps >= stamps[30]].min() >= stamps[30] + 20 * MS


def test_a_clock_set_back_starts_the_windows_anew():
    plan = plan_for(Span(3, by_time=False), stat_names=("mean",))
    engine, block = RollingFeatures(plan, 1), Block(2, 64)
    counts = []
    for stamp in (1000, 2000, 3000, 100, 200, 300):
        block.rows[0], block.stamps[0], block.n = stamp, stamp, 1
        counts.append(engine.update(0, 0, block))
    assert counts == [0, 0, 1, 0, 0, 1]
    assert engine.vectors[0, 0] == 200
    assert engine.gaps(0) == 1


def test_lanes_do_not_touch_each_other():
    plan = plan_for(Span(16, by_time=False))
    inputs = [recording(100, seed=seed) for seed in range(3)]
    want = [push_all(plan, *one)[1] for one in inputs]
    engine, block = RollingFeatures(plan, 3), Block(2, 64)
    got = [[], [], []]
    for i in range(100):
        for lane in (2, 0, 1):
            block.rows[0], block.stamps[0], block.n = inputs[lane][1][i], inputs[lane][0][i], 1
            got[lane].append(engine.vectors[: engine.update(0, lane, block)].copy())
    for lane in range(3):
        assert np.concatenate(got[lane]).tobytes() == want[lane].tobytes()


def test_a_reset_lane_starts_anew_and_keeps_its_counters():
    plan = plan_for(Span(4, by_time=False), max_gap_ns=10 * MS)
    engine, block = RollingFeatures(plan, 1), Block(2, 64)
    for stamp in (1, 100, 200):
        block.rows[0], block.stamps[0], block.n = 1.0, stamp * MS, 1
        engine.update(0, 0, block)
    assert engine.gaps(0) == 2
    engine.reset(0)
    assert engine.gaps(0) == 2
    block.stamps[0] = 900 * MS
    assert engine.update(0, 0, block) == 0
    assert engine.gaps(0) == 2
    stamps, rows = recording(50)
    assert push_all(plan, stamps + 1000 * MS, rows, engine=engine)[1].tobytes() == push_all(plan, stamps + 1000 * MS, rows)[1].tobytes()


def test_a_sender_faster_than_declared_is_counted_and_stays_bounded():
    plan = plan_for(Span(100 * MS, by_time=True), stat_names=("count", "mean", "median"), rate_hz=100.0)
    stamps = np.arange(1, 2001, dtype=np.int64) * (MS // 10)  # 10 kHz instead of 100 Hz
    engine = RollingFeatures(plan, 1)
    _, got = push_all(plan, stamps, np.ones((2000, 2), np.float32), engine=engine)
    assert engine.overflows(0) > 1000
    assert (got[:, 0] <= 32).all()
    assert (got[:, 1:] == 1.0).all()


def streams_plan(**slow):
    shapes = [StreamShape("slow", {"v": "m/s"}, 10.0, **slow), StreamShape("fast", {"a": "1", "b": "1"}, 1000.0)]
    groups = [
        Group("fast", ("b",), Span(4, by_time=False), Span(2, by_time=False), ("mean", "max")),
        Group("slow", ("v",), ONE, ONE, ("last", "age")),
        Group("fast", ("a", "b"), Span(2, by_time=False), ONE, ("min",)),
    ]
    return FeaturePlan(shapes, groups)


def push_two(plan, engine):
    """Ten rows of fast at 1 to 10 ms, one of slow at 5 ms, in order."""
    fast, slow = Block(2, 16), Block(1, 16)
    got = []
    for i in range(10):
        if i == 4:
            slow.rows[0], slow.stamps[0], slow.n = 7.5, 5 * MS, 1
            engine.update(0, 0, slow)
        fast.rows[0], fast.stamps[0], fast.n = (i, 10 * i), (i + 1) * MS, 1
        if engine.update(1, 0, fast):
            got.append((int(fast.stamps[0]), engine.vectors[0].tolist()))
    return got


def test_groups_of_two_streams_make_one_vector_and_know_its_age():
    plan = streams_plan()
    names = ("fast.b.mean.4", "fast.b.max.4", "slow.v.last.1", "slow.v.age.1", "fast.a.min.2", "fast.b.min.2")
    assert plan.names == names
    got = push_two(plan, RollingFeatures(plan, 1))
    # Nothing before the slow stream has spoken at 5 ms; the row at 5 ms is the fifth, the sixth completes a hop.
    assert [stamp for stamp, _ in got] == [6 * MS, 8 * MS, 10 * MS]
    assert got[0][1] == pytest.approx([35.0, 50.0, 7.5, 0.001, 4.0, 40.0])


def test_a_stream_that_is_too_old_lets_no_vector_out():
    plan = streams_plan(asof_ns=3 * MS)
    engine = RollingFeatures(plan, 1)
    assert [stamp for stamp, _ in push_two(plan, engine)] == [6 * MS, 8 * MS]
    assert engine.unaligned == 1


def test_a_sender_far_faster_than_declared_cannot_break_the_order_of_a_window():
    """The list of a time window must hold its capacity, which is more than the rows it was declared for."""
    plan = plan_for(Span(6820 * MS, by_time=True), Span(50, by_time=False), ("median", "count"), rate_hz=100.0, max_rows=500)
    block_size = int(plan.layout.jobs[plan.layout.jobs[:, k.J_KIND] == k.ORDER, k.J_SIZE][0])
    random = np.random.default_rng(8)
    clusters = np.repeat(np.arange(400.0), 1 + block_size // 2)[:30_000]  # fill blocks by halves, then thin them out
    values = np.concatenate([clusters, clusters[::-1], random.permutation(clusters), np.full(3000, 5.0)])
    rows = np.repeat(values.astype(np.float32)[:, None], 2, axis=1)
    engine = RollingFeatures(plan, 1)
    _, got = push_all(plan, np.arange(1, len(rows) + 1, dtype=np.int64) * MS, rows, engine=engine)
    assert engine.overflows(0) > 10_000
    ends = np.arange(len(rows) - 50 * (len(got) - 1) - 1, len(rows), 50)
    for end, (median, count) in list(zip(ends, got, strict=True))[::7]:
        assert median == np.median(rows[end + 1 - int(count) : end + 1, 0])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_silence_makes_every_time_window_fill_again_before_a_vector(order):
    groups = [
        Group("s", ("a",), Span(2, by_time=False), ONE, ("last",)),
        Group("s", ("a",), Span(1000 * MS, by_time=True), ONE, ("mean", "count")),
    ]
    plan = FeaturePlan([StreamShape("s", {"a": "1", "b": "1"}, 10.0, 64)], [groups[i] for i in order])
    stamps = np.concatenate([np.arange(1, 31), np.arange(1031, 1061)]) * 100 * MS
    rows = np.where(stamps < 50_000 * MS, 0.0, 7.0).astype(np.float32)[:, None].repeat(2, axis=1)
    for cuts in ((), range(1, 60)):
        got_stamps, got = push_all(plan, stamps, rows, cuts)
        later = got_stamps > 50_000 * MS
        assert got_stamps[later].min() == (1031 + 10) * 100 * MS
        assert (got[later][:, plan.names.index("s.a.mean.1s")] == 7).all()


def test_rows_that_do_not_fit_are_refused_before_the_kernel():
    engine, block = RollingFeatures(plan_for(Span(4, by_time=False), max_rows=8), 1), Block(2, 16)
    block.n = 9
    with pytest.raises(ValueError, match=r"at most \(8, 2\)"):
        engine.update(0, 0, block)
    with pytest.raises(ValueError, match=r"at most \(8, 2\)"):
        engine.update(0, 0, Block(1, 8), 0, 1)
    with pytest.raises(ValueError, match="stream -1"):
        engine.update(-1, 0, block, 0, 1)
    block.n = 1
    with pytest.raises(ValueError, match="1 lanes"):
        engine.update(0, 1, block)
    with pytest.raises(ValueError, match="rows 3 to 2"):
        engine.update(0, 0, block, 3, 2)


def run(engine, block, first, messages):
    for i in range(first, first + messages):
        block.stamps_view[0] = i * MS
        engine.update(0, 0, block)


def test_ten_thousand_messages_allocate_nothing_that_stays():
    engine, block = RollingFeatures(plan_for(Span(32, by_time=False)), 1), Block(2, 8)
    block.n = 1
    run(engine, block, 1, 5000)
    tracemalloc.start()
    run(engine, block, 5001, 5000)
    before = tracemalloc.get_traced_memory()[0]
    run(engine, block, 10_001, 5000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 2000


def resident_kb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4


@pytest.mark.timeout(300)
def test_ten_million_samples_leave_the_memory_as_it_was():
    """What tracemalloc cannot see: memory that compiled code takes."""
    names = [
        name
        for name in EVERY
        if not name.startswith(("autocorr", "mean_cross", "spectral", "dominant", "band", "histogram(3", "entropy(3"))
    ]
    plan = plan_for(Span(64, by_time=False), Span(50, by_time=False), names, max_rows=1000)
    engine, block = RollingFeatures(plan, 1), Block(2, 1000)
    block.rows[:] = np.random.default_rng(0).normal(size=(1000, 2))
    block.n = 1000
    stamps = np.arange(1, 1001, dtype=np.int64) * MS

    def push(blocks, start):
        for i in range(start, start + blocks):
            np.add(stamps, i * 1000 * MS, out=block.stamps)
            engine.update(0, 0, block)

    push(500, 0)
    before = resident_kb()
    push(4500, 500)  # 5,000 blocks of 1,000 rows of 2 channels
    assert resident_kb() - before < 2000
