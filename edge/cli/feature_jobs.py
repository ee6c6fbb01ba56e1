"""The work of `edge features`: a file, or some devices of one, to vectors in slices whose borders do not depend on who computes them."""

import heapq
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.clean.counts import Counts
from edge.errors import TransportError
from edge.features.rows import Columns, arrow, batch_rows, check_columns
from edge.pipeline.batch import Batch, BatchRun
from edge.store.columns import Roles, TableFile, kind_of, reading
from edge.store.recording import info, read

MESSAGES = 32_768  # of a recording in one slice

Part = tuple[str, npt.NDArray[np.int64], npt.NDArray[np.float32]]  # device, stamps, vectors
Slice = list[Part]  # in the order of the devices' names, each once


class Job(msgspec.Struct, frozen=True):
    """What one process computes at a time.

    Args:
        path: recording or table.
        stream: whose rows a table has.
        device: a table: whose rows they are; a recording: the only device that is wanted.
        columns: which column is what.
        rate_hz: of rows without stamps.
        part, parts: of the devices, those whose name hashes to this part.
    """

    path: Path
    stream: str | None = None
    device: str | None = None
    columns: Columns = Columns()
    rate_hz: float | None = None
    part: int = 0
    parts: int = 1


class Outcome(msgspec.Struct):
    """What became of a job; can be sent between processes and added up.

    Args:
        streams: stream to its counts (edge.clean.counts.Counts).
        devices: that sent something usable.
        unrouted: messages on topics of no stream.
        is_truncated: a recording ends in a cut.
    """

    streams: dict[str, dict[str, Any]] = {}
    devices: set[str] = set()
    unrouted: int = 0
    is_truncated: bool = False

    def add(self, other: "Outcome", *, same_file: bool) -> None:
        """Count another job in.

        Args:
            other: its outcome.
            same_file: both read the same file, and met the same messages of no stream.
        """
        for name, counts in other.streams.items():
            mine = self.streams.setdefault(name, {})
            for key, value in counts.items():
                mine[key] = _sum(mine.get(key), value)
        self.devices |= other.devices
        self.unrouted += 0 if same_file else other.unrouted
        self.is_truncated |= other.is_truncated


def parts_of(path: Path, device: str | None, columns: Columns, wanted: int) -> int:
    """Into how many parts a file is worth cutting, by device.

    Raises:
        TransportError: it cannot be read.
    """
    if wanted <= 1 or device is not None:
        return 1
    if kind_of(path) == "mcap":
        return min(wanted, len(info(path).topics))
    return wanted if columns.names.get("device", "device") in TableFile(path).names else 1


def slices(batch: Batch, job: Job, outcome: Outcome, report: Callable[[float], None]) -> Iterator[Slice]:
    """Compute a job, slice by slice.

    Args:
        batch: the features.
        job: what to compute.
        outcome: is filled in at the end.
        report: is told how much is done, 0 to 1.

    Raises:
        TransportError: the file cannot be used.
    """
    gathered: dict[str, list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]] = {}

    def emit(device: str, stamps: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]) -> None:
        gathered.setdefault(device, []).append((stamps, vectors))

    def wants(device: str) -> bool:
        return zlib.crc32(device.encode()) % job.parts == job.part

    def taken() -> Slice:
        ready: Slice = []
        for device in sorted(gathered):
            stamps, vectors = zip(*gathered[device], strict=True)
            ready.append((device, np.concatenate(stamps), np.concatenate(vectors)))
        gathered.clear()
        return ready

    steps = _messages if kind_of(job.path) == "mcap" else _rows
    for run in steps(batch, job, outcome, emit, wants, report):
        run.flush()
        yield taken()
        _settle(outcome, run)


def _messages(
    batch: Batch, job: Job, outcome: Outcome, emit: Any, wants: Callable[[str], bool], report: Callable[[float], None]
) -> Iterator[BatchRun]:
    held = info(job.path)
    if not held.messages:
        raise TransportError(f"{job.path}: holds no messages")

    def is_wanted(device: str) -> bool:
        return wants(device) and job.device in (None, device)

    run = batch.run(emit, wall_offset_ns=held.offset_ns, devices=is_wanted)
    recording = read(job.path)
    for number, raw in enumerate(recording, start=1):
        run.step(raw)
        if number % MESSAGES == 0:
            report(number / held.messages)
            yield run
    outcome.is_truncated = recording.is_truncated
    run.finish(max(held.stopped_ns or 0, held.end_ns or 0))
    yield run


