"""The gate of telemetry: finite, in range, in order, not stale.

    received = used + held + late + duplicate + invalid + dropped

holds after every call. ``held`` are rows of frames that wait for an earlier one, and rows that wait for a later value
(``lateness_ms``). With a cleaner, what comes out are the cleaner's blocks: more columns, and memory that the next call overwrites.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge.clean.cleaner import Cleaner
from edge.clean.counts import Counts
from edge.clean.sender import NO_STAMP, SEEN_FRAMES, Sender
from edge.errors import Reason
from edge.kernels import admit as k
from edge.messages import Block

HELD_FRAMES = 64  # most frames of one device that wait for an earlier one
# So many refused frames in a row that follow each other are the new truth: the sender restarted. Frames with old stamps could
# also be a broker's repeats of what was not acknowledged (20 in flight for paho and mosquitto), so those must agree for longer.
RESYNC_RUN = 8
RESYNC_RUN_OLD = 32
_SEEN_MASK = (1 << SEEN_FRAMES) - 1
_WRAPS = (1 << 16, 1 << 32)


class Gate:
    """Admits the frames of one telemetry stream.

    Args:
        low, high: float32 (C,), inclusive bounds, infinite where there is none.
        lanes: number of devices.
        lateness_ns: how long a frame waits for a missing earlier one.
        max_ahead_ns: largest step of stamps (free clock) or largest lead over wall time (synced clock).
        max_age_ns: oldest sample on arrival with a synced clock; 0: not checked.
        is_synced: stamps are Unix time.
        cleaner: does more than refuse rows that are not finite or out of bounds; knows the bounds itself.
    """

    def __init__(
        self,
        low: npt.NDArray[np.float32],
        high: npt.NDArray[np.float32],
        lanes: int,
        *,
        lateness_ns: int = 0,
        max_ahead_ns: int = 3_600_000_000_000,
        max_age_ns: int = 0,
        is_synced: bool = False,
        cleaner: Cleaner | None = None,
    ) -> None:
        self.cleaner = cleaner
        self.counts = Counts()
        self._low, self._high = low, high
        self._lateness_ns = lateness_ns
        self._max_ahead_ns = max_ahead_ns
        self._max_age_ns = max_age_ns
        self._is_synced = is_synced
        self._senders = [Sender(lane) for lane in range(lanes)]
        self._waiting: dict[int, Sender] = {}
        self._row_counts = np.zeros(3, np.int64)

    def admit(self, block: Block, lane: int, wall_offset_ns: int) -> Sequence[Block]:
        """Blocks to use now, in order: none, this one, or this one and those that waited for it.

        Args:
            block: decoded rows; without a cleaner, refused rows are removed in place.
            lane: the device.
            wall_offset_ns: Unix time minus CLOCK_MONOTONIC.
        """
        self.counts.received += block.n
        sender = self._senders[lane]
        if block.seq >= 0:
            if block.seq != sender.expected and sender.expected >= 0:
                return self._out_of_order(sender, block, lane, wall_offset_ns)
            self._see(sender, block.seq)
        ready = self._pass(sender, block, wall_offset_ns)
        return [*self._kept(ready), *self._next_held(sender, lane, wall_offset_ns)] if sender.held else ready

    def release(self, now_ns: int, wall_offset_ns: int) -> list[tuple[int, Block]]:
        """Blocks whose wait is over, with their lanes: what they waited for is lost.

        Rows that waited for a value are refused; the rows behind them come out.
        """
        ready: list[tuple[int, Block]] = []
        for lane, sender in list(self._waiting.items()):
            while sender.held and now_ns - min(block.received_ns for block in sender.held.values()) >= self._lateness_ns:
                ready += [(lane, block) for block in self._skip_to_held(sender, lane, wall_offset_ns)]
        if self.cleaner is not None and self.cleaner.waiting:
            for lane in list(self.cleaner.waiting):
                ready += [(lane, block) for block in self.cleaner.expire(lane, now_ns - self._lateness_ns, self.counts)]
        return ready

    def reset(self, lane: int) -> None:
        """Forget a device; what still waits is dropped and counted."""
        self._count_dropped(lane, self._waiting_rows(lane))
        if self.cleaner is not None:
            self.cleaner.reset(lane)
        self._senders[lane] = Sender(lane)

    def save(self, lane: int) -> bytes:
        """The state of a lane, the cleaner's included, with everything that waits."""
        return self._senders[lane].save(len(self._low), self.cleaner.save(lane) if self.cleaner is not None else b"")

    def restore(self, lane: int, state: bytes) -> None:
        """Go on from a saved state as if nothing had happened. What waits in it is counted as received and held here.

        Raises:
            ValueError: the state is damaged, or of another version, stream or cleaning; nothing has changed.
        """
        sender, cleaner_state = Sender.restored(lane, len(self._low), state)
        if (self.cleaner is None) != (not cleaner_state):
            raise ValueError("the state of a gate that cleans otherwise")
        waited = self._waiting_rows(lane)
        if self.cleaner is not None:
            self.cleaner.restore(lane, cleaner_state)
        self._count_dropped(lane, waited)
        self._senders[lane] = sender
        if sender.held:
            self._waiting[lane] = sender
        restored = self._waiting_rows(lane)
        self.counts.received += restored
        self.counts.held += restored

    def _waiting_rows(self, lane: int) -> int:
        return self._senders[lane].held_rows + (self.cleaner.held(lane) if self.cleaner is not None else 0)

    def _count_dropped(self, lane: int, waited: int) -> None:
        if waited:
            self.counts.held -= waited
            self.counts.drop(Reason.EVICTED, waited)
        self._waiting.pop(lane, None)

    def _see(self, sender: Sender, seq: int) -> None:
        step = seq - sender.expected + 1 if sender.expected >= 0 else 1
        sender.seen = ((sender.seen << step) | 1) & _SEEN_MASK if step <= SEEN_FRAMES else 1
        sender.expected = seq + 1

    def _out_of_order(self, sender: Sender, block: Block, lane: int, wall_offset_ns: int) -> Sequence[Block]:
        missing = block.seq - sender.expected
        if missing > 0:
            if self._lateness_ns and missing <= HELD_FRAMES:
                return self._hold(sender, block, lane, wall_offset_ns)
        elif not self._is_restart(sender, block):
            if sender.seen >> (-missing - 1) & 1:
                self.counts.duplicate += block.n
            else:
                self.counts.late += block.n
            return ()
        ready = self._drain(sender, lane, wall_offset_ns) if sender.held else []
        if missing > 0:
            self.counts.lost_frames += block.seq - sender.expected
        else:
            sender.expected, sender.seen = -1, 0
        self._see(sender, block.seq)
        return [*ready, *self._pass(sender, block, wall_offset_ns)]

    def _is_restart(self, sender: Sender, block: Block) -> bool:
        """Whether a counter that went back means a sender that started anew, and not a late or repeated frame."""
        if block.seq == 0 and sender.expected in _WRAPS:
            return True
        is_newer = sender.last_stamp < block.stamps_view[0] != block.received_ns
        if is_newer and (block.seq == 0 or sender.expected - block.seq > SEEN_FRAMES):
            self.counts.resyncs += 1
            return True
        return self._resyncs(sender, block, RESYNC_RUN if is_newer else RESYNC_RUN_OLD)

    def _resyncs(self, sender: Sender, block: Block, run: int) -> bool:
        """Note a frame about to be refused; true when it ends a run long enough to believe, and time starts anew with it."""
        stamp = block.stamps_view[0]
        follows = stamp > sender.run_stamp and (block.seq < 0 or block.seq == sender.run_seq + 1)
        sender.run = sender.run + 1 if follows else 1
        sender.run_seq, sender.run_stamp = block.seq, stamp
        if sender.run < run:
            return False
        sender.run = 0
        sender.last_stamp = NO_STAMP
        self.counts.resyncs += 1
        return True

    def _pass(self, sender: Sender, block: Block, wall_offset_ns: int) -> Sequence[Block]:
        """Check stamps and rows; the block, or what the cleaner made of it, when rows are left."""
        n = block.n
        fault = self._stamp_fault(sender, block, wall_offset_ns)
        if fault is not None and not self._is_new_truth(sender, block, fault, wall_offset_ns):
            self._refuse_stamp(sender, block, fault)
            return ()
        if self.cleaner is not None:
            return self._clean(self.cleaner, sender, block)
        kept = k.admit_rows(block.rows, block.stamps, n, sender.last_stamp, self._low, self._high, self._row_counts)
        if kept != n:
            self._count_rows()
            if not kept:
                return ()
        block.n = kept
        sender.last_stamp = block.stamps_view[kept - 1]
        sender.run = 0
        self.counts.used += kept
        return (block,)

    def _is_new_truth(self, sender: Sender, block: Block, fault: Reason, wall_offset_ns: int) -> bool:
        """Whether refused stamps are right, and those before them were not.

        A synced clock has a judge: stamps that are nearer to wall time than the last one is ahead of it, which was then a wrong one, or
        of a clock that has been corrected since.
        """
        if not self._is_synced:
            return self._resyncs(sender, block, RESYNC_RUN_OLD)
        wall_ns = block.received_ns + wall_offset_ns
        is_nearer = abs(wall_ns - block.stamps_view[block.n - 1]) < sender.last_stamp - wall_ns
        return fault is Reason.STAMP_PAST and is_nearer and self._resyncs(sender, block, RESYNC_RUN)

    def _clean(self, cleaner: Cleaner, sender: Sender, block: Block) -> Sequence[Block]:
        ready: Sequence[Block] = ()
        if sender.last_stamp == NO_STAMP != cleaner.seen(sender.lane):  # the sender's clock started anew
            ready = cleaner.restart(sender.lane, self.counts)
        cleaned = cleaner.clean(block, sender.lane, self.counts)
        sender.last_stamp = cleaner.seen(sender.lane)
        sender.run = 0
        return [*ready, *cleaned] if ready else cleaned

    def _kept(self, blocks: Sequence[Block]) -> Sequence[Block]:
        return blocks if self.cleaner is None else self.cleaner.kept(blocks)

    def _stamp_fault(self, sender: Sender, block: Block, wall_offset_ns: int) -> Reason | None:
        newest = block.stamps_view[block.n - 1]
        if self._is_synced:
            age_ns = block.received_ns + wall_offset_ns - newest
            if -age_ns > self._max_ahead_ns:
                return Reason.STAMP_FUTURE
            if self._max_age_ns and age_ns > self._max_age_ns:
                return Reason.STALE
        elif sender.last_stamp != NO_STAMP and block.stamps_view[0] - sender.last_stamp > self._max_ahead_ns:
            return Reason.STAMP_FUTURE
        return Reason.STAMP_PAST if newest <= sender.last_stamp else None

    def _refuse_stamp(self, sender: Sender, block: Block, fault: Reason) -> None:
        if fault is Reason.STALE:
            self.counts.drop(fault, block.n)
        elif fault is Reason.STAMP_FUTURE or block.seq >= 0:
            self.counts.refuse(fault, block.n)
            if fault is Reason.STAMP_PAST and block.stamps_view[block.n - 1] == sender.last_stamp:
                self.counts.standing += block.n
        elif block.n == 1 and block.stamps_view[0] == sender.last_stamp:
            self.counts.duplicate += 1  # without a counter, the stamp is what tells a repeat
        else:
            self.counts.late += block.n

    def _count_rows(self) -> None:
        not_finite, out_of_range, late = self._row_counts.tolist()
        self._row_counts[:] = 0
        self.counts.late += late
        if not_finite:
            self.counts.refuse(Reason.NOT_FINITE, not_finite)
        if out_of_range:
            self.counts.refuse(Reason.OUT_OF_RANGE, out_of_range)

    def _hold(self, sender: Sender, block: Block, lane: int, wall_offset_ns: int) -> Sequence[Block]:
        if block.seq in sender.held:
            self.counts.duplicate += block.n
            return ()
        sender.held[block.seq] = block.copy()
        self.counts.held += block.n
        self._waiting[lane] = sender
        return self._skip_to_held(sender, lane, wall_offset_ns) if len(sender.held) >= HELD_FRAMES else ()

    def _skip_to_held(self, sender: Sender, lane: int, wall_offset_ns: int) -> list[Block]:
        first = min(sender.held)
        self.counts.lost_frames += first - sender.expected
        self._see(sender, first - 1)
        sender.seen &= ~1  # that one never came
        return self._next_held(sender, lane, wall_offset_ns)

    def _next_held(self, sender: Sender, lane: int, wall_offset_ns: int) -> list[Block]:
        """Held blocks that are in order now."""
        ready: list[Block] = []
        while (block := sender.held.pop(sender.expected, None)) is not None:
            self.counts.held -= block.n
            self._see(sender, block.seq)
            ready += self._kept(self._pass(sender, block, wall_offset_ns))
        if not sender.held:
            self._waiting.pop(lane, None)
        return ready

    def _drain(self, sender: Sender, lane: int, wall_offset_ns: int) -> list[Block]:
        """Everything held, in order: nothing is waited for any longer."""
        ready: list[Block] = []
        while sender.held:
            ready += self._skip_to_held(sender, lane, wall_offset_ns)
        return ready
