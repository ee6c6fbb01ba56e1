"""What the thread that looks after models and the loop say to each other: plain values."""

from typing import Literal

import msgspec

from edge.daemon.trial import Trial
from edge.inference.shadow import Probation
from edge.inference.variants import Inference
from edge.pipeline.monitoring import Monitoring


class Said(msgspec.Struct, frozen=True):
    """Something for the log and for an alert: its name, the text, which version and deployment it is about, whether it is bad news."""

    name: str
    text: str
    version: str
    deployment: str = ""
    is_bad: bool = False


class Order(msgspec.Struct, frozen=True):
    """What the loop is to do between two frames. ``back``: let the version that is kept warm act again; it comes with no model."""

    kind: Literal["swap", "back", "warm", "canary", "end_canary", "feed", "reload", "tell", "publish", "watch"]
    model: Inference | None = None
    share: float = 0.0
    good: str = ""
    budget_ns: int = 0
    trial: Trial | None = None
    said: Said | None = None
    payload: bytes = b""
    monitoring: Monitoring | None = None
    version: str = ""
    generation: int = 0
    leaves_rejected: bool = False


class Asked(msgspec.Struct, frozen=True):
    """What a pipeline asks of its models and of their life.

    Args:
        name: of the model.
        features, feature_hash: of the vector.
        takes_other_features: a version with other features is taken by reading the file again.
        settle_s: a run that lives so long has settled.
        probation: what a new version must show first.
        promotes: a candidate is promoted as soon as it showed ``min_frames``, ``agreement`` and ``p99_ms``.
        min_frames, agreement, p99_ms, min_labels, min_accuracy, max_worse: see edge.config.models.Shadow.
        cascade: see Inference.set_cascade; None: none.
    """

    name: str
    features: tuple[str, ...]
    feature_hash: str
    takes_other_features: bool
    settle_s: float
    probation: Probation
    promotes: bool
    min_frames: int
    agreement: float
    p99_ms: float
    cascade: tuple[str, str, str, tuple[float, float]] | None = None
    min_labels: int = 0
    min_accuracy: float | None = None
    max_worse: float | None = None
