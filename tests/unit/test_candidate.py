"""What a version on trial makes of what the active one was given: when its states begin anew, and what counts without an answer."""

import math

import numpy as np

from edge.companion.comparing import Candidate
from edge.errors import InferenceFault
from edge.inference.shadow import TRUTH, Comparison, Probation
from edge.inference.variants import BoundVariant, Inference

LABELS = ("a", "b")
VECTOR = np.zeros(2, np.float32)
NO_ANSWER = [math.nan, math.nan]


class States:
    def __init__(self):
        self.resets = []

    def reset(self, lane):
        self.resets.append(lane)


def candidate(run=lambda vector, lane: [0.2, 0.8], states=None):
    comparison = Comparison("2", LABELS, LABELS, [], 10**12)
    return Candidate(Inference("m", "2", LABELS, ("x", "y"), [BoundVariant("full", run, 1)], states), comparison), comparison


def test_its_states_begin_anew_where_those_of_the_active_model_did():
    states = States()
    one, comparison = candidate(states=states)
    for stamp, (begun, lane) in enumerate([(1, 0), (1, 0), (4, 1), (1, 0), (2, 0), (2, 0), (4, 1)]):
        one.take(begun, lane, stamp, [0.1, 0.9], VECTOR)
    assert states.resets == [0, 1, 0]
    one.take(TRUTH, 0, 0, [1.0, 1.0], VECTOR)
    assert states.resets == [0, 1, 0]
    assert comparison.report(0).labelled == 1


def test_behind_an_active_model_that_never_answers_a_probation_comes_to_its_end():
    one, comparison = candidate()
    for stamp in range(50):
        one.take(1, 0, stamp, NO_ANSWER, VECTOR)
    report = comparison.report(0)
    assert (report.n, report.agreement, report.is_frozen, report.labelled) == (50, 0.0, False, 0)
    assert Probation(50, 1e6).is_passed(report)
    one.take(TRUTH, 0, 3, [1.0, 1.0], VECTOR)
    assert comparison.report(0).labelled == 0, "only where both answered can they be compared"


def test_it_fails_there_like_anywhere_else():
    def fail(vector, lane):
        raise InferenceFault("failed", "boom")

    one, comparison = candidate(fail)
    one.take(1, 0, 0, NO_ANSWER, VECTOR)
    assert "failed on 1 of 1 live vectors" in Probation(50, 1e6).trouble(comparison.report(0))
