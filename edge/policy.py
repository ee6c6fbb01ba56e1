"""Scores and features to intents and notices, by a table of rules.

Owns thresholds, hysteresis, hold times and which rule speaks for an actuator. What a rule asks for is a wish: only the envelope can make
a command of it. Knows no units, no topics' devices, and no clock: time is the sender's stamps.
"""

import hashlib
from collections.abc import Collection, Sequence
from math import isfinite
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edge.messages import Cause, Intent, Origin, Severity

_NOTHING: tuple[()] = ()
_NEVER_NS = 1 << 64  # more than any two stamps are apart
_FLOAT32_MAX = float(np.finfo(np.float32).max)


class RuleSpec(msgspec.Struct, frozen=True):
    """When a value matters, and what is asked for then.

    A rule triggers upwards when ``enter >= exit``: it becomes active at or above ``enter`` and inactive below ``exit``. It triggers
    downwards when ``enter < exit``: active at or below ``enter``, inactive above ``exit``.

    Args:
        name: unique in a table; appears as ``cause.rule``.
        source: ``index`` counts in the model's scores or in the feature vector.
        index: position of the value, >= 0.
        enter, exit: finite thresholds, in the value's unit.
        hold_ns: how long the value must stay beyond ``enter``, by stamps, >= 0.
        emit: an alert rule tells of each change; a command rule asks its actuator for a value with every decision while active.
        severity: of an alert.
        topic: of an alert; required there.
        actuator: of a command; required there, None or empty for an alert.
        at_enter, at_one: of a command, in the actuator's unit: the value at ``enter`` and at a score of 1, linear between the two,
            constant outside. Equal for a fixed value; different ones need a rule that triggers upwards from at most 1. An alert
            ignores them.
        otherwise: of a command: asked for while the rule is inactive; None asks for nothing.

    Raises:
        ValueError: something is missing, not finite, or contradicts itself.
    """

    name: str
    source: Literal["score", "feature"]
    index: int
    enter: float
    exit: float
    hold_ns: int
    emit: Literal["alert", "command"]
    severity: Severity = "warning"
    topic: str | None = None
    actuator: str | None = None
    at_enter: float | None = None
    at_one: float | None = None
    otherwise: float | None = None

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise ValueError(f"rule {self.name!r}: {problem}")

    def _problem(self) -> str | None:
        checks = (
            (self.name != "", "the name is empty"),
            (self.source in ("score", "feature"), f"source must be score or feature, not {self.source}"),
            (self.index >= 0, f"index must be 0 or more, not {self.index}"),
            (
                all(abs(value) <= _FLOAT32_MAX for value in (self.enter, self.exit)),
                f"enter and exit must be finite float32 values, not {self.enter} and {self.exit}",
            ),
            (self.hold_ns >= 0, f"hold_ns must be 0 or more, not {self.hold_ns}"),
            (self.emit in ("alert", "command"), f"emit must be alert or command, not {self.emit}"),
        )
        first = next((text for holds, text in checks if not holds), None)
        return first or (self._alert_problem() if self.emit == "alert" else self._command_problem())

    def _alert_problem(self) -> str | None:
        if self.severity not in ("info", "warning", "critical"):
            return f"severity must be info, warning or critical, not {self.severity}"
        if not self.topic:
            return "an alert needs a topic"
        if self.actuator or self.otherwise is not None:
            return "actuator and otherwise belong to a command"
        return None

    def _command_problem(self) -> str | None:
        if not self.actuator:
            return "a command needs an actuator"
        if self.at_enter is None or self.at_one is None:
            return "a command needs a value: at_enter and at_one"
        if not all(isfinite(value) for value in (self.at_enter, self.at_one, self.otherwise or 0.0)):
            return f"values must be finite, not {self.at_enter}, {self.at_one}, {self.otherwise}"
        if self.at_enter != self.at_one and (self.enter < self.exit or self.enter > 1):
            return f"a value that follows the score up to 1 needs exit <= enter <= 1, not enter = {self.enter}, exit = {self.exit}"
        return None


