"""What is kept on disk, as tables of a pipeline file: alerts until they are delivered, and the state of the windows."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class OutboxTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where alerts wait until the broker has acknowledged them, and how many of them. See docs/reliability.md."""

    path: Annotated[
        str | None,
        Meta(description="file of the alerts that wait; default: `<name>.outbox` in systemd's state directory, or without one in memory"),
    ] = None
    max_alerts: Annotated[
        int, Meta(ge=20, le=1_000_000, description="most alerts that wait; then the oldest of the least severe is given up")
    ] = 10_000
    max_mb: Annotated[float, Meta(ge=0.1, le=4096, description="most megabytes of them; then the same")] = 64.0
    max_age_h: Annotated[float, Meta(gt=0, le=87_600, description="older alerts are given up")] = 168.0
    durability: Annotated[
        Literal["process", "power"],
        Meta(description="what a stored alert survives: `process`: kill -9; `power`: loss of power too, one disk sync per commit"),
    ] = "power"
    topic: Annotated[
        str | None, Meta(description="of the outbox's own alerts (given up, not stored, damaged); default `edge/<name>/alerts`")
    ] = None


class CheckpointTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state of windows, gates, tracks and rules, so that a restart goes on where it was. See docs/reliability.md."""

    path: Annotated[
        str | None, Meta(description='file of the state; default: `<name>.checkpoint` in systemd\'s state directory, or none; "": none')
    ] = None
    every_s: Annotated[float, Meta(ge=0.1, le=3600, description="from one checkpoint to the next; one more is written at the end")] = 1.0
    max_age_s: Annotated[float, Meta(gt=0, le=31_536_000, description="an older state is not used")] = 600.0
