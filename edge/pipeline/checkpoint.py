"""The state of one lane of a pipeline as named bytes, and back: what a device's windows, gates, tracks and rules know of it.

Each part has its own version, the digest of its layout and a checksum (see ``save`` of each room); a part that does not fit is left out,
and its room starts anew. No pickle. What alert rules have said is not taken from here but from the outbox, which stores it with the alert.
What is counted against a model's references belongs to no device. Outputs are never part of it: they are disarmed at every start.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from edge.inference.states import States
from edge.messages import Block
from edge.pipeline.align import Aligner
from edge.pipeline.intake import ScanIntake, TelemetryIntake
from edge.pipeline.recipe import Pipeline
from edge.pipeline.scans import EgoMotion

Parts = dict[str, bytes]
VERSION = 1
_Row = tuple[int, int, int, int, bytes, bytes, bytes]  # stream, start, counter, time of receipt, rows, stamps, marks


class _Aligned(msgspec.Struct, array_like=True):
    version: int
    channels: list[int]
    last: int
    waiting: list[_Row]


class _Carried(msgspec.Struct, array_like=True):
    version: int
    stamp_ns: int | None  # of the last decision
    states: bytes


class _Motion(msgspec.Struct, array_like=True):
    version: int
    parts: dict[str, tuple[bytes, bytes]]


def take(pipeline: Pipeline, lane: int) -> Parts:
    """Everything of a lane, between two frames. Copies arrays and nothing else.

    Args:
        pipeline: at work.
        lane: whose.
    """
    parts = {"features": pipeline.features.save(lane), "policy": pipeline.decisions.policy.save(lane)}
    for intake in pipeline.intakes:
        if isinstance(intake, TelemetryIntake):
            parts[f"gate {intake.name}"] = intake.gate.save(lane)
        elif intake.work is not None:
            parts[f"scans {intake.name}"] = intake.gate.save(lane)
            parts[f"tracks {intake.name}"] = intake.work.chain.tracker.save(lane)
            parts[f"ego {intake.name}"] = _take_motion(intake.work.ego, lane)
    if pipeline.aligner is not None:
        parts["aligner"] = _take_aligned(pipeline, pipeline.aligner, lane)
    if (states := _states(pipeline, lane)) is not None:
        stamp_ns = pipeline.decisions.stamps.get(lane)
        parts["model"] = msgspec.msgpack.encode(_Carried(VERSION, stamp_ns, states.save(lane)))
    return parts


def take_whole(pipeline: Pipeline, now_ns: int) -> Parts:
    """What belongs to no device, between two frames; without what cannot be taken just now.

    Args:
        pipeline: at work.
        now_ns: CLOCK_MONOTONIC.
    """
    watch = pipeline.decisions.monitoring
    counted = watch.save(now_ns) if watch is not None else None
    return {} if counted is None else {"drift": counted}


def put_whole(pipeline: Pipeline, parts: Mapping[str, bytes], now_ns: int) -> dict[str, str]:
    """Put back what ``take_whole`` gave.

    Args:
        pipeline: warm, and not at work yet.
        parts: of it.
        now_ns: CLOCK_MONOTONIC, which may have begun anew.

    Returns:
        Why parts were left out, by part.
    """
    watch = pipeline.decisions.monitoring
    if watch is None or "drift" not in parts:
        return {}
    try:
        watch.restore(parts["drift"], now_ns)
    except ValueError as fault:
        return {"drift": str(fault)}
    return {}


def put(pipeline: Pipeline, device: str, parts: Mapping[str, bytes], now_ns: int, *, is_same_clock: bool) -> dict[str, str]:
    """Give a device a lane with what it had.

    Args:
        pipeline: warm, and not at work yet; it has a free lane.
        device: whose state it is.
        parts: as ``take`` gave them.
        now_ns: CLOCK_MONOTONIC.
        is_same_clock: CLOCK_MONOTONIC has not begun anew since; if it has, gates start anew, because frames wait in them by that clock.

    Returns:
        Why parts were left out, by part.
    """
    lane = pipeline.lanes.next_free()
    pipeline.lanes.assign(device, lane, now_ns)
    refused: dict[str, str] = {}
    for name, restore in _rooms(pipeline, lane, is_same_clock=is_same_clock).items():
        if name not in parts:
            refused[name] = "was not saved"
            continue
        try:
            restore(parts[name])
        except ValueError as fault:
            refused[name] = str(fault)
    return refused


def _rooms(pipeline: Pipeline, lane: int, *, is_same_clock: bool) -> dict[str, Callable[[bytes], None]]:
    """Who takes which part."""
    rooms: dict[str, Callable[[bytes], None]] = {
        "features": lambda state: pipeline.features.restore(lane, state),
        "policy": lambda state: pipeline.decisions.policy.restore(lane, state),
    }
    for intake in pipeline.intakes:
        if isinstance(intake, TelemetryIntake):
            if is_same_clock:
                rooms[f"gate {intake.name}"] = _bound(intake.gate.restore, lane)
        elif intake.work is not None:
            rooms |= _scan_rooms(intake, lane)
    if pipeline.aligner is not None:
        rooms["aligner"] = lambda state: _put_aligned(pipeline, lane, state)
    if (states := _states(pipeline, lane)) is not None:
        rooms["model"] = lambda state: _put_carried(pipeline, states, lane, state)
    return rooms


def _states(pipeline: Pipeline, lane: int) -> States | None:
    """Of the model that answers a lane; None where it carries nothing."""
    deployment = pipeline.decisions.host.at(lane)
    return deployment.model.states if deployment is not None else None


def _put_carried(pipeline: Pipeline, states: States, lane: int, state: bytes) -> None:
    saved: _Carried = _decoded(state, _Carried)
    states.restore(lane, saved.states)
    if saved.stamp_ns is not None:  # without it, the first decision would be one after a gap
        pipeline.decisions.stamps[lane] = saved.stamp_ns


def _scan_rooms(intake: ScanIntake, lane: int) -> dict[str, Callable[[bytes], None]]:
    work = intake.work
    assert work is not None  # noqa: S101 - who calls has looked
    return {
        f"scans {intake.name}": _bound(intake.gate.restore, lane),
        f"tracks {intake.name}": _bound(work.chain.tracker.restore, lane),
        f"ego {intake.name}": lambda state: _put_motion(work.ego, lane, state),
    }


def _bound(restore: Callable[[int, bytes], None], lane: int) -> Callable[[bytes], None]:
    return lambda state: restore(lane, state)


def _take_aligned(pipeline: Pipeline, aligner: Aligner, lane: int) -> bytes:
    last, waiting = aligner.waiting(lane)
    rows: list[_Row] = []
    for stream, block, start in waiting:
        kept = slice(start, block.n)
        arrays = (block.rows[kept].tobytes(), block.stamps[kept].tobytes(), block.marks[kept].tobytes())
        rows.append((stream, 0, block.seq, block.received_ns, *arrays))
    return msgspec.msgpack.encode(_Aligned(VERSION, _widths(pipeline), last, rows))


def _put_aligned(pipeline: Pipeline, lane: int, state: bytes) -> None:
    saved: _Aligned = _decoded(state, _Aligned)
    widths = _widths(pipeline)
    if saved.channels != widths:
        raise ValueError("rows of other streams")
    waiting = []
    for stream, start, seq, received_ns, rows, stamps, marks in saved.waiting:
        n = len(stamps) // 8
        if not 0 <= stream < len(widths) or not n or len(marks) != 8 * n or len(stamps) != 8 * n or len(rows) != 4 * n * widths[stream]:
            raise ValueError("the rows that wait are damaged")
        block = Block(widths[stream], n)
        block.rows[:] = np.frombuffer(rows, np.float32).reshape(n, widths[stream])
        block.stamps[:] = np.frombuffer(stamps, np.int64)
        block.marks[:] = np.frombuffer(marks, np.int64)
        block.n, block.seq, block.received_ns = n, seq, received_ns
        waiting.append((stream, block, start))
    if pipeline.aligner is not None:
        pipeline.aligner.put(lane, saved.last, waiting)


def _widths(pipeline: Pipeline) -> list[int]:
    return [len(stream.channels) for stream in pipeline.features.plan.streams]


def _take_motion(ego: EgoMotion, lane: int) -> bytes:
    parts = {name: (stamps.tobytes(), values.tobytes()) for name, (stamps, values) in ego.arrays(lane).items()}
    return msgspec.msgpack.encode(_Motion(VERSION, parts))


def _put_motion(ego: EgoMotion, lane: int, state: bytes) -> None:
    saved: _Motion = _decoded(state, _Motion)
    arrays = ego.arrays(lane)
    if saved.parts.keys() != arrays.keys():
        raise ValueError("the motion comes from other streams")
    if any([len(part) for part in saved.parts[name]] != [stamps.nbytes, values.nbytes] for name, (stamps, values) in arrays.items()):
        raise ValueError("the motion is damaged")
    for name, (stamps, values) in arrays.items():
        stamps[:] = np.frombuffer(saved.parts[name][0], np.int64)
        values[:] = np.frombuffer(saved.parts[name][1], np.float32)


def _decoded(state: bytes, kind: Any) -> Any:
    try:
        saved = msgspec.msgpack.decode(state, type=kind)
    except (msgspec.DecodeError, RecursionError) as fault:
        raise ValueError(f"damaged: {fault}") from None
    if saved.version != VERSION:
        raise ValueError(f"of version {saved.version}; {VERSION} is known here")
    return saved
