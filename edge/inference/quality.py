"""How good predictions are, by the labels that came for them. Owns the rolling scores and the detectors; joins nothing, sends nothing.

Memory is one ring of the last labelled predictions, and what is summed over it.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from edge.inference.drift import DriftEvent
from edge.inference.quality_detect import Adwin, PageHinkley

_CALIBRATION_BINS = 10
_CALM_WINDOWS = 1  # of ``window`` labels without another detection: the alarm ends


class _Seen(msgspec.Struct, frozen=True, gc=False):
    truth: int
    said: int
    at: int  # bin of the confidence
    confidence: float
    brier: float


class Alarm:
    """ADWIN and Page-Hinkley over one stream of errors, as one alarm that is raised once and ends after a calm stretch.

    Args:
        name: of the error.
        calm: labels without a detection after which it ends.
    """

    def __init__(self, name: str, calm: int) -> None:
        self.adwin, self.page_hinkley = Adwin(), PageHinkley()
        self.is_raised = False
        self._name, self._calm, self._n, self._last = name, calm, 0, 0

    def update(self, error: float) -> list[DriftEvent]:
        """Take an error, which is finite; what began or ended."""
        self._n += 1
        before = self.adwin.mean
        width = self.adwin.width
        has_cut, statistic = self.adwin.update(error), self.page_hinkley.statistic
        has_risen = self.page_hinkley.update(error)
        is_worse = has_cut and self.adwin.mean > before  # a model that got better is no alarm
        if is_worse or has_risen:
            self._last = self._n
            if self.is_raised:
                return []
            self.is_raised = True
            if is_worse:
                since = self._n - self.adwin.width
                detail = (
                    f"mean {self._name} {self.adwin.mean:.3g} over the last {self.adwin.width} labels, {before:.3g} over {width} before"
                )
                return [self._event("raised", "adwin", self.adwin.mean, before, since, detail)]
            detail = f"{self._name} has risen for some time: Page-Hinkley {statistic:.3g}"
            return [self._event("raised", "page_hinkley", statistic, self.page_hinkley.threshold, self._n, detail)]
        if self.is_raised and self._n - self._last >= self._calm:
            self.is_raised = False
            detail = f"{self._name} has not changed over {self._calm} labels; its mean is {self.adwin.mean:.3g}"
            return [self._event("cleared", "adwin", self.adwin.mean, self.adwin.mean, self._last, detail)]
        return []

    def _event(self, state: Any, statistic: str, value: float, threshold: float, since: int, detail: str) -> DriftEvent:
        return DriftEvent("error", self._name, state, statistic, value, threshold, since, self._n, detail)


class ClassQuality:
    """Accuracy, macro F1 and calibration over the last labelled predictions.

    Args:
        labels: of the model, at least two.
        window: labelled predictions that count.
    """

    def __init__(self, labels: Sequence[str], window: int = 500) -> None:
        self.labels = tuple(labels)
        self._index = {label: i for i, label in enumerate(self.labels)}
        self._ring: deque[_Seen] = deque()
        self._window = window
        self._matrix = np.zeros((len(self.labels), len(self.labels)), np.int64)  # truth, said
        self._bins = np.zeros((_CALIBRATION_BINS, 3))  # n, confidence, right
        self._brier = 0.0
        self.n = 0
        self.alarm = Alarm("error rate", window * _CALM_WINDOWS)

    def takes(self, truth: object) -> bool:
        """Whether this is a label."""
        return isinstance(truth, str) and truth in self._index

    def update(self, scores: Sequence[float], truth: Any) -> list[DriftEvent]:
        """Take a prediction and its label; what began or ended.

        Args:
            scores: finite, one a label; the largest is the answer.
            truth: one of the labels.
        """
        right = self._index[truth]
        said = max(range(len(scores)), key=scores.__getitem__)
        confidence = min(max(scores[said], 0.0), 1.0)
        brier = sum((score - (i == right)) ** 2 for i, score in enumerate(scores))
        at = min(int(confidence * _CALIBRATION_BINS), _CALIBRATION_BINS - 1)
        one = _Seen(right, said, at, confidence, brier)
        self._ring.append(one)
        self._add(one, 1)
        if len(self._ring) > self._window:
            self._add(self._ring.popleft(), -1)
        self.n += 1
        return self.alarm.update(float(said != right))

    def summary(self) -> dict[str, Any]:
        """Of the window; F1 is the mean over labels that were true or said."""
        n = len(self._ring)
        if not n:
            return {"n": 0}
        hits = np.diagonal(self._matrix).astype(float)
        both = self._matrix.sum(0) + self._matrix.sum(1)
        f1 = 2 * hits[both > 0] / both[both > 0]
        return {
            "n": self.n,
            "window": n,
            "accuracy": round(float(hits.sum() / n), 4),
            "f1_macro": round(float(f1.mean()), 4),
            "brier": round(max(self._brier, 0.0) / n, 4),
            "ece": round(float(np.abs(self._bins[:, 2] - self._bins[:, 1]).sum() / n), 4),
            "drifting": self.alarm.is_raised,
        }

    def calibration(self) -> list[dict[str, float]]:
        """Of the window, for each tenth of confidence that was seen: predictions, mean confidence, and the share that was right."""
        return [
            {"n": int(n), "confidence": round(sure / n, 4), "accuracy": round(right / n, 4)} for n, sure, right in self._bins.tolist() if n
        ]

    def _add(self, one: _Seen, sign: int) -> None:
        self._matrix[one.truth, one.said] += sign
        self._bins[one.at] += (sign, sign * one.confidence, sign * (one.truth == one.said))
        self._brier += sign * one.brier


class ValueQuality:
    """RMSE and MAE over the last labelled predictions of one value.

    Args:
        labels: of the model; the first score is the value.
        window: labelled predictions that count.
    """

    def __init__(self, labels: Sequence[str], window: int = 500) -> None:
        self._ring: deque[float] = deque(maxlen=window)
        self.n = 0
        self.alarm = Alarm(f"absolute error of {labels[0]}", window * _CALM_WINDOWS)

    def takes(self, truth: object) -> bool:
        """Whether this is a value."""
        return isinstance(truth, int | float) and not isinstance(truth, bool) and math.isfinite(truth)

    def update(self, scores: Sequence[float], truth: Any) -> list[DriftEvent]:
        """Take a prediction and its true value; what began or ended."""
        error = float(scores[0]) - float(truth)
        self._ring.append(error)
        self.n += 1
        return self.alarm.update(abs(error))

    def calibration(self) -> list[dict[str, float]]:
        """None: a value has no confidence."""
        return []

    def summary(self) -> dict[str, Any]:
        """Of the window."""
        if not self._ring:
            return {"n": 0}
        errors = np.array(self._ring)
        return {
            "n": self.n,
            "window": len(errors),
            "rmse": float(np.sqrt(np.mean(errors**2))),
            "mae": float(np.abs(errors).mean()),
            "drifting": self.alarm.is_raised,
        }
