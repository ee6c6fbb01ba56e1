"""Limits check themselves when they are built, to the last bit, and cannot be changed afterwards."""

import math
from typing import Any

import pytest

from edge import safety

FAN: dict[str, Any] = {
    "name": "fan",
    "unit": "1",
    "topic": "plant/{device}/cmd/fan",
    "min": 0.0,
    "max": 1.0,
    "slew_per_s": 0.5,
    "ttl_ns": 300,
    "safe_value": 0.3,
    "stale_ns": 500,
    "rearm_ns": 1000,
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"slew_per_s": None},
        {"slew_per_s": 5e-324},
        {"slew_per_s": 1.7e308},
        {"min": -1e308, "max": 1e308},
        {"safe_value": 0.0},
        {"safe_value": 1.0},
        {"min": 0.3, "max": 0.3},
        {"ttl_ns": 1, "stale_ns": 1, "rearm_ns": 0},
        {"unit": ""},
    ],
)
def test_limits_at_their_edges_are_accepted(changes: dict[str, Any]) -> None:
    limits = safety.ActuatorLimits(**(FAN | changes))
    assert {name: getattr(limits, name) for name in FAN} == FAN | changes


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": ""}, "actuator '': the name is empty"),
        ({"topic": ""}, "actuator 'fan': the topic is empty"),
        ({"min": math.nan}, "actuator 'fan': min must be finite, not nan"),
        ({"min": -math.inf}, "actuator 'fan': min must be finite, not -inf"),
        ({"max": math.nan}, "actuator 'fan': max must be finite, not nan"),
        ({"max": math.inf}, "actuator 'fan': max must be finite, not inf"),
        ({"safe_value": math.nan}, "actuator 'fan': min <= safe_value <= max does not hold: 0.0, nan, 1.0"),
        ({"safe_value": -5e-324}, "actuator 'fan': min <= safe_value <= max does not hold: 0.0, -5e-324, 1.0"),
        (
            {"safe_value": math.nextafter(1.0, 2)},
            "actuator 'fan': min <= safe_value <= max does not hold: 0.0, 1.0000000000000002, 1.0",
        ),
        ({"min": 0.6, "max": 0.4, "safe_value": 0.5}, "actuator 'fan': min <= safe_value <= max does not hold: 0.6, 0.5, 0.4"),
        ({"slew_per_s": 0.0}, "actuator 'fan': slew_per_s must be finite and above 0, not 0.0"),
        ({"slew_per_s": -1.0}, "actuator 'fan': slew_per_s must be finite and above 0, not -1.0"),
        ({"slew_per_s": math.inf}, "actuator 'fan': slew_per_s must be finite and above 0, not inf"),
        ({"slew_per_s": math.nan}, "actuator 'fan': slew_per_s must be finite and above 0, not nan"),
        ({"ttl_ns": 0}, "actuator 'fan': ttl_ns must be above 0, not 0"),
        ({"ttl_ns": -1}, "actuator 'fan': ttl_ns must be above 0, not -1"),
        ({"stale_ns": 0}, "actuator 'fan': stale_ns must be above 0, not 0"),
        ({"stale_ns": -1}, "actuator 'fan': stale_ns must be above 0, not -1"),
        ({"rearm_ns": -1}, "actuator 'fan': rearm_ns must be 0 or more, not -1"),
    ],
)
def test_limits_that_make_no_sense_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match="actuator") as refused:
        safety.ActuatorLimits(**(FAN | changes))
    assert str(refused.value) == text


def test_limits_cannot_be_changed_afterwards() -> None:
    limits = safety.ActuatorLimits(**FAN)
    with pytest.raises(AttributeError):
        limits.max = 2.0  # type: ignore[misc]


def test_an_envelope_needs_lanes_and_names_that_differ() -> None:
    limits = safety.ActuatorLimits(**FAN)
    with pytest.raises(ValueError, match=r"^lanes must be 1 or more, not 0$"):
        safety.Envelope([limits], 0, "boot")
    with pytest.raises(ValueError, match=r"^two actuators share a name$"):
        safety.Envelope([limits, safety.ActuatorLimits(**(FAN | {"topic": "other"}))], 1, "boot")


def test_an_envelope_without_actuators_says_no_to_everything() -> None:
    envelope = safety.Envelope([], 1, "boot")
    envelope.alive(0, 0)
    assert envelope.tick(10**12, ["a"]) == envelope.trip(0, "a", 0, "x") == envelope.release(0, "a", 0) == []
