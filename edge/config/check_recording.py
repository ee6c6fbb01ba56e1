"""The recording: bounds that fit each other, filters that are filters, a buffer that takes the largest message."""

from edge.config.findings import Findings
from edge.config.types import RuntimeConfig

_SHARE = 0.5  # of the buffer that one message may take: while it is written to disk the next one comes


def check_recording(config: RuntimeConfig, found: Findings) -> None:
    """Note what is wrong with the table ``recording``."""
    terms = config.recording
    if terms.path is None:
        return
    if terms.keep_mb < 2 * terms.max_mb:
        reason = f"must be at least twice max_mb ({terms.max_mb:g}): one file is being written while others are kept"
        found.add("recording.keep_mb", reason, needs=["recording.max_mb"])
    for i, text in enumerate(terms.topics):
        if not _is_filter(text):
            found.add(f"recording.topics[{i}]", f"{text!r} is no MQTT filter; + and # stand for whole levels, # for the last ones")
    if not terms.inputs and not terms.outputs:
        found.add("recording.inputs", "nothing is recorded: neither inputs nor outputs", needs=["recording.outputs"])
    largest = max((stream.max_bytes for stream in config.streams.values()), default=0)
    if terms.buffer_mb is not None and largest > terms.buffer_mb * 1e6 * _SHARE:
        reason = f"must be at least {largest / 1e6 / _SHARE:.3g}: twice the largest message that a stream allows (max_bytes)"
        found.add("recording.buffer_mb", reason, needs=["streams"])


def _is_filter(text: str) -> bool:
    levels = text.split("/")
    wild = all(level in ("+", "#") or not {"+", "#"} & set(level) for level in levels)
    return wild and "#" not in levels[:-1] and "\0" not in text
