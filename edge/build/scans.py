"""A scan stream of a config as the intake that looks at it: its codec, its gate, its chain, its classifier."""

from pathlib import Path

from edge.clean.scan_gate import ScanGate
from edge.config.cleaning import effective_channels
from edge.config.lidar import scan_settings
from edge.config.scans import ego_channels, is_looked_at
from edge.config.types import RuntimeConfig, Stream
from edge.errors import BundleError
from edge.features.plan import FeaturePlan, feature_hash
from edge.inference.bundle import load_bundle
from edge.inference.rows import RowModel
from edge.lidar import shape
from edge.lidar.chain import Classify, ScanChain
from edge.lidar.settings import ScanSettings
from edge.pipeline.intake import ScanIntake
from edge.pipeline.scans import EgoMotion, ScanWork
from edge.topics import TopicTemplate
from edge.wire.scan import ScanCodec

_NS_PER_MS = 1_000_000


def scan_intake(name: str, stream: Stream, plan: FeaturePlan, config: RuntimeConfig) -> ScanIntake:
    """The way in of a scan stream.

    Raises:
        BundleError: its classifier cannot be admitted.
    """
    topic = TopicTemplate(stream.topic, default_device=config.name)
    scan = stream.scan
    gate = ScanGate(
        config.lanes,
        min_points=scan.returns_min,
        min_coverage_deg=scan.coverage_min_deg,
        on_cut_off=scan.on_cut_off,
        complete_ms=scan.complete_ms,
        max_points=stream.max_points,
        max_ahead_ns=int(stream.max_ahead_ms * _NS_PER_MS),
    )
    work = _work(name, stream, plan, config) if is_looked_at(config, name) else None
    return ScanIntake(name, topic, ScanCodec(stream.max_points, stream.max_bytes), gate, {}, work, stream.clock == "synced")


def chain_of(stream: Stream, lanes: int, budget_ms: float) -> ScanChain:
    """The chain of a scan stream, with its classifier.

    Raises:
        BundleError: the classifier cannot be admitted.
    """
    settings = scan_settings(stream.scan, stream.max_points)
    return ScanChain(settings, lanes, _classifier(stream, settings, budget_ms))


def _work(name: str, stream: Stream, plan: FeaturePlan, config: RuntimeConfig) -> ScanWork:
    sources = {}
    for key, (owner, channel) in ego_channels(config, name).items():
        sources[key] = (plan.stream_index[owner], list(effective_channels(config, owner)).index(channel))
    ego = EgoMotion(sources, config.lanes, int(stream.scan.vehicle.max_age_ms * _NS_PER_MS))
    return ScanWork(chain_of(stream, config.lanes, config.budget_ms), ego, plan.stream_index[name])


def _classifier(stream: Stream, settings: ScanSettings, budget_ms: float) -> Classify | None:
    folder = stream.scan.classifier
    if folder is None:
        return None
    bundle = load_bundle(Path(folder), stream.scan.classifier_version)
    digest = feature_hash(shape.NAMES, shape.UNITS)
    rows = RowModel(bundle, shape.NAMES, digest, settings.objects_max, int(budget_ms * _NS_PER_MS))
    if rows.labels != shape.LABELS:
        raise BundleError(f"{folder}: labels are {', '.join(rows.labels)}; a classifier of objects has {', '.join(shape.LABELS)}")
    return rows.score
