"""The same features over whole arrays: the kernel that runs on the device, fed in large blocks. Equal by construction."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edge.features.plan import FeaturePlan
from edge.features.rolling import RollingFeatures
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
    for name, start, stop in _runs(plan, tables):
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


def _runs(plan: FeaturePlan, tables: Mapping[str, Table]) -> list[tuple[str, int, int]]:
    """Merge by stamp into runs of consecutive rows of one stream."""
    names = sorted(tables, key=lambda name: name == plan.trigger)
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
