"""Drift: seen where it is, silent where it is not, never flapping, and never poisoned by NaN."""

import numpy as np
import numpy.typing as npt
import pytest

from edge.inference.drift import BATCHES, DriftEvent, DriftMonitor, DriftSettings
from edge.inference.drift_bins import bins_of
from edge.inference.drift_test import f_quantiles
from edge.inference.manifest import Reference

_S = 1_000_000_000
_SHORT = DriftSettings(window_frames=400, window_ns=10 * _S)


def _reference(values: npt.NDArray[np.float32], bins: int = 0) -> Reference:
    deciles = [float(v) for v in np.quantile(values, np.linspace(0, 1, 11))]
    if not bins:
        return Reference(mean=float(values.mean()), std=float(values.std()), deciles=deciles)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    shares = np.bincount(np.digitize(values, edges), minlength=len(edges) + 1) / len(values)
    return Reference(mean=float(values.mean()), std=float(values.std()), deciles=deciles, edges=edges.tolist(), shares=shares.tolist())


def _monitor(features: int = 8, settings: DriftSettings = _SHORT, scores: int = 0) -> DriftMonitor:
    training = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
    one = _reference(training)
    return DriftMonitor([(f"f{i}", one) for i in range(features)], [(f"s{i}", one) for i in range(scores)], settings)


