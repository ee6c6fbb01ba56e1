"""The model and its life as tables of a pipeline file: which one, when it is rolled back, what a candidate must show."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of these tables."""


class Cascade(_Table, frozen=True, kw_only=True):
    """A small variant first; a larger one only where the small one is unsure and there is time for it."""

    first: Annotated[str, Meta(min_length=1, description="variant that sees every vector")]
    then: Annotated[str, Meta(min_length=1, description="variant that answers where the first one is unsure")]
    score: Annotated[str, Meta(min_length=1, description="label whose score says how sure the first one is")]
    unsure: Annotated[tuple[float, float], Meta(description="`[lo, hi]`: between these two, bounds excluded, it is unsure")]


class Rollback(_Table, frozen=True, kw_only=True):
    """When a model at work has to stop, with `version = "active"`. The former version takes over; after a second trouble, none does."""

    windows: Annotated[int, Meta(ge=1, le=1000, description="so many windows over the budget, one after the other")] = 3
    window_frames: Annotated[int, Meta(ge=1, le=1_000_000, description="inferences in a window; 1 % of them may take longer")] = 100
    faults: Annotated[int, Meta(ge=1, le=1_000_000, description="NaN, infinity or a failed run so often within one window")] = 3
    frozen_frames: Annotated[
        int, Meta(ge=0, le=10_000_000, description="equal scores for so many different vectors; 0: never, which trees need")
    ] = 0
    drift: Annotated[bool, Meta(description="drift of features or scores, see `drift`, ends it too")] = False
    starts: Annotated[int, Meta(ge=1, le=1000, description="so many starts that did not settle, and the last good version is taken")] = 3
    settle_s: Annotated[float, Meta(gt=0, le=86_400, description="a run that lives so long has settled")] = 60.0
    probation_frames: Annotated[
        int, Meta(ge=0, le=1_000_000, description="live vectors that a new version must answer beside the active one first; 0: none")
    ] = 200


class Shadow(_Table, frozen=True, kw_only=True):
    """What a candidate must show before it may be promoted by itself."""

    promote: Annotated[Literal["hand", "guard"], Meta(description="by `edge models promote`; or as soon as all of this holds")] = "hand"
    min_frames: Annotated[int, Meta(ge=1, le=1_000_000_000, description="vectors that it answered")] = 1000
    agreement: Annotated[float, Meta(ge=0, le=1, description="share on which both models decide alike")] = 0.99
    p99_ms: Annotated[Annotated[float, Meta(gt=0, le=60_000)] | None, Meta(description="its 99th percentile; default: the budget")] = None
    min_labels: Annotated[int, Meta(ge=1, le=1_000_000_000, description="labelled vectors, where accuracy is asked for")] = 100
    min_accuracy: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None, Meta(description="share of labelled vectors on which it is right; needs `labels`")
    ] = None
    max_worse: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="by how much its accuracy may lie below the active one's; needs `labels`"),
    ] = None
    nice: Annotated[int, Meta(ge=0, le=19, description="of its process; 19: it runs when nobody else wants the processor")] = 19
    topic: Annotated[str | None, Meta(description="where its report goes; default `edge/<name>/shadow`")] = None


class ModelAlerts(_Table, frozen=True, kw_only=True):
    """Alerts about models: a version that was refused, rolled back, swapped in or promoted."""

    topic: Annotated[str | None, Meta(description="default `edge/<name>/alerts`")] = None
    severity: Annotated[
        Literal["info", "warning", "critical"], Meta(description="of those that say what went wrong; the others are `info`")
    ] = "critical"


class Model(_Table, frozen=True, kw_only=True):
    """Which model bundle computes the scores."""

    bundle: Annotated[str, Meta(description="folder of the bundle's versions, relative to this file")]
    version: Annotated[
        str, Meta(description="a version's folder name; `latest`; or `active`: what the registry says, see docs/models.md")
    ] = "latest"
    features: Annotated[
        Literal["file", "bundle"], Meta(description="whose `features` are computed: this file's, or those that the bundle was packed with")
    ] = "file"
    cascade: Annotated[Cascade | None, Meta(description="default: the preferred variant answers")] = None
    rollback: Annotated[Rollback, Meta(description="when it has to stop")] = Rollback()
    shadow: Annotated[Shadow, Meta(description="what a candidate must show")] = Shadow()
    alerts: Annotated[ModelAlerts, Meta(description="what is told of it, and where")] = ModelAlerts()
