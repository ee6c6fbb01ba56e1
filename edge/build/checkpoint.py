"""The checkpoints that a config describes: what an earlier run knew is put back at the start, and kept from then on."""

import logging
import time
from pathlib import Path

from edge.build.outbox import state_path
from edge.config.types import RuntimeConfig
from edge.daemon.keeper import Keeper
from edge.pipeline.checkpoint import put, put_whole
from edge.pipeline.recipe import Pipeline
from edge.store.checkpoint import Checkpoint, CheckpointWriter, read

_log = logging.getLogger(__name__)


def keep_state(config: RuntimeConfig, pipeline: Pipeline) -> Keeper | None:
    """Put back what an earlier run knew, and keep what this one will know. Nothing of it can keep the daemon from starting.

    Args:
        config: whole.
        pipeline: warm, and not at work yet; its rules know what they said.
    """
    path = state_path(config.name, "checkpoint", config.checkpoint.path)
    if path is None:
        return None
    try:
        found = read(path)
    except (ValueError, OSError) as fault:
        _log.warning("checkpoint: %s %s: windows start anew", path, fault)
        found = None
    if found is not None:
        _restore(pipeline, found, path, config.checkpoint.max_age_s)
    return Keeper(pipeline, CheckpointWriter(path), int(config.checkpoint.every_s * 1e9))


def _restore(pipeline: Pipeline, found: Checkpoint, path: Path, max_age_s: float) -> None:
    age_s = found.age_s()
    if age_s is None or age_s > max_age_s:
        how = "of unknown age" if age_s is None else f"{age_s:.0f} s old; checkpoint.max_age_s is {max_age_s:g}"
        _log.warning("checkpoint: %s is %s: windows start anew", path, how)
        return
    refused: dict[str, str] = {}
    devices = list(found.lanes)[: len(pipeline.lanes.devices)]
    for device in devices:
        refused |= put(pipeline, device, found.lanes[device], time.monotonic_ns(), is_same_clock=found.is_same_boot)
    refused |= put_whole(pipeline, found.whole, time.monotonic_ns())
    _log.info("checkpoint: %d devices go on where they were %.1f s ago", len(devices), age_s)
    for name, why in refused.items():
        _log.warning("checkpoint: %s starts anew: %s", name, why)
