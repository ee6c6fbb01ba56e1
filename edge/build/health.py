"""What a config expects of its streams, and where health is told."""

from edge.config.check_serial import is_serial
from edge.config.types import RuntimeConfig, Stream
from edge.daemon.health import HealthTerms
from edge.daemon.sources import SourceTerms

_PERIODS = 10
_LEAST_MS = 250.0


def health_terms(config: RuntimeConfig) -> HealthTerms:
    """The terms of the daemon's health.

    Args:
        config: whole.
    """
    terms = config.health
    return HealthTerms(
        terms.topic or f"edge/{config.name}/health",
        terms.alerts or f"edge/{config.name}/alerts",
        terms.severity,
        tuple(_source(name, stream, is_serial=is_serial(config, stream.topic)) for name, stream in config.streams.items()),
        every_s=config.publish.status.every_s,
    )


def _source(name: str, stream: Stream, *, is_serial: bool) -> SourceTerms:
    silent_ms = stream.silent_ms
    if silent_ms is None and stream.rate_hz is not None:
        silent_ms = max(_LEAST_MS, _PERIODS * 1e3 / stream.rate_hz)
    silent_ns = None if silent_ms is None else int(silent_ms * 1e6)
    return SourceTerms(name, silent_ns, stream.silent_ms is not None, stream.on_silence == "alert", is_serial)
