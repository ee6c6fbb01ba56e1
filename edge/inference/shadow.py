"""What the hot process tells a shadow, and how the shadow's answers compare: pure values, no I/O.

A message is what the active model was given and what it said of it: how often the lane began anew, lane and stamp of the vector (int64),
the scores (float64; NaN where it gave none) and the vector (float32). With TRUTH for the first number it says which label was right for a
vector that was sent before.
"""

import math
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

_HEAD_BYTES = 24
_KEPT = 4096  # runs whose times are kept, and answers that wait for a label
TRUTH = -1


class Layout(msgspec.Struct, frozen=True):
    """Sizes of a message.

    Args:
        scores: of the active model.
        features: of the vector.
    """

    scores: int
    features: int

    @property
    def nbytes(self) -> int:
        """Of one message."""
        return _HEAD_BYTES + 8 * self.scores + 4 * self.features

    def packer(self, buffer: memoryview) -> Callable[[int, int, int, int, Sequence[float], npt.NDArray[np.float32]], None]:
        """What writes a message to an offset of a buffer, which is a multiple of 8.

        Args:
            buffer: bytes.
        """
        pack = struct.Struct(f"<qqq{self.scores}d").pack_into
        floats: Any = buffer.cast("f")
        first, features = (_HEAD_BYTES + 8 * self.scores) >> 2, self.features

        def write(at: int, begun: int, lane: int, stamp_ns: int, scores: Sequence[float], vector: npt.NDArray[np.float32]) -> None:
            pack(buffer, at, begun, lane, stamp_ns, *scores)
            begin = (at >> 2) + first
            floats[begin : begin + features] = vector

        return write

    def unpack(self, message: bytes) -> tuple[int, int, int, list[float], npt.NDArray[np.float32]]:
        """How often the lane began anew (or TRUTH), lane, stamp, scores and vector of a message."""
        begun, lane, stamp_ns, *scores = struct.unpack_from(f"<qqq{self.scores}d", message)
        vector = np.frombuffer(message, np.float32, self.features, _HEAD_BYTES + 8 * self.scores)
        return begun, lane, stamp_ns, scores, vector


class Threshold(msgspec.Struct, frozen=True):
    """A rule's view of one score: active at or beyond ``enter``, upwards or downwards."""

    label: str
    enter: float
    is_upward: bool = True


class Report(msgspec.Struct, frozen=True):
    """What is known of a candidate.

    Args:
        version: of the candidate.
        n: vectors that the candidate answered or failed on.
        agreement: share of them on which both decide alike, 0 to 1; of rules on scores if there are any, otherwise of the highest score.
            Where the active model gave no answer, they do not.
        mean_distance, max_distance: between equal labels' scores, absolute.
        over: runs that took longer than the budget.
        p50_ms, p99_ms: processor time of a run, of the last 4096; the candidate runs when nobody else wants the processor, so that the
            clock on the wall would measure the others.
        not_finite, failed: runs without usable scores.
        is_frozen: its scores never changed, those of the active model did.
        dropped: vectors that it was too slow to take.
        why: what the last failed run said.
        labelled: of these vectors, those whose right label is known.
        accuracy, active_accuracy: share of them on which the candidate, and the active model, were right.
    """

    version: str
    n: int = 0
    agreement: float = 1.0
    mean_distance: float = 0.0
    max_distance: float = 0.0
    over: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    not_finite: int = 0
    failed: int = 0
    is_frozen: bool = False
    dropped: int = 0
    why: str = ""
    labelled: int = 0
    accuracy: float = 0.0
    active_accuracy: float = 0.0


