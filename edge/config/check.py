"""Whether a typed config makes sense: everything that a room would refuse later is found here, with its key path.

Reads the model's manifest and looks at the files that are named; runs no model and opens no connection.
"""

import math

from edge.config.check_broker import check_broker
from edge.config.check_features import check_features
from edge.config.check_model import Target, check_model
from edge.config.check_monitoring import check_monitoring
from edge.config.check_outputs import check_actuators, check_rules
from edge.config.check_paths import check_paths
from edge.config.check_recording import check_recording
from edge.config.check_serial import check_serial
from edge.config.check_streams import check_streams
from edge.config.check_tables import check_tables
from edge.config.check_topics import check_topics
from edge.config.cleaning import effective_rate_hz
from edge.config.findings import Findings, join
from edge.config.scans import check_scans
from edge.config.types import RuntimeConfig
from edge.errors import Problem
from edge.features.plan import Span


def check(config: RuntimeConfig) -> list[Problem]:
    """Everything that is wrong with a config that was built in Python; paths in it count from the working directory."""
    found = Findings()
    find_problems(config, found)
    return found.problems


def find_problems(config: RuntimeConfig, found: Findings, *, with_model: bool = True) -> None:
    """Note everything that is wrong with a typed config.

    Args:
        config: typed; stand-ins are where ``found`` distrusts a key.
        found: takes the problems.
        with_model: whether the bundle must be there; without it, rules on its labels cannot be judged.
    """
    _check_timing(config, found)
    check_broker(config.broker, found)
    check_serial(config, found)
    check_streams(config.streams, found)
    check_tables(config, found)
    check_scans(config, found)
    vector = check_features(config, found)
    labels = check_model(config, vector, found) if with_model else None
    check_actuators(config, found)
    _check_silence(config, found)
    _check_lateness(config, found)
    check_rules(config, Target(labels, vector), found)
    check_topics(config, found)
    check_recording(config, found)
    check_paths(config, found)
    check_monitoring(config, found, with_model=with_model)


def _check_timing(config: RuntimeConfig, found: Findings) -> None:
    seen: list[str] = []
    for i, policy in enumerate(config.on_overrun):
        path, final = f"on_overrun[{i}]", next((name for name in seen if name != "smaller_model"), None)
        if policy in seen:
            found.add(path, f"{policy!r} is there twice", needs=["on_overrun"])
        elif final is not None:
            found.add(path, f"is never reached: {final!r} comes first and ends it", needs=["on_overrun"])
        seen.append(policy)
    for name, actuator in config.actuators.items():
        if math.isfinite(config.budget_ms) and config.budget_ms >= actuator.ttl_ms:
            reason = f"must be less than ttl_ms of actuator {name!r} ({actuator.ttl_ms:g}), or a command could be void when it is sent"
            found.add("budget_ms", reason, needs=[f"{join('actuators', name)}.ttl_ms"])


def _check_lateness(config: RuntimeConfig, found: Findings) -> None:
    """A frame that waits for another one has its budget from its receipt: one that is released when it is gone decides nothing."""
    if not config.features or not found.is_sound("features[0]", "streams"):
        return
    name = config.features[0].stream or ""
    lateness_ms = config.streams[name].clean.lateness_ms
    if 0 < lateness_ms >= config.budget_ms:
        reason = f"must be less than budget_ms ({config.budget_ms:g}): a frame that waits so long has no time left for its decision"
        found.add(f"{join('streams', name)}.clean.lateness_ms", reason, needs=["budget_ms"])


def _check_silence(config: RuntimeConfig, found: Findings) -> None:
    """Between two decisions there is silence: an actuator that does not outwait it never leaves its safe value."""
    if not config.features or not found.is_sound("features[0]", "streams"):
        return
    entry = config.features[0]
    hop, rate_hz = Span.parse(entry.hop), effective_rate_hz(config.streams[entry.stream or ""])
    if not hop.by_time and rate_hz is None:
        return
    period_ms = hop.value / 1e6 if hop.by_time else hop.value / (rate_hz or 1.0) * 1e3
    for name, actuator in config.actuators.items():
        if actuator.stale_ms <= period_ms:
            reason = f"must be more than the {period_ms:g} ms from one decision to the next (features[0].hop), or it latches between them"
            found.add(f"{join('actuators', name)}.stale_ms", reason)
