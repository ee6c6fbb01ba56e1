"""Rules and actuators of a config as the values that policy and envelope take."""

from collections.abc import Mapping, Sequence

from edge.config.types import Actuator, Rule
from edge.errors import ConfigError, Problem
from edge.policy import RuleSpec
from edge.safety import ActuatorLimits

_NS_PER_MS = 1_000_000


def rule_specs(rules: Sequence[Rule], labels: tuple[str, ...], features: tuple[str, ...]) -> list[RuleSpec]:
    """What policy needs to know of each rule.

    Args:
        rules: in order of priority.
        labels: of the model.
        features: their names.

    Raises:
        ConfigError: a rule names a score that does not exist.
    """
    return [_rule(rule, i, labels, features) for i, rule in enumerate(rules)]


def actuator_limits(actuators: Mapping[str, Actuator]) -> list[ActuatorLimits]:
    """What the envelope needs to know of each actuator."""
    return [
        ActuatorLimits(
            name=name,
            unit=actuator.unit,
            topic=actuator.topic,
            min=actuator.min,
            max=actuator.max,
            slew_per_s=actuator.slew_per_s,
            ttl_ns=int(actuator.ttl_ms * _NS_PER_MS),
            safe_value=actuator.safe_value,
            stale_ns=int(actuator.stale_ms * _NS_PER_MS),
            rearm_ns=int((actuator.stale_ms if actuator.rearm_ms is None else actuator.rearm_ms) * _NS_PER_MS),
        )
        for name, actuator in actuators.items()
    ]


def _rule(rule: Rule, i: int, labels: tuple[str, ...], features: tuple[str, ...]) -> RuleSpec:
    if rule.score not in labels and rule.score not in features:
        raise ConfigError([Problem(f"rules[{i}].score", f"{rule.score!r} is neither a label of the model nor a feature")])
    is_score = rule.score in labels
    ramp = rule.value
    at_enter, at_one = (0.0, 0.0) if ramp is None else (ramp, ramp) if isinstance(ramp, float) else (ramp.at_enter, ramp.at_one)
    return RuleSpec(
        name=rule.name,
        source="score" if is_score else "feature",
        index=labels.index(rule.score) if is_score else features.index(rule.score),
        enter=rule.enter,
        exit=rule.exit,
        hold_ns=int(rule.hold_ms * _NS_PER_MS),
        emit=rule.emit,
        severity=rule.severity,
        topic=rule.topic or "",
        actuator=rule.actuator or "",
        at_enter=at_enter,
        at_one=at_one,
        otherwise=rule.otherwise,
    )