class Comparison:
    """Compares a candidate with the active model, vector by vector.

    Args:
        version: of the candidate.
        active, candidate: their labels.
        thresholds: of the rules on scores; those on labels that one of the two lacks are passed over.
        budget_ns: of one run.
    """

    def __init__(
        self, version: str, active: Sequence[str], candidate: Sequence[str], thresholds: Sequence[Threshold], budget_ns: int
    ) -> None:
        self._version, self._budget_ns, self._over = version, budget_ns, 0
        self._pairs = [(active.index(label), i) for i, label in enumerate(candidate) if label in active]
        places = {label: (active.index(label), candidate.index(label)) for label in active if label in candidate}
        self._rules = [(*places[rule.label], rule.enter, rule.is_upward) for rule in thresholds if rule.label in places]
        self._names = tuple(active), tuple(candidate)
        self._took: deque[int] = deque(maxlen=_KEPT)
        self._n = self._agreed = self._answered = self._not_finite = self._failed = 0
        self._distance = self._max_distance = 0.0
        self._first: tuple[list[float], list[float]] | None = None
        self._active_moved = self._candidate_moved = False
        self._why = ""
        self._waiting: dict[tuple[int, int], tuple[str, str]] = {}  # what both said of a lane's stamp; the oldest goes first
        self._labelled = self._right = self._active_right = 0

    def answered(self, active: list[float], candidate: list[float], took_ns: int) -> None:
        """Both gave scores.

        Args:
            active, candidate: scores.
            took_ns: the candidate's run.
        """
        self._n += 1
        self._answered += 1
        self._time(took_ns)
        self._agreed += self._decides_alike(active, candidate)
        distances = [abs(active[a] - candidate[c]) for a, c in self._pairs]
        if distances:
            self._distance += math.fsum(distances) / len(distances)
            self._max_distance = max(self._max_distance, *distances)
        if self._first is None:
            self._first = active, candidate
        elif not (self._active_moved and self._candidate_moved):
            self._active_moved |= active != self._first[0]
            self._candidate_moved |= candidate != self._first[1]

    def answered_alone(self, took_ns: int) -> None:
        """The candidate gave scores where the active model gave none: nothing to compare, but one run more.

        Args:
            took_ns: the candidate's run.
        """
        self._n += 1
        self._time(took_ns)

    def remember(self, lane: int, stamp_ns: int, active: list[float], candidate: list[float]) -> None:
        """Keep what both answered until the right label is known, for the last 4096 vectors.

        Args:
            lane, stamp_ns: of the vector.
            active, candidate: scores.
        """
        self._waiting[lane, stamp_ns] = self._said(active, candidate)
        if len(self._waiting) > _KEPT:
            del self._waiting[next(iter(self._waiting))]

    def labelled(self, lane: int, stamp_ns: int, truth: int) -> None:
        """The right label of a vector is known.

        Args:
            lane, stamp_ns: of the vector; passed over if the candidate did not answer it.
            truth: index in the active model's labels.
        """
        said = self._waiting.pop((lane, stamp_ns), None)
        if said is not None:
            right = self._names[0][truth]
            self._labelled += 1
            self._active_right += said[0] == right
            self._right += said[1] == right

    def fault(self, kind: str, why: str, took_ns: int) -> None:
        """The candidate gave nothing that can be used.

        Args:
            kind: ``not_finite`` or ``failed``.
            why: in words.
            took_ns: its run.
        """
        self._n += 1
        self._time(took_ns)
        self._why = why
        if kind == "not_finite":
            self._not_finite += 1
        else:
            self._failed += 1

    def report(self, dropped: int) -> Report:
        """What is known now.

        Args:
            dropped: vectors that the candidate never saw.
        """
        took = sorted(self._took.copy())  # another thread goes on counting
        p50, p99 = (took[math.ceil(share * len(took)) - 1] / 1e6 if took else 0.0 for share in (0.5, 0.99))
        return Report(
            version=self._version,
            n=self._n,
            agreement=round(self._agreed / self._n, 6) if self._n else 1.0,
            mean_distance=self._distance / self._answered if self._answered else 0.0,
            max_distance=self._max_distance,
            over=self._over,
            p50_ms=p50,
            p99_ms=p99,
            not_finite=self._not_finite,
            failed=self._failed,
            is_frozen=self._active_moved and not self._candidate_moved,
            dropped=dropped,
            why=self._why,
            labelled=self._labelled,
            accuracy=round(self._right / self._labelled, 6) if self._labelled else 0.0,
            active_accuracy=round(self._active_right / self._labelled, 6) if self._labelled else 0.0,
        )

    def _time(self, took_ns: int) -> None:
        self._took.append(took_ns)
        self._over += took_ns > self._budget_ns

    def _decides_alike(self, active: list[float], candidate: list[float]) -> bool:
        if self._rules:
            return all(
                (active[a] >= enter) == (candidate[c] >= enter) if is_upward else (active[a] <= enter) == (candidate[c] <= enter)
                for a, c, enter, is_upward in self._rules
            )
        said = self._said(active, candidate)
        return said[0] == said[1]

    def _said(self, active: list[float], candidate: list[float]) -> tuple[str, str]:
        return self._names[0][active.index(max(active))], self._names[1][candidate.index(max(candidate))]


class Probation(msgspec.Struct, frozen=True):
    """What a new version must show on live vectors before it acts.

    Args:
        frames: vectors that it must have answered.
        budget_ms: 99 of 100 runs must stay within.
        faults: so many runs without usable scores end it.
    """

    frames: int
    budget_ms: float
    faults: int = 1

    def trouble(self, report: Report) -> str:
        """Why the version must not act; "" for nothing (yet)."""
        if report.not_finite >= self.faults:
            return f"gave NaN or infinity on {report.not_finite} of {report.n} live vectors"
        if report.failed >= self.faults:
            return f"failed on {report.failed} of {report.n} live vectors: {report.why}"
        if report.over > max(1, self.frames // 100):  # its 99th percentile would be over the budget whatever is still to come
            return (
                f"took longer than its budget of {self.budget_ms:g} ms on {report.over} of {report.n} live vectors "
                f"(p50 {report.p50_ms:.3f} ms, p99 {report.p99_ms:.3f} ms)"
            )
        if report.n >= self.frames and report.is_frozen:
            return f"gave the same scores for all of {report.n} live vectors, while those of the active model moved"
        return ""

    def is_passed(self, report: Report) -> bool:
        """Whether it may act."""
        return report.n >= self.frames and not self.trouble(report)
