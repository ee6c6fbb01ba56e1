"""What a shadow process does: it runs a candidate on the vectors of the active model, and says how their answers compare.

Asked once, in one line of JSON on standard input; vectors come through a ring in shared memory; what is known of the candidate goes out on
standard output, one line of JSON a period.
"""

import math
import os
import select
import sys
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import BundleError, InferenceFault
from edge.inference.proving import Proof
from edge.inference.sealed import load_proved
from edge.inference.shadow import TRUTH, Comparison, Layout, Report, Threshold
from edge.inference.variants import Inference
from edge.store.ring import RingReader

_IDLE_S = 0.002  # between two looks at an empty ring
_PERIOD_S = 0.25


class Task(msgspec.Struct, frozen=True):
    """What a shadow is asked to do.

    Args:
        folder: of the bundle.
        proof: of the candidate.
        labels: of the active model.
        features: of the vector.
        lanes: devices whose states are kept.
        budget_ns: runs that take longer are counted.
        thresholds: of the rules on scores.
    """

    folder: str
    proof: Proof
    labels: list[str]
    features: int
    lanes: int
    budget_ns: int
    thresholds: list[Threshold]


class Line(msgspec.Struct, frozen=True):
    """One line of what it says: an error, or what is known."""

    error: str = ""
    report: Report | None = None


def compare(descriptor: int) -> int:
    """Run until standard input ends.

    Args:
        descriptor: of the ring.
    """
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        model = load_proved(Path(task.folder), task.proof, task.lanes)
        ring = RingReader(descriptor)
    except (BundleError, ValueError) as fault:
        os.write(answers, msgspec.json.encode(Line(error=str(fault))) + b"\n")
        return 1
    comparison = Comparison(task.proof.version, task.labels, model.labels, task.thresholds, task.budget_ns)
    threading.Thread(target=_tell, args=(answers, comparison, ring), daemon=True).start()
    _work(Candidate(model, comparison), ring, Layout(len(task.labels), task.features))
    return 0


class Candidate:
    """Runs a model on what the active one was given; what it carries on begins anew where that of the active one did.

    Args:
        model: with one variant.
        comparison: takes what came of it.
    """

    def __init__(self, model: Inference, comparison: Comparison) -> None:
        self._run, self._states, self._comparison = model.variants[0].run, model.states, comparison
        self._begun: dict[int, int] = {}

    def take(self, begun: int, lane: int, stamp_ns: int, active: list[float], vector: npt.NDArray[np.float32]) -> None:
        """Take a message; see Layout.unpack."""
        comparison = self._comparison
        if begun == TRUTH:
            comparison.labelled(lane, stamp_ns, int(active[0]))
            return
        if self._states is not None and self._begun.get(lane) != begun:  # a number, so that it shows even if messages were dropped
            self._begun[lane] = begun
            self._states.reset(lane)
        clock = time.thread_time_ns
        began = clock()
        try:
            scores = self._run(vector, lane)
        except InferenceFault as fault:
            comparison.fault(fault.kind, str(fault), clock() - began)
            return
        took_ns = clock() - began
        if math.isnan(active[0]):
            comparison.answered_alone(took_ns)
            return
        comparison.answered(active, scores, took_ns)
        comparison.remember(lane, stamp_ns, active, scores)


def _work(candidate: Candidate, ring: RingReader, layout: Layout) -> None:
    looked = 0.0
    while True:
        message = ring.take()
        if message is not None:
            candidate.take(*layout.unpack(message))
            continue
        if time.monotonic() - looked > _PERIOD_S:
            looked = time.monotonic()
            if select.select([0], [], [], 0)[0]:  # it ended: nothing more is ever sent
                return
        time.sleep(_IDLE_S)


def _tell(answers: int, comparison: Comparison, ring: RingReader) -> None:
    """Say what is known, also while a run does not end."""
    while True:
        time.sleep(_PERIOD_S)
        line = msgspec.json.encode(Line(report=comparison.report(ring.dropped)))
        try:
            os.write(answers, line + b"\n")
        except OSError:  # nobody listens any more
            os._exit(0)
