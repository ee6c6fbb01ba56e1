"""What a report is made of, as types, and how it is read out of a status that came from outside.

A part of a status that is not what it should be is left out and named; it never stops the report.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from edge.inference.choice import Entry

MOST_VALUES = 512  # features and scores that are read
MOST_BINS = 64
_Number = float | None  # not finite is null in JSON
_Text = Annotated[str, Meta(max_length=10_000)]
_Counts = Annotated[dict[str, int], Meta(max_length=256)]
_Shares = Annotated[list[float], Meta(max_length=MOST_BINS)]


class Variant(msgspec.Struct, frozen=True):
    """See Inference.summary; us."""

    runs: int = 0
    excluded: int = 0
    p99_us: _Number = None
    best_p99_us: _Number = None


class Cascade(msgspec.Struct, frozen=True):
    """See Cascade.summary."""

    first: _Text = ""
    then: _Text = ""
    settled: int = 0
    escalated: int = 0
    no_time: int = 0


class Canary(msgspec.Struct, frozen=True):
    """A version that decides for a share of the devices."""

    version: _Text = ""
    deployment: _Text = ""
    made: int = 0


class Shadow(msgspec.Struct, frozen=True):
    """See edge.inference.shadow.Report."""

    version: _Text = ""
    mode: _Text = "shadow"
    n: int = 0
    agreement: _Number = None
    mean_distance: _Number = None
    max_distance: _Number = None
    over: int = 0
    p50_ms: _Number = None
    p99_ms: _Number = None
    not_finite: int = 0
    failed: int = 0
    is_frozen: bool = False
    dropped: int = 0
    restarts: int = 0
    why: _Text = ""


class Models(msgspec.Struct, frozen=True):
    """See Deployments.status."""

    state: _Text = ""
    active: _Text = ""
    deployment: _Text = ""
    former: _Text = ""
    canary: Canary | None = None
    shadow: Shadow | None = None
    rollbacks: int = 0
    variants: Annotated[dict[str, Variant], Meta(max_length=64)] = {}
    cascade: Cascade = Cascade()


class Decisions(msgspec.Struct, frozen=True):
    """Counts of decisions."""

    made: int = 0
    skipped: _Counts = {}
    failed: _Counts = {}
    by_variant: _Counts = {}


class Stage(msgspec.Struct, frozen=True):
    """Latency of a stage, us."""

    p50: _Number = None
    p99: _Number = None
    max: _Number = None


class Value(msgspec.Struct, frozen=True):
    """One feature or score beside its reference.

    Args:
        edges: between the bins.
        reference, current: shares of the values in each bin.
    """

    name: _Text
    kind: _Text = "feature"
    psi: _Number = None
    ks: _Number = None
    n: int = 0
    n_effective: _Number = None
    drifting: bool = False
    edges: _Shares = []
    reference: _Shares = []
    current: _Shares = []
    nan: int = 0
    infinite: int = 0


class Drift(msgspec.Struct, frozen=True):
    """See DriftMonitor.summary and DriftMonitor.report."""

    frames: int = 0
    windows: int = 0
    n_drifting: int = 0
    raised: int = 0
    cleared: int = 0
    nan: int = 0
    infinite: int = 0
    top: list[Value] = []
    values: list[Value] = []

    @property
    def all(self) -> list[Value]:
        """Everything that is known, the farthest from its reference first."""
        found = (self.values or self.top)[:MOST_VALUES]
        return sorted(found, key=lambda value: (not value.drifting, -(value.psi or 0.0), -(value.ks or 0.0)))

    def of(self, kind: str) -> list[Value]:
        """Features or scores."""
        return [value for value in self.all if value.kind == kind]


class CalibrationBin(msgspec.Struct, frozen=True):
    """Predictions of about one confidence: how sure they were on average, and the share that was right."""

    n: int
    confidence: float
    accuracy: float


class Quality(msgspec.Struct, frozen=True):
    """How good predictions are by the labels that came; what does not apply to a kind of model is None."""

    n: int = 0
    window: int = 0
    accuracy: _Number = None
    f1_macro: _Number = None
    brier: _Number = None
    ece: _Number = None
    rmse: _Number = None
    mae: _Number = None
    drifting: bool = False
    calibration: Annotated[list[CalibrationBin], Meta(max_length=MOST_BINS)] = []


class Monitoring(msgspec.Struct, frozen=True):
    """See edge.pipeline.monitoring.

    Args:
        version: that is watched.
        labels: what became of the labels that came.
    """

    version: _Text = ""
    drift: Drift | None = None
    labels: _Counts = {}
    quality: Quality | None = None


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """What a daemon says of itself."""

    name: str = ""
    state: str = ""
    boot_id: str = ""
    uptime_s: float = 0.0
    model: str = ""
    decisions: Decisions = Decisions()
    latency: dict[str, Stage] = {}
    models: Models = Models()
    monitoring: Monitoring | None = None


class Step(msgspec.Struct, frozen=True):
    """Who did something to a version, when and why."""

    version: str
    what: str = ""
    who: str = ""
    why: str = ""
    when: str = ""


class Version(msgspec.Struct, frozen=True):
    """One version by its manifest.

    Args:
        roles: active, pinned, on trial …
        error: why the manifest cannot be read, or "".
    """

    version: str
    roles: str = ""
    description: str = ""
    budget_ms: _Number = None
    features: int = 0
    feature_hash: str = ""
    labels: list[str] = []
    variants: list[str] = []
    source: str = ""
    licence: str = ""
    error: str = ""


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """What a registry knows.

    Args:
        since: when and by whom the active version was made active; None when the history does not say.
        rejected: rolled back from, with the reason.
    """

    folder: str
    active: str
    since: Step | None
    last_known_good: str
    pinned: str
    candidate: str
    unsettled_starts: int
    rejected: list[Step]
    versions: list[Version]
    history: list[Entry]
    trouble: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A whole report.

    Args:
        name: of the pipeline or the model.
        source: where it comes from, in words.
        made: wall clock, ISO 8601 in UTC.
        versions: of the registry, or None.
        live: of the daemon, or None.
        notes: what is missing and why.
    """

    name: str
    source: str
    made: str
    versions: Versions | None
    live: Live | None
    notes: list[str]


_PARTS: dict[str, Any] = {
    "name": str,
    "state": str,
    "boot_id": str,
    "uptime_s": float,
    "model": str,
    "decisions": Decisions,
    "latency_us": dict[str, Stage],
    "models": Models,
    "monitoring": Monitoring,
}


def live_of(status: dict[str, Any], notes: list[str]) -> Live:
    """A status as far as it can be read.

    Args:
        status: of a daemon.
        notes: gets the parts that were left out, and why.
    """
    found: dict[str, Any] = {}
    for part, kind in _PARTS.items():
        if (value := status.get(part)) is None:
            continue
        try:
            found["latency" if part == "latency_us" else part] = msgspec.convert(value, kind, strict=part != "uptime_s")
        except (msgspec.ValidationError, RecursionError) as e:
            notes.append(f"{part} of the status cannot be read and is left out: {e}")
    return Live(**found)
