"""What each alert rule said last, so that a later run, or a pipeline after a reload, neither repeats it nor forgets to take it back.

Kept in memory as well as in the file: while the disk fails, alerts are sent all the same, and what they said must not be lost.
"""

from collections.abc import Mapping
from itertools import islice

from edge.messages import Alert

DEVICES = 10_000  # of so many devices it is kept what their rules said
_LOOKED_AT = 100

Reported = Mapping[tuple[str, str], str]  # device and rule to raised or cleared


class Said(dict[str, dict[str, str]]):
    """Device to rule to ``raised`` or ``cleared``; the device that spoke last is the last."""

    def note(self, alert: Alert) -> list[str]:
        """An alert is on its way; one of no device is not kept.

        Returns:
            Devices that had to be forgotten, as there are too many: long silent, and with nothing raised as far as there are such.
        """
        device = alert.device
        if not device:
            return []
        self[device] = self.pop(device, {}) | {alert.name: alert.state}
        return [self._forget_one() for _ in range(len(self) - DEVICES)]

    def _forget_one(self) -> str:
        oldest = list(islice(self, _LOOKED_AT))
        device = next((device for device in oldest if not self.raised(device)), oldest[0])
        del self[device]
        return device

    def learn(self, reported: Reported) -> "Said":
        """What was said in an earlier run: counts where this one has said nothing. Returns what is new."""
        new = Said()
        for (device, rule), state in reported.items():
            rules = self.setdefault(device, {})
            if rule not in rules:
                rules[rule] = new.setdefault(device, {})[rule] = state
        return new

    def raised(self, device: str) -> set[str]:
        """What was raised for a device and not cleared."""
        return {rule for rule, state in self.get(device, {}).items() if state == "raised"}

    def flat(self) -> dict[tuple[str, str], str]:
        """By device and rule."""
        return {(device, rule): state for device, rules in self.items() for rule, state in rules.items()}
