"""What watches the model of a pipeline file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edge.config.types import RuntimeConfig
from edge.inference.bundle import read_manifest
from edge.inference.drift import DriftMonitor, DriftSettings
from edge.inference.manifest import Manifest
from edge.inference.quality import ClassQuality, ValueQuality
from edge.inference.variants import Inference
from edge.pipeline.labels import Labels
from edge.pipeline.monitoring import Monitoring, Told
from edge.topics import TopicTemplate

_NS_PER_S = 1_000_000_000
_DECODERS: dict[str, Callable[[bytes], Any]] = {"json": msgspec.json.decode, "msgpack": msgspec.msgpack.decode}


def monitoring_of(config: RuntimeConfig, model: Inference | None) -> Monitoring | None:
    """What watches a model; None where there is nothing to watch it with.

    Args:
        config: whole.
        model: that acts.
    """
    return watch(config, model.version) if model is not None else None


def watch(config: RuntimeConfig, version: str) -> Monitoring | None:
    """What watches a version of the model from its first frame on; None where there is nothing to watch it with.

    Args:
        config: whole.
        version: that acts.

    Raises:
        BundleError: its manifest cannot be read.
    """
    if config.model is None:
        return None
    manifest = read_manifest(Path(config.model.bundle), version)
    drift, labels = _drift(config, manifest), _labels(config, manifest.labels)
    if drift is None and labels is None:
        return None
    told = Told(config.drift.topic or f"edge/{config.name}/alerts", config.drift.severity)
    topic = TopicTemplate(config.labels.topic, default_device=config.name) if config.labels is not None else None
    return Monitoring(version, told, drift, labels, topic)


def _drift(config: RuntimeConfig, manifest: Manifest) -> DriftMonitor | None:
    drift = config.drift
    if not drift.enabled:
        return None
    settings = DriftSettings(drift.window_frames, int(drift.window_s * _NS_PER_S), drift.persist, drift.psi, drift.ks, drift.alarms_per_day)
    return DriftMonitor.of(manifest, settings)


def _labels(config: RuntimeConfig, names: tuple[str, ...]) -> Labels | None:
    table = config.labels
    if table is None:
        return None
    quality = ClassQuality(names, table.window) if len(names) > 1 else ValueQuality(names, table.window)
    return Labels(quality, _DECODERS[table.format], int(table.ttl_s * _NS_PER_S), table.keep)
