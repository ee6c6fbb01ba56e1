"""Drift and labels against the model and the topics of the file."""

from pathlib import Path

from edge.config.check_topics import overlap
from edge.config.findings import Findings, join
from edge.config.types import RuntimeConfig
from edge.errors import BundleError
from edge.inference.bundle import read_manifest
from edge.topics import DEVICE, TopicTemplate


def check_monitoring(config: RuntimeConfig, found: Findings, *, with_model: bool) -> None:
    """Note what is wrong with ``drift`` and ``labels``."""
    if config.drift.topic is not None:
        _check_alerts(config.drift.topic, config, found)
    if config.drift.enabled:
        _check_references(config, found, with_model=with_model)
    if config.labels is not None:
        _check_labels(config.labels.topic, config, found)
    elif config.model is not None:
        for key in ("min_accuracy", "max_worse"):
            if getattr(config.model.shadow, key) is not None:
                found.add(f"model.shadow.{key}", "needs the right answers: say with `[labels]` where they arrive")


def _check_references(config: RuntimeConfig, found: Findings, *, with_model: bool) -> None:
    if config.model is None:
        found.add("drift.enabled", "there is no model, so nothing says how its features were distributed")
        return
    if not with_model or not found.is_sound("model"):
        return
    try:
        manifest = read_manifest(Path(config.model.bundle), config.model.version)
    except (BundleError, OSError, ValueError):
        return  # said at model.bundle
    if any(feature.reference is None for feature in manifest.features):
        reason = f"{manifest.name} {manifest.version} has no references: pack it with `--data`, or leave this out"
        found.add("drift.enabled", reason)


def _check_alerts(topic: str, config: RuntimeConfig, found: Findings) -> None:
    if DEVICE in topic:
        found.add("drift.topic", f"{topic!r}: drift is that of all devices together, so {DEVICE} has no meaning here")
    for name, stream in config.streams.items():
        where = f"{join('streams', name)}.topic"
        if overlap(topic, stream.topic):
            found.add("drift.topic", f"{topic!r} is read by {where}: what is sent would come back in", needs=[where])


def _check_labels(topic: str, config: RuntimeConfig, found: Findings) -> None:
    path = "labels.topic"
    if config.model is None:
        found.add("labels", "there is no model, so there are no predictions that labels could belong to")
    try:
        TopicTemplate(topic)
    except ValueError as fault:
        found.add(path, str(fault))
        return
    for name, stream in config.streams.items():
        where = f"{join('streams', name)}.topic"
        if overlap(topic, stream.topic):
            found.add(path, f"{topic!r} is taken by {where} ({stream.topic!r}): a message must be a label or telemetry", needs=[where])
        elif DEVICE in stream.topic and DEVICE not in topic:
            found.add(path, f"{topic!r} must have {DEVICE}, as {where} has: it says whose prediction is labelled", needs=[where])
    sent = [(f"rules[{i}].topic", rule.topic) for i, rule in enumerate(config.rules) if rule.topic is not None]
    if config.publish.predictions is not None:
        sent.append(("publish.predictions.topic", config.publish.predictions.topic))
    sent += [(f"{join('actuators', name)}.topic", actuator.topic) for name, actuator in config.actuators.items()]
    for where, other in sent:
        if overlap(topic, other):
            found.add(path, f"{topic!r} is the topic of {where} too: what is sent would come back in", needs=[where])
