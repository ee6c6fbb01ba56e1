"""What can go wrong on a serial line, as a pure function of bytes: one object for each direction. Does no I/O and reads no clock."""

import random
from dataclasses import dataclass, fields

RATES = ("flip", "drop", "garble", "duplicate", "truncate", "burst")


@dataclass
class Faults:
    """What happens to the bytes of one direction from now on. Everything is off by default.

    Args:
        flip: share of bytes in which one bit is inverted, 0 to 1.
        drop: share of bytes that vanish, 0 to 1.
        garble: share of bytes that arrive as random ones, 0 to 1; 1 is what a receiver with another baud rate sees.
        duplicate: share of chunks that arrive twice, 0 to 1.
        truncate: share of chunks that lose their second half, 0 to 1.
        burst: share of chunks that are followed by 1 to 64 random bytes, 0 to 1.
        delay_ms: every byte is late by this, >= 0.
        jitter_ms: and by a random part of this; order is kept, >= 0.
        silent: nothing arrives at all.
    """

    flip: float = 0.0
    drop: float = 0.0
    garble: float = 0.0
    duplicate: float = 0.0
    truncate: float = 0.0
    burst: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    silent: bool = False

    def __post_init__(self) -> None:
        """Refuses what no line can do.

        Raises:
            ValueError: a share is outside 0 to 1, or a time is negative.
        """
        for name in RATES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share from 0 to 1, not {getattr(self, name)}")
        if self.delay_ms < 0 or self.jitter_ms < 0:
            raise ValueError("delay_ms and jitter_ms are 0 or more")

    def is_clean(self) -> bool:
        """Whether bytes pass as they are."""
        return all(not getattr(self, field.name) for field in fields(self))

    def damage(self, chunk: bytes, chance: random.Random) -> bytes:
        """What arrives of one chunk.

        Args:
            chunk: bytes read in one go.
            chance: a seeded source, so that a run can be repeated.
        """
        if self.silent:
            return b""
        if self.flip or self.drop or self.garble:
            chunk = bytes(byte for byte in (self._byte(byte, chance) for byte in chunk) if byte is not None)
        if self.truncate and chance.random() < self.truncate:
            chunk = chunk[: len(chunk) // 2]
        if self.duplicate and chance.random() < self.duplicate:
            chunk += chunk
        if self.burst and chance.random() < self.burst:
            chunk += chance.randbytes(chance.randint(1, 64))
        return chunk

    def _byte(self, byte: int, chance: random.Random) -> int | None:
        if self.drop and chance.random() < self.drop:
            return None
        if self.garble and chance.random() < self.garble:
            return chance.randrange(256)
        if self.flip and chance.random() < self.flip:
            return byte ^ (1 << chance.randrange(8))
        return byte

    def late_s(self, chance: random.Random) -> float:
        """By how much the next chunk is late, in seconds."""
        return (self.delay_ms + chance.random() * self.jitter_ms) / 1000
