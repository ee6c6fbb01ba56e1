"""What windows say of drift: alarms, their end, and how restless windows are among themselves. Counts no values, reads no clock.

A window is judged in a few steps, one a frame: at once it would hold up one frame for as long as many take.
"""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edge.inference.drift_bins import Bins
from edge.inference.drift_test import Floats, Measured, dependence, measure, needed, pooled, spend, weigh
from edge.inference.parts import joined, parted

BATCHES = 20
_MEMORY = 0.1  # weight of the newest pair of windows in what is known of their restlessness
_LARGEST_JUMP = 5.0  # a pair counts for at most so many times what is known: a shift must not hide itself
_CALM = 0.5  # of the threshold: below it, a window speaks for the end of an alarm


class DriftEvent(msgspec.Struct, frozen=True):
    """An alarm, or its end.

    Args:
        kind: of what drifted.
        name: of the feature or score; for errors, of the detector.
        state: raised once, cleared once.
        statistic: ``psi`` or ``ks``; ``missing``: the share that is not finite; ``constant``: the share that is not the one value that
            training knew; for errors ``adwin`` or ``page_hinkley``.
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
        missing: share of NaN and infinity that is an alarm of its own; training knew none.
    """

    window_frames: int = 1000
    window_ns: int = 60_000_000_000
    persist: int = 2
    psi: float = 0.25
    ks: float = 0.2
    alarms_a_day: float = 0.1
    missing: float = 0.5


class Window(msgspec.Struct, frozen=True):
    """A window that is over.

    Args:
        sums, seen: see edge.kernels.drift.close_batch.
        missing: float64 (F,), share of frames without a finite value.
        began: its first frame, counted from the start.
        span_ns: how long it lasted.
    """

    sums: Floats
    seen: npt.NDArray[np.int64]
    missing: Floats
    began: int
    span_ns: int


class JudgeState(msgspec.Struct, array_like=True):
    """What a judge knows.

    Args:
        counts: windows, alarms, and alarms that ended.
        raised_by: what each running alarm is told by.
        arrays: of each feature and score, one after the other.
    """

    counts: tuple[int, int, int]
    raised_by: dict[int, str]
    arrays: bytes


