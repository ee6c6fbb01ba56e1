"""What the collision demo knows, all of it heard over MQTT. No I/O and no clock: messages come in."""

import math
from collections import deque
from typing import Any

import msgspec

from edge.cli.demo.collision.car import Record
from edge.cli.demo.heard import unpack

_KEPT = 6  # alerts on the screen
_FACTS = ("objects.min_ttc", "objects.braking", "objects.nearest_ahead")  # the first features of the pipeline file


class AlertHeard(msgspec.Struct, frozen=True):
    """An alert, at a time of the car's clock."""

    at_s: float
    text: str
    severity: str


class Drive:
    """Everything heard so far.

    Attributes:
        status, availability: of the daemon.
        truth: the car's newest words about itself.
        facts: what the runtime made of the newest scan: time to collision s, deceleration needed m/s^2, distance ahead m.
        brake: the newest brake command on the wire, NaN before the first.
        alerts: newest last; ``alert_count`` of them were heard.
    """

    def __init__(self) -> None:
        self.status: dict[str, Any] = {}
        self.availability = ""
        self.truth: dict[str, Any] = {}
        self.facts: dict[str, float] = {}
        self.brake = math.nan
        self.alerts: deque[AlertHeard] = deque(maxlen=_KEPT)
        self.alert_count = self.commands = self.malformed = 0

    def hear(self, kind: str, payload: bytes, _now_s: float, _device: str = "") -> None:
        """Takes one message in.

        Args:
            kind: ``status``, ``availability``, ``prediction``, ``alert``, ``command`` or ``truth``.
            payload: as it came.
        """
        if kind == "availability":
            self.availability = payload.decode(errors="replace")
            return
        body = unpack(payload)
        if body is None:
            self.malformed += 1
        elif kind == "status":
            self.status = body
        elif kind == "truth":
            self.truth = body
        elif kind == "prediction":
            self.facts = dict(zip(_FACTS, body.get("features") or [], strict=False))
        elif kind == "command":
            self.commands += 1
            self.brake = float(body.get("value") or 0.0)
        elif kind == "alert":
            self._hear_alert(body)

    @property
    def is_over(self) -> bool:
        """The car has said its last word."""
        return bool(self.truth.get("is_last"))

    @property
    def is_decided(self) -> bool:
        """The drive came to its own end."""
        return bool(self.truth.get("is_decided"))

    @property
    def now_s(self) -> float:
        """The car's clock."""
        return float(self.truth.get("now_s", 0.0))

    def record(self) -> Record | None:
        """What became of the drive so far; None before the car's first word."""
        if not self.truth:
            return None
        names = Record.__struct_fields__
        told: dict[str, Any] = {name: math.nan if self.truth.get(name) is None else self.truth[name] for name in names}
        return Record(**told)

    def _hear_alert(self, body: dict[str, Any]) -> None:
        self.alert_count += 1
        value = body.get("value")
        shown = f"{value:.2f}" if isinstance(value, int | float) else "-"
        severity = str(body.get("severity", ""))
        self.alerts.append(AlertHeard(self.now_s, f"{severity} {body.get('name', '')} {body.get('state', '')} at {shown}", severity))
