"""Drift and labels as tables of a pipeline file."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class Drift(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When features and scores no longer look as they did in training. See docs/drift.md."""

    enabled: Annotated[bool, Meta(description="watch for drift; the bundle must have references")] = False
    window_frames: Annotated[int, Meta(ge=100, le=10_000_000, description="decisions that are looked at together, at least")] = 1000
    window_s: Annotated[float, Meta(ge=0, le=604_800, description="a window lasts at least so long")] = 60.0
    persist: Annotated[int, Meta(ge=1, le=100, description="windows in a row that must show drift; as many calm ones end it")] = 2
    psi: Annotated[float, Meta(gt=0, le=100, description="smallest population stability index that matters")] = 0.25
    ks: Annotated[float, Meta(gt=0, le=1, description="smallest Kolmogorov-Smirnov distance that matters")] = 0.2
    alarms_per_day: Annotated[float, Meta(gt=0, le=100, description="false alarms in 24 h of stream that chance may cause")] = 0.1
    severity: Annotated[Literal["info", "warning", "critical"], Meta(description="of alerts that drift began")] = "warning"
    topic: Annotated[str | None, Meta(description="of alerts about drift and errors; default `edge/<name>/alerts`")] = None


class LabelsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the truth arrives, after the prediction. See docs/drift.md."""

    topic: Annotated[str, Meta(description="with `{device}`, such as `plant/{device}/labels`")]
    qos: Annotated[Literal[0, 1], Meta(description="of the subscription")] = 1
    format: Annotated[Literal["json", "msgpack"], Meta(description="of the messages")] = "json"
    ttl_s: Annotated[float, Meta(gt=0, le=604_800, description="a prediction waits so long for its label")] = 600.0
    keep: Annotated[int, Meta(ge=1, le=100_000, description="predictions of one device that wait, at most")] = 1024
    window: Annotated[int, Meta(ge=20, le=100_000, description="labelled predictions that accuracy and errors are of")] = 500
