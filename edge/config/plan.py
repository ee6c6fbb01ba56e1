"""The feature vector of a config as the plan that the kernels work from."""

from edge.config.check_features import functions_of
from edge.config.cleaning import effective_channels, effective_rate_hz
from edge.config.scans import is_looked_at, is_plain
from edge.config.types import Features, RuntimeConfig
from edge.features.plan import Columns, FeaturePlan, Group, Span, StreamShape

_NS_PER_MS = 1_000_000


def feature_plan(config: RuntimeConfig) -> FeaturePlan:
    """The feature vector of a config; the model is not looked at, and need not exist yet."""
    shapes = [
        StreamShape(
            name,
            effective_channels(config, name),
            effective_rate_hz(stream),
            stream.max_rows if stream.kind == "telemetry" else 1,
            int((stream.clean.max_gap_ms or 0) * _NS_PER_MS),
            stream.clean.on_gap == "reset",
            int((stream.asof_max_ms or 0) * _NS_PER_MS),
        )
        for name, stream in config.streams.items()
        if is_looked_at(config, name)
    ]
    return FeaturePlan(shapes, [_group(entry, config) for entry in config.features])


def longest_step_ns(config: RuntimeConfig) -> int:
    """Longest time between two decisions with no gap in the input: the hop, and the longest step between samples. 0: any."""
    if not config.features or not (max_gap_ms := config.streams[config.features[0].stream or ""].clean.max_gap_ms):
        return 0
    hop, rate_hz = Span.parse(config.features[0].hop), effective_rate_hz(config.streams[config.features[0].stream or ""])
    gap_ns = int(max_gap_ms * _NS_PER_MS)
    hop_ns = hop.value if hop.by_time else int(hop.value * 1e9 / rate_hz) if rate_hz else hop.value * gap_ns
    return hop_ns + gap_ns


def _group(entry: Features, config: RuntimeConfig) -> Group | Columns:
    if entry.table is not None:
        return Columns(entry.table, {column: config.tables[entry.table].columns[column] for column in entry.columns})
    if is_plain(entry, config):
        return Group.plain(entry.stream or "", tuple(entry.channels))
    functions = functions_of(entry.module) if entry.module is not None else {}
    return Group(
        entry.stream or "", tuple(entry.channels), Span.parse(entry.window or 0), Span.parse(entry.hop), tuple(entry.stats), functions
    )
