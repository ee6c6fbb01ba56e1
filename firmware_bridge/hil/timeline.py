"""One time for a run: the board's own clock, carried over its resets. Pure bookkeeping, no I/O.

Within a boot, differences are exact: they are the board's. Between boots the host's clock fills the gap, as good as the line is fast.
"""

from dataclasses import dataclass, field


@dataclass
class _Boot:
    first_us: int  # board's clock when it was first heard of
    at_us: int  # the same moment in the run's time
    offset_us: int  # smallest of host's clock minus board's clock


@dataclass
class Timeline:
    """Maps a boot's clock, and the host's, to microseconds of the run."""

    boots: list[_Boot] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)

    def hear(self, stamp_us: int, host_us: int) -> int:
        """A frame of the current boot came.

        Returns:
            Its stamp in the run's time.
        """
        boot = self.boots[-1]
        boot.offset_us = min(boot.offset_us, host_us - stamp_us)
        return self.place(stamp_us)

    def begin(self, boot_id: int, stamp_us: int, host_us: int) -> bool:
        """A hello or heartbeat came. Returns whether this boot is a new one."""
        if self.ids and self.ids[-1] == boot_id:
            return False
        at_us = 0 if not self.boots else self.of_host(host_us)
        self.boots.append(_Boot(stamp_us, at_us, host_us - stamp_us))
        self.ids.append(boot_id)
        return True

    def place(self, stamp_us: int) -> int:
        """A stamp of the current boot in the run's time."""
        boot = self.boots[-1]
        return boot.at_us + stamp_us - boot.first_us

    def of_host(self, host_us: int) -> int:
        """A time of the host's clock in the run's."""
        return self.place(host_us - self.boots[-1].offset_us)

    def forget_offset(self, host_us: int, stamp_us: int) -> None:
        """The board was paused: its clock stood still, the host's did not."""
        self.boots[-1].offset_us = host_us - stamp_us