def _play(monitor: DriftMonitor, frames: npt.NDArray[np.float32], began_ns: int = 0, rate: int = 20) -> list[DriftEvent]:
    events: list[DriftEvent] = []
    for i, frame in enumerate(frames):
        monitor.update(frame, ())
        events += monitor.look(began_ns + i * _S // rate)
    return events


def _smooth(rng: np.random.Generator, n: int, features: int, phi: float) -> npt.NDArray[np.float32]:
    noise = rng.normal(size=(n, features)) * np.sqrt(1 - phi * phi)
    out = np.empty((n, features))
    out[0] = rng.normal(size=features)
    for i in range(1, n):
        out[i] = phi * out[i - 1] + noise[i]
    return out.astype(np.float32)


@pytest.mark.parametrize("phi", [0.0, 0.9, 0.99])
def test_no_false_alarm_on_stationary_streams(phi: float) -> None:
    rng = np.random.default_rng(int(phi * 100))
    monitor = _monitor()
    assert _play(monitor, _smooth(rng, 60_000, 8, phi)) == []
    assert monitor.windows > 100


def test_dependence_is_seen_in_the_effective_number() -> None:
    rng = np.random.default_rng(4)
    loose, tight = _monitor(), _monitor()
    _play(loose, _smooth(rng, 500, 8, 0.0))
    _play(tight, _smooth(rng, 500, 8, 0.98))
    assert loose.last is not None
    assert tight.last is not None
    assert np.median(tight.last.effective) * 5 < np.median(loose.last.effective)


def test_a_shift_is_raised_once_and_cleared_once() -> None:
    rng = np.random.default_rng(5)
    monitor = _monitor()
    assert _play(monitor, rng.normal(size=(2000, 8)).astype(np.float32)) == []
    moved = rng.normal(size=(4000, 8)).astype(np.float32)
    moved[:, 3] += 1.5
    raised = _play(monitor, moved, 100 * _S)
    assert [(event.name, event.state, event.kind) for event in raised] == [("f3", "raised", "feature")]
    assert raised[0].value > raised[0].threshold
    assert 1600 <= raised[0].since_frame <= 2400
    assert "f3" in raised[0].detail
    assert monitor.summary()["drifting"] == ["f3"]
    assert monitor.summary()["top"][0]["name"] == "f3"
    cleared = _play(monitor, rng.normal(size=(4000, 8)).astype(np.float32), 300 * _S)
    assert [(event.name, event.state) for event in cleared] == [("f3", "cleared")]
    assert (monitor.raised, monitor.cleared) == (1, 1)


def test_a_shift_beyond_the_last_edge_is_raised_though_the_window_has_no_spread_left() -> None:
    rng = np.random.default_rng(9)
    monitor = _monitor()
    assert _play(monitor, rng.normal(size=(4000, 8)).astype(np.float32)) == []
    moved = rng.normal(size=(2000, 8)).astype(np.float32)
    moved[:, 3] += 20
    assert [(event.name, event.state) for event in _play(monitor, moved, 200 * _S)] == [("f3", "raised")]
    assert monitor.last is not None
    assert monitor.last.effective[3] > 100


@pytest.mark.parametrize("bins", [0, 5])
def test_a_shift_of_a_machine_that_repeats_itself(bins: int) -> None:
    levels = (np.arange(4000) % 7 * 0.5).astype(np.float32)
    monitor = DriftMonitor([("temp", _reference(levels + 50, bins))], [], _SHORT)
    assert _play(monitor, levels[:, None] + 50) == []
    assert [event.state for event in _play(monitor, levels[:, None] + 60, 200 * _S)] == ["raised"]


def test_what_never_varied_may_become_restless_and_that_is_learned() -> None:
    rng = np.random.default_rng(10)
    monitor = _monitor()
    _play(monitor, np.full((4000, 8), 0.1, np.float32))  # every window as the one before
    moods = np.repeat(rng.normal(size=(50, 8)), 400, axis=0).astype(np.float32)  # another one in every window, and no spread inside
    _play(monitor, moods, 200 * _S)
    assert monitor.last is not None
    assert np.median(monitor.last.effective) < 10


def test_one_bad_second_is_not_drift() -> None:
    rng = np.random.default_rng(6)
    frames = rng.normal(size=(12_000, 8)).astype(np.float32)
    frames[5000:5200] = 50.0  # a second at 200 a second
    assert _play(_monitor(), frames, rate=200) == []


def test_not_finite_values_are_counted_and_poison_nothing() -> None:
    rng = np.random.default_rng(7)
    frames = rng.normal(size=(4000, 8)).astype(np.float32)
    frames[:, 2] = np.nan
    frames[::7, 4] = np.inf
    monitor = _monitor()
    assert [(event.name, event.statistic) for event in _play(monitor, frames)] == [("f2", "missing")]
    assert monitor.summary()["nan"] == 4000
    assert monitor.summary()["infinite"] == len(frames[::7])
    rows = monitor.report()["values"]
    assert rows[2]["n"] == 0
    assert np.isfinite([row["psi"] for row in rows]).all()
    assert abs(sum(rows[0]["current"]) - 1) < 1e-3


def test_scores_are_watched_like_features() -> None:
    rng = np.random.default_rng(8)
    monitor = _monitor(features=2, scores=1)
    events: list[DriftEvent] = []
    for i in range(3000):
        monitor.update(rng.normal(size=2).astype(np.float32), [float(rng.normal() + 2)])
        events += monitor.look(i * _S // 20)
    assert [(event.kind, event.name) for event in events] == [("score", "s0")]


def test_a_clock_set_back_does_not_stop_the_windows() -> None:
    rng = np.random.default_rng(9)
    monitor = _monitor()
    _play(monitor, rng.normal(size=(1000, 8)).astype(np.float32), 10_000 * _S)
    before = monitor.windows
    _play(monitor, rng.normal(size=(1000, 8)).astype(np.float32), 0)
    assert monitor.windows > before


def test_memory_does_not_grow() -> None:
    monitor = _monitor()
    before = [getattr(monitor, name).nbytes for name in ("_counts", "_sums", "_seen", "odd")]
    _play(monitor, np.zeros((5000, 8), np.float32))
    assert before == [getattr(monitor, name).nbytes for name in ("_counts", "_sums", "_seen", "odd")]


def test_bins_of_discrete_deciles_know_that_they_are_coarse() -> None:
    rng = np.random.default_rng(10)
    counts = rng.poisson(2, 20_000).astype(np.float32)
    bins = bins_of([_reference(counts), _reference(rng.normal(size=20_000).astype(np.float32)), _reference(np.zeros(9, np.float32))])
    assert bins.slack.tolist() == [0.05, 0.0, 0.0]
    assert bins.used.tolist()[1:] == [10, 3]
    assert bins.is_constant.tolist() == [False, False, True]
    np.testing.assert_allclose(bins.shares.sum(1), 1)
    for f, edge in enumerate(bins.edges[0, : bins.used[0] - 1]):
        assert abs(bins.shares[0, : f + 1].sum() - (counts < edge).mean()) <= 0.05 + 0.005
    monitor = DriftMonitor([("crossings", _reference(counts))], [], _SHORT)
    assert _play(monitor, rng.poisson(2, (20_000, 1)).astype(np.float32)) == []
    assert [event.statistic for event in _play(monitor, rng.poisson(5, (4000, 1)).astype(np.float32), 2000 * _S)] == ["ks"]


def test_own_bins_are_taken_where_there_are_some() -> None:
    values = np.random.default_rng(11).normal(size=20_000).astype(np.float32)
    one = _reference(values, 20)
    assert bins_of([one]).used.tolist() == [20]
    assert bins_of([one]).slack.tolist() == [0]


def test_a_window_is_judged_only_when_it_is_whole() -> None:
    monitor = _monitor()
    _play(monitor, np.full((400 // BATCHES * (BATCHES - 1), 8), 9, np.float32))
    assert monitor.windows == 0
    assert monitor.report()["values"] == []


def test_without_references_there_is_no_monitor() -> None:
    with pytest.raises(ValueError, match="no references"):
        DriftMonitor([], [])


def test_a_sensor_that_dies_is_an_alarm_and_one_that_comes_back_ends_it() -> None:
    rng = np.random.default_rng(12)
    monitor = _monitor()
    good, dead, half = (rng.normal(size=(4000, 8)).astype(np.float32) for _ in range(3))
    dead[:, 5] = np.nan
    half[rng.random(4000) < 0.35, 5] = np.inf
    assert _play(monitor, good) == []
    (event,) = _play(monitor, dead, 1000 * _S)
    assert (event.name, event.state, event.statistic, event.value, event.threshold) == ("f5", "raised", "missing", 1.0, 0.5)
    assert "feature f5 differs from training" in event.detail
    assert _play(monitor, half, 2000 * _S) == [], "a third is too much to end it"
    assert [(event.state, event.statistic) for event in _play(monitor, good, 3000 * _S)] == [("cleared", "missing")]
    assert _play(_monitor(), half) == [], "and too little to begin it"


@pytest.mark.parametrize("bins", [0, 10])
@pytest.mark.parametrize("value", [0.0, -3.0, 1e6])
def test_a_value_that_never_varied_and_is_another_one_now(bins: int, value: float) -> None:
    constant = np.full(1000, value, np.float32)
    monitor = DriftMonitor([("flag", _reference(constant, bins))], [], _SHORT)
    good = np.full((2000, 1), value, np.float32)
    assert _play(monitor, good * np.float32(1 + 1e-6)) == []
    for other in (value + 1000, value - 1000):
        (event,) = _play(monitor, np.full((2000, 1), other, np.float32), 1000 * _S)
        assert (event.name, event.state, event.statistic, event.value) == ("flag", "raised", "constant", 1.0)
        assert [(event.state, event.statistic) for event in _play(monitor, good, 2000 * _S)] == [("cleared", "constant")]


def test_quantiles_of_f_are_those_of_its_distribution() -> None:
    found = f_quantiles(np.array([9.0, 2.0, 9.0, 1.0]), np.array([19.0, 19.0, 1.0, 1.0]), 0.001)
    np.testing.assert_allclose(found[:2], [5.39, 10.16], rtol=0.03)  # tables
    assert np.isfinite(found).all()
    assert (found[2:] > 1e6).all(), "one batch alone says nothing"


def test_a_window_is_judged_in_steps_and_frames_meanwhile_are_counted() -> None:
    monitor = _monitor()
    moved = np.random.default_rng(13).normal(3, 1, size=(40_000, 8)).astype(np.float32)
    raised = _play(monitor, moved)
    assert len(raised) == 8
    assert monitor.summary()["frames"] == 40_000
    assert raised[0].since_frame == 0
    assert monitor.windows == pytest.approx(40_000 / 400, abs=2)
