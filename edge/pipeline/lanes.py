"""Which device has which slot of state. Owns the table of lanes; when it is full, the longest idle device gives up its place."""

from collections.abc import Callable

import numpy as np


class Lanes:
    """A bounded table of devices.

    Args:
        capacity: number of lanes.

    Attributes:
        devices: device name by lane, "" for a lane not yet used.
        evictions: how often a device had to make room.
        on_assign: told of every device that gets a lane.
    """

    def __init__(self, capacity: int) -> None:
        self.devices: list[str] = [""] * capacity
        self.evictions = 0
        self.on_assign: Callable[[int, str], None] | None = None
        self._lane_of: dict[str, int] = {}
        self._last_ns = np.zeros(capacity, np.int64)
        self._last_view = self._last_ns.data

    def __len__(self) -> int:
        return len(self._lane_of)

    def find(self, device: str) -> int:
        """The device's lane, or -1."""
        return self._lane_of.get(device, -1)

    def touch(self, lane: int, now_ns: int) -> None:
        """The lane's device has been heard."""
        self._last_view[lane] = now_ns

    def silent(self, since_ns: int, most: int) -> tuple[int, dict[str, int]]:
        """Devices that were not heard since a moment: how many, and when the first few were.

        Args:
            since_ns: CLOCK_MONOTONIC.
            most: how many are named.
        """
        lanes = np.flatnonzero(self._last_ns[: len(self._lane_of)] < since_ns)
        return len(lanes), {self.devices[lane]: int(self._last_ns[lane]) for lane in lanes[:most]}

    def next_free(self) -> int:
        """The lane a new device will get: an unused one, or that of the device that has been silent the longest."""
        used = len(self._lane_of)
        return used if used < len(self.devices) else int(self._last_ns.argmin())

    def assign(self, device: str, lane: int, now_ns: int) -> None:
        """Give a lane, from ``next_free``, to a new device."""
        if self.devices[lane]:
            del self._lane_of[self.devices[lane]]
            self.evictions += 1
        self.devices[lane] = device
        self._lane_of[device] = lane
        self.touch(lane, now_ns)
        if self.on_assign is not None:
            self.on_assign(lane, device)
