"""Whether features and scores still look as they did in training. Owns windows, alarms and their end; reads no clock, sends nothing."""

import struct
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edge.inference.drift_bins import Bins, bins_of
from edge.inference.drift_test import Measured, measure, spend
from edge.inference.manifest import Manifest, Reference
from edge.kernels.drift import close_batch, count_values

BATCHES = 20
_BLOCK = 32  # frames that are counted by one call: 64 values cost 2.6 us in a call of their own and 0.4 us in one of 32
_TOP = 10
_MEMORY = 0.1  # weight of the newest pair of windows in what is known of their restlessness
_LARGEST_JUMP = 5.0  # a pair counts for at most so many times what is known: a shift must not hide itself
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_CALM = 0.5  # of the threshold: below it, a window speaks for the end of an alarm


class DriftEvent(msgspec.Struct, frozen=True):
    """An alarm, or its end.

    Args:
        kind: of what drifted.
        name: of the feature or score; for errors, of the detector.
        state: raised once, cleared once.
        statistic: ``psi`` or ``ks``; for errors ``adwin`` or ``page_hinkley``.
        value, threshold: of the statistic.
        since_frame: first frame of the first window that showed it, counted from the start.
        samples: values in the last window.
        detail: in words.
    """

    kind: Literal["feature", "score", "error"]
    name: str
    state: Literal["raised", "cleared"]
    statistic: str
    value: float
    threshold: float
    since_frame: int
    samples: int
    detail: str


class DriftSettings(msgspec.Struct, frozen=True):
    """When it is drift.

    Args:
        window_frames: frames in a window, at least.
        window_ns: a window lasts at least so long, so that one bad second is never a whole one.
        persist: windows in a row that must show it; and as many calm ones that end it.
        psi, ks: smallest change that matters, however sure it is.
        alarms_a_day: false alarms in 24 h of stream that are allowed, over all features and scores.
    """

    window_frames: int = 1000
    window_ns: int = 60_000_000_000
    persist: int = 2
    psi: float = 0.25
    ks: float = 0.2
    alarms_a_day: float = 0.1


