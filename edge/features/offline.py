"""The same features over whole arrays: the kernel that runs on the device, fed in large blocks. Equal by construction."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.features.plan import FeaturePlan
from edge.features.rolling import RollingFeatures
from edge.features.rows import Rows, arrow
from edge.messages import Block

Table = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


def compute(plan: FeaturePlan, tables: Mapping[str, Table]) -> Table:
    """Feature vectors of one device's recording.

    Rows of several streams are merged by stamp (the trigger's rows last among equals), as they would have come live.

    Args:
        plan: what to compute.
        tables: stream name to (stamps int64 (n,) in ns, strictly rising; rows float32 (n, C)). Rows must be finite.

    Returns:
        stamps int64 (m,) and vectors float32 (m, F): one row for each vector that the live pipeline would have made.

    Raises:
        ValueError: an unknown stream, wrong shapes, values that are not finite, or stamps that do not rise.
    """
    for name, (stamps, rows) in tables.items():
        _check(plan, name, stamps, rows)
    engine = RollingFeatures(plan, lanes=1)
    blocks = {name: Block(len(stream.channels), stream.max_rows) for name, stream in zip(plan.stream_index, plan.streams, strict=True)}
    out_stamps: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    out_vectors: list[npt.NDArray[np.float32]] = [np.empty((0, len(plan.names)), np.float32)]
    for name, start, stop in _runs(sorted(tables, key=lambda name: name == plan.trigger), tables):
        stamps, rows = tables[name]
        block = blocks[name]
        for at in range(start, stop, len(block.stamps)):
            block.n = min(len(block.stamps), stop - at)
            block.rows[: block.n] = rows[at : at + block.n]
            block.stamps[: block.n] = stamps[at : at + block.n]
            emitted = engine.update(plan.stream_index[name], 0, block)
            if emitted:
                out_vectors.append(engine.vectors[:emitted].copy())
                out_stamps.append(block.stamps[engine.vector_rows[:emitted]])
    return np.concatenate(out_stamps), np.concatenate(out_vectors)


def _runs(names: list[str], tables: Mapping[str, Table]) -> list[tuple[str, int, int]]:
    """Merge by stamp into runs of consecutive rows of one stream; equal stamps in the order of the names."""
    if len(names) == 1:
        return [(names[0], 0, len(tables[names[0]][0]))]
    stamps = np.concatenate([tables[name][0] for name in names])
    owner = np.concatenate([np.full(len(tables[name][0]), i) for i, name in enumerate(names)])
    owner = owner[np.argsort(stamps, kind="stable")]
    bounds = np.flatnonzero(np.diff(owner)) + 1
    done = dict.fromkeys(names, 0)
    runs: list[tuple[str, int, int]] = []
    for start, stop in zip([0, *bounds.tolist()], [*bounds.tolist(), len(owner)], strict=True):
        if stop > start:
            name = names[int(owner[start])]
            runs.append((name, done[name], done[name] + stop - start))
            done[name] += stop - start
    return runs


class Vectors(msgspec.Struct):
    """Feature vectors of some devices, device after device, each in the order in which live would have made them.

    Args:
        stamps: int64 (m,), ns: of the row that completed each vector.
        values: float32 (m, F).
        names, units: of the F features.
        device: text (m,): whose vector it is.
        hash: of names and units; a model's manifest has the same.
        counts: stream name to what became of its rows (edge.clean.counts.Counts).
    """

    stamps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    names: tuple[str, ...]
    units: tuple[str, ...]
    device: npt.NDArray[np.str_]
    hash: str
    counts: Mapping[str, Any]

    @classmethod
    def joined(cls, parts: Mapping[str, list[Table]], plan: FeaturePlan, counts: Mapping[str, Any]) -> "Vectors":
        """The vectors of every device, from pieces in order."""
        pieces = [piece for device in parts for piece in parts[device]]
        stamps = np.concatenate([np.empty(0, np.int64), *(piece[0] for piece in pieces)])
        values = np.concatenate([np.empty((0, len(plan.names)), np.float32), *(piece[1] for piece in pieces)])
        sizes = [sum(len(piece[0]) for piece in parts[device]) for device in parts]
        device = np.repeat(np.array(list(parts), np.str_), sizes)
        return cls(stamps, values, plan.names, plan.units, device, plan.hash, counts)

    def __len__(self) -> int:
        return len(self.stamps)

    def to_arrow(self) -> Any:
        """A pyarrow Table: ``device``, ``t`` (int64 ns), and one float32 column for each feature, with its unit in the field's metadata.

        Raises:
            EdgeError: pyarrow is not installed.
        """
        return arrow_table(arrow_schema(self.names, self.units, self.hash), self.device, self.stamps, self.values)


def arrow_schema(names: tuple[str, ...], units: tuple[str, ...], feature_hash: str) -> Any:
    """The schema of a table of vectors; its metadata has the hash, names and units."""
    pa = arrow()
    fields = [pa.field("device", pa.dictionary(pa.int32(), pa.string())), pa.field("t", pa.int64(), metadata={"unit": "ns"})]
    fields += [pa.field(name, pa.float32(), metadata={"unit": unit}) for name, unit in zip(names, units, strict=True)]
    facts = {"names": msgspec.json.encode(names), "units": msgspec.json.encode(units), "feature_hash": feature_hash}
    return pa.schema(fields, metadata={f"edge.{key}": value for key, value in facts.items()})


def arrow_table(schema: Any, device: Any, stamps: npt.NDArray[np.int64], values: npt.NDArray[np.float32]) -> Any:
    """Vectors as a pyarrow Table.

    Args:
        schema: see arrow_schema.
        device: (m,) names.
        stamps: int64 (m,).
        values: float32 (m, F).
    """
    pa = arrow()
    names = pa.array(device, pa.string()).dictionary_encode()
    columns = [pa.array(column) for column in np.ascontiguousarray(values.T)]
    return pa.Table.from_arrays([names, pa.array(stamps), *columns], schema=schema)


def merged(sources: Mapping[str, Iterator[Rows]], last: str) -> Iterator[tuple[str, Rows]]:
    """The rows of several streams in the order in which they would have come live.

    That is, for each device, the order of stamps; a row that is older than one before it in its own stream comes right after that one.

    Args:
        sources: stream name to its rows, in the order of arrival.
        last: the stream whose rows come last among equal stamps.
    """
    if len(sources) == 1:
        for name, source in sources.items():
            yield from ((name, rows) for rows in source)
        return
    held: dict[str, dict[str, list[Rows]]] = {}
    names = sorted(sources, key=lambda name: name == last)
    for name in names:
        for rows in sources[name]:
            held.setdefault(rows.device, {}).setdefault(name, []).append(rows)
    for device in list(held):
        whole = {name: joined(pieces) for name, pieces in held.pop(device).items()}
        keys = {name: (np.maximum.accumulate(rows.stamps), rows.values) for name, rows in whole.items()}
        for name, start, stop in _runs(list(whole), keys):
            rows = whole[name]
            yield name, Rows(device, rows.stamps[start:stop], rows.values[start:stop], None if rows.seq is None else rows.seq[start:stop])


def joined(pieces: list[Rows]) -> Rows:
    """Pieces of one stream of one device as one; either all of them have counters or none."""
    if len(pieces) == 1:
        return pieces[0]
    seq = [piece.seq for piece in pieces if piece.seq is not None]
    stamps, values = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("stamps", "values"))
    return Rows(pieces[0].device, stamps, values, np.concatenate(seq) if seq else None)


def _check(plan: FeaturePlan, name: str, stamps: npt.NDArray[np.int64], rows: npt.NDArray[np.float32]) -> None:
    if name not in plan.stream_index:
        raise ValueError(f"unknown stream {name!r}; the plan has {', '.join(plan.stream_index)}")
    channels = len(plan.streams[plan.stream_index[name]].channels)
    if rows.ndim != 2 or rows.shape != (len(stamps), channels):
        raise ValueError(f"{name}: rows have shape {rows.shape}; expected ({len(stamps)}, {channels})")
    if not np.isfinite(rows).all():
        raise ValueError(f"{name}: rows hold values that are not finite; clean them first")
    if len(stamps) > 1 and not (np.diff(stamps) > 0).all():
        raise ValueError(f"{name}: stamps must rise strictly")
