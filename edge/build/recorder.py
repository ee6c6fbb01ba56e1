"""The recording companion that a config describes."""

from edge.config.types import RuntimeConfig
from edge.daemon.recorder import Recorder, Setting
from edge.store.tape import Task

_SLOT_BYTES, _SCAN_SLOT_BYTES = 1024, 32_768  # a message takes as many as it needs; small ones take one whole
_BUFFER_MB, _SCAN_BUFFER_MB = 8.0, 64.0
_HEAD_BYTES = 24 + 16  # of a slot and of a message in it


def recorder_of(config: RuntimeConfig) -> Recorder | None:
    """The companion, not started yet; None when nothing is recorded.

    Args:
        config: whole.
    """
    terms = config.recording
    if terms.path is None:
        return None
    has_scans = any(stream.kind == "scan" for stream in config.streams.values())
    slot_bytes = _SCAN_SLOT_BYTES if has_scans else _SLOT_BYTES
    buffer_mb = terms.buffer_mb or (_SCAN_BUFFER_MB if has_scans else _BUFFER_MB)
    task = Task(
        folder=terms.path,
        name=config.name,
        file_bytes=int(terms.max_mb * 1e6),
        file_ns=int(terms.max_min * 60e9),
        keep_bytes=int(terms.keep_mb * 1e6),
        free_bytes=int(terms.free_mb * 1e6),
        compression=terms.compression,
    )
    slots = max(16, int(buffer_mb * 1e6) // (slot_bytes + _HEAD_BYTES))
    return Recorder(Setting(task, tuple(terms.topics), slots, slot_bytes, terms.nice, inputs=terms.inputs, outputs=terms.outputs))