class Notice(msgspec.Struct, frozen=True, gc=False):
    """An alert rule became active (raised) or inactive (cleared)."""

    rule: str
    state: Literal["raised", "cleared"]
    severity: Severity
    topic: str
    cause: Cause


class Policy:
    """The rule table with its state for every lane.

    Args:
        rules: in file order: of several command rules with one actuator, the first that has something to ask for is heard.
        lanes: number of lanes, >= 1.
        gap_ns: a longer step between two stamps breaks a hold, >= 0; 0: no step does.

    Attributes:
        gap_ns: as given; more than any two stamps are apart for 0.

    Raises:
        ValueError: two rules share a name, or a number is out of its range.
    """

    def __init__(self, rules: Sequence[RuleSpec], lanes: int, gap_ns: int) -> None:
        if len({rule.name for rule in rules}) != len(rules):
            raise ValueError("two rules share a name")
        if lanes < 1 or gap_ns < 0:
            raise ValueError(f"lanes must be 1 or more and gap_ns 0 or more, not {lanes} and {gap_ns}")
        actuators = list(dict.fromkeys(rule.actuator for rule in rules if rule.actuator))
        self._rules = tuple(_Rule.compiled(rule, actuators) for rule in rules)
        self.gap_ns = gap_ns or _NEVER_NS
        self._schema = hashlib.sha256(msgspec.msgpack.encode(list(rules))).hexdigest()[:16]
        # Flat, indexed [lane * rules + rule]. A hold that is running has the stamps of its first and its latest value.
        slots = lanes * len(rules)
        self._active = [False] * slots
        self._first_ns: list[int | None] = [None] * slots
        self._latest_ns = [0] * slots

    def decide(
        self, lane: int, scores: Sequence[float], vector: npt.NDArray[np.float32], stamp_ns: int, origin: Origin
    ) -> Sequence[Notice | Intent]:
        """What the rules have to say about one feature vector.

        A value that is not finite leaves its rule as it is and silent; where the rule would have spoken, no later one speaks for it.

        Args:
            lane: which device.
            scores: one per label of the model.
            vector: float32 (F,).
            stamp_ns: of the row that completed the vector, sender's clock.
            origin: what computed the scores.
        """
        said: list[Notice | Intent] | None = None
        heard = 0
        slot = lane * len(self._rules) - 1
        for rule in self._rules:
            slot += 1
            score = scores[rule.index] if rule.is_score else vector.item(rule.index)
            was_active = is_active = self._active[slot]
            if is_valid := isfinite(score):
                signal = score * rule.sign
                if was_active or signal >= rule.enter:
                    is_active = self._advance(rule, slot, signal, stamp_ns)
                else:
                    self._first_ns[slot] = None
            speaks = is_active or rule.always_asks if rule.bit else is_active != was_active
            if speaks and is_valid and not heard & rule.bit:
                said = said or []
                said.append(_say(rule.spec, is_active, score, origin))
            if speaks:
                heard |= rule.bit
        return said or _NOTHING

    def save(self, lane: int) -> bytes:
        """Which rules of a lane are active, and which hold is running since when."""
        n = len(self._rules)
        slots = slice(lane * n, lane * n + n)
        return msgspec.msgpack.encode(_Saved(1, self._schema, self._active[slots], self._first_ns[slots], self._latest_ns[slots]))

    def restore(self, lane: int, state: bytes) -> None:
        """Go on from a saved state. Whether an alert rule is active is not taken from it: see ``resume``.

        Raises:
            ValueError: the state is damaged, or of another version or other rules; nothing has changed.
        """
        try:
            saved = msgspec.msgpack.decode(state, type=_Saved)
        except (msgspec.DecodeError, RecursionError) as fault:
            raise ValueError(f"not the state of rules: {fault}") from None
        n = len(self._rules)
        if saved.version != 1 or saved.rules != self._schema or {len(saved.active), len(saved.first_ns), len(saved.latest_ns)} - {n}:
            raise ValueError("the state of other rules")
        slots = slice(lane * n, lane * n + n)
        was_told = self._active[slots]
        self._active[slots] = [active if rule.bit else told for active, told, rule in zip(saved.active, was_told, self._rules, strict=True)]
        self._first_ns[slots] = [None if active else first for active, first in zip(self._active[slots], saved.first_ns, strict=True)]
        self._latest_ns[slots] = saved.latest_ns

    def resume(self, lane: int, raised: Collection[str]) -> None:
        """What was told of alert rules in an earlier run: these were raised and not cleared, and are not raised again.

        Args:
            lane: whose.
            raised: names of rules.
        """
        for slot, rule in enumerate(self._rules, lane * len(self._rules)):
            if rule.bit == 0 and rule.spec.name in raised:
                self._active[slot], self._first_ns[slot] = True, None

    def reset(self, lane: int) -> None:
        """Forget a lane: no rule is active, no hold is running. Nothing is said about it."""
        n = len(self._rules)
        for slot in range(lane * n, lane * n + n):
            self._active[slot] = False
            self._first_ns[slot] = None

    def _advance(self, rule: "_Rule", slot: int, signal: float, stamp_ns: int) -> bool:
        """Whether a rule that is active, or whose value is beyond enter, is active now."""
        if self._active[slot]:
            self._active[slot] = signal >= rule.exit
            return self._active[slot]
        first_ns = self._first_ns[slot]
        if first_ns is None or not 0 <= stamp_ns - self._latest_ns[slot] <= self.gap_ns:
            first_ns = stamp_ns
        is_active = stamp_ns - first_ns >= rule.spec.hold_ns
        self._active[slot] = is_active
        self._first_ns[slot] = None if is_active else first_ns
        self._latest_ns[slot] = stamp_ns
        return is_active