class Judge:
    """Compares windows with their reference.

    Args:
        names: of features and scores.
        features: how many are features.
        bins: of all.
        settings: when it is drift.

    Attributes:
        last: what the last window showed.
        is_drifting: bool (F,).
        windows, raised, cleared: counts.
    """

    def __init__(self, names: list[str], features: int, bins: Bins, settings: DriftSettings) -> None:
        self._names, self._features, self._bins, self._settings = names, features, bins, settings
        rows, width = bins.shares.shape
        self.last: Measured | None = None
        self.windows = self.raised = self.cleared = 0
        self.is_drifting = np.zeros(rows, np.bool_)
        self._takes_psi = (bins.slack == 0) & ~bins.is_constant
        self._raised_by: dict[int, str] = {}
        self._streak = np.zeros(rows, np.int64)
        self._since = np.zeros(rows, np.int64)
        self._restless = np.zeros(rows)
        self._pairs = np.zeros(rows, np.int64)
        self._former = np.full((rows, width), np.nan)  # shares of the window before

    def save(self) -> "JudgeState":
        """What it knows between two windows, but for what the last one showed."""
        return JudgeState((self.windows, self.raised, self.cleared), self._raised_by, joined(self._arrays()))

    def restore(self, state: "JudgeState") -> None:
        """Go on from what was saved with the same references.

        Raises:
            ValueError: it does not fit; nothing has changed.
        """
        arrays = parted(state.arrays, self._arrays())
        if set(np.flatnonzero(arrays[0]).tolist()) != state.raised_by.keys():
            raise ValueError("alarms without their reason")
        self.is_drifting, self._streak, self._since, self._restless, self._pairs, self._former = arrays
        self._raised_by = dict(state.raised_by)
        self.windows, self.raised, self.cleared = state.counts

    def _arrays(self) -> tuple[npt.NDArray[Any], ...]:
        return self.is_drifting, self._streak, self._since, self._restless, self._pairs, self._former

    def steps(self, window: Window) -> Iterator[list[DriftEvent]]:
        """Judge a window, a step a time; what began and what ended comes with one of them."""
        between = dependence(window.sums, window.seen)
        yield []
        weighed = weigh(self._bins, window.sums, window.seen, self._restless, between)
        yield []
        least = needed(self._bins, weighed, spend(self._settings.alarms_a_day, window.span_ns))
        yield []
        last = measure(self._bins, weighed, least)
        yield []
        self.last = last
        self.windows += 1
        yield self._judge(last, window)
        self._note_restlessness(last)

    def _judge(self, last: Measured, window: Window) -> list[DriftEvent]:
        settings, missing = self._settings, window.missing
        can_tell = (self._bins.used > 1) & (window.seen[:, 1] >= BATCHES // 2)  # half of the batches had finite values
        by_psi = (last.psi >= np.maximum(settings.psi, last.psi_needed)) & self._takes_psi
        by_ks = last.ks >= np.maximum(settings.ks, last.ks_needed)
        wanted = can_tell & (by_psi | by_ks) | (missing >= settings.missing)
        if self.is_drifting.any():
            is_calm = ((last.psi < settings.psi * _CALM) | ~self._takes_psi) & (last.ks < settings.ks * _CALM)
            is_calm &= can_tell & (missing < settings.missing * _CALM)
            wanted = np.where(self.is_drifting, is_calm, wanted)
        self._since[wanted & (self._streak == 0)] = window.began
        self._streak = np.where(wanted, self._streak + 1, 0)
        found = np.flatnonzero(self._streak >= settings.persist)
        return [self._event(f, self._statistic(f, bool(by_psi[f]), float(missing[f])), last, window) for f in found.tolist()]

    def _note_restlessness(self, last: Measured) -> None:
        """Half the squared difference of two windows is the variance of one; a lasting shift adds to it only once."""
        current = np.where(last.n[:, None] > 0, last.shares, np.nan)
        jump = current - self._former
        jump = 0.5 * np.einsum("fb,fb->f", jump, jump)
        # No less than independent values would show: where all was the same until now, what comes may still be restless.
        known = np.maximum(self._restless, pooled(self._bins, last.shares) / np.maximum(last.n, 1))
        jump = np.where(self._pairs >= 2, np.minimum(jump, _LARGEST_JUMP * known), jump)
        is_known = np.isfinite(jump)
        self._pairs += is_known
        weight = np.maximum(_MEMORY, 1.0 / np.maximum(self._pairs, 1))
        self._restless = np.where(is_known, self._restless + weight * (jump - self._restless), self._restless)
        self._former = current

    def _statistic(self, f: int, by_psi: bool, missing: float) -> str:
        """What an alarm is told by; its end is told by missing values if that is how it began."""
        if self.is_drifting[f]:
            is_missing, by_psi = self._raised_by[f] == "missing", bool(self._takes_psi[f])
        else:
            is_missing = missing >= self._settings.missing
        if is_missing:
            return "missing"
        if self._bins.is_constant[f]:
            return "constant"
        return "psi" if by_psi else "ks"

    def _event(self, f: int, statistic: str, last: Measured, window: Window) -> DriftEvent:
        settings = self._settings
        self._streak[f] = 0
        is_raised = self.is_drifting[f] = not self.is_drifting[f]
        self.raised, self.cleared = self.raised + int(is_raised), self.cleared + int(not is_raised)
        if is_raised:
            self._raised_by[f] = statistic
        else:
            del self._raised_by[f]
        value, least, chance = {
            "missing": (window.missing[f], settings.missing, 0.0),
            "psi": (last.psi[f], settings.psi, last.psi_needed[f]),
        }.get(statistic, (last.ks[f], settings.ks, last.ks_needed[f]))
        threshold = max(least, float(chance)) if is_raised else _CALM * least
        kind: Literal["feature", "score"] = "feature" if f < self._features else "score"
        what = "differs from training" if is_raised else "is again as in training"
        detail = (
            f"{kind} {self._names[f]} {what} since frame {self._since[f]}: {statistic} {value:.3f}, threshold {threshold:.3f}, "
            f"{int(last.n[f])} values worth {last.effective[f]:.0f} independent ones"
        )
        return DriftEvent(
            kind,
            self._names[f],
            "raised" if is_raised else "cleared",
            statistic,
            float(value),
            threshold,
            int(self._since[f]),
            int(last.n[f]),
            detail,
        )