class DriftMonitor:
    """Windows of frames beside the references of a bundle. Memory does not grow.

    Args:
        features: name and reference of each element of the vector.
        scores: name and reference of each score; empty: scores are not watched.
        settings: when it is drift.

    Raises:
        ValueError: no feature has a reference.
    """

    def __init__(
        self, features: Sequence[tuple[str, Reference]], scores: Sequence[tuple[str, Reference]], settings: DriftSettings | None = None
    ) -> None:
        if not features:
            raise ValueError("no references: there is nothing to compare features with")
        self.settings = settings or DriftSettings()
        self.names = [name for name, _ in features] + [name for name, _ in scores]
        self.frames = self.windows = self.raised = self.cleared = 0
        self.last: Measured | None = None
        self._features = len(features)
        self._bins: Bins = bins_of([one for _, one in [*features, *scores]])
        rows, width = self._bins.shares.shape
        # Frames wait in rows that are written by bytes: 0.1 us, where a slice of the array costs 0.3 us and its scores 0.7 us.
        self._block = np.zeros((_BLOCK, rows), np.float32)
        self._vectors: list[Any] = [row[: self._features].data for row in self._block]
        self._scores = struct.Struct(f"{rows - self._features}f")
        self._bytes = self._block.data.cast("B")
        self._score_at = [(i * rows + self._features) * 4 for i in range(_BLOCK)]
        self._waiting = 0
        self._counts = np.zeros((rows, width), np.int32)
        self._sums = np.zeros((5, rows, width))
        self._seen = np.zeros((rows, 2), np.int64)
        self.odd = np.zeros((rows, 2), np.int64)
        self.is_drifting = np.zeros(rows, np.bool_)
        self._streak = np.zeros(rows, np.int64)
        self._since = np.zeros(rows, np.int64)
        self._restless = np.zeros(rows)
        self._pairs = np.zeros(rows, np.int64)
        self._former = np.full((rows, width), np.nan)  # shares of the window before
        self._batch_frames = max(self.settings.window_frames // BATCHES, 1)
        self._batch_ns = self.settings.window_ns // BATCHES
        self._in_batch = self._batches = self._window_began = 0
        self._batch_ns_began = self._window_ns_began = -1

    @classmethod
    def of(cls, manifest: Manifest, settings: DriftSettings | None = None) -> "DriftMonitor | None":
        """The monitor of a bundle; None where it has no references."""
        features = [(one.name, one.reference) for one in manifest.features if one.reference is not None]
        if len(features) != len(manifest.features):
            return None
        scores = list(zip(manifest.labels, manifest.score_references, strict=True)) if manifest.score_references else []
        return cls(features, scores, settings)

    def update(self, vector: npt.NDArray[np.float32], scores: Sequence[float]) -> None:
        """Count a frame.

        Args:
            vector: float32 (F,), copied.
            scores: of the model, in the order of its labels.
        """
        at = self._waiting
        self._vectors[at][:] = vector
        if self._scores.size:
            try:
                self._scores.pack_into(self._bytes, self._score_at[at], *scores)
            except OverflowError:  # a float64 score that is no float32
                self._block[at, self._features :] = np.clip(scores, -_FLOAT32_MAX, _FLOAT32_MAX)
        self._waiting = at + 1
        self._in_batch += 1
        if self._waiting == _BLOCK:
            self._count()

    def look(self, now_ns: int) -> list[DriftEvent]:
        """End a batch or a window if it is time; cheap otherwise.

        Args:
            now_ns: of one clock for all devices, such as the pipeline's time.

        Returns:
            What began and what ended.
        """
        if self._in_batch < self._batch_frames:
            if self._batch_ns_began < 0:
                self._batch_ns_began = self._window_ns_began = now_ns
            return []
        if 0 <= now_ns - self._batch_ns_began < self._batch_ns:
            return []
        self._count()
        close_batch(self._counts, self._sums, self._seen)
        self.frames += self._in_batch
        self._in_batch, self._batch_ns_began = 0, now_ns
        self._batches += 1
        return self._judge(now_ns) if self._batches == BATCHES else []

    def summary(self) -> dict[str, Any]:
        """Totals, and the features that are farthest from their reference; small enough for the status."""
        self._count()
        top: list[dict[str, Any]] = []
        if self.last is not None:
            order = np.lexsort((-self.last.ks, -self.last.psi))[:_TOP]
            top = [self._row(int(f), self.last) for f in order]
        odd = self.odd.sum(0)
        return {
            "frames": self.frames + self._in_batch,
            "windows": self.windows,
            "drifting": [self.names[f] for f in np.flatnonzero(self.is_drifting)[:_TOP]],
            "n_drifting": int(self.is_drifting.sum()),
            "raised": self.raised,
            "cleared": self.cleared,
            "nan": int(odd[0]),
            "infinite": int(odd[1]),
            "top": top,
        }

    def report(self) -> dict[str, Any]:
        """Every feature and score of the last window, with both histograms."""
        last, bins = self.last, self._bins
        if last is None:
            return self.summary() | {"values": []}
        # Whole arrays to lists at once: number by number, 64 features of 10 bins take 3 ms instead of 0.7.
        edges, reference, current = bins.edges.tolist(), bins.shares.round(4).tolist(), last.shares.round(4).tolist()
        columns = (self.names, last.psi.round(4), last.ks.round(4), last.n, last.effective.round(1), self.is_drifting, bins.used, self.odd)
        rows = zip(*(column if isinstance(column, list) else column.tolist() for column in columns), strict=True)
        return self.summary() | {
            "values": [
                {
                    "name": name,
                    "kind": "feature" if f < self._features else "score",
                    "psi": psi,
                    "ks": ks,
                    "n": int(n),
                    "n_effective": effective,
                    "drifting": is_drifting,
                    "edges": edges[f][: used - 1],
                    "reference": reference[f][:used],
                    "current": current[f][:used],
                    "nan": odd[0],
                    "infinite": odd[1],
                }
                for f, (name, psi, ks, n, effective, is_drifting, used, odd) in enumerate(rows)
            ]
        }

    def _count(self) -> None:
        count_values(self._block[: self._waiting], self._bins.edges, self._counts, self.odd)
        self._waiting = 0

    def _row(self, f: int, last: Measured) -> dict[str, Any]:
        return {
            "name": self.names[f],
            "kind": "feature" if f < self._features else "score",
            "psi": round(float(last.psi[f]), 4),
            "ks": round(float(last.ks[f]), 4),
            "n": int(last.n[f]),
            "n_effective": round(float(last.effective[f]), 1),
            "drifting": bool(self.is_drifting[f]),
        }

    def _judge(self, now_ns: int) -> list[DriftEvent]:
        settings, bins = self.settings, self._bins
        alpha = spend(settings.alarms_a_day, now_ns - self._window_ns_began)
        last = self.last = measure(bins, self._sums, self._seen, alpha, self._restless)
        can_tell = (bins.used > 1) & (self._seen[:, 1] >= BATCHES // 2)  # half of the batches had finite values
        by_psi = (last.psi >= np.maximum(settings.psi, last.psi_needed)) & (bins.slack == 0)
        by_ks = last.ks >= np.maximum(settings.ks, last.ks_needed)
        is_off = can_tell & (by_psi | by_ks)
        is_calm = ((last.psi < settings.psi * _CALM) | (bins.slack > 0)) & (last.ks < settings.ks * _CALM)
        wanted = np.where(self.is_drifting, is_calm & can_tell, is_off)
        self._since = np.where(wanted & (self._streak == 0), self._window_began, self._since)
        self._streak = np.where(wanted, self._streak + 1, 0)
        events = [self._event(int(f), bool(by_psi[f]), last) for f in np.flatnonzero(self._streak >= settings.persist)]
        self._note_restlessness(last)
        self._sums[:] = 0
        self._seen[:] = 0
        self._batches, self._window_began, self._window_ns_began = 0, self.frames, now_ns
        self.windows += 1
        return events

    def _note_restlessness(self, last: Measured) -> None:
        """Half the squared difference of two windows is the variance of one; a lasting shift adds to it only once."""
        current = np.where(last.n[:, None] > 0, last.shares, np.nan)
        jump = 0.5 * ((current - self._former) ** 2).sum(1)
        jump = np.where(self._pairs >= 2, np.minimum(jump, _LARGEST_JUMP * self._restless), jump)
        is_known = np.isfinite(jump)
        self._pairs += is_known
        weight = np.maximum(_MEMORY, 1.0 / np.maximum(self._pairs, 1))
        self._restless = np.where(is_known, self._restless + weight * (jump - self._restless), self._restless)
        self._former = current

    def _event(self, f: int, by_psi: bool, last: Measured) -> DriftEvent:
        settings = self.settings
        self._streak[f] = 0
        is_raised = self.is_drifting[f] = not self.is_drifting[f]
        self.raised, self.cleared = self.raised + int(is_raised), self.cleared + int(not is_raised)
        by_psi = by_psi or (not is_raised and self._bins.slack[f] == 0)
        value, needed = (last.psi[f], last.psi_needed[f]) if by_psi else (last.ks[f], last.ks_needed[f])
        threshold = (
            max(settings.psi if by_psi else settings.ks, float(needed)) if is_raised else _CALM * (settings.psi if by_psi else settings.ks)
        )
        kind: Literal["feature", "score"] = "feature" if f < self._features else "score"
        what = "differs from training" if is_raised else "is again as in training"
        statistic = "psi" if by_psi else "ks"
        detail = (
            f"{kind} {self.names[f]} {what} since frame {self._since[f]}: {statistic} {value:.3f}, threshold {threshold:.3f}, "
            f"{int(last.n[f])} values worth {last.effective[f]:.0f} independent ones"
        )
        return DriftEvent(
            kind,
            self.names[f],
            "raised" if is_raised else "cleared",
            statistic,
            float(value),
            threshold,
            int(self._since[f]),
            int(last.n[f]),
            detail,
        )