class _Saved(msgspec.Struct, array_like=True):
    version: int
    rules: str
    active: list[bool]
    first_ns: list[int | None]
    latest_ns: list[int]


class _Rule(msgspec.Struct, frozen=True, gc=False):
    """A rule as the loop reads it: every rule triggers upwards, downward ones on the negated value."""

    spec: RuleSpec
    is_score: bool
    index: int
    sign: float
    enter: float
    exit: float
    bit: int  # one per actuator; 0 for an alert
    always_asks: bool

    @classmethod
    def compiled(cls, spec: RuleSpec, actuators: Sequence[str]) -> "_Rule":
        sign = -1.0 if spec.enter < spec.exit else 1.0
        # Features are float32: 0.7 in a file must be met by a feature of 0.7, which is 0.699999988.
        enter, exit_ = (float(np.float32(x)) if spec.source == "feature" else x for x in (spec.enter, spec.exit))
        return cls(
            spec=spec,
            is_score=spec.source == "score",
            index=spec.index,
            sign=sign,
            enter=sign * enter,
            exit=sign * exit_,
            bit=1 << actuators.index(spec.actuator) if spec.actuator else 0,
            always_asks=spec.otherwise is not None,
        )


def _say(spec: RuleSpec, is_active: bool, score: float, origin: Origin) -> Notice | Intent:
    cause = Cause(spec.name, float(score), origin.model, origin.version, origin.variant, origin.deployment)
    if spec.actuator:
        return Intent(spec.actuator, _ramp(spec, score) if is_active else float(spec.otherwise or 0.0), cause)
    return Notice(spec.name, "raised" if is_active else "cleared", spec.severity, spec.topic or "", cause)


def _ramp(spec: RuleSpec, score: float) -> float:
    at_enter, at_one = float(spec.at_enter or 0.0), float(spec.at_one or 0.0)
    if at_enter == at_one or score >= 1:
        return at_one
    if score <= spec.enter:
        return at_enter
    share = (score - spec.enter) / (1 - spec.enter)
    value = at_enter * (1 - share) + at_one * share
    return min(max(value, min(at_enter, at_one)), max(at_enter, at_one))
