"""Labels that come after predictions: which prediction each belongs to. Owns the memory of predictions and the count of every label.

received = joined + late + duplicate + unknown + invalid, always.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import msgspec

from edge.inference.drift import DriftEvent

_MAX_BYTES = 4096
_LIMIT = 1 << 63
Joined = Callable[[int, int, Any], None]


class Quality(Protocol):
    """What takes joined labels."""

    def takes(self, truth: object) -> bool:
        """Whether this can be a truth."""
        ...

    def update(self, scores: Sequence[float], truth: Any) -> list[DriftEvent]:
        """Take a prediction and its truth."""
        ...

    def summary(self) -> dict[str, Any]:
        """How good predictions are."""
        ...

    def calibration(self) -> list[dict[str, float]]:
        """See ClassQuality."""
        ...


class Made(msgspec.Struct, gc=False):
    """A prediction that waits for its label.

    Args:
        seq: of the message that led to it; -1: it had none.
        stamp_ns: of its sample.
        made_ns: when, CLOCK_MONOTONIC.
        scores: of the model.
        is_labelled: a label came.
    """

    seq: int
    stamp_ns: int
    made_ns: int
    scores: tuple[float, ...]
    is_labelled: bool = False


class _Lane:
    """The last predictions of one device."""

    __slots__ = ("by_seq", "by_stamp", "gone_seq", "gone_stamp", "ring")

    def __init__(self) -> None:
        self.ring: deque[Made] = deque()
        self.by_seq: dict[int, Made] = {}
        self.by_stamp: dict[int, Made] = {}
        self.gone_seq = self.gone_stamp = -1  # of the newest one that is not kept any longer

    def drop_oldest(self) -> None:
        gone = self.ring.popleft()
        self.gone_seq, self.gone_stamp = gone.seq, gone.stamp_ns
        if self.by_seq.get(gone.seq) is gone:
            del self.by_seq[gone.seq]
        if self.by_stamp.get(gone.stamp_ns) is gone:
            del self.by_stamp[gone.stamp_ns]


class Labels:
    """Joins labels with predictions.

    Args:
        quality: takes what was joined.
        decode: bytes to plain data; raises ValueError or msgspec.DecodeError.
        ttl_ns: a prediction waits so long for its label.
        keep: predictions of one device that wait, at most.

    Attributes:
        counts: of every label.
        joined: told of each label that was joined: lane, stamp of the prediction, truth; None: nobody is.
    """

    def __init__(self, quality: Quality, decode: Callable[[bytes], Any], ttl_ns: int, keep: int) -> None:
        self.quality = quality
        self._decode, self._ttl_ns, self._keep = decode, ttl_ns, keep
        self._lanes: dict[int, _Lane] = {}
        self.counts = dict.fromkeys(("received", "joined", "late", "duplicate", "unknown", "invalid"), 0)
        self.events: list[DriftEvent] = []
        self.joined: Joined | None = None

    def note(self, lane: int, seq: int, stamp_ns: int, now_ns: int, scores: Sequence[float]) -> None:
        """Keep a prediction; of several with one number, the last is the one that is labelled by number.

        Args:
            lane: of the device.
            seq, stamp_ns: that a label may name.
            now_ns: CLOCK_MONOTONIC.
            scores: copied.
        """
        kept = self._lanes.get(lane)
        if kept is None:
            kept = self._lanes[lane] = _Lane()
        made = Made(seq, stamp_ns, now_ns, tuple(scores))
        kept.ring.append(made)
        if seq >= 0:
            kept.by_seq[seq] = made
        kept.by_stamp[stamp_ns] = made
        if len(kept.ring) > self._keep:
            kept.drop_oldest()

    def take(self, lane: int, payload: bytes, now_ns: int) -> None:
        """Take a label.

        Args:
            lane: of the device that it is about; -1: it never sent anything.
            payload: see docs/drift.md.
            now_ns: CLOCK_MONOTONIC.
        """
        self.counts["received"] += 1
        self.counts[self._fate(lane, payload, now_ns)] += 1

    def refuse(self) -> None:
        """A label that cannot be used whatever is in it: retained by the broker, or too large."""
        self.counts["received"] += 1
        self.counts["invalid"] += 1

    def forget(self, lane: int) -> None:
        """Another device will have this lane."""
        self._lanes.pop(lane, None)

    def summary(self) -> dict[str, Any]:
        """Counts and quality, for the status."""
        return {
            "labels": dict(self.counts),
            "waiting": sum(len(kept.ring) for kept in self._lanes.values()),
            "quality": self.quality.summary(),
        }

    def _fate(self, lane: int, payload: bytes, now_ns: int) -> Literal["joined", "late", "duplicate", "unknown", "invalid"]:
        read = self._read(payload)
        if read is None:
            return "invalid"
        by, number, truth = read
        kept = self._lanes.get(lane)
        if kept is None:
            return "unknown"
        while kept.ring and now_ns - kept.ring[0].made_ns > self._ttl_ns:
            kept.drop_oldest()
        made = (kept.by_seq if by == "seq" else kept.by_stamp).get(number)
        if made is None:
            return "late" if number <= (kept.gone_seq if by == "seq" else kept.gone_stamp) else "unknown"
        if made.is_labelled:
            return "duplicate"
        made.is_labelled = True
        self.events += self.quality.update(made.scores, truth)
        if self.joined is not None:
            self.joined(lane, made.stamp_ns, truth)
        return "joined"

    def _read(self, payload: bytes) -> tuple[Literal["seq", "t"], int, Any] | None:
        """What names the prediction, the number, and the truth; None: it is not a label."""
        if len(payload) > _MAX_BYTES:
            return None
        try:
            data = self._decode(payload)
        except (ValueError, RecursionError, msgspec.DecodeError):
            return None
        if not isinstance(data, dict):
            return None
        named = [(by, data[key]) for key, by in _NAMES if key in data]
        truths = [data[key] for key in ("label", "value") if key in data]
        if len(named) != 1 or len(truths) != 1 or not self.quality.takes(truths[0]):
            return None
        by, number = named[0]
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < _LIMIT:
            return None
        return by, number, truths[0]


_NAMES: tuple[tuple[str, Literal["seq", "t"]], ...] = (("seq", "seq"), ("id", "seq"), ("t", "t"))
