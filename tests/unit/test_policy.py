"""The rule table: thresholds to the last bit, holds to the nanosecond, priority, and a slow second opinion over random histories."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.messages import Cause, Intent, Origin
from edge.policy import Notice, Policy, RuleSpec

S = 1_000_000_000
GAP_NS = 2 * S
NO_FEATURES = np.zeros(0, np.float32)


def alert(**changes: Any) -> RuleSpec:
    base: dict[str, Any] = {
        "name": "imbalance",
        "source": "score",
        "index": 0,
        "enter": 0.8,
        "exit": 0.5,
        "hold_ns": 0,
        "emit": "alert",
        "topic": "plant/{device}/alerts",
    }
    return RuleSpec(**(base | changes))


def command(**changes: Any) -> RuleSpec:
    base = {"name": "slow-down", "emit": "command", "topic": None, "actuator": "fan", "at_enter": 0.5, "at_one": 0.5}
    return alert(**(base | changes))


def policy(*rules: RuleSpec, lanes: int = 1, gap_ns: int = GAP_NS) -> Policy:
    return Policy(rules, lanes, gap_ns)


def by(variant: str) -> Origin:
    return Origin("fan-anomaly", "3", variant, "b-m1")


def states(table: Policy, scores: Sequence[float], step_ns: int = 0) -> list[str]:
    """The state of the alerts that a run of scores causes, "" where there is none."""
    said = [table.decide(0, [score], NO_FEATURES, i * step_ns, by("")) for i, score in enumerate(scores)]
    return ["".join(action.state for action in actions if isinstance(action, Notice)) for actions in said]


def asked(table: Policy, score: float, stamp_ns: int = 0) -> list[tuple[str, float]]:
    return [(a.actuator, a.value) for a in table.decide(0, [score], NO_FEATURES, stamp_ns, by("")) if isinstance(a, Intent)]


# --- thresholds ---


def test_an_upward_rule_enters_at_enter_and_leaves_below_exit() -> None:
    below, above = math.nextafter(0.8, 0), math.nextafter(0.5, 0)
    assert states(policy(alert()), [0.5, below, 0.8, 0.9, 0.79, 0.5, above, 0.5, 0.8]) == [
        *("", "", "raised", "", "", "", "cleared", "", "raised"),
    ]


def test_a_downward_rule_enters_at_enter_and_leaves_above_exit() -> None:
    rule = alert(enter=0.2, exit=0.4)
    assert states(policy(rule), [0.4, math.nextafter(0.2, 1), 0.2, -3.0, 0.3, 0.4, math.nextafter(0.4, 1), 0.3, 0.1]) == [
        *("", "", "raised", "", "", "", "cleared", "", "raised"),
    ]


def test_equal_thresholds_have_no_hysteresis_and_trigger_upwards() -> None:
    rule = alert(enter=0.5, exit=0.5)
    assert states(policy(rule), [0.4, 0.5, 0.5, math.nextafter(0.5, 0), 0.5]) == ["", "raised", "", "cleared", "raised"]


def test_negative_thresholds_and_zero_are_like_any_other() -> None:
    assert states(policy(alert(enter=0.0, exit=-1.0)), [-0.1, 0.0, -1.0, -1.1]) == ["", "raised", "", "cleared"]
    assert states(policy(alert(enter=-5.0, exit=-1.0)), [-4.9, -5.0, -1.0, -0.9]) == ["", "raised", "", "cleared"]


def test_a_notice_says_what_changed_and_why() -> None:
    table = policy(alert(index=1, severity="critical"))
    assert list(table.decide(0, [0.0, 0.9], NO_FEATURES, 5, by("int8"))) == [
        Notice("imbalance", "raised", "critical", "plant/{device}/alerts", Cause("imbalance", 0.9, "fan-anomaly", "3", "int8", "b-m1"))
    ]
    assert list(table.decide(0, [0.9, 0.1], NO_FEATURES, 6, by("fp32"))) == [
        Notice("imbalance", "cleared", "critical", "plant/{device}/alerts", Cause("imbalance", 0.1, "fan-anomaly", "3", "fp32", "b-m1"))
    ]


def test_a_feature_rule_reads_the_vector_and_compares_as_float32() -> None:
    table = policy(alert(source="feature", index=2, enter=0.7, exit=0.3))
    vector = np.array([9, 9, 0.7, 9], np.float32)
    (notice,) = table.decide(0, [], vector, 0, by(""))
    assert isinstance(notice, Notice)
    assert notice.cause.score == float(np.float32(0.7)) < 0.7
    assert type(notice.cause.score) is float
    vector[2] = 0.3
    assert not table.decide(0, [], vector, 1, by(""))
    vector[2] = np.nextafter(np.float32(0.3), np.float32(0))
    assert len(table.decide(0, [], vector, 2, by(""))) == 1


def test_an_alert_ignores_what_only_a_command_needs() -> None:
    (notice,) = policy(alert(actuator="", at_enter=0.0, at_one=1.0)).decide(0, [0.9], NO_FEATURES, 0, by(""))
    assert isinstance(notice, Notice)


def test_nothing_to_say_costs_no_allocation() -> None:
    table = policy(alert(), command())
    assert table.decide(0, [0.1], NO_FEATURES, 0, by("")) is table.decide(0, [0.2], NO_FEATURES, 1, by(""))
    assert len(table.decide(0, [0.2], NO_FEATURES, 1, by(""))) == 0
    assert not policy().decide(0, [0.2], NO_FEATURES, 1, by(""))


# --- hold ---


def test_a_hold_ends_at_exactly_its_length() -> None:
    table = policy(alert(hold_ns=S))
    for stamp in (100, 100, 100 + S // 2, 100 + S - 1):
        assert not table.decide(0, [0.9], NO_FEATURES, stamp, by(""))
    assert len(table.decide(0, [0.9], NO_FEATURES, 100 + S, by(""))) == 1


def test_a_dip_starts_the_hold_again() -> None:
    table = policy(alert(hold_ns=S))
    for stamp, score in ((0, 0.9), (S - 1, 0.79), (S, 0.9), (2 * S - 1, 0.9)):
        assert not table.decide(0, [score], NO_FEATURES, stamp, by(""))
    assert len(table.decide(0, [0.9], NO_FEATURES, 2 * S, by(""))) == 1


@pytest.mark.parametrize(("step_ns", "is_held"), [(0, False), (GAP_NS - 1, True), (GAP_NS, True), (GAP_NS + 1, False), (-1, False)])
def test_a_gap_or_a_step_back_starts_the_hold_again(step_ns: int, is_held: bool) -> None:
    table = policy(alert(hold_ns=GAP_NS - 1))
    assert not table.decide(0, [0.9], NO_FEATURES, 7, by(""))
    assert bool(table.decide(0, [0.9], NO_FEATURES, 7 + step_ns, by(""))) is is_held


def test_after_a_gap_the_hold_counts_from_the_first_stamp_after_it() -> None:
    table = policy(alert(hold_ns=S))
    for stamp in (0, 5 * S, 6 * S - 1):
        assert not table.decide(0, [0.9], NO_FEATURES, stamp, by(""))
    assert len(table.decide(0, [0.9], NO_FEATURES, 6 * S, by(""))) == 1


def test_without_a_gap_only_a_step_back_breaks_a_hold() -> None:
    table = policy(alert(hold_ns=S), gap_ns=0)
    assert not table.decide(0, [0.9], NO_FEATURES, -(2**62), by(""))
    assert len(table.decide(0, [0.9], NO_FEATURES, 2**62, by(""))) == 1


def test_stamps_of_any_origin_will_do() -> None:
    for origin in (-(2**62), -1, 0, 2**62):
        table = policy(alert(hold_ns=S))
        assert not table.decide(0, [0.9], NO_FEATURES, origin, by(""))
        assert len(table.decide(0, [0.9], NO_FEATURES, origin + S, by(""))) == 1


def test_the_hold_is_needed_again_after_the_rule_was_inactive() -> None:
    table = policy(alert(hold_ns=S))
    assert states(table, [0.9, 0.9, 0.1, 0.9, 0.9], S) == ["", "raised", "cleared", "", "raised"]


# --- commands ---


def test_a_command_rule_asks_with_every_decision_while_active() -> None:
    table = policy(command())
    assert [asked(table, score) for score in (0.7, 0.8, 0.5, 0.49, 0.7)] == [[], [("fan", 0.5)], [("fan", 0.5)], [], []]


def test_an_intent_carries_its_cause() -> None:
    (intent,) = policy(command()).decide(0, [0.9], NO_FEATURES, 0, by("int8"))
    assert intent == Intent("fan", 0.5, Cause("slow-down", 0.9, "fan-anomaly", "3", "int8", "b-m1"))


def test_otherwise_is_asked_for_while_inactive() -> None:
    table = policy(command(otherwise=1, hold_ns=S))
    assert asked(table, 0.1, 0) == [("fan", 1.0)]
    assert asked(table, 0.9, 1) == [("fan", 1.0)]
    assert asked(table, 0.9, 1 + S) == [("fan", 0.5)]
    assert asked(table, 0.1, 2 + S) == [("fan", 1.0)]
    assert asked(policy(command(otherwise=0.0)), 0.1) == [("fan", 0.0)]


@pytest.mark.parametrize(
    ("score", "value"),
    [(0.5, 0.4), (0.7, 0.4), (0.8, 0.4), (0.9, 0.2), (0.85, 0.3), (1.0, 0.0), (1.5, 0.0)],
)
def test_a_ramp_follows_the_score_between_enter_and_one(score: float, value: float) -> None:
    table = policy(command(at_enter=0.4, at_one=0.0))
    asked(table, 0.95)
    assert [value for _, value in asked(table, score)] == pytest.approx([value], abs=1e-12)


def test_a_ramp_of_no_length_steps_at_one() -> None:
    table = policy(command(enter=1.0, exit=0.5, at_enter=0.4, at_one=0.0))
    assert [asked(table, score) for score in (0.99, 1.0, 0.99, 2.0)] == [[], [("fan", 0.0)], [("fan", 0.4)], [("fan", 0.0)]]


@given(
    st.floats(-1e300, 1e300),
    st.floats(-1e300, 1e300),
    st.floats(-10, 1),
    st.lists(st.floats(-20, 20), min_size=1, max_size=8),
)
def test_a_ramp_never_leaves_its_ends_and_never_turns_back(at_enter: float, at_one: float, enter: float, scores: list[float]) -> None:
    table = policy(command(enter=enter, exit=-30.0, at_enter=at_enter, at_one=at_one))
    assert asked(table, 1.0) == [("fan", at_one)]
    values = [asked(table, score)[0][1] for score in sorted(scores)]
    slack = 1e-15 * max(abs(at_enter), abs(at_one))
    for value, following in zip(values, [*values[1:], at_one], strict=True):
        assert min(at_enter, at_one) <= value <= max(at_enter, at_one)
        assert (following - value) * (1 if at_one >= at_enter else -1) >= -slack


def test_values_are_floats_even_when_given_as_integers() -> None:
    for rule in (command(at_enter=1, at_one=1), command(at_enter=1, at_one=0), command(enter=1, at_enter=1, at_one=0, otherwise=1)):
        table = policy(rule)
        for score in (0.8, 0.85, 1.0):
            assert all(type(value) is float for _, value in asked(table, score))


# --- priority ---


def test_the_first_rule_in_the_file_speaks_for_an_actuator() -> None:
    table = policy(
        command(name="stop", index=0, at_enter=0.0, at_one=0.0),
        alert(name="tell", index=0),
        command(name="slow", index=1, at_enter=0.3, at_one=0.3, otherwise=0.9),
        command(name="never", index=0, at_enter=0.7, at_one=0.7),
        command(name="lamp", index=0, actuator="lamp", at_enter=1.0, at_one=1.0),
    )

    def heard(*scores: float) -> list[str]:
        return [a.cause.rule for a in table.decide(0, scores, NO_FEATURES, 0, by(""))]

    assert heard(0.1, 0.1) == ["slow"]
    assert heard(0.1, 0.9) == ["slow"]
    assert heard(0.9, 0.9) == ["stop", "tell", "lamp"]
    assert heard(0.9, 0.1) == ["stop", "lamp"]
    assert heard(0.1, 0.1) == ["tell", "slow"]


def test_a_rule_that_is_not_heard_keeps_its_own_state() -> None:
    table = policy(command(name="first", index=0), command(name="second", index=1, hold_ns=S))

    def heard(stamp_ns: int, *scores: float) -> list[str]:
        return [a.cause.rule for a in table.decide(0, scores, NO_FEATURES, stamp_ns, by(""))]

    assert heard(0, 0.9, 0.9) == ["first"]
    assert heard(S, 0.9, 0.9) == ["first"]
    assert heard(S + 1, 0.1, 0.6) == ["second"]


# --- values that are no numbers ---


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_changes_nothing(bad: float) -> None:
    table = policy(alert(hold_ns=S), command(otherwise=0.9))
    assert not table.decide(0, [bad], NO_FEATURES, 0, by(""))
    assert len(table.decide(0, [0.9], NO_FEATURES, 0, by(""))) == 1  # the command; the hold of the alert begins
    assert not table.decide(0, [bad], NO_FEATURES, S // 2, by(""))
    (raised, intent) = table.decide(0, [0.9], NO_FEATURES, S, by(""))
    assert isinstance(raised, Notice)
    assert raised.state == "raised"
    assert isinstance(intent, Intent)
    assert not table.decide(0, [bad], NO_FEATURES, S, by(""))
    assert len(table.decide(0, [0.9], NO_FEATURES, S, by(""))) == 1  # still raised, so only the command speaks


def test_a_rule_without_a_reading_keeps_others_from_its_actuator() -> None:
    table = policy(command(name="stop", index=0), command(name="run", index=1, at_enter=1.0, at_one=1.0))
    assert len(table.decide(0, [0.9, 0.9], NO_FEATURES, 0, by(""))) == 1
    assert not table.decide(0, [math.nan, 0.9], NO_FEATURES, 1, by(""))
    table.decide(0, [0.1, 0.9], NO_FEATURES, 2, by(""))
    (intent,) = table.decide(0, [math.nan, 0.9], NO_FEATURES, 3, by(""))
    assert intent.cause.rule == "run"


# --- lanes ---


def test_lanes_do_not_know_each_other_and_reset_forgets_one() -> None:
    table = policy(alert(), alert(name="held", hold_ns=S), lanes=3)
    for lane in range(3):
        assert [a.cause.rule for a in table.decide(lane, [0.9], NO_FEATURES, 0, by(""))] == ["imbalance"]
    table.reset(1)
    assert [a.cause.rule for a in table.decide(0, [0.9], NO_FEATURES, S, by(""))] == ["held"]
    assert [a.cause.rule for a in table.decide(1, [0.9], NO_FEATURES, S, by(""))] == ["imbalance"]
    assert [a.cause.rule for a in table.decide(2, [0.9], NO_FEATURES, S, by(""))] == ["held"]


# --- a second opinion ---


class Slow:
    """One rule, written for reading: looks at the whole history for every answer."""

    def __init__(self, rule: RuleSpec, gap_ns: int) -> None:
        self.rule, self.gap_ns = rule, gap_ns
        self.is_active = False
        self.held: list[int] = []

    def decide(self, score: float, stamp_ns: int) -> str:
        rule = self.rule
        if not math.isfinite(score):
            return ""
        upwards = rule.enter >= rule.exit
        if self.is_active:
            if score < rule.exit if upwards else score > rule.exit:
                self.is_active = False
                return "cleared"
            return ""
        if not (score >= rule.enter if upwards else score <= rule.enter):
            self.held = []
            return ""
        if self.held and (stamp_ns < self.held[-1] or stamp_ns - self.held[-1] > self.gap_ns):
            self.held = []
        self.held.append(stamp_ns)
        if self.held[-1] - self.held[0] < rule.hold_ns:
            return ""
        self.is_active, self.held = True, []
        return "raised"


LEVELS = st.sampled_from([0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0])


@given(
    st.lists(st.tuples(LEVELS, LEVELS, st.integers(0, 5)), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 1), st.one_of(LEVELS, st.just(math.nan)), st.integers(-2, 4)), max_size=60),
)
def test_random_histories_agree_with_the_slow_rule(rules: list[tuple[float, float, int]], history: list[tuple[int, float, int]]) -> None:
    specs = [alert(name=str(i), enter=enter, exit=exit_, hold_ns=hold) for i, (enter, exit_, hold) in enumerate(rules)]
    table = policy(*specs, lanes=2, gap_ns=3)
    slow = [[Slow(spec, 3) for spec in specs] for _ in range(2)]
    stamp_ns = 0
    for lane, score, step in history:
        stamp_ns += step
        expected = [(rule.rule.name, state) for rule in slow[lane] if (state := rule.decide(score, stamp_ns))]
        said = table.decide(lane, [score], NO_FEATURES, stamp_ns, by(""))
        assert [(n.rule, n.state) for n in said if isinstance(n, Notice)] == expected


# --- rules and tables that make no sense ---


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (lambda: alert(name=""), "the name is empty"),
        (lambda: alert(source="label"), "source must be score or feature, not label"),
        (lambda: alert(index=-1), "index must be 0 or more, not -1"),
        (lambda: alert(enter=math.nan), "enter and exit must be finite float32 values, not nan and 0.5"),
        (lambda: alert(exit=math.nan), "enter and exit must be finite"),
        (lambda: alert(exit=-math.inf), "enter and exit must be finite"),
        (lambda: alert(enter=1e39), "enter and exit must be finite float32 values"),
        (lambda: alert(hold_ns=-1), "hold_ns must be 0 or more, not -1"),
        (lambda: alert(emit="mail"), "emit must be alert or command, not mail"),
        (lambda: alert(severity="loud"), "severity must be info, warning or critical, not loud"),
        (lambda: alert(topic=None), "an alert needs a topic"),
        (lambda: alert(topic=""), "an alert needs a topic"),
        (lambda: alert(actuator="fan"), "actuator and otherwise belong to a command"),
        (lambda: alert(otherwise=0.0), "actuator and otherwise belong to a command"),
        (lambda: command(actuator=None), "a command needs an actuator"),
        (lambda: command(actuator=""), "a command needs an actuator"),
        (lambda: command(at_enter=None), "a command needs a value"),
        (lambda: command(at_one=None), "a command needs a value"),
        (lambda: command(at_enter=math.nan), "values must be finite, not nan, 0.5, None"),
        (lambda: command(at_one=math.inf), "values must be finite"),
        (lambda: command(otherwise=math.inf), "values must be finite"),
        (lambda: command(enter=1.5, at_one=0.0), "needs exit <= enter <= 1, not enter = 1.5, exit = 0.5"),
        (lambda: command(enter=0.2, at_one=0.0), "needs exit <= enter <= 1, not enter = 0.2, exit = 0.5"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: Any, text: str) -> None:
    with pytest.raises(ValueError, match="^rule '[a-z-]*': .*" + text.replace("[", "\\[")):
        rule()


def test_a_fixed_value_may_trigger_anywhere() -> None:
    assert asked(policy(command(enter=5.0, exit=4.0)), 5.0) == [("fan", 0.5)]
    assert asked(policy(command(enter=0.2, exit=0.4)), 0.1) == [("fan", 0.5)]


def test_a_table_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="two rules share a name"):
        policy(alert(), alert())
    with pytest.raises(ValueError, match="lanes must be 1 or more and gap_ns 0 or more, not 0 and 2000000000"):
        policy(alert(), lanes=0)
    with pytest.raises(ValueError, match="not 1 and -1"):
        policy(alert(), gap_ns=-1)
