"""Labels find their prediction or are counted; scores and detectors say what river and scikit-learn say."""

import msgspec
import numpy as np
import pytest

from edge.inference.drift import DriftEvent
from edge.inference.quality import ClassQuality, ValueQuality
from edge.inference.quality_detect import Adwin, PageHinkley
from edge.pipeline.labels import Labels

_S = 1_000_000_000


def _labels(keep: int = 8, ttl_s: int = 10) -> Labels:
    return Labels(ClassQuality(("a", "b")), msgspec.json.decode, ttl_s * _S, keep)


def test_every_label_is_accounted_for() -> None:
    labels = _labels()
    for i in range(20):
        labels.note(0, i, i * 100, i * _S // 10, (0.9, 0.1))
    for payload in (
        b'{"seq":15,"label":"a"}',
        b'{"seq":15,"label":"a"}',  # duplicate
        b'{"t":1600,"label":"b"}',
        b'{"seq":16,"label":"b"}',  # duplicate: the same prediction by another name
        b'{"seq":3,"label":"a"}',  # late
        b'{"seq":99,"label":"a"}',  # unknown
        b'{"t":1601,"label":"a"}',  # unknown
        b'{"seq":17,"label":"c"}',
        b'{"seq":17}',
        b'{"seq":17,"label":"a","value":1}',
        b'{"seq":17,"t":1700,"label":"a"}',
        b'{"seq":true,"label":"a"}',
        b'{"seq":1e400,"label":"a"}',
        b'{"seq":-1,"label":"a"}',
        b"[" * 4000,
        b"\xff",
        b"x" * 5000,
    ):
        labels.take(0, payload, 2 * _S)
    labels.take(3, b'{"seq":15,"label":"a"}', 2 * _S)
    labels.refuse()
    counts = labels.counts
    assert counts == {"received": 19, "joined": 2, "late": 1, "duplicate": 2, "unknown": 3, "invalid": 11}
    assert counts["received"] == sum(counts.values()) - counts["received"]


def test_predictions_wait_for_their_time_and_no_longer() -> None:
    labels = _labels()
    labels.note(0, 1, 100, 0, (0.9, 0.1))
    labels.take(0, b'{"seq":1,"label":"a"}', 11 * _S)
    assert labels.counts["late"] == 1


def test_memory_of_a_lane_is_bounded_and_goes_with_its_device() -> None:
    labels = _labels(keep=8)
    for i in range(1000):
        labels.note(i % 3, i, i, i, (0.9, 0.1))
    assert labels.summary()["waiting"] == 24
    labels.forget(0)
    assert labels.summary()["waiting"] == 16
    labels.take(0, b'{"seq":999,"label":"a"}', 1000)
    assert labels.counts["unknown"] == 1


def test_scores_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn: pip install -e '.[dev]'")
    rng = np.random.default_rng(1)
    quality, names = ClassQuality("abc", 300), np.array(list("abc"))
    scores = rng.dirichlet((1, 1, 1), 1000)
    truth = np.where(rng.random(1000) < 0.7, scores.argmax(1), rng.integers(0, 3, 1000))
    for row, right in zip(scores.tolist(), names[truth].tolist(), strict=True):
        quality.update(row, right)
    got, scores, truth = quality.summary(), scores[-300:], truth[-300:]
    assert got["accuracy"] == pytest.approx((scores.argmax(1) == truth).mean(), abs=1e-4)
    assert got["f1_macro"] == pytest.approx(metrics.f1_score(truth, scores.argmax(1), average="macro"), abs=1e-4)
    assert got["brier"] == pytest.approx(((scores - np.eye(3)[truth]) ** 2).sum(1).mean(), abs=1e-4)
    confidence, hit = scores.max(1), scores.argmax(1) == truth
    at = np.minimum((confidence * 10).astype(int), 9)
    ece = sum(abs(hit[at == b].sum() - confidence[at == b].sum()) for b in range(10)) / 300
    assert got["ece"] == pytest.approx(ece, abs=1e-4)


def test_errors_of_values() -> None:
    quality = ValueQuality(["rul"], 100)
    assert quality.takes(3)
    assert quality.takes(2.5)
    assert not quality.takes(True)
    assert not quality.takes(float("nan"))
    assert not quality.takes("3")
    for i in range(200):
        quality.update([float(i)], i + (3.0 if i % 2 else -4.0))
    assert quality.summary()["rmse"] == pytest.approx(12.5**0.5)
    assert quality.summary()["mae"] == pytest.approx(3.5)


@pytest.mark.parametrize("seed", range(4))
def test_adwin_is_that_of_river(seed: int) -> None:
    drift = pytest.importorskip("river.drift", reason="needs river: pip install -e '.[dev]'")
    rng = np.random.default_rng(seed)
    stream = np.concatenate([rng.normal(0, 1, 3000), rng.normal(0.6, 1, 2000), (rng.random(3000) < 0.4), rng.normal(0.4, 0.1, 500)])
    mine, theirs, found, wanted = Adwin(), drift.ADWIN(), [], []
    for i, value in enumerate(stream.tolist()):
        if found and found[-1] == i - 1:
            mine = Adwin()  # river begins anew after a change; the paper, and we, keep the window that is left
        if mine.update(value):
            found.append(i)
        theirs.update(value)
        if theirs.drift_detected:
            wanted.append(i)
    assert found == wanted
    assert len(found) >= 2
    assert mine.width == theirs.width
    assert mine.mean == pytest.approx(theirs.estimation)


@pytest.mark.parametrize("seed", range(4))
def test_page_hinkley_is_that_of_river(seed: int) -> None:
    drift = pytest.importorskip("river.drift", reason="needs river: pip install -e '.[dev]'")
    rng = np.random.default_rng(seed)
    stream = np.concatenate([rng.random(3000) < 0.1, rng.random(3000) < 0.4, rng.random(3000) < 0.9]).astype(float)
    mine, theirs, found, wanted = PageHinkley(), drift.PageHinkley(mode="up"), [], []
    for i, value in enumerate(stream.tolist()):
        if mine.update(value):
            found.append(i)
        theirs.update(value)
        if theirs.drift_detected:
            wanted.append(i)
    assert found == wanted
    assert len(found) >= 2


def test_an_alarm_is_raised_once_and_cleared_once() -> None:
    rng = np.random.default_rng(3)
    quality = ClassQuality(("a", "b"), 500)
    events: list[DriftEvent] = []
    for rate in (0.05, 0.4):
        for wrong in rng.random(3000) < rate:
            events += quality.update((0.9, 0.1), "b" if wrong else "a")
    assert [event.state for event in events] == ["raised", "cleared"]
    assert 3000 - 500 < events[0].since_frame <= 3400
    assert events[0].samples <= 3400


def test_a_model_that_gets_better_is_no_alarm() -> None:
    rng = np.random.default_rng(4)
    quality = ClassQuality(("a", "b"), 500)
    events: list[DriftEvent] = []
    for rate in (0.5, 0.05):
        for wrong in rng.random(3000) < rate:
            events += quality.update((0.9, 0.1), "b" if wrong else "a")
    assert events == []


def test_adwin_remembers_little() -> None:
    adwin = Adwin()
    for _ in range(100_000):
        adwin.update(0.0)
    assert sum(len(row) for row in adwin._rows) < 100
