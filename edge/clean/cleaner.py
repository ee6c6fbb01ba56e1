"""Cleaning at work: the state of every lane, and one kernel call a block.

The rows that come out are float32 (n, C + D + 1): the channels, the derived channels, and the data quality. They stand in memory that
the next call overwrites, except where one call gives several blocks.
"""

import hashlib
import itertools
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.clean.counts import Counts
from edge.clean.steps import Steps
from edge.errors import Reason
from edge.kernels import clean_layout as k
from edge.kernels.clean import clean_rows
from edge.kernels.resample import resample_rows
from edge.kernels.settle import drain
from edge.messages import Block

STATE_VERSION = 1
ACTIONS = ("not_finite", "range", "rate", "stuck", "spike", "hold", "linear", "constant")  # rows of ``actions``
_REFUSALS = (Reason.NOT_FINITE, Reason.OUT_OF_RANGE, Reason.RATE, Reason.STUCK, Reason.MISSING)
_END = (1 << 63) - 1
_HEADER = struct.Struct("<4sI32sI")
_MAGIC = b"ecln"
_Arguments = tuple[Any, ...]  # of a kernel, which refuses what does not fit


class Cleaner:
    """Cleans the rows of one telemetry stream.

    Args:
        steps: what is done.
        lanes: number of devices.

    Attributes:
        actions: int64 (len(ACTIONS), C): how often what was done to which channel, over all lanes.
        resampled: rows put on the grid.
        waiting: lanes with rows that wait for a later value.
    """

    def __init__(self, steps: Steps, lanes: int) -> None:
        self.steps = steps
        channels, derived = len(steps.low), len(steps.derived)
        self.columns = steps.columns
        self.actions: npt.NDArray[np.int64] = np.zeros((k.ACTIONS, channels), np.int64)
        self.resampled = 0
        self.waiting: dict[int, None] = {}
        table, flags, matrices, axes, settings, tuning, starts, members = steps.tables()
        self._floats = np.zeros((lanes, k.floats(channels, steps.spike_window, steps.waiting_rows)), np.float64)
        self._ints = np.zeros((lanes, k.ints(channels, steps.waiting_rows)), np.int64)
        self._outcomes = np.zeros(k.OUTCOMES, np.int64)
        self._written = np.zeros(1, np.int64)
        self._out = Block(self.columns, steps.max_rows if steps.grid is not None else steps.max_rows + steps.waiting_rows)
        self._origins = np.zeros((len(self._out.stamps), 2), np.int64)
        made, origins, made_starts, grid = self._out, self._origins, starts, np.zeros(4, np.int64)
        if steps.grid is not None:  # derived channels are those of the resampled ones
            made = Block(channels + 1, steps.max_rows + steps.waiting_rows)
            origins = np.zeros((len(made.stamps), 2), np.int64)
            made_starts = np.zeros(1, np.int64)
            grid = np.array((steps.grid.cycle_ns, steps.grid.points, steps.grid.max_gap_ns, steps.grid.holds), np.int64)
        tail = (made.rows, made.stamps, made.marks, origins, made_starts, members, self.actions, self._outcomes)
        self._clean_with: _Arguments = (
            *(steps.low, steps.high, table, flags, matrices, axes, settings, tuning, self._floats, self._ints), *tail,
        )  # fmt: skip
        self._drain_with: _Arguments = (settings, tuning, *tail)
        self._resample_with: _Arguments = (
            *(made.rows, made.stamps, made.marks, origins, grid, self._floats, self._ints, self._floats.shape[1] - channels - 1),
            *(self._out.rows, self._out.stamps, self._out.marks, self._origins, starts, members, self._written),
        )
        self._schema = hashlib.sha256(
            repr((STATE_VERSION, channels, derived, steps.grid, steps.low.tolist(), steps.high.tolist())).encode()
            + b"".join(part.tobytes() for part in (table, flags, matrices, axes, settings, tuning, starts, members))
        ).digest()
        self._begin(slice(None))  # the rest is zero, and takes no memory until it is used

    @property
    def lane_bytes(self) -> int:
        """Memory of one device's state."""
        return self.steps.lane_bytes

    def clean(self, block: Block, lane: int, counts: Counts) -> Sequence[Block]:
        """Cleaned rows, in order, that need wait for nothing.

        Args:
            block: any number of rows of C channels; read only.
            lane: whose.
            counts: what became of the rows is added: ``used`` when they come out, ``held`` while they wait.

        Returns:
            Blocks of at most ``max_rows`` rows, each with the counter and the time of receipt of the message its rows came in.
        """
        n, most = block.n, self.steps.max_rows
        if n <= most:
            return self._clean(block.rows, block.stamps, n, block, lane, counts)
        ready: list[Block] = []
        for start in range(0, n, most):
            stop = min(start + most, n)
            part = self._clean(block.rows[start:stop], block.stamps[start:stop], stop - start, block, lane, counts)
            ready += self.kept(part)
        return ready

    def expire(self, lane: int, received_until: int, counts: Counts) -> Sequence[Block]:
        """Give up on rows received at that time or before: what they wait for did not come. Gives the rows that waited behind them."""
        return self._drain(lane, k.NO_STAMP, received_until, counts)

    def restart(self, lane: int, counts: Counts) -> Sequence[Block]:
        """Time starts anew: no value before counts for a value after. The quality stays. Gives complete rows that waited."""
        ready = self.kept(self._drain(lane, _END, k.NO_STAMP, counts))
        quality = self._floats[lane, k.F_QUALITY]
        self._forget(lane)
        self._floats[lane, k.F_QUALITY] = quality
        self.waiting.pop(lane, None)
        return ready

    def reset(self, lane: int) -> None:
        """Forget a device, and the rows that wait."""
        self._forget(lane)
        self.waiting.pop(lane, None)

    def seen(self, lane: int) -> int:
        """Stamp of the newest row of a lane, or the least int64."""
        return self._ints.item(lane, k.I_SEEN)

    def held(self, lane: int) -> int:
        """Rows of a lane that wait."""
        return self._ints.item(lane, k.I_WAITING)

    def quality(self, lane: int) -> float:
        """Data quality of a lane, 0 to 1."""
        return self._floats.item(lane, k.F_QUALITY)

    def warm_up(self) -> Block:
        """Run the kernels over no rows.

        Returns:
            A block without rows, as wide as those that come out.
        """
        nothing, counts = Block(len(self.steps.low), 1), Counts()
        self._clean(nothing.rows, nothing.stamps, 0, nothing, 0, counts)
        self._drain(0, k.NO_STAMP, k.NO_STAMP, counts)
        if self.steps.grid is not None:
            resample_rows(0, 0, 0, *self._resample_with)
        self._out.n = 0
        return self._out

    def kept(self, blocks: Sequence[Block]) -> list[Block]:
        """The same rows in memory of their own, when the next call would overwrite them."""
        return [block.copy() if block is self._out else block for block in blocks]

    def save(self, lane: int) -> bytes:
        """The state of a lane, with the rows that wait."""
        body = b"".join((self._floats[lane].astype("<f8").tobytes(), self._ints[lane].astype("<i8").tobytes()))
        return _HEADER.pack(_MAGIC, STATE_VERSION, self._schema, zlib.crc32(body)) + body

    def restore(self, lane: int, state: bytes) -> None:
        """Go on from a saved state: what follows is bit for bit what would have followed there.

        Raises:
            ValueError: the state is not one of this version and these steps; nothing has changed.
        """
        floats, ints = self._floats.shape[1], self._ints.shape[1]
        if len(state) < _HEADER.size or state[:4] != _MAGIC:
            raise ValueError("not the state of a cleaner")
        _, version, schema, check = _HEADER.unpack_from(state)
        if version != STATE_VERSION or schema != self._schema:
            raise ValueError("the state of a cleaner of another version or with other steps")
        if len(state) != _HEADER.size + 8 * (floats + ints):
            raise ValueError(f"the state of a cleaner has {len(state)} bytes; {_HEADER.size + 8 * (floats + ints)} are due")
        if zlib.crc32(memoryview(state)[_HEADER.size :]) != check:  # the kernels rely on what they wrote
            raise ValueError("the state of a cleaner is damaged")
        self._floats[lane] = np.frombuffer(state, "<f8", floats, _HEADER.size)
        self._ints[lane] = np.frombuffer(state, "<i8", ints, _HEADER.size + 8 * floats)
        self._note_waiting(lane)

    def summary(self) -> dict[str, object]:
        """What was done to values, by action and channel, where anything was; rows resampled; and the lowest quality of any lane."""
        done: dict[str, object] = {
            action: {name: n for name, n in zip(self.steps.names, row, strict=True) if n}
            for action, row in zip(ACTIONS, self.actions.tolist(), strict=True)
            if any(row)
        }
        return done | {"resampled": self.resampled, "lowest_quality": round(float(self._floats[:, k.F_QUALITY].min()), 4)}

    def _clean(
        self, rows: npt.NDArray[np.float32], stamps: npt.NDArray[np.int64], n: int, origin: Block, lane: int, counts: Counts
    ) -> Sequence[Block]:
        received_ns, seq = origin.received_ns, origin.seq
        m: int = clean_rows(rows, stamps, n, received_ns, seq, lane, *self._clean_with)
        if m == n and not self.steps.waiting_rows:
            counts.used += n
        else:
            self._account(lane, n, counts)
        return self._give(m, lane, received_ns, seq)

    def _drain(self, lane: int, stamps_before: int, received_until: int, counts: Counts) -> Sequence[Block]:
        self._outcomes[:] = 0
        m: int = drain(self._floats, self._ints, lane, stamps_before, received_until, 0, *self._drain_with)
        self._account(lane, 0, counts)
        return self.kept(self._give(m, lane, -1, -2))

    def _account(self, lane: int, received: int, counts: Counts) -> None:
        """Bring the counts up to date with what the last call did."""
        *refused, used, late = self._outcomes.tolist()
        counts.used += used
        counts.late += late
        counts.held += received - used - late - sum(refused)
        for reason, n in zip(_REFUSALS, refused, strict=True):
            if n:
                counts.refuse(reason, n)
        if self.steps.waiting_rows:
            self._note_waiting(lane)

    def _give(self, m: int, lane: int, received_ns: int, seq: int) -> Sequence[Block]:
        """The first m rows made as blocks, resampled when they must be."""
        if not m:
            return ()
        if self.steps.grid is None:
            return self._blocks(m, received_ns, seq)
        ready: Sequence[Block] = ()
        start = 0
        while start < m:
            start = resample_rows(start, m, lane, *self._resample_with)
            if given := self._written.item():
                self.resampled += given
                ready = [*self.kept(ready), *self._blocks(given, received_ns, seq)]
                if start < m:
                    ready = self.kept(ready)
        return ready

    def _blocks(self, m: int, received_ns: int, seq: int) -> Sequence[Block]:
        """The first m rows of the output: one block when they came in one message, as they nearly always do."""
        out, most = self._out, self.steps.max_rows
        first_received, first_seq = self._origins[0].tolist()
        if m <= most and first_received == received_ns and first_seq == seq:
            out.n, out.seq, out.received_ns = m, seq, received_ns
            return (out,)
        origins = self._origins[:m]
        changes = [0, *(np.flatnonzero((origins[1:] != origins[:-1]).any(axis=1)) + 1).tolist(), m]
        spans = [(i, min(i + most, stop)) for start, stop in itertools.pairwise(changes) for i in range(start, stop, most)]
        return [self._part(start, stop) for start, stop in spans]

    def _part(self, start: int, stop: int) -> Block:
        out, part = self._out, Block(self.columns, stop - start)
        part.rows[:] = out.rows[start:stop]
        part.stamps[:] = out.stamps[start:stop]
        part.marks[:] = out.marks[start:stop]
        part.n = stop - start
        part.received_ns, part.seq = self._origins[start].tolist()
        return part

    def _forget(self, lane: int) -> None:
        self._floats[lane] = 0.0
        self._ints[lane] = 0
        self._begin(lane)

    def _begin(self, lanes: int | slice) -> None:
        channels = len(self.steps.low)
        self._floats[lanes, k.F_QUALITY] = 1.0
        self._ints[lanes, [k.I_SEEN, k.I_SETTLED, k.I_BEFORE, k.I_NEXT]] = k.NO_STAMP
        self._ints[lanes, k.I_HEADER : k.I_HEADER + 2 * channels] = k.NO_STAMP

    def _note_waiting(self, lane: int) -> None:
        if self.held(lane):
            self.waiting[lane] = None
        else:
            self.waiting.pop(lane, None)
