"""What the demo knows, all of it heard over MQTT. No I/O and no clock: messages and the time come in."""

import math
from collections import deque
from typing import Any, Literal

import msgspec

_KEPT = 64  # alerts and commands kept for the view
_REPEAT_S = 2.0  # a command within this time goes on with the one before: commands are repeated while a rule holds


class Device(msgspec.Struct):
    """The newest prediction about one device.

    Attributes:
        label, score: the highest score.
        features: feature values in the plan's order, empty when they are not published.
        truth: what the recording says the device is doing, or empty.
        predictions, agreed: how many were heard while the truth was known, and how many of them had its label.
    """

    name: str
    label: str = ""
    score: float = 0.0
    features: list[float] = []
    truth: str = ""
    predictions: int = 0
    agreed: int = 0


class Event(msgspec.Struct):
    """An alert, or a command and its repetitions, as they were heard.

    Args:
        at_s: when it was heard first, seconds since the demo's start.
        kind, device, name: what and where.
        text: for people; of the newest repetition.
        times: how often in a row.
        last_s: when it was heard last.
    """

    at_s: float
    kind: Literal["alert", "command"]
    device: str
    name: str
    text: str
    times: int = 1
    last_s: float = 0.0


class Heard:
    """Everything heard so far.

    Attributes:
        status: the daemon's newest status, empty before the first.
        samples_per_s: between the two newest statuses.
        devices: by name.
        events: newest last.
        alerts, commands, predictions, malformed: counts of messages heard.
        noted: events so far, those that are no longer kept included.
        first_prediction_s: seconds after the demo's start, or None.
    """

    def __init__(self) -> None:
        self.status: dict[str, Any] = {}
        self.availability = ""
        self.samples_per_s = 0.0
        self.devices: dict[str, Device] = {}
        self.events: deque[Event] = deque(maxlen=_KEPT)
        self.alerts = self.commands = self.predictions = self.malformed = self.noted = 0
        self.first_prediction_s: float | None = None

    def hear(self, kind: str, payload: bytes, now_s: float, device: str = "") -> None:
        """Takes one message in.

        Args:
            kind: ``status``, ``availability``, ``prediction``, ``alert``, ``command`` or ``truth``.
            payload: as it came.
            now_s: seconds since the demo's start.
            device: from the topic, for a message whose body does not say.
        """
        if kind == "availability":
            self.availability = payload.decode(errors="replace")
            return
        body = unpack(payload)
        if body is None:
            self.malformed += 1
        elif kind == "status":
            self._hear_status(body)
        elif kind == "prediction":
            self._hear_prediction(body, now_s, device)
        elif kind == "truth":
            self._device(str(body.get("device", device))).truth = str(body.get("label", ""))
        else:
            self._hear_event(kind, body, now_s, device)

    def _hear_status(self, status: dict[str, Any]) -> None:
        passed_s = float(status.get("uptime_s", 0.0)) - float(self.status.get("uptime_s", 0.0))
        if self.status and passed_s > 0:
            self.samples_per_s = (received(status) - received(self.status)) / passed_s
        self.status = status

    def _hear_prediction(self, body: dict[str, Any], now_s: float, device: str) -> None:
        if self.first_prediction_s is None:
            self.first_prediction_s = now_s
        self.predictions += 1
        about = self._device(str(body.get("device", device)))
        scores: dict[str, float] = body.get("scores") or {}
        if scores:
            about.label, about.score = max(scores.items(), key=lambda item: item[1])
        about.features = [math.nan if value is None else value for value in body.get("features") or []]
        if about.truth:
            about.predictions += 1
            about.agreed += about.label == about.truth

    def _hear_event(self, kind: str, body: dict[str, Any], now_s: float, device: str) -> None:
        about, name = str(body.get("device", device)), str(body.get("name", ""))
        if kind == "alert":
            self.alerts += 1
            text = f"{body.get('state', '')} ({body.get('severity', '')}), at {_number(body.get('value'))}"
            self._note(Event(now_s, "alert", about, name, text, last_s=now_s))
        else:
            self.commands += 1
            life_ms = (int(body.get("expires_ns", 0)) - int(body.get("issued_ns", 0))) / 1e6
            unit = "" if body.get("unit") in ("1", None) else f" {body['unit']}"
            text = f"{_number(body.get('value'))}{unit}, valid {life_ms:.0f} ms"
            before = next((event for event in reversed(self.events) if (event.kind, event.device, event.name) == (kind, about, name)), None)
            if before is not None and now_s - before.last_s < _REPEAT_S:
                before.text, before.last_s = text, now_s
                before.times += 1
            else:
                self._note(Event(now_s, "command", about, name, text, last_s=now_s))

    def _note(self, event: Event) -> None:
        self.events.append(event)
        self.noted += 1

    def _device(self, name: str) -> Device:
        return self.devices.setdefault(name, Device(name))


def unpack(payload: bytes) -> dict[str, Any] | None:
    """A JSON or MessagePack map, or None when it is neither."""
    try:
        body = msgspec.json.decode(payload) if payload[:1] == b"{" else msgspec.msgpack.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return body if isinstance(body, dict) else None


def received(status: dict[str, Any]) -> int:
    """Samples received, of all streams."""
    return sum(int(counts.get("received", 0)) for counts in status.get("streams", {}).values())


def _number(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else str(value)
