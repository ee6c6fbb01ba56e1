"""Actuators and rules: limits that hold together, rules that name what exists and carry the keys of their kind."""

import math

from edge.config.check_model import Target
from edge.config.check_streams import check_unit
from edge.config.findings import Findings, join, near
from edge.config.types import Actuator, Ramp, Rule, RuntimeConfig

_FLOAT32_MAX = 3.4028234663852886e38
_TICKS_PER_LIFE = 4  # a latched output repeats its safe value every half life, seen at ticks


def check_actuators(config: RuntimeConfig, found: Findings) -> None:
    """Note what is wrong with the tables under ``actuators``, but for their topics."""
    for name, actuator in config.actuators.items():
        path = join("actuators", name)
        if not name:
            found.add(path, "an actuator needs a name")
        check_unit(actuator.unit, f"{path}.unit", found)
        _check_limits(actuator, path, found)
        if config.tick_ms * _TICKS_PER_LIFE > actuator.ttl_ms:
            reason = f"must be at most a quarter of {path}.ttl_ms ({actuator.ttl_ms:g}), or repeated safe values leave gaps"
            found.add("tick_ms", reason, needs=[f"{path}.ttl_ms"])
        if actuator.stale_ms < config.tick_ms:
            reason = f"must be at least tick_ms ({config.tick_ms}): silence is looked for at ticks"
            found.add(f"{path}.stale_ms", reason, needs=["tick_ms"])


def _check_limits(actuator: Actuator, path: str, found: Findings) -> None:
    limits = [f"{path}.min", f"{path}.max"]
    if actuator.min > actuator.max:
        found.add(f"{path}.min", f"must be at most max ({actuator.max:g}), not {actuator.min:g}", needs=limits)
    elif not actuator.min <= actuator.safe_value <= actuator.max:
        reason = f"must be within min and max ({actuator.min:g} to {actuator.max:g}), not {actuator.safe_value:g}"
        found.add(f"{path}.safe_value", reason, needs=limits)


def check_rules(config: RuntimeConfig, target: Target, found: Findings) -> None:
    """Note what is wrong with the entries of ``rules``, but for their topics."""
    owners: dict[str, int] = {}
    for i, rule in enumerate(config.rules):
        path = f"rules[{i}]"
        if rule.name in owners:
            reason = f"{rule.name!r} is the name of rules[{owners[rule.name]}] too; every name must be different"
            found.add(f"{path}.name", reason)
        owners.setdefault(rule.name, i)
        _check_score(rule, path, target, config, found)
        for key, value in (("enter", rule.enter), ("exit", rule.exit)):
            if abs(value) > _FLOAT32_MAX:
                found.add(f"{path}.{key}", f"scores are float32: write a number within +-{_FLOAT32_MAX:.4g}")
        if rule.emit == "alert":
            _check_alert(rule, path, found)
        else:
            _check_command(rule, path, target, config, found)


def _check_score(rule: Rule, path: str, target: Target, config: RuntimeConfig, found: Findings) -> None:
    valid = [*(target.labels or ()), *target.vector.names]
    # The name may belong to a model or to features that have a problem of their own.
    is_known = target.labels is not None if "." not in rule.score else target.vector.is_complete
    if rule.score in valid or not is_known:
        return
    if config.model is None:
        there_is = f"the file has no model, and its features are {_some(target.vector.names)}"
    else:
        there_is = f"the model's labels are {_some(list(target.labels or ()))}"
    found.add(
        f"{path}.score", f"unknown score {rule.score!r}: neither a label of the model nor a feature; {there_is}", near(rule.score, valid)
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "none"


def _check_alert(rule: Rule, path: str, found: Findings) -> None:
    needs = [f"{path}.emit"]
    if rule.topic is None:
        found.add(f"{path}.topic", "is missing; an alert needs one, such as 'plant/{device}/alerts'", needs=needs)
    for key in ("actuator", "value", "otherwise"):
        if getattr(rule, key) is not None:
            found.add(f"{path}.{key}", 'belongs to emit = "command"; an alert has none', needs=needs)


def _check_command(rule: Rule, path: str, target: Target, config: RuntimeConfig, found: Findings) -> None:
    needs = [f"{path}.emit"]
    if rule.topic is not None:
        found.add(f"{path}.topic", 'belongs to emit = "alert"; a command goes to the topic of its actuator', needs=needs)
    if rule.severity != "warning":  # the effective file writes the default out, so that passes
        found.add(f"{path}.severity", 'belongs to emit = "alert"; a command has none', needs=needs)
    if rule.actuator is None:
        found.add(f"{path}.actuator", "is missing; a command needs the name of an actuator", needs=needs)
    elif rule.actuator not in config.actuators:
        reason = f"no actuator {rule.actuator!r} is listed; there are {', '.join(config.actuators) or 'none'}"
        unlisted = ["actuators"] if not config.actuators else []
        found.add(f"{path}.actuator", reason, near(rule.actuator, config.actuators), needs=[*needs, *unlisted])
    if rule.value is None:
        found.add(f"{path}.value", "is missing; a command needs a number or { at_enter, at_one }", needs=needs)
    elif isinstance(rule.value, Ramp) and rule.value.at_enter != rule.value.at_one:
        _check_ramp(rule, path, target, found)


def _check_ramp(rule: Rule, path: str, target: Target, found: Findings) -> None:
    needs = [f"{path}.{key}" for key in ("emit", "enter", "exit", "score")]
    is_feature = rule.score in target.vector.names and rule.score not in (target.labels or ())
    if is_feature:
        found.add(f"{path}.value", f"a ramp follows a score up to 1; {rule.score} is a feature: write a number", needs=needs)
    elif rule.enter < rule.exit:
        found.add(f"{path}.value", "a ramp needs a rule that triggers upwards: exit at most enter", needs=needs)
    elif rule.enter > 1 and not math.isnan(rule.enter):
        found.add(f"{path}.value", f"a ramp runs from enter to a score of 1, so enter must be at most 1, not {rule.enter:g}", needs=needs)
