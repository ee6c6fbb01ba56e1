"""The model of a config: which version a start takes, and what keeps it as its registry says while the daemon runs."""

from pathlib import Path

import msgspec

from edge.build.monitoring import watch
from edge.config.models import Model
from edge.config.types import RuntimeConfig
from edge.daemon.deployments import Deployments, Places
from edge.daemon.lifecycle import Lifecycle
from edge.daemon.orders import Asked
from edge.daemon.refused import Memory
from edge.daemon.trial import Setting
from edge.errors import BundleError
from edge.features.plan import FeaturePlan
from edge.inference.admissions import Admissions
from edge.inference.bundle import load_bundle, read_manifest, versions
from edge.inference.choice import read_state
from edge.inference.guard import Limits, Trouble
from edge.inference.shadow import Probation, Threshold
from edge.inference.variants import Inference
from edge.pipeline.recipe import Pipeline
from edge.store.registry import Registry, Wanted

_NS_PER_MS = 1_000_000


class Chosen(msgspec.Struct, frozen=True):
    """The model of a pipeline.

    Args:
        model: None: there is none, or none may act.
        labels: its scores, or those that it would have.
        unfit: version that may not act; "" where one does, or none belongs here.
        trouble: why it may not.
    """

    model: Inference | None = None
    labels: tuple[str, ...] = ()
    unfit: str = ""
    trouble: Trouble | None = None


def follows_registry(config: RuntimeConfig) -> bool:
    """Whether a registry says which version runs."""
    return config.model is not None and config.model.version == "active"


def choose(config: RuntimeConfig, plan: FeaturePlan, budget_ns: int, admissions: Admissions, unfit: str = "") -> Chosen:
    """The model of a pipeline, admitted.

    Args:
        config: whole.
        plan: of its features.
        budget_ns: of the pipeline.
        admissions: what was admitted before.
        unfit: why none may act.

    Raises:
        BundleError: it cannot be admitted, and there is no registry that knows another one.
    """
    model = config.model
    if model is None:
        return Chosen()
    folder = Path(model.bundle)
    if unfit:
        version = read_state(folder, versions(folder)).active
        return Chosen(None, _labels_without(config, folder, version, plan), version, Trouble("failed", unfit))
    bundle = load_bundle(folder, model.version)
    inference = admissions.admit(bundle, plan.names, plan.hash, budget_ns, config.lanes)
    if model.cascade is not None:
        inference.set_cascade(model.cascade.first, model.cascade.then, model.cascade.score, model.cascade.unsure)
    return Chosen(inference, inference.labels)


def _labels_without(config: RuntimeConfig, folder: Path, version: str, plan: FeaturePlan) -> tuple[str, ...]:
    """The scores that a model would have: those of a manifest that can be read and has what the rules ask for, or just these."""
    asked = tuple(dict.fromkeys(rule.score for rule in config.rules if rule.score not in plan.names))
    for name in (version, *reversed(versions(folder))):
        try:
            labels = read_manifest(folder, name).labels
        except BundleError:
            continue
        if set(asked) <= set(labels):
            return labels
    return asked


def life_of(config: RuntimeConfig, pipeline: Pipeline, memory: Memory | None = None, unfit: str = "") -> Deployments | None:
    """What keeps the model of a pipeline as its registry says; None where there is no registry to follow.

    Args:
        config: whole.
        pipeline: of it.
        memory: of the process: what is held against versions.
        unfit: why no model may act.
    """
    model = config.model
    if model is None or not follows_registry(config):
        return None
    plan, host = pipeline.features.plan, pipeline.decisions.host
    folder, budget_ns = Path(model.bundle), pipeline.decisions.terms.budget_ns
    running = host.active.model.version if host.active is not None else ""
    within_ns = min(budget_ns, read_manifest(folder, running).budget_ns) if running else budget_ns
    setting = Setting(folder, host.labels, len(plan.names), config.lanes, budget_ns, _thresholds(config, host.labels), model.shadow.nice)
    registry = Registry(folder, Wanted(plan.names, plan.hash, budget_ns))
    rollback, topic = model.rollback, f"edge/{config.name}/alerts"
    refused = (memory or Memory()).of(folder)
    refused.safe_mode = unfit
    return Deployments(
        pipeline,
        Lifecycle(registry, setting, _asked(config, model, plan, within_ns), running, lambda version: watch(config, version), refused),
        Limits(budget_ns, rollback.windows, rollback.window_frames, rollback.frozen_frames, rollback.faults),
        within_ns,
        Places(model.alerts.topic or topic, model.shadow.topic or f"edge/{config.name}/shadow", model.alerts.severity),
        ends_with_drift=rollback.drift,
    )


def _asked(config: RuntimeConfig, model: Model, plan: FeaturePlan, budget_ns: int) -> Asked:
    shadow, cascade = model.shadow, model.cascade
    return Asked(
        name=Path(model.bundle).name,
        features=plan.names,
        feature_hash=plan.hash,
        takes_other_features=model.features == "bundle",
        settle_s=model.rollback.settle_s,
        probation=Probation(model.rollback.probation_frames, budget_ns / _NS_PER_MS),
        promotes=shadow.promote == "guard",
        min_frames=shadow.min_frames,
        agreement=shadow.agreement,
        p99_ms=shadow.p99_ms or config.budget_ms,
        min_labels=shadow.min_labels,
        min_accuracy=shadow.min_accuracy,
        max_worse=shadow.max_worse,
        cascade=None if cascade is None else (cascade.first, cascade.then, cascade.score, cascade.unsure),
    )


def _thresholds(config: RuntimeConfig, labels: tuple[str, ...]) -> list[Threshold]:
    return [Threshold(rule.score, rule.enter, rule.enter >= rule.exit) for rule in config.rules if rule.score in labels]
