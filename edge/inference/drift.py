"""Whether features and scores still look as they did in training. Owns windows and what is counted; reads no clock, sends nothing."""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.inference.drift_bins import Bins, bins_of
from edge.inference.drift_judge import BATCHES, DriftEvent, DriftSettings, Judge, JudgeState, Window
from edge.inference.drift_test import Measured
from edge.inference.manifest import Manifest, Reference
from edge.inference.parts import joined, parted
from edge.kernels.drift import close_batch, count_values

__all__ = ["BATCHES", "DriftEvent", "DriftMonitor", "DriftSettings"]
_BLOCK = 32  # frames that are counted by one call: 64 values cost 2.6 us in a call of their own and 0.4 us in one of 32
_TOP = 10
_FLOAT32_MAX = float(np.finfo(np.float32).max)


class _Saved(msgspec.Struct, array_like=True):
    counts: tuple[int, int, int, int]  # frames, of the batch, batches, where the window began
    ages_ns: tuple[int, int]  # of the batch and the window
    arrays: bytes
    judge: JudgeState


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
        self.frames = 0
        self._features = len(features)
        self._bins: Bins = bins_of([one for _, one in [*features, *scores]])
        self._judge = Judge(self.names, self._features, self._bins, self.settings)
        self._steps: Iterator[list[DriftEvent]] | None = None  # of a window that is being judged
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
        self._odd_before = np.zeros((rows, 2), np.int64)  # when the window began
        self._batch_frames = max(self.settings.window_frames // BATCHES, 1)
        self._batch_ns = self.settings.window_ns // BATCHES
        self._in_batch = self._batches = self._window_began = 0
        self._batch_ns_began = self._window_ns_began = -1
        self._warm_up()

    @classmethod
    def of(cls, manifest: Manifest, settings: DriftSettings | None = None) -> "DriftMonitor | None":
        """The monitor of a bundle; None where it has no references."""
        features = [(one.name, one.reference) for one in manifest.features if one.reference is not None]
        if len(features) != len(manifest.features):
            return None
        scores = list(zip(manifest.labels, manifest.score_references, strict=True)) if manifest.score_references else []
        return cls(features, scores, settings)

    @property
    def last(self) -> Measured | None:
        """What the last window that was judged showed."""
        return self._judge.last

    @property
    def windows(self) -> int:
        """That were judged."""
        return self._judge.windows

    @property
    def raised(self) -> int:
        """Alarms."""
        return self._judge.raised

    @property
    def cleared(self) -> int:
        """Alarms that ended."""
        return self._judge.cleared

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
        """End a batch or a window if it is time, or go on judging one; cheap otherwise.

        Args:
            now_ns: of one clock for all devices, such as the pipeline's time.

        Returns:
            What began and what ended.
        """
        if self._steps is not None:
            return self._go_on(self._steps)
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
        if self._batches == BATCHES:
            self._end_window(now_ns)
        return []

    @property
    def digest(self) -> bytes:
        """Sha256 of the references and of when it is drift: what was counted against others says nothing here."""
        bins = self._bins
        told = msgspec.json.encode([self.names, self._features, BATCHES, self.settings])
        return hashlib.sha256(told + joined((bins.edges, bins.shares, bins.used, bins.slack, bins.is_constant))).digest()

    def save(self, now_ns: int) -> bytes | None:
        """What was counted; None while a window is being judged, which takes a few frames.

        Args:
            now_ns: of the clock of ``look``.
        """
        if self._steps is not None:
            return None
        self._count()
        began = self._batch_ns_began, self._window_ns_began
        counts = self.frames, self._in_batch, self._batches, self._window_began
        ages_ns = (now_ns - began[0], now_ns - began[1]) if began[0] >= 0 else (-1, -1)
        return msgspec.msgpack.encode(_Saved(counts, ages_ns, joined(self._arrays()), self._judge.save()))

    def restore(self, state: bytes, now_ns: int) -> None:
        """Go on from what was saved with an equal ``digest``; the time between does not count.

        Args:
            state: as ``save`` gave it.
            now_ns: of the clock of ``look``, which may be another one than before.

        Raises:
            ValueError: it does not fit; nothing has changed.
        """
        try:
            saved = msgspec.msgpack.decode(state, type=_Saved)
        except (msgspec.DecodeError, RecursionError) as fault:
            raise ValueError(f"not what was counted: {fault}") from None
        arrays = parted(saved.arrays, self._arrays())
        self._judge.restore(saved.judge)
        for array, found in zip(self._arrays(), arrays, strict=True):
            array[:] = found
        self.frames, self._in_batch, self._batches, self._window_began = saved.counts
        self._batch_ns_began, self._window_ns_began = (now_ns - age_ns if age_ns >= 0 else -1 for age_ns in saved.ages_ns)

    def _arrays(self) -> tuple[npt.NDArray[Any], ...]:
        return self._counts, self._sums, self._seen, self.odd, self._odd_before

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
            "drifting": [self.names[f] for f in np.flatnonzero(self._judge.is_drifting)[:_TOP]],
            "n_drifting": int(self._judge.is_drifting.sum()),
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
        columns = (
            self.names,
            last.psi.round(4),
            last.ks.round(4),
            last.n,
            last.effective.round(1),
            self._judge.is_drifting,
            bins.used,
            self.odd,
        )
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
            "drifting": bool(self._judge.is_drifting[f]),
        }

    def _warm_up(self) -> None:
        """The first call of a function takes several times as long as others: not on a frame."""
        self._count()
        close_batch(self._counts, self._sums, self._seen)
        nothing = Window(self._sums, self._seen, np.zeros(len(self.names)), 0, 0)
        for _ in Judge(self.names, self._features, self._bins, self.settings).steps(nothing):
            pass

    def _end_window(self, now_ns: int) -> None:
        missing = (self.odd - self._odd_before).sum(1) / max(self.frames - self._window_began, 1)
        window = Window(self._sums, self._seen, missing, self._window_began, now_ns - self._window_ns_began)
        self._steps = self._judge.steps(window)
        self._sums, self._seen, self._odd_before = np.zeros_like(self._sums), np.zeros_like(self._seen), self.odd.copy()
        self._batches, self._window_began, self._window_ns_began = 0, self.frames, now_ns

    def _go_on(self, steps: Iterator[list[DriftEvent]]) -> list[DriftEvent]:
        events = next(steps, None)
        if events is None:
            self._steps = None
        return events or []
