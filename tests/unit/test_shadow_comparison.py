"""How a candidate's answers compare with the active model's, and what a new version must show before it acts."""

import os
import sys

import numpy as np
import pytest

from edge.daemon.trial import Setting, Trial
from edge.inference.proving import Proof
from edge.inference.shadow import Comparison, Layout, Probation, Report, Threshold
from edge.store.ring import RingWriter


def comparison(thresholds=(), active=("a", "b"), candidate=("a", "b"), budget_ns=1000):
    return Comparison("2", active, candidate, thresholds, budget_ns)


def test_a_message_comes_back_as_it_was_written():
    layout = Layout(2, 5)
    ring = RingWriter(2, layout.nbytes)
    write = layout.packer(ring.bytes)
    vector = np.arange(5, dtype=np.float32) / 3
    at = ring.begin()
    write(at, 7, 3, -5, [0.1, 0.9], vector)
    number, lane, stamp_ns, scores, back = layout.unpack(bytes(ring.bytes[at : at + layout.nbytes]))
    assert (number, lane, stamp_ns, scores) == (7, 3, -5, [0.1, 0.9])
    assert back.tobytes() == vector.tobytes()
    with pytest.raises(ValueError, match=r"size|structure|lvalue"):
        write(at, 7, 3, -5, [0.1, 0.9], vector[:4])


def test_without_rules_the_highest_score_decides():
    one = comparison()
    one.answered([0.4, 0.6], [0.45, 0.55], 10)
    one.answered([0.4, 0.6], [0.55, 0.45], 30)
    report = one.report(5)
    assert (report.n, report.agreement, report.dropped) == (2, 0.5, 5)
    assert report.mean_distance == pytest.approx(0.1)
    assert report.max_distance == pytest.approx(0.15)
    assert (report.p50_ms, report.p99_ms) == (10e-6, 30e-6)


def test_rules_decide_where_there_are_any():
    one = comparison([Threshold("b", 0.8), Threshold("a", 0.05, is_upward=False)])
    one.answered([0.4, 0.6], [0.6, 0.4], 1)  # both calm, whatever is higher
    one.answered([0.1, 0.9], [0.21, 0.79], 1)
    one.answered([0.05, 0.95], [0.06, 0.94], 1)
    assert one.report(0).agreement == pytest.approx(1 / 3, abs=1e-6)


def test_scores_are_compared_by_label():
    one = comparison(active=("a", "b"), candidate=("b", "a", "c"))
    one.answered([0.2, 0.8], [0.8, 0.2, 0.0], 1)
    assert (one.report(0).agreement, one.report(0).max_distance) == (1.0, 0.0)


def test_faults_count_against_agreement_and_are_told_apart():
    one = comparison()
    one.answered([1, 0], [1, 0], 1)
    one.fault("not_finite", "nan", 1)
    one.fault("failed", "broken", 5000)
    report = one.report(0)
    assert (report.n, report.not_finite, report.failed, report.why, report.over) == (3, 1, 1, "broken", 1)
    assert report.agreement == pytest.approx(1 / 3, abs=1e-6)


def test_frozen_is_only_what_stands_still_while_the_other_one_moves():
    one = comparison()
    for _ in range(5):
        one.answered([0.5, 0.5], [0.1, 0.9], 1)
    assert not one.report(0).is_frozen
    one.answered([0.4, 0.6], [0.1, 0.9], 1)
    assert one.report(0).is_frozen
    one.answered([0.4, 0.6], [0.2, 0.8], 1)
    assert not one.report(0).is_frozen


def test_nothing_answered_is_nothing_known():
    assert comparison().report(0) == Report("2")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"n": 1, "not_finite": 1}, "NaN or infinity on 1 of 1"),
        ({"n": 3, "failed": 1, "why": "boom"}, "failed on 1 of 3 live vectors: boom"),
        ({"n": 5, "over": 3}, "took longer than its budget of 5 ms on 3 of 5"),
        ({"n": 200, "is_frozen": True}, "same scores for all of 200"),
        ({"n": 199, "is_frozen": True, "over": 2}, ""),
        ({"n": 200, "over": 2}, ""),
    ],
)
def test_probation(changes, word):
    probation, report = Probation(200, 5.0), Report("2", **changes)
    trouble = probation.trouble(report)
    assert word in trouble
    assert bool(trouble) == bool(word)
    assert probation.is_passed(report) == (not word and report.n >= 200)


def test_labels_say_how_often_both_were_right_and_only_what_was_answered_counts():
    one = Comparison("2.0.0", ("a", "b"), ("b", "a"), [], 1000)
    one.remember(0, 10, [0.9, 0.1], [0.9, 0.1])  # a, and b
    one.remember(0, 20, [0.9, 0.1], [0.1, 0.9])  # both a
    one.remember(1, 10, [0.1, 0.9], [0.9, 0.1])  # both b
    one.labelled(0, 10, 1)
    one.labelled(0, 20, 0)
    one.labelled(1, 10, 0)
    one.labelled(1, 10, 0)  # a second time
    one.labelled(5, 10, 0)  # never answered
    report = one.report(0)
    assert (report.labelled, report.accuracy, report.active_accuracy) == (3, round(2 / 3, 6), round(1 / 3, 6))


def test_answers_that_wait_for_labels_are_bounded():
    one = Comparison("2.0.0", ("a", "b"), ("a", "b"), [], 1000)
    for stamp in range(10_000):
        one.remember(0, stamp, [0.9, 0.1], [0.9, 0.1])
    for stamp in range(10_000):
        one.labelled(0, stamp, 0)
    assert one.report(0).labelled == 4096


def test_a_process_that_cannot_be_started_leaves_no_memory_behind(tmp_path, monkeypatch):
    """It is tried again once a minute, each time with memory of megabytes."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    proof = Proof("m", "2", "", [], [], 0, 0, 0)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        Trial(Setting(tmp_path, ("a",), 3, 1, 1000, ()), proof, 1000)
    assert len(os.listdir("/proc/self/fd")) == before
