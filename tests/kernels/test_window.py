"""Rolling statistics against a slow float64 oracle that shares no code with the kernel."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.features.offline import compute
from edge.features.plan import STATISTICS, FeaturePlan, Group, Span, StreamShape
from edge.features.rolling import RollingFeatures
from edge.messages import Block

ALL = tuple(STATISTICS)
MS = 1_000_000


ONE = Span(1, by_time=False)


def plan_for(window, hop=ONE, stats=ALL, channels=("a", "b"), rate_hz=1000.0, max_gap_ns=0, max_rows=64):
    shape = StreamShape("s", dict.fromkeys(channels, "1"), rate_hz, max_rows, max_gap_ns)
    return FeaturePlan([shape], [Group("s", tuple(channels), window, hop, tuple(stats))])


def oracle_row(x, t, ewma):
    """All statistics of one window of one channel, in the order of STATISTICS. x: float64, t: int64 ns."""
    n = len(x)
    seconds = (t - t[0]).astype(np.float64) * 1e-9
    slope = np.polyfit(seconds - seconds.mean(), x - x.mean(), 1)[0] if n > 1 else 0.0
    negative = x < 0
    return [
        math.fsum(x) / n,
        np.var(x),
        np.std(x),
        math.sqrt(math.fsum(x * x) / n),
        x.min(),
        x.max(),
        x.max() - x.min(),
        slope,
        np.count_nonzero(negative[1:] != negative[:-1]),
        ewma,
        x[-1],
        n,
    ]


def oracle(window, hop, stamps, rows):
    """Emitted stamps and vectors, by definition."""
    rows = rows.astype(np.float64)
    out_stamps, out = [], []
    smooth = rows[0].copy()
    for i in range(len(rows)):
        if i:
            w = window.value
            a = 1 - math.exp(-(stamps[i] - stamps[i - 1]) / w) if window.by_time else 2 / (w + 1)
            smooth = smooth + a * (rows[i] - smooth)
        if window.by_time:
            inside = (stamps[: i + 1] > stamps[i] - window.value).nonzero()[0]
            full = stamps[i] - stamps[0] >= window.value
        else:
            inside = np.arange(max(0, i + 1 - window.value), i + 1)
            full = i + 1 >= window.value
        due = (i > 0 and stamps[i] // hop.value != stamps[i - 1] // hop.value) if hop.by_time else (i + 1) % hop.value == 0
        if full and due:
            out_stamps.append(stamps[i])
            out.append([v for c in range(rows.shape[1]) for v in oracle_row(rows[inside, c], stamps[inside], smooth[c])])
    return np.array(out_stamps, np.int64), np.array(out).reshape(len(out), -1)


def check(window, hop, stamps, rows, tolerance=1e-6):
    plan = plan_for(window, hop, channels=[f"c{i}" for i in range(rows.shape[1])])
    got_stamps, got = compute(plan, {"s": (stamps, rows)})
    want_stamps, want = oracle(window, hop, stamps, rows)
    np.testing.assert_array_equal(got_stamps, want_stamps)
    scale = np.abs(want).max(axis=0, initial=1e-30)
    error = np.abs(got - want) / np.maximum(scale, 1e-30)
    worst = np.unravel_index(error.argmax(), error.shape) if error.size else None
    assert error.size == 0 or error.max() < tolerance, (plan.names[worst[1]], got[worst], want[worst])
    return got


SPANS = [Span(1, by_time=False), Span(2, by_time=False), Span(7, by_time=False), Span(64, by_time=False), Span(20 * MS, by_time=True)]


@pytest.mark.parametrize("window", SPANS, ids=str)
@pytest.mark.parametrize("hop", [Span(1, by_time=False), Span(5, by_time=False), Span(7 * MS, by_time=True)], ids=str)
def test_matches_the_definition(window, hop):
    rng = np.random.default_rng(1)
    stamps = np.cumsum(rng.integers(MS // 2, 2 * MS, 400)).astype(np.int64)
    rows = rng.normal(size=(400, 2)).astype(np.float32)
    assert len(check(window, hop, stamps, rows))


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6, 1e8, 1e9, -1e9])
def test_an_offset_costs_no_precision(offset):
    # The float32 input itself is coarse at 1e9; the statistics must be exact for the input as it is.
    rng = np.random.default_rng(2)
    rows = (offset + rng.normal(size=(600, 2)) * max(1.0, abs(offset) * 1e-6)).astype(np.float32)
    stamps = np.arange(1, 601, dtype=np.int64) * MS
    plan = plan_for(Span(50, by_time=False), stats=("mean", "var", "std", "slope"))
    _, got = compute(plan, {"s": (stamps, rows)})
    _, want = oracle(Span(50, by_time=False), Span(1, by_time=False), stamps, rows)
    for column, name in enumerate(plan.names):
        stat = name.split(".")[2]
        channel = ["a", "b"].index(name.split(".")[1])
        reference = want[:, channel * len(ALL) + ALL.index(stat)]
        np.testing.assert_allclose(got[:, column], reference, rtol=3e-6, atol=np.abs(reference).max() * 3e-6)


def test_constant_input_has_exactly_no_variance():
    rows = np.full((300, 1), 16_777_215.0, np.float32)
    stamps = np.arange(1, 301, dtype=np.int64) * MS
    _, got = compute(plan_for(Span(32, by_time=False), stats=("var", "std", "p2p", "slope"), channels=("a",)), {"s": (stamps, rows)})
    assert (got == 0).all()


def test_an_outlier_leaves_no_trace_after_it_left_the_window():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(300, 1)).astype(np.float32)
    spoiled = rows.copy()
    spoiled[100] = 3e38
    stamps = np.arange(1, 301, dtype=np.int64) * MS
    plan = plan_for(Span(40, by_time=False), stats=[s for s in ALL if s != "ewma"], channels=("a",))
    _, clean = compute(plan, {"s": (stamps, rows)})
    _, other = compute(plan, {"s": (stamps, spoiled)})
    after = 100 + 40 - 39  # first vector whose window begins after the outlier
    np.testing.assert_allclose(other[after:], clean[after:], rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(other[:61], clean[:61])


@settings(deadline=None, max_examples=60)
@given(data=st.data(), length=st.integers(1, 200), window=st.sampled_from(SPANS), hop=st.sampled_from([1, 3, 10]))
def test_any_split_into_blocks_gives_the_same_bits(data, length, window, hop):
    rng = np.random.default_rng(length)
    rows = rng.normal(size=(length, 2)).astype(np.float32)
    stamps = np.cumsum(rng.integers(1, 3 * MS, length)).astype(np.int64)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(length - 1, 1)), max_size=20)))
    plan = plan_for(window, Span(hop, by_time=False))
    whole = compute(plan, {"s": (stamps, rows)})
    engine, block, parts = RollingFeatures(plan, lanes=2), Block(2, 64), []
    for start, stop in zip([0, *cuts], [*cuts, length], strict=True):
        for at in range(start, stop, 64):
            block.n = min(64, stop - at)
            block.rows[: block.n], block.stamps[: block.n] = rows[at : at + block.n], stamps[at : at + block.n]
            parts.append(engine.vectors[: engine.update(0, 1, block)].copy())
    assert np.concatenate(parts or [whole[1][:0]]).tobytes() == whole[1].tobytes()


@settings(deadline=None, max_examples=40)
@given(length=st.integers(2, 200), cut=st.integers(1, 199), window=st.sampled_from(SPANS))
def test_a_longer_input_never_changes_an_earlier_output(length, cut, window):
    rng = np.random.default_rng(length)
    rows = rng.normal(size=(length, 2)).astype(np.float32)
    stamps = np.arange(1, length + 1, dtype=np.int64) * MS
    _, whole = compute(plan_for(window), {"s": (stamps, rows)})
    _, part = compute(plan_for(window), {"s": (stamps[:cut], rows[:cut])})
    assert whole[: len(part)].tobytes() == part.tobytes()


def test_a_gap_starts_the_windows_anew():
    rows = np.arange(60, dtype=np.float32).reshape(60, 1) - 30
    stamps = np.arange(1, 61, dtype=np.int64) * MS
    stamps[30:] += 500 * MS
    plan = plan_for(Span(10, by_time=False), channels=("a",), max_gap_ns=100 * MS)
    got_stamps, got = compute(plan, {"s": (stamps, rows)})
    fresh_stamps, fresh = compute(plan, {"s": (stamps[30:], rows[30:])})
    assert got[21:].tobytes() == fresh.tobytes()
    np.testing.assert_array_equal(got_stamps[21:], fresh_stamps)


def test_a_gap_can_keep_the_windows():
    rows = np.arange(40, dtype=np.float32).reshape(40, 1)
    stamps = np.arange(1, 41, dtype=np.int64) * MS
    stamps[20:] += 500 * MS
    shape = StreamShape("s", {"a": "1"}, 1000.0, 64, 100 * MS, resets_on_gap=False)
    plan = FeaturePlan([shape], [Group("s", ("a",), Span(10, by_time=False), Span(1, by_time=False), ("mean",))])
    assert len(compute(plan, {"s": (stamps, rows)})[0]) == 31


def test_a_clock_set_back_starts_the_windows_anew():
    plan = plan_for(Span(3, by_time=False), stats=("mean",), channels=("a",))
    engine, block = RollingFeatures(plan, 1), Block(1, 64)
    counts = []
    for stamp in (1000, 2000, 3000, 100, 200, 300):
        block.rows[0], block.stamps[0], block.n = stamp, stamp, 1
        counts.append(engine.update(0, 0, block))
    assert counts == [0, 0, 1, 0, 0, 1]
    assert engine.vectors[0, 0] == 200
    assert engine.gaps(0) == 1


def test_lanes_do_not_touch_each_other():
    plan = plan_for(Span(16, by_time=False))
    rng = np.random.default_rng(5)
    inputs = [rng.normal(size=(100, 2)).astype(np.float32) for _ in range(3)]
    stamps = np.arange(1, 101, dtype=np.int64) * MS
    want = [compute(plan, {"s": (stamps, rows)})[1] for rows in inputs]
    engine, block = RollingFeatures(plan, 3), Block(2, 64)
    got = [[], [], []]
    for i in range(100):
        for lane in (2, 0, 1):
            block.rows[0], block.stamps[0], block.n = inputs[lane][i], stamps[i], 1
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


def test_a_sender_faster_than_declared_is_counted_and_stays_bounded():
    plan = plan_for(Span(100 * MS, by_time=True), stats=("count", "mean"), channels=("a",), rate_hz=100.0)
    stamps = np.arange(1, 2001, dtype=np.int64) * (MS // 10)  # 10 kHz instead of 100 Hz
    engine, block = RollingFeatures(plan, 1), Block(1, 64)
    for at in range(0, 2000, 50):
        block.rows[:50, 0], block.stamps[:50], block.n = 1.0, stamps[at : at + 50], 50
        emitted = engine.update(0, 0, block)
    assert engine.overflows(0) > 1000
    assert emitted == 50
    assert (engine.vectors[:50, 0] <= 32).all()
    assert (engine.vectors[:50, 1] == 1.0).all()


def test_groups_of_two_streams_make_one_vector():
    shapes = [StreamShape("slow", {"v": "m/s"}, 10.0), StreamShape("fast", {"a": "1", "b": "1"}, 1000.0)]
    one = Span(1, by_time=False)
    groups = [
        Group("fast", ("b",), Span(4, by_time=False), Span(2, by_time=False), ("mean", "max")),
        Group("slow", ("v",), one, one, ("last",)),
        Group("fast", ("a", "b"), Span(2, by_time=False), one, ("min",)),
    ]
    plan = FeaturePlan(shapes, groups)
    assert plan.names == ("fast.b.mean.4", "fast.b.max.4", "slow.v.last.1", "fast.a.min.2", "fast.b.min.2")
    fast = np.stack([np.arange(10), np.arange(10) * 10], axis=1).astype(np.float32)
    stamps, vectors = compute(
        plan,
        {"fast": (np.arange(10, dtype=np.int64) * MS + MS, fast), "slow": (np.array([5 * MS]), np.array([[7.5]], np.float32))},
    )
    # Nothing before the slow stream has spoken at 5 ms; the row at 5 ms is the fifth, the sixth completes a hop.
    np.testing.assert_array_equal(stamps, [6 * MS, 8 * MS, 10 * MS])
    np.testing.assert_array_equal(vectors[0], [35.0, 50.0, 7.5, 4.0, 40.0])


def test_a_wrong_dtype_is_refused_and_not_compiled_for():
    plan = plan_for(Span(4, by_time=False))
    engine, block = RollingFeatures(plan, 1), Block(2, 8)
    block.rows = block.rows.astype(np.float64)
    block.n = 1
    with pytest.raises(TypeError):
        engine.update(0, 0, block)


def test_ten_thousand_messages_allocate_nothing_that_stays():
    import tracemalloc

    plan = plan_for(Span(32, by_time=False))
    engine, block = RollingFeatures(plan, 1), Block(2, 8)
    block.n = 1

    def run(first):
        for i in range(first, first + 5000):
            block.stamps_view[0] = i * MS
            engine.update(0, 0, block)

    run(1)
    tracemalloc.start()
    run(5001)
    before = tracemalloc.get_traced_memory()[0]
    run(10_001)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 2000
