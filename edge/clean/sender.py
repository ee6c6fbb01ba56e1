"""What a gate knows of one device's frames, and the same as bytes."""

from typing import Annotated

import msgspec
import numpy as np

from edge.messages import Block

NO_STAMP = -(1 << 63)
SEEN_FRAMES = 1024  # how far back a duplicate is told from a late frame
STATE_VERSION = 1

_Frame = tuple[int, int, bytes, bytes]  # counter, time of receipt, rows, stamps


class _Saved(msgspec.Struct, array_like=True):
    version: int
    channels: int
    expected: Annotated[int, msgspec.Meta(ge=-1)]
    seen: bytes
    stamps: tuple[int, int]
    run: tuple[int, int]
    held: list[_Frame]
    cleaner: bytes


class Sender:
    """One device.

    Args:
        lane: its number.
    """

    __slots__ = ("expected", "held", "lane", "last_stamp", "run", "run_seq", "run_stamp", "seen")

    def __init__(self, lane: int) -> None:
        self.lane = lane
        self.expected = -1  # next sequence number, -1 before the first
        self.seen = 0  # bit i: frame expected - 1 - i was seen
        self.last_stamp = NO_STAMP
        self.run = 0  # refused frames in a row that follow each other
        self.run_seq = -1
        self.run_stamp = NO_STAMP
        self.held: dict[int, Block] = {}

    @property
    def held_rows(self) -> int:
        """Rows of frames that wait for an earlier one."""
        return sum(block.n for block in self.held.values())

    def save(self, channels: int, cleaner: bytes) -> bytes:
        """Everything, with the frames that wait.

        Args:
            channels: in a row.
            cleaner: state of the lane's cleaner, or nothing.
        """
        frames = [(seq, b.received_ns, b.rows[: b.n].tobytes(), b.stamps[: b.n].tobytes()) for seq, b in self.held.items()]
        stamps, run = (self.last_stamp, self.run_stamp), (self.run, self.run_seq)
        seen = self.seen.to_bytes(SEEN_FRAMES // 8, "little")
        return msgspec.msgpack.encode(_Saved(STATE_VERSION, channels, self.expected, seen, stamps, run, frames, cleaner))

    @classmethod
    def restored(cls, lane: int, channels: int, state: bytes) -> tuple["Sender", bytes]:
        """A sender from saved state, and the state of its cleaner.

        Raises:
            ValueError: the state is damaged, or of another version or stream.
        """
        try:
            saved = msgspec.msgpack.decode(state, type=_Saved)
        except (msgspec.DecodeError, RecursionError) as fault:
            raise ValueError(f"not the state of a gate: {fault}") from None
        if saved.version != STATE_VERSION or saved.channels != channels:
            raise ValueError("the state of a gate of another version or with other channels")
        sender = cls(lane)
        sender.expected, sender.seen = saved.expected, int.from_bytes(saved.seen[: SEEN_FRAMES // 8], "little")
        (sender.last_stamp, sender.run_stamp), (sender.run, sender.run_seq) = saved.stamps, saved.run
        for seq, received_ns, rows, stamps in saved.held:
            n = len(stamps) // 8
            if not n or len(stamps) != 8 * n or len(rows) != 4 * n * channels:
                raise ValueError("the state of a gate is damaged")
            block = sender.held[seq] = Block(channels, n)
            block.rows[:] = np.frombuffer(rows, np.float32).reshape(n, channels)
            block.stamps[:] = np.frombuffer(stamps, np.int64)
            block.n, block.seq, block.received_ns = n, seq, received_ns
        return sender, saved.cleaner
