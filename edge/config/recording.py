"""The recording companion and health as tables of a pipeline file."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of these tables."""


class RecordingTable(_Table, frozen=True, kw_only=True):
    """A recording of what comes in and goes out, made by a second process. See docs/companion.md."""

    path: Annotated[str | None, Meta(description="folder of the recordings; default: none are made")] = None
    topics: Annotated[
        list[Annotated[str, Meta(min_length=1)]], Meta(description="MQTT filters (`+`, `#`) of what is recorded; default: all")
    ] = []
    inputs: Annotated[bool, Meta(description="what comes in")] = True
    outputs: Annotated[bool, Meta(description="alerts, commands and predictions that were sent")] = True
    max_mb: Annotated[float, Meta(ge=0.1, le=100_000, description="a larger file is closed and the next one begun")] = 64.0
    max_min: Annotated[float, Meta(gt=0, le=44_640, description="and one that has grown for so many minutes")] = 60.0
    keep_mb: Annotated[float, Meta(ge=0.2, le=10_000_000, description="of all files together; the oldest make room")] = 1024.0
    free_mb: Annotated[float, Meta(ge=0, le=10_000_000, description="recording pauses while the disk has less room than this")] = 100.0
    compression: Annotated[Literal["zstd", "lz4", "none"], Meta(description="of the files")] = "zstd"
    buffer_mb: Annotated[
        Annotated[float, Meta(ge=0.1, le=1000)] | None,
        Meta(description="shared memory to the second process; default: 8, with scans 64; what finds no room is dropped"),
    ] = None
    nice: Annotated[int, Meta(ge=0, le=19, description="of the second process; 19: it runs when nobody else wants the processor")] = 10


class HealthTable(_Table, frozen=True, kw_only=True):
    """How the daemon tells how it is. See docs/health.md."""

    topic: Annotated[str | None, Meta(description="retained JSON; default `edge/<name>/health`")] = None
    alerts: Annotated[str | None, Meta(description="where alerts of silent streams go (`on_silence`); default `edge/<name>/alerts`")] = None
    severity: Annotated[Literal["info", "warning", "critical"], Meta(description="of them")] = "warning"
