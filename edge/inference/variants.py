"""Which variant of a model runs, given the time that is left. Owns what is known of how long each takes; reads no clock.

The estimate of a variant's 99th percentile is a stochastic approximation (Robbins and Monro, 1951) with relative steps: a call that
took longer raises it by 1/8, one that did not lowers it by 1/1024. The two balance where one call in 129 takes longer. So one stall
moves it by 12 %, not to the stall; calls that stay longer double the step each time, so a spell eight times slower is known after five
calls; and a spell is forgotten by half every 710 calls. It never rises above what was measured. One observation costs 0.15 us, and
there is no buffer to sort or to age.

A variant that does not fit is not run, so its estimate would stay for ever. Therefore one in ``FIRST_WAIT`` frames on which it would
have fitted at its best is given to it as a trial, and one in twice as many after every further trial, down to one in ``LAST_WAIT``.
A trial that is fast restores it at once; staying in use for ``SETTLED`` calls restores ``FIRST_WAIT``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.inference.states import States

FIRST_WAIT, LAST_WAIT = 16, 256  # frames
SETTLED = 1024  # calls
_FALL = 10  # bits: 1/1024
_RISE = 3  # bits: 1/8


class BoundVariant:
    """One variant, loaded and bound.

    Args:
        name: as in the manifest.
        run: float32 (F,) and the lane to one score per label; raises InferenceFault.
        p99_ns: as measured at admission.

    Attributes:
        p99_ns: the estimate now.
        best_ns: the lowest estimate so far.
        runs: that were observed.
        excluded: frames on which it was preferred and did not fit the time left.
    """

    __slots__ = ("best_ns", "excluded", "is_on_trial", "name", "p99_ns", "passed", "rise", "run", "runs", "seen", "wait")

    def __init__(self, name: str, run: Callable[[npt.NDArray[np.float32], int], list[float]], p99_ns: int) -> None:
        self.name, self.run, self.p99_ns, self.best_ns = name, run, p99_ns, p99_ns
        self.rise, self.runs, self.excluded = _RISE, 0, 0
        self.wait, self.passed, self.seen, self.is_on_trial = FIRST_WAIT, 0, 0, False

    def is_due(self) -> bool:
        """Count a frame that was not given to it; whether this one should be, as a trial."""
        self.passed += 1
        if self.passed < self.wait:
            return False
        self.wait = FIRST_WAIT if self.seen > SETTLED else min(2 * self.wait, LAST_WAIT)
        self.passed = self.seen = 0
        self.is_on_trial = True
        return True


class Cascade:
    """A small variant first; a larger one only where the small one is unsure and there is time for it.

    Args:
        first, then: of one model without states.
        score: place of the score that says how sure the first one is.
        unsure: between these two, bounds excluded, it is not.

    Attributes:
        settled: frames on which the first one was sure.
        escalated: frames that the larger one answered.
        no_time: frames that it should have answered, and there was no time left for it.
    """

    __slots__ = ("_high", "_low", "_score", "escalated", "first", "no_time", "settled", "then")

    def __init__(self, first: BoundVariant, then: BoundVariant, score: int, unsure: tuple[float, float]) -> None:
        self.first, self.then, self._score = first, then, score
        self._low, self._high = unsure
        self.settled = self.escalated = self.no_time = 0

    def summary(self) -> dict[str, str | int]:
        """Who asks whom, and the counts."""
        counts = {"settled": self.settled, "escalated": self.escalated, "no_time": self.no_time}
        return {"first": self.first.name, "then": self.then.name, **counts}

    def escalate(self, scores: Sequence[float], remaining_ns: int) -> BoundVariant | None:
        """What must answer instead of the first one.

        Args:
            scores: that the first one gave.
            remaining_ns: time left.

        Returns:
            None: the first one's answer holds.
        """
        if not self._low < scores[self._score] < self._high:
            self.settled += 1
            return None
        then = self.then
        if then.p99_ns <= remaining_ns or (then.best_ns <= remaining_ns and then.is_due()):
            self.escalated += 1
            return then
        self.no_time += 1
        return None


class Inference:
    """An admitted model.

    Args:
        name, version: of the bundle.
        labels: names of the scores.
        features: names of the vector's elements.
        variants: in order of preference, at least one.
        states: what its graphs carry from one vector to the next; None without any.

    Attributes:
        cascade: see Cascade and ``set_cascade``; None: the preferred variant answers.
    """

    __slots__ = ("_choice", "_first", "_variants", "cascade", "features", "labels", "name", "states", "version")

    def __init__(
        self,
        name: str,
        version: str,
        labels: Sequence[str],
        features: Sequence[str],
        variants: Sequence[BoundVariant],
        states: States | None = None,
    ) -> None:
        self.name, self.version, self.labels, self.features = name, version, tuple(labels), tuple(features)
        self.states = states
        self._variants = self._choice = tuple(variants)
        self._first = variants[0]
        self.cascade: Cascade | None = None

    @property
    def variants(self) -> tuple[BoundVariant, ...]:
        """The admitted variants, in order of preference."""
        return self._variants

    def set_cascade(self, first: str, then: str, score: str, unsure: tuple[float, float]) -> None:
        """Let a small variant answer where it is sure; without one of the two on this device, the other one answers alone.

        Args:
            first, then: names of variants.
            score: label.
            unsure: between these two, bounds excluded, the larger one answers.

        Raises:
            ValueError: no such label, or a model with states, which must see every vector once.
        """
        if self.states is not None:
            raise ValueError("a model that carries states must see every vector once; a cascade would show it some twice")
        if score not in self.labels:
            raise ValueError(f"score {score!r} is none of {', '.join(self.labels)}")
        found = {variant.name: variant for variant in self._variants}
        if first in found and then in found:
            self.cascade = Cascade(found[first], found[then], self.labels.index(score), unsure)
            self._first = found[first]
            self._choice = (self._first, *(variant for variant in self._variants if variant.name not in (first, then)))

    def summary(self) -> dict[str, dict[str, float | int]]:
        """What is known of each variant: runs, frames on which it did not fit, and its 99th percentile now and at its best, us."""
        return {
            variant.name: {
                "runs": variant.runs,
                "excluded": variant.excluded,
                "p99_us": round(variant.p99_ns / 1e3, 1),
                "best_p99_us": round(min(variant.best_ns, variant.p99_ns) / 1e3, 1),
            }
            for variant in self._variants
        }

    def report(self) -> dict[str, dict[str, Any]]:
        """For the status: ``summary`` and the counts of the cascade."""
        return {"variants": self.summary(), "cascade": self.cascade.summary() if self.cascade is not None else {}}

    def choose(self, remaining_ns: int, may_go_smaller: bool) -> BoundVariant | None:
        """The variant to run.

        Args:
            remaining_ns: time left for inference.
            may_go_smaller: whether another than the preferred one may be taken.

        Returns:
            The first in preference order whose 99th percentile fits, or that is due for a trial; None if there is none.
        """
        first = self._first
        if first.p99_ns <= remaining_ns:
            return first
        for variant in self._choice:
            if variant.p99_ns <= remaining_ns or (variant.best_ns <= remaining_ns and variant.is_due()):
                return variant
            variant.excluded += 1
            if not may_go_smaller:
                break
        return None

    def observe(self, variant: BoundVariant, took_ns: int) -> None:
        """Note how long a run took, as measured by the caller."""
        p99_ns = variant.p99_ns
        variant.seen += 1
        variant.runs += 1
        if took_ns <= p99_ns:
            variant.rise = _RISE
            variant.p99_ns = p99_ns - (p99_ns >> _FALL)
            if variant.is_on_trial:
                variant.p99_ns = max(took_ns, variant.best_ns)
        else:
            if p99_ns < variant.best_ns:
                variant.best_ns = p99_ns
            variant.p99_ns = min(took_ns, p99_ns + max(p99_ns >> variant.rise, 1))
            if variant.rise:
                variant.rise -= 1
        variant.is_on_trial = False
