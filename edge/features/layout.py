"""Gives every stream, group and job of a plan its place in the kernel's tables and in a lane's three rows of state."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge.features.parameters import Part
from edge.kernels import layout as k

if TYPE_CHECKING:
    from edge.features.plan import Group, StreamShape

_CREST = (k.EXTREMA, k.OP_CREST)
_JobKey = tuple[int, int, tuple[float | str, ...]]  # kind, channel, what else tells jobs apart


def _pow2(n: int) -> int:
    return 1 << max(n - 1, 1).bit_length()


class Layout:
    """The tables.

    Args:
        streams: in the order of the stream table.
        groups: in vector order; the first one triggers.
        firsts: each group's first feature.
        features: length of the vector.

    Attributes:
        streams, groups, jobs, entries: int64 tables, see edge.kernels.layout.
        numbers: float64, parameters of operations.
        lists: int64, channels of magnitudes, addresses of functions, and features that are ages with their streams.
        ages: where the last of these begins in ``lists``, and how many.
        state_sizes: length of a lane's rows: float32, float64, int64.
        chunk: rows at a time.
        largest: most rows of any window that is copied to be read, 0: none is.
        spectrum: size of the largest transform, 0: none.
    """

    def __init__(self, streams: Sequence["StreamShape"], groups: Sequence["Group"], firsts: Sequence[int], features: int) -> None:
        trigger = groups[0].stream if groups else ""
        self._names = [(stream.name, list(stream.channels.items())) for stream in streams]
        index = {stream.name: i for i, stream in enumerate(streams)}
        # The kernel wants a stream's groups side by side, and the trigger's first.
        order = sorted(range(len(groups)), key=lambda g: (groups[g].stream != trigger, index[groups[g].stream]))
        self.streams = np.zeros((max(len(streams), 1), k.STREAM_COLUMNS), np.int64)
        self.groups = np.zeros((len(order), k.GROUP_COLUMNS), np.int64)
        self._jobs: list[list[int]] = []
        self._entries: list[tuple[int, int, int, int, int]] = []
        self._numbers: list[float] = []
        self._lists: list[int] = []
        self._ages: list[tuple[int, int]] = []
        self._f32, self._f64, self._i64 = features, 0, k.LANE_STATE
        self.largest = self.spectrum = 0
        self.chunk = min(k.CHUNK, max([stream.max_rows for stream in streams], default=1))
        for s, stream in enumerate(streams):
            self._place_stream(s, stream, [groups[g] for g in order if groups[g].stream == stream.name])
            mine = [row for row, g in enumerate(order) if groups[g].stream == stream.name]
            self.streams[s, [k.S_GROUPS, k.S_GROUPS_END]] = (mine[0], mine[-1] + 1) if mine else (0, 0)
        for row, g in enumerate(order):
            self._place_group(row, groups[g], streams[index[groups[g].stream]], index[groups[g].stream], firsts[g])
        self.ages = (len(self._lists), len(self._ages))
        self._lists += [number for age in self._ages for number in age]
        self.jobs = np.array(self._jobs, np.int64).reshape(-1, k.JOB_COLUMNS)
        self.entries = np.array(self._entries, np.int64).reshape(-1, k.ENTRY_COLUMNS)
        self.numbers = np.array(self._numbers or [0.0], np.float64)
        self.lists = np.array(self._lists or [0], np.int64)
        self.state_sizes = (max(self._f32, 1), max(self._f64, 1), self._i64)

    @property
    def lane_bytes(self) -> int:
        """Memory of one lane."""
        f32, f64, i64 = self.state_sizes
        return 4 * f32 + 8 * f64 + 8 * i64

    @property
    def digest(self) -> bytes:
        """Sha256 of where everything stands: states of equal layouts can be exchanged. Addresses of functions do not count."""
        digest = hashlib.sha256(repr((self.state_sizes, self._names)).encode())
        for table in (self.streams, self.groups, self.jobs, self.entries, self.numbers):
            digest.update(table.tobytes())
        return digest.digest()

    def _place_stream(self, s: int, stream: "StreamShape", groups: Sequence["Group"]) -> None:
        capacity = _pow2(max([_pow2(group.window_rows(stream.rate_hz)) for group in groups], default=1) + self.chunk)
        period_ns = round(1e9 / stream.rate_hz) if stream.rate_hz else 0
        self.streams[s, : k.S_GROUPS] = (
            len(stream.channels), capacity, self._f32, self._i64, self._i64 + capacity, self._i64 + 2 * capacity,
        )  # fmt: skip
        shortest = min([group.window.value for group in groups if group.window.by_time], default=0)
        self.streams[s, k.S_MAX_GAP :] = (stream.max_gap_ns, stream.resets_on_gap, period_ns, stream.asof_ns, shortest)
        self._f32 += capacity * len(stream.channels)
        self._i64 += 2 * capacity + k.STREAM_STATE

    def _place_group(self, row: int, group: "Group", stream: "StreamShape", s: int, first: int) -> None:
        rows = group.window_rows(stream.rate_hz)
        capacity = _pow2(rows)
        columns = list(stream.channels)
        parts = group.parts()
        state = self._i64
        self._i64 += k.GROUP_STATE
        jobs: dict[_JobKey, list[tuple[int, Part]]] = {}
        for c, channel in enumerate(group.channels):
            for p, part in enumerate(parts):
                feature = first + c * len(parts) + p
                jobs.setdefault((part.kind, columns.index(channel), part.shares), []).append((feature, part))
                if (part.kind, part.operation) == _CREST:  # the rms comes first and waits in the feature's place
                    rms = Part("rms", k.MOMENTS, k.OP_RMS, "")
                    jobs.setdefault((k.MOMENTS, columns.index(channel), ()), []).append((feature, rms))
                if (part.kind, part.operation) == (k.POINT, k.OP_AGE):
                    self._ages.append((feature, s))
        begin = len(self._jobs)
        for key in sorted(jobs, key=lambda key: (key[0], key[1], [str(x) for x in key[2]])):
            self._place_job(key, jobs[key], group, columns, rows, capacity)
        last = first + len(parts) * len(group.channels)
        self.groups[row] = (
            group.window.by_time, group.window.value, group.hop.by_time, group.hop.value, capacity, state, first, last, begin,
            len(self._jobs), s,
        )  # fmt: skip

    def _place_job(
        self, key: _JobKey, features: Sequence[tuple[int, Part]], group: "Group", columns: list[str], rows: int, capacity: int
    ) -> None:
        kind, channel, shares = key
        other = size = 0
        if kind == k.COMOMENTS:
            other = columns.index(features[0][1].others[0])
        elif kind == k.BINS:
            low, high, bins = (float(x) for x in shares)
            other, size = len(self._numbers), int(bins)
            self._numbers += [low, bins / (high - low)]
        elif kind == k.ORDER:
            # A time window may fill up to its capacity before the oldest rows leave early.
            size, other = k.sorted_shape(capacity if group.window.by_time else rows)
        elif kind in (k.SCAN, k.SPECTRUM, k.USER):
            self.largest = max(self.largest, capacity)
            if kind == k.SPECTRUM:
                self.spectrum = max(self.spectrum, k.fft_size(capacity))
        first = len(self._entries)
        for feature, part in features:
            self._entries.append(self._entry(feature, part, group, columns))
        f32, f64, i64 = _needs(kind, capacity, other, size)
        self._jobs.append([kind, channel, other, first, len(self._entries), self._f32, self._f64, self._i64, size])
        self._f32 += f32
        self._f64 += f64
        self._i64 += i64

    def _entry(self, feature: int, part: Part, group: "Group", columns: list[str]) -> tuple[int, int, int, int, int]:
        i, j = part.i, part.j
        if part.kind == k.USER:
            i = len(self._lists)
            self._lists.append(group.functions[str(part.shares[0])].address)
        elif (part.kind, part.operation) == (k.POINT, k.OP_MAGNITUDE):
            i, j = len(self._lists), len(self._lists) + len(part.others)
            self._lists += [columns.index(other) for other in part.others]
        number = len(self._numbers)
        self._numbers += part.numbers
        return feature, part.operation, i, j, number


def _needs(kind: int, capacity: int, other: int, size: int) -> tuple[int, int, int]:
    """Float32, float64 and int64 numbers of a job's state."""
    return {
        k.MOMENTS: (0, 2 + 2 * capacity, 0),
        k.HIGHER: (0, 4 + 4 * capacity, 0),
        k.TREND: (0, 5 + 5 * capacity, 0),
        k.COMOMENTS: (0, 5 + 5 * capacity, 0),
        k.EXTREMA: (2 + 2 * capacity, 0, 0),
        k.PLACES: (0, 0, 2 + 2 * capacity),
        k.PATH: (0, 2 + 2 * capacity, 0),
        k.CROSSINGS: (0, 0, 1),
        k.FILLED: (0, 0, 1),
        k.BINS: (0, 0, size),
        k.SMOOTH: (0, 2, 0),
        k.SINCE: (0, 0, 1),
        k.ORDER: (other * size, 0, 1 + 3 * other),
    }.get(kind, (0, 0, 0))


def scratch_of(layout: Layout) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Where windows are copied to be read, and what a transform needs.

    Returns:
        Samples (float64, twice the largest window), samples as float32, stamps; cosines and sines of the largest transform.
    """
    n = max(layout.largest, layout.spectrum, 1024)
    lengths = [2 << i for i in range(max(layout.spectrum, 2).bit_length() - 1)]  # 2, 4, ... up to the largest transform
    angles = np.concatenate([2.0 * np.pi * np.arange(length // 2) / length for length in lengths])
    return np.zeros(2 * n + 1), np.zeros(n, np.float32), np.zeros(n, np.int64), np.concatenate([np.cos(angles), np.sin(angles)])