def _rows(
    batch: Batch, job: Job, outcome: Outcome, emit: Any, wants: Callable[[str], bool], report: Callable[[float], None]
) -> Iterator[BatchRun]:
    del outcome
    table = TableFile(job.path)
    with reading(job.path):
        name = batch.only_stream(job.stream)
        stream = batch.streams.get(name)
        if stream is None:
            raise ValueError(f"unknown stream {name!r}; there are {', '.join(batch.streams)}")
        check_columns(table.names, stream, job.columns, has_stamps=job.rate_hz is None)
        roles: Roles = {job.columns.names.get(channel, channel): "number" for channel in stream.channels}
        if job.rate_hz is None:
            roles[job.columns.stamps] = "stamp"
        if column := job.columns.optional("seq", stream, table.names):
            roles[column] = "counter"
        if column := job.columns.optional("device", stream, table.names):
            roles[column] = "text"
        run = batch.run(emit, devices=wants if job.parts > 1 else None)
        done = 0
        for piece in table.batches(roles):
            for rows in batch_rows(piece, stream, job.columns, job.device, batch.name, made=(done, job.rate_hz) if job.rate_hz else None):
                run.feed(name, rows)
            done += piece.num_rows
            report(table.done)
            yield run
        if not done:
            raise ValueError("holds no rows")
    run.finish()
    yield run


def _settle(outcome: Outcome, run: BatchRun) -> None:
    outcome.devices, outcome.unrouted = run.devices, run.unrouted
    outcome.streams = {name: _plain(counts) for name, counts in run.counts().items()}


def _plain(counts: Counts) -> dict[str, Any]:
    values = {name: getattr(counts, name) for name in Counts.__slots__}
    return {name: {str(k): n for k, n in value.items()} if isinstance(value, dict) else value for name, value in values.items()}


def _sum(mine: Any, value: Any) -> Any:
    if isinstance(value, dict):
        mine = mine or {}
        return {key: mine.get(key, 0) + value.get(key, 0) for key in sorted({*mine, *value})}
    return (mine or 0) + value


# -- between processes ---------------------------------------------------------------------------------------------------------


def spill(pieces: Iterable[Slice], features: int, path: Path) -> None:
    """Write slices to a file of one's own: one Arrow batch each, also when it is empty."""
    pa = arrow()
    schema = pa.schema([("device", pa.string()), ("t", pa.int64()), ("x", pa.binary(4 * features))])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for piece in pieces:
            sizes = [len(stamps) for _, stamps, _ in piece]
            stamps = np.concatenate([np.empty(0, np.int64), *(stamps for _, stamps, _ in piece)])
            vectors = np.concatenate([np.empty((0, features), np.float32), *(vectors for _, _, vectors in piece)])
            device = pa.array(np.repeat(np.array([device for device, _, _ in piece], object), sizes), pa.string())
            packed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(4 * features), len(stamps), [None, pa.py_buffer(vectors)])
            writer.write_batch(pa.RecordBatch.from_arrays([device, pa.array(stamps), packed], schema=schema))


def unspill(path: Path, features: int) -> Iterator[Slice]:
    """The slices of such a file."""
    pa = arrow()
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
        for batch in reader:
            stamps = batch.column(1).to_numpy()
            packed = batch.column(2)
            vectors = np.frombuffer(packed.buffers()[1] or b"", np.float32, len(stamps) * features).reshape(-1, features)
            at = 0
            piece: Slice = []
            for device, run in groupby(batch.column(0).to_pylist()):
                n = sum(1 for _ in run)
                piece.append((device, stamps[at : at + n], vectors[at : at + n]))
                at += n
            yield piece


def side_by_side(parts: list[Iterator[Slice]]) -> Iterator[Part]:
    """The parts of one file, slice by slice, devices in the order of their names: what one process alone would have given."""
    for pieces in zip(*parts, strict=True):
        yield from heapq.merge(*pieces, key=itemgetter(0))
