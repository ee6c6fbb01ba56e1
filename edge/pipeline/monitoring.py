"""What watches a model from beside the road of a frame: drift, and labels. Owns what is told of them; decides nothing."""

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from edge.inference.drift import DriftEvent, DriftMonitor
from edge.inference.parts import seal, unseal
from edge.messages import Origin, Outgoing, RawMessage, Severity
from edge.pipeline.labels import Labels
from edge.pipeline.lanes import Lanes
from edge.pipeline.moment import Moment
from edge.topics import TopicTemplate

_SAVED = 1  # version of what is saved


class _Announces(Protocol):
    def announce(self, name: str, severity: Severity, detail: str, origin: Origin, topic: str) -> Outgoing: ...


class _Saved(msgspec.Struct, array_like=True):
    counted: bytes
    raised: list[DriftEvent]


class Told(msgspec.Struct, frozen=True):
    """How events are told.

    Args:
        topic: of the alerts.
        severity: of what begins; what ends is ``info``.
    """

    topic: str
    severity: Severity


class Monitoring:
    """Watches one version of a model; frames that another one answered are left out.

    Args:
        version: whose references and labels these are.
        told: how events are told.
        drift, labels: None: not watched.
        labels_topic: None without labels.
    """

    def __init__(
        self, version: str, told: Told, drift: DriftMonitor | None, labels: Labels | None, labels_topic: TopicTemplate | None
    ) -> None:
        self.version, self.drift, self.labels = version, drift, labels
        self.events: list[DriftEvent] = []
        self._told, self._topic = told, labels_topic
        self._origin = Origin()
        self._raised: dict[tuple[str, str], DriftEvent] = {}
        self._drift = ""

    def decided(
        self,
        moment: Moment,
        scores: Sequence[float],
        vector: npt.NDArray[np.float32],
        origin: Origin,
        announces: _Announces,
        out: list[Outgoing],
    ) -> None:
        """A frame was decided on and its commands have left; what must be told is appended to ``out``."""
        if origin.version != self.version:
            return
        self._origin = origin
        if self.drift is not None:
            self.drift.update(vector, scores)
            self.events += self.drift.look(moment.now_ns)  # not the stamp: every device has a clock of its own
        if self.labels is not None:
            self.labels.note(moment.lane, moment.seq, moment.stamp_ns, moment.now_ns, scores)
        if self.events:
            self._tell(announces, out)

    def take(self, raw: RawMessage, lanes: Lanes, announces: _Announces, out: list[Outgoing]) -> bool:
        """Take a message if it is a label."""
        device = self._topic.match(raw.topic) if self._topic is not None else None
        if device is None or self.labels is None:
            return False
        if raw.is_retained:
            self.labels.refuse()
            return True
        self.labels.take(lanes.find(device), raw.payload, raw.received_ns)
        if self.labels.events:
            self.events += self.labels.events
            self.labels.events.clear()
            self._tell(announces, out)
        return True

    def forget(self, lane: int) -> None:
        """Another device will have this lane."""
        if self.labels is not None:
            self.labels.forget(lane)

    def take_drift(self) -> str:
        """What drift of features or scores that began says of the model, once; "" for nothing new."""
        said, self._drift = self._drift, ""
        return said

    def save(self, now_ns: int) -> bytes | None:
        """What was counted against the references, and which alarms are on; None where there is nothing of it, or not between two frames.

        Args:
            now_ns: CLOCK_MONOTONIC.
        """
        counted = self.drift.save(now_ns) if self.drift is not None else None
        if counted is None:
            return None
        raised = [event for event in self._raised.values() if event.kind != "error"]
        return seal(_SAVED, self._digest(), msgspec.msgpack.encode(_Saved(counted, raised)))

    def restore(self, part: bytes, now_ns: int) -> None:
        """Go on from what was saved of the same version with the same references.

        Args:
            part: as ``save`` gave it.
            now_ns: CLOCK_MONOTONIC.

        Raises:
            ValueError: it does not fit; nothing has changed.
        """
        if self.drift is None:
            return
        try:
            saved = msgspec.msgpack.decode(unseal(_SAVED, self._digest(), part, "drift"), type=_Saved)
        except (msgspec.DecodeError, RecursionError) as fault:
            raise ValueError(f"the drift is damaged: {fault}") from None
        self.drift.restore(saved.counted, now_ns)
        self._raised |= {(event.kind, event.name): event for event in saved.raised}

    def _digest(self) -> bytes:
        digest = self.drift.digest if self.drift is not None else b""
        return hashlib.sha256(self.version.encode() + digest).digest()

    def end(self, announces: _Announces, out: list[Outgoing]) -> None:
        """Another version is watched from now on: what was raised is over, for nobody looks any more."""
        for event in list(self._raised.values()):
            detail = f"{event.kind} {event.name} is no longer watched: another version than {self.version} acts from now on"
            self.events.append(msgspec.structs.replace(event, state="cleared", detail=detail))
        self._tell(announces, out)

    def status(self) -> dict[str, Any]:
        """What is known, for the status."""
        drift = {"drift": self.drift.summary()} if self.drift is not None else {}
        return {"version": self.version} | drift | (self.labels.summary() if self.labels is not None else {})

    def report(self, most: int) -> dict[str, Any]:
        """The same in full, with histograms and calibration: milliseconds for hundreds of features.

        Args:
            most: features and scores; with more of them, the histograms are left out.
        """
        known = self.status()
        if self.drift is not None and len(self.drift.names) <= most:
            known["drift"] = self.drift.report()
        if self.labels is not None:
            known["quality"] |= {"calibration": self.labels.quality.calibration()}
        return known

    def _tell(self, announces: _Announces, out: list[Outgoing]) -> None:
        for event in self.events:
            name = f"{event.kind}-drift" if event.state == "raised" else f"{event.kind}-drift-over"
            severity: Severity = self._told.severity if event.state == "raised" else "info"
            if event.state == "cleared":
                self._raised.pop((event.kind, event.name), None)
            else:
                self._raised[event.kind, event.name] = event
                if event.kind != "error" and not self._drift:
                    self._drift = f"drifted: {event.detail}"
            out.append(announces.announce(name, severity, event.detail, self._origin, self._told.topic))
        self.events.clear()
