"""What became of every sample of a stream."""

from edge.errors import Reason


class Counts:
    """What became of the samples of one stream. Rows for telemetry, scans for scans; an undecodable message counts as one."""

    __slots__ = ("dropped", "duplicate", "held", "invalid", "late", "lost_frames", "received", "resyncs", "standing", "used")

    def __init__(self) -> None:
        self.received = self.used = self.held = self.late = self.duplicate = 0
        self.invalid: dict[Reason, int] = {}
        self.dropped: dict[Reason, int] = {}
        self.lost_frames = 0  # sequence numbers that never came
        self.standing = 0  # of those refused as stamp_past: with the very stamp of the one before
        self.resyncs = 0  # times the sender's counter or clock started anew

    def refuse(self, reason: Reason, n: int = 1) -> None:
        """Count samples already received as invalid."""
        self.invalid[reason] = self.invalid.get(reason, 0) + n

    def drop(self, reason: Reason, n: int = 1) -> None:
        """Count samples already received as good but not used."""
        self.dropped[reason] = self.dropped.get(reason, 0) + n

    @property
    def is_balanced(self) -> bool:
        """Whether every received sample is accounted for."""
        settled = self.used + self.held + self.late + self.duplicate
        return self.received == settled + sum(self.invalid.values()) + sum(self.dropped.values())
