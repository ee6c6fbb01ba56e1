"""The envelope, edge by edge: what is let out, when, and what every refusal is called.

Names of edge.safety are looked up at each call, because mutation.py exchanges them.
"""

import math
import random
from collections.abc import Iterator
from typing import Any

import pytest

from edge import safety
from edge.messages import Blocked, Cause, Command, Intent

MS = 1_000_000
S = 1_000 * MS
TTL, STALE, REARM = 300 * MS, 500 * MS, 1_200 * MS
T0 = 7 * S
CAUSE = Cause("slow-down", 0.97, "fan-anomaly", "3", "int8")
DEVICES = ["press-1", "press-2", "press-3"]


def limits(name: str = "fan", **changes: Any) -> "safety.ActuatorLimits":
    base: dict[str, Any] = {
        "name": name,
        "unit": "m/s",
        "topic": f"plant/{{device}}/cmd/{name}",
        "min": -2.0,
        "max": 3.0,
        "slew_per_s": None,
        "ttl_ns": TTL,
        "safe_value": 0.5,
        "stale_ns": STALE,
        "rearm_ns": REARM,
    }
    return safety.ActuatorLimits(**(base | changes))


def envelope(*actuators: "safety.ActuatorLimits", **changes: Any) -> "safety.Envelope":
    return safety.Envelope(actuators or [limits(**changes)], 3, "b00t")


def armed(now_ns: int = T0, **changes: Any) -> "safety.Envelope":
    guarded = envelope(**changes)
    guarded.alive(0, now_ns)
    return guarded


def ask(guarded: "safety.Envelope", value: float, now_ns: int = T0, lane: int = 0, actuator: str = "fan") -> Command | Blocked:
    return guarded.limit(Intent(actuator, value, CAUSE), lane, DEVICES[lane], now_ns)


def let_out(guarded: "safety.Envelope", value: float, now_ns: int = T0, lane: int = 0, actuator: str = "fan") -> float:
    command = ask(guarded, value, now_ns, lane, actuator)
    assert isinstance(command, Command), command
    return command.value


def why(guarded: "safety.Envelope", now_ns: int, lane: int = 0, actuator: str = "fan") -> str:
    """The reason of a refusal, or "" for a command."""
    answer = ask(guarded, 1.0, now_ns, lane, actuator)
    assert isinstance(answer, Command) or answer.actuator == actuator
    return answer.reason if isinstance(answer, Blocked) else ""


def around(edge: float) -> Iterator[float]:
    """Values dense round an edge: the neighbours to the last bit, then ever further away."""
    below = above = edge
    yield edge
    for _ in range(4):
        below, above = math.nextafter(below, -math.inf), math.nextafter(above, math.inf)
        yield from (below, above)
    for exponent in range(-12, 1):
        yield from (edge - 10.0**exponent, edge + 10.0**exponent)


# --- the form of a command ---


def test_a_command_says_everything_its_receiver_needs() -> None:
    assert ask(armed(), 1.25, T0 + 5) == Command(
        id="b00t-fan-press-1-0",
        device="press-1",
        boot_id="b00t",
        seq=0,
        issued_ns=T0 + 5,
        expires_ns=T0 + 5 + TTL,
        name="fan",
        value=1.25,
        unit="m/s",
        cause=CAUSE,
        topic="plant/press-1/cmd/fan",
    )


def test_seq_counts_what_is_let_out_and_nothing_else() -> None:
    guarded = armed()
    ask(guarded, 1.0)
    ask(guarded, math.nan)
    ask(guarded, 1.0, actuator="pump")
    second = ask(guarded, 1.0)
    (third,) = guarded.trip(0, "press-1", T0, "overrun")
    ask(guarded, 1.0)
    (fourth,) = guarded.tick(T0 + TTL, DEVICES)
    assert isinstance(second, Command)
    assert [(c.seq, c.id) for c in (second, third, fourth)] == [(n, f"b00t-fan-press-1-{n}") for n in (1, 2, 3)]


def test_lanes_and_actuators_count_for_themselves() -> None:
    guarded = envelope(limits("fan"), limits("pump"))
    for lane in range(3):
        guarded.alive(lane, T0)
    answers = [ask(guarded, 1.0, T0, lane, name) for _ in range(2) for lane in range(3) for name in ("fan", "pump")]
    assert [a.seq for a in answers if isinstance(a, Command)] == [0] * 6 + [1] * 6
    assert len({a.id for a in answers if isinstance(a, Command)}) == 12
    assert {(a.topic, a.device) for a in answers if isinstance(a, Command)} == {
        (f"plant/{device}/cmd/{name}", device) for device in DEVICES for name in ("fan", "pump")
    }


# --- default is no ---


def test_everything_that_is_not_listed_is_refused() -> None:
    guarded = envelope(limits("fan"), limits("pump"))
    guarded.alive(0, T0)
    letters = random.Random(1)
    names = {"", " ", "*", "fan ", "Fan", "fan\0", "fa", "fann", "None", "pump,fan", "{device}", "plant/press-1/cmd/fan", "__class__"}
    names |= {"".join(letters.choices("fanpump-_0", k=letters.randint(1, 6))) for _ in range(500)}
    for name in names - {"fan", "pump"}:
        for value in (1.0, 0.5, math.nan):
            assert ask(guarded, value, actuator=name) == Blocked(name, "not_listed")
    assert (why(guarded, T0), why(guarded, T0, actuator="pump")) == ("", "")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, None, "1.0", [1.0]])
def test_what_is_no_finite_number_is_refused_in_every_state(value: Any) -> None:
    refusal = Blocked("fan", "not_finite")
    guarded = envelope()
    assert ask(guarded, value) == refusal
    guarded.alive(0, T0)
    assert ask(guarded, value) == refusal
    guarded.trip(0, "press-1", T0, "overrun")
    assert ask(guarded, value) == refusal


def test_a_refused_value_leaves_no_trace() -> None:
    guarded = armed(slew_per_s=1.0)
    ask(guarded, math.nan, T0 + STALE)
    assert let_out(guarded, 3.0, T0 + STALE) == pytest.approx(1.0)


def test_outputs_are_disabled_until_the_first_decision() -> None:
    guarded = envelope()
    assert why(guarded, T0) == "disarmed"
    assert guarded.tick(T0 + 10 * S, DEVICES) == []
    assert guarded.trip(0, "press-1", T0, "overrun") == []
    assert guarded.release(0, "press-1", T0) == []
    assert why(guarded, T0) == "disarmed"
    guarded.alive(0, T0)
    assert [why(guarded, T0, lane) for lane in range(3)] == ["", "disarmed", "disarmed"]


@pytest.mark.parametrize("lane", [-1, 3, 1000])
def test_a_lane_that_does_not_exist_cannot_be_armed(lane: int) -> None:
    guarded = envelope()
    with pytest.raises(IndexError, match=rf"^lane {lane} is not in 0\.\.2$"):
        guarded.alive(lane, T0)
    assert guarded.limit(Intent("fan", 1.0, CAUSE), lane, "x", T0) == Blocked("fan", "disarmed")


def test_the_first_and_the_last_lane_exist() -> None:
    guarded = envelope()
    guarded.alive(0, T0)
    guarded.alive(2, T0)
    assert (why(guarded, T0, 0), why(guarded, T0, 2)) == ("", "")


def test_one_lane_is_enough() -> None:
    guarded = safety.Envelope([limits()], 1, "b00t")
    guarded.alive(0, T0)
    assert why(guarded, T0) == ""


# --- clamp ---


def test_values_are_clamped_at_both_ends() -> None:
    guarded = armed()
    sweep = [*around(-2.0), *around(3.0), *(i / 8 for i in range(-64, 65)), 1e308, -1e308, 5e-324, 0.0]
    for value in sweep:
        assert let_out(guarded, value) == (-2.0 if value < -2.0 else 3.0 if value > 3.0 else value), value


def test_values_are_floats_whatever_the_limits_are_written_as() -> None:
    guarded = armed(min=0, max=1, safe_value=1)
    for value in (-1, 0, 1, 2, True):
        assert type(let_out(guarded, value)) is float
    (safe,) = guarded.trip(0, "press-1", T0, "x")
    assert type(safe.value) is float


# --- slew ---


@pytest.mark.parametrize("elapsed_ns", [0, 1, 999, MS, 20 * MS, STALE - 1, STALE])
@pytest.mark.parametrize("target", [3.0, -2.0])
def test_the_first_value_starts_from_the_safe_value_at_the_time_of_arming(elapsed_ns: int, target: float) -> None:
    guarded = armed(slew_per_s=2.0)
    way = 2.0 * elapsed_ns / S * (1 if target > 0 else -1)
    assert let_out(guarded, target, T0 + elapsed_ns) == pytest.approx(0.5 + way, abs=1e-15)


def test_each_step_starts_from_what_was_let_out_before() -> None:
    guarded = armed(slew_per_s=2.0)
    now_ns, value = T0, 0.5
    for target, step_ns in [(3.0, 100 * MS), (3.0, 0), (3.0, 50 * MS), (-2.0, 100 * MS), (0.59, 100 * MS), (0.6, 10 * MS), (-1.0, 1)]:
        now_ns += step_ns
        way = 2.0 * step_ns / S
        value = min(max(target, value - way), value + way)
        guarded.alive(0, now_ns)
        assert let_out(guarded, target, now_ns) == pytest.approx(value, abs=1e-12)


def test_a_target_within_reach_is_met_exactly() -> None:
    guarded = armed(slew_per_s=2.0)
    for value in [*around(0.5 + 2.0 * 0.1), *around(0.5 - 2.0 * 0.1)]:
        guarded = armed(slew_per_s=2.0)
        answer = let_out(guarded, value, T0 + 100 * MS)
        assert abs(answer - 0.5) <= 0.2 + 1e-15
        if abs(value - 0.5) < 0.2 - 1e-12:
            assert answer == value


def test_a_long_pause_opens_no_jump() -> None:
    guarded = armed(slew_per_s=1.0)
    now_ns = T0
    for _ in range(40):  # decisions go on, nobody asks for anything
        now_ns += STALE
        guarded.alive(0, now_ns)
    assert let_out(guarded, 3.0, now_ns) == pytest.approx(1.0)
    guarded.alive(0, now_ns + STALE)
    assert let_out(guarded, 3.0, now_ns + STALE) == pytest.approx(1.5)


def test_time_that_steps_back_gives_no_way_and_none_twice() -> None:
    guarded = armed(slew_per_s=1.0)
    assert let_out(guarded, 3.0, T0 + 100 * MS) == pytest.approx(0.6)
    for _ in range(5):
        assert let_out(guarded, 3.0, T0 + 20 * MS) == pytest.approx(0.6)
        assert let_out(guarded, 3.0, T0 + 100 * MS) == pytest.approx(0.6)
    assert let_out(guarded, 3.0, T0 + 150 * MS) == pytest.approx(0.65)


def test_a_command_issued_after_a_step_back_lives_from_its_own_time() -> None:
    guarded = armed()
    ask(guarded, 1.0, T0 + 100)
    answer = ask(guarded, 1.0, T0 + 60)
    assert isinstance(answer, Command)
    assert (answer.issued_ns, answer.expires_ns) == (T0 + 60, T0 + 60 + TTL)


def test_the_clamp_comes_before_the_slew() -> None:
    guarded = armed(slew_per_s=1.0)
    assert let_out(guarded, 1e308, T0 + 100 * MS) == pytest.approx(0.6)
    assert let_out(guarded, -1e308, T0 + 200 * MS) == pytest.approx(0.5)


def test_an_immense_slew_limit_does_not_overflow() -> None:
    guarded = armed(slew_per_s=1.5e308, min=-1e308, max=1e308)
    assert let_out(guarded, 1e308, T0 + STALE) == 7.5e307
    assert let_out(guarded, 1e308, T0 + STALE) == 7.5e307
    guarded.alive(0, T0 + STALE)
    assert let_out(guarded, -1e308, T0 + 2 * STALE) == pytest.approx(0.0)
    guarded.alive(0, T0 + 2 * STALE)
    assert let_out(guarded, -1e308, T0 + 3 * STALE) == -7.5e307


# --- silence ---


@pytest.mark.parametrize("quiet_ns", [0, 1, STALE - 1, STALE])
def test_up_to_stale_nothing_is_silent(quiet_ns: int) -> None:
    guarded = armed()
    assert guarded.tick(T0 + quiet_ns, DEVICES) == []
    assert why(guarded, T0 + quiet_ns) == ""


@pytest.mark.parametrize("quiet_ns", [STALE + 1, STALE + 2, 2 * STALE, 100 * S])
def test_silence_sends_the_safe_value_at_once_and_latches(quiet_ns: int) -> None:
    guarded = armed(slew_per_s=0.001)
    now_ns = T0 + quiet_ns
    assert guarded.tick(now_ns, DEVICES) == [
        Command(
            id="b00t-fan-press-1-0",
            device="press-1",
            boot_id="b00t",
            seq=0,
            issued_ns=now_ns,
            expires_ns=now_ns + TTL,
            name="fan",
            value=0.5,
            unit="m/s",
            cause=Cause("envelope.silence", 0.0),
            topic="plant/press-1/cmd/fan",
        )
    ]
    assert why(guarded, now_ns) == "latched"
    assert why(guarded, T0) == "latched"


def test_an_intent_after_silence_is_refused_before_any_tick_and_the_safe_value_follows() -> None:
    guarded = armed()
    assert why(guarded, T0 + STALE) == ""
    assert why(guarded, T0 + STALE + 1) == "latched"
    assert why(guarded, T0 + STALE) == "latched"
    (safe,) = guarded.tick(T0 + STALE + 1, DEVICES)
    assert (safe.value, safe.cause.rule) == (0.5, "envelope.silence")


def test_a_decision_after_silence_latches_before_any_tick_and_the_safe_value_follows() -> None:
    guarded = armed()
    guarded.alive(0, T0 + STALE + 1)
    assert why(guarded, T0 + STALE + 1) == "latched"
    (safe,) = guarded.tick(T0 + STALE + 1, DEVICES)
    assert (safe.value, safe.cause.rule) == (0.5, "envelope.silence")


def test_a_decision_at_exactly_stale_keeps_the_output_armed() -> None:
    guarded = armed()
    for i in range(1, 10):
        guarded.alive(0, T0 + i * STALE)
        assert why(guarded, T0 + i * STALE) == ""
    assert guarded.tick(T0 + 10 * STALE, DEVICES) == []
    assert len(guarded.tick(T0 + 10 * STALE + 1, DEVICES)) == 1


@pytest.mark.parametrize(("step_back_ns", "reason"), [(1, ""), (STALE, ""), (STALE + 1, "latched"), (T0, "latched")])
def test_a_long_step_back_of_time_counts_as_silence(step_back_ns: int, reason: str) -> None:
    assert why(armed(), T0 - step_back_ns) == reason
    assert len(armed().tick(T0 - step_back_ns, DEVICES)) == bool(reason)
    guarded = armed()
    guarded.alive(0, T0 - step_back_ns)
    assert why(guarded, T0 - step_back_ns) == reason


def test_a_short_step_back_does_not_make_the_last_decision_older() -> None:
    guarded = armed()
    guarded.alive(0, T0 - 100)
    assert guarded.tick(T0 + STALE, DEVICES) == []
    assert why(guarded, T0 + STALE) == ""


def test_only_silent_lanes_are_latched_in_the_order_of_their_silence() -> None:
    guarded = envelope()
    for lane, at_ns in ((0, 0), (1, 10), (2, 20), (0, 30)):
        guarded.alive(lane, T0 + at_ns)
    assert guarded.tick(T0 + STALE + 10, DEVICES) == []
    assert [c.device for c in guarded.tick(T0 + STALE + 11, DEVICES)] == ["press-2"]
    assert [why(guarded, T0 + STALE + 11, lane) for lane in range(3)] == ["", "latched", ""]
    assert [c.device for c in guarded.tick(T0 + STALE + 31, DEVICES)] == ["press-3", "press-1"]


def test_each_actuator_has_its_own_patience() -> None:
    guarded = envelope(limits("fan"), limits("pump", stale_ns=2 * STALE, safe_value=-1.0))
    guarded.alive(0, T0)
    assert [(c.name, c.value) for c in guarded.tick(T0 + STALE + 1, DEVICES)] == [("fan", 0.5)]
    assert (why(guarded, T0 + STALE + 1), why(guarded, T0 + STALE + 1, actuator="pump")) == ("latched", "")
    assert [(c.name, c.value) for c in guarded.tick(T0 + 2 * STALE + 1, DEVICES)] == [("fan", 0.5), ("pump", -1.0)]


# --- heartbeat ---


def test_the_safe_value_is_repeated_every_half_life_while_latched() -> None:
    guarded = armed()
    start_ns = T0 + STALE + 1
    sent = [ns for ns in range(0, 10 * TTL + 1, 10 * MS) if guarded.tick(start_ns + ns, DEVICES)]
    assert sent == list(range(0, 10 * TTL + 1, TTL // 2))


def test_the_heartbeat_is_due_to_the_nanosecond() -> None:
    guarded = armed()
    assert len(guarded.tick(T0 + STALE + 1, DEVICES)) == 1
    due_ns = T0 + STALE + 1 + TTL // 2
    for now_ns in (T0 + STALE + 1, T0 + STALE + 2, due_ns - 1):
        assert guarded.tick(now_ns, DEVICES) == []
    (beat,) = guarded.tick(due_ns, DEVICES)
    assert (beat.seq, beat.value, beat.cause) == (1, 0.5, Cause("envelope.silence", 0.0))
    assert beat.expires_ns == due_ns + TTL


def test_a_late_heartbeat_does_not_make_the_next_one_early() -> None:
    guarded = armed()
    guarded.tick(T0 + STALE + 1, DEVICES)
    assert len(guarded.tick(T0 + 3 * S, DEVICES)) == 1
    assert guarded.tick(T0 + 3 * S + TTL // 2 - 1, DEVICES) == []
    assert len(guarded.tick(T0 + 3 * S + TTL // 2, DEVICES)) == 1


def test_the_shortest_life_beats_with_every_tick() -> None:
    guarded = armed(ttl_ns=1)
    assert [len(guarded.tick(T0 + STALE + 1, DEVICES)) for _ in range(3)] == [1, 1, 1]


def test_a_step_back_of_time_does_not_stop_the_heartbeat() -> None:
    guarded = armed()
    guarded.tick(T0 + STALE + 1, DEVICES)
    assert guarded.tick(T0 + STALE + 1, DEVICES) == []
    assert len(guarded.tick(T0 + STALE, DEVICES)) == 1
    assert guarded.tick(T0 + STALE, DEVICES) == []
    assert len(guarded.tick(0, DEVICES)) == 1
    assert guarded.tick(TTL // 2 - 1, DEVICES) == []
    assert len(guarded.tick(TTL // 2, DEVICES)) == 1


def test_the_heartbeat_ends_when_the_latch_opens() -> None:
    guarded = armed(rearm_ns=0)
    assert len(guarded.tick(T0 + STALE + 1, DEVICES)) == 1
    guarded.alive(0, T0 + STALE + 2)
    assert guarded.tick(T0 + STALE + TTL, DEVICES) == []


# --- the latch opens ---


def flow(guarded: "safety.Envelope", start_ns: int, until_ns: int, step_ns: int = 100 * MS) -> list[str]:
    """Decisions from start to until; what an intent after each of them is told."""
    told = []
    for now_ns in range(start_ns, until_ns + 1, step_ns):
        guarded.alive(0, now_ns)
        told.append(why(guarded, now_ns))
    return told


def test_the_latch_opens_when_decisions_have_flowed_long_enough() -> None:
    guarded = armed()
    guarded.tick(T0 + STALE + 1, DEVICES)
    assert flow(guarded, T0 + S, T0 + S + REARM) == ["latched"] * 12 + [""]
    assert why(guarded, T0 + S + REARM + STALE) == ""


def test_the_latch_opens_to_the_nanosecond() -> None:
    for at_ns, reason in ((REARM - 1, "latched"), (REARM, ""), (REARM + 1, "")):
        guarded = armed(stale_ns=2 * REARM)
        guarded.trip(0, "press-1", T0, "overrun")
        guarded.alive(0, T0 + 5)
        guarded.alive(0, T0 + 5 + at_ns)
        assert why(guarded, T0 + 5 + at_ns) == reason


def test_a_gap_starts_the_rearming_again() -> None:
    guarded = armed()
    guarded.tick(T0 + STALE + 1, DEVICES)
    start_ns = T0 + S
    assert set(flow(guarded, start_ns, start_ns + REARM - 100 * MS)) == {"latched"}
    again_ns = start_ns + REARM - 100 * MS + STALE + 1
    assert flow(guarded, again_ns, again_ns + REARM) == ["latched"] * 12 + [""]


def test_a_pause_of_exactly_stale_is_no_gap() -> None:
    guarded = armed()
    guarded.tick(T0 + STALE + 1, DEVICES)
    assert flow(guarded, T0 + S, T0 + S + 3 * STALE, STALE) == ["latched", "latched", "latched", ""]


def test_silence_alone_never_opens_the_latch() -> None:
    guarded = armed()
    for now_ns in range(T0 + STALE + 1, T0 + 20 * S, 50 * MS):
        guarded.tick(now_ns, DEVICES)
        assert why(guarded, now_ns) == "latched"
    guarded.alive(0, T0 + 20 * S)
    assert why(guarded, T0 + 20 * S) == "latched"


def test_the_decision_that_ends_a_silence_begins_the_flow() -> None:
    guarded = armed()
    assert flow(guarded, T0 + S, T0 + S + REARM) == ["latched"] * 12 + [""]


def test_with_no_rearm_time_the_next_decision_opens_the_latch() -> None:
    guarded = armed(rearm_ns=0)
    guarded.trip(0, "press-1", T0, "overrun")
    assert why(guarded, T0) == "latched"
    guarded.alive(0, T0)
    assert why(guarded, T0) == ""


def test_time_that_steps_back_opens_no_latch() -> None:
    guarded = armed()
    guarded.trip(0, "press-1", T0, "overrun")
    assert flow(guarded, T0 + 50 * MS, T0 + REARM, 100 * MS)[-1] == "latched"
    guarded.alive(0, T0 - S)
    assert flow(guarded, T0 - S, T0 - S + REARM) == ["latched"] * 12 + [""]


def test_a_step_back_just_after_silence_begins_the_flow() -> None:
    guarded = armed()
    guarded.tick(T0 + STALE + 1, DEVICES)
    assert flow(guarded, T0 + STALE, T0 + STALE + REARM) == ["latched"] * 12 + [""]


def test_after_the_latch_the_slew_starts_from_the_safe_value() -> None:
    guarded = armed(slew_per_s=1.0, rearm_ns=0)
    for i in range(1, 11):
        guarded.alive(0, T0 + i * STALE)
        let_out(guarded, 3.0, T0 + i * STALE)
    silent_ns = T0 + 11 * STALE + 1
    assert [c.value for c in guarded.tick(silent_ns, DEVICES)] == [0.5]
    guarded.alive(0, silent_ns + 30 * MS)
    assert let_out(guarded, 3.0, silent_ns + 30 * MS) == pytest.approx(0.53)


def test_after_a_step_back_the_slew_counts_from_the_safe_value_sent_then() -> None:
    guarded = armed(slew_per_s=1.0, rearm_ns=0)
    guarded.tick(T0 - 2 * STALE, DEVICES)
    guarded.alive(0, T0 - 2 * STALE)
    assert let_out(guarded, 3.0, T0 - 2 * STALE + 100 * MS) == pytest.approx(0.6)


# --- trip ---


def test_a_trip_sends_safe_values_at_once_whatever_the_slew() -> None:
    guarded = envelope(limits("fan", slew_per_s=0.001), limits("pump", safe_value=-2.0))
    guarded.alive(0, T0)
    guarded.alive(1, T0)
    ask(guarded, 2.0, actuator="pump")
    commands = guarded.trip(0, "press-1", T0 + 1, "overrun")
    assert [(c.name, c.value, c.device, c.cause, c.expires_ns) for c in commands] == [
        ("fan", 0.5, "press-1", Cause("envelope.overrun", 0.0), T0 + 1 + TTL),
        ("pump", -2.0, "press-1", Cause("envelope.overrun", 0.0), T0 + 1 + TTL),
    ]
    assert (why(guarded, T0 + 1, 0), why(guarded, T0 + 1, 1)) == ("latched", "")
    assert [c.cause.rule for c in guarded.tick(T0 + 1 + TTL // 2, DEVICES)] == ["envelope.overrun"] * 2


def test_a_trip_stays_through_decisions_until_they_have_flowed() -> None:
    guarded = armed()
    guarded.trip(0, "press-1", T0, "overrun")
    assert flow(guarded, T0, T0 + REARM) == ["latched"] * 12 + [""]


def test_trips_in_a_row_neither_flood_nor_let_the_latch_open() -> None:
    guarded = armed()
    sent = []
    for now_ns in range(T0, T0 + 3 * S, 10 * MS):
        guarded.alive(0, now_ns)
        sent += [c.issued_ns - T0 for c in guarded.trip(0, "press-1", now_ns, "overrun")]
        assert why(guarded, now_ns) == "latched"
    assert sent == list(range(0, 3 * S, TTL // 2))


def test_a_trip_during_rearming_starts_it_again() -> None:
    guarded = armed()
    guarded.tick(T0 + STALE + 1, DEVICES)
    flow(guarded, T0 + S, T0 + S + REARM - 100 * MS)
    guarded.trip(0, "press-1", T0 + S + REARM - 50 * MS, "overrun")
    again_ns = T0 + S + REARM
    assert flow(guarded, again_ns, again_ns + REARM) == ["latched"] * 12 + [""]


def test_a_trip_of_a_silent_lane_is_a_trip() -> None:
    guarded = armed()
    (safe,) = guarded.trip(0, "press-1", T0 + 10 * S, "stopping")
    assert safe.cause.rule == "envelope.stopping"
    assert guarded.tick(T0 + 10 * S, DEVICES) == []


def test_a_trip_reaches_one_lane_only() -> None:
    guarded = armed()
    assert guarded.trip(1, "press-2", T0, "overrun") == []
    assert why(guarded, T0) == ""


def test_ticks_have_nothing_to_do_while_no_output_is_armed_or_latched() -> None:
    guarded = safety.Envelope([limits(), limits(name="pump")], 3, "b00t")
    assert guarded.is_quiet()
    guarded.alive(1, T0)
    assert not guarded.is_quiet()
    guarded.trip(1, "press-1", T0, "fault")
    assert not guarded.is_quiet()
    guarded.release(1, "press-1", T0)
    assert guarded.is_quiet()


# --- release ---


def test_a_released_lane_gets_its_safe_values_and_is_disarmed() -> None:
    guarded = envelope(limits("fan"), limits("pump"))
    guarded.alive(0, T0)
    commands = guarded.release(0, "press-1", T0 + 1)
    assert [(c.name, c.value, c.device, c.cause.rule) for c in commands] == [
        ("fan", 0.5, "press-1", "envelope.release"),
        ("pump", 0.5, "press-1", "envelope.release"),
    ]
    assert (why(guarded, T0 + 1), why(guarded, T0 + 1, actuator="pump")) == ("disarmed", "disarmed")
    assert guarded.tick(T0 + 10 * S, DEVICES) == []
    assert guarded.release(0, "press-1", T0 + 1) == []


def test_a_latched_lane_is_released_without_a_second_safe_value() -> None:
    guarded = armed()
    guarded.trip(0, "press-1", T0, "overrun")
    assert guarded.release(0, "press-1", T0 + TTL // 2 - 1) == []
    assert guarded.tick(T0 + 10 * S, DEVICES) == []
    assert why(guarded, T0 + 10 * S) == "disarmed"


def test_a_release_sends_a_safe_value_that_is_still_owed() -> None:
    guarded = armed()
    assert why(guarded, T0 + STALE + 1) == "latched"
    assert len(guarded.release(0, "press-1", T0 + STALE + 1)) == 1


def test_a_new_device_starts_from_nothing() -> None:
    guarded = armed(slew_per_s=1.0)
    guarded.trip(0, "press-1", T0, "overrun")
    guarded.release(0, "press-1", T0)
    guarded.alive(0, T0 + S)
    assert let_out(guarded, 3.0, T0 + S + 100 * MS) == pytest.approx(0.6)


def test_numbers_go_on_for_a_device_that_comes_back_on_any_lane() -> None:
    guarded = armed()
    seqs = []
    for turn in range(6):
        lane = turn % 3
        now_ns = T0 + turn
        guarded.alive(lane, now_ns)
        for _ in range(3 - lane):
            answer = guarded.limit(Intent("fan", 1.0, CAUSE), lane, "press-1", now_ns)
            assert isinstance(answer, Command)
            seqs.append(answer.seq)
        seqs += [c.seq for c in guarded.release(lane, "press-1", now_ns)]
    assert seqs == list(range(18))


def test_a_short_stay_does_not_lower_the_numbers() -> None:
    guarded = envelope()
    guarded.alive(0, T0)
    guarded.alive(1, T0)
    for _ in range(5):
        ask(guarded, 1.0)
    assert [c.seq for c in guarded.release(0, "press-1", T0)] == [5]
    assert [c.seq for c in guarded.release(1, "press-2", T0)] == [0]
    guarded.alive(2, T0)
    answer = ask(guarded, 1.0, lane=2)
    assert isinstance(answer, Command)
    assert answer.seq == 6


def test_a_release_leaves_other_lanes_alone() -> None:
    guarded = envelope()
    guarded.alive(0, T0)
    guarded.alive(1, T0)
    guarded.trip(1, "press-2", T0, "overrun")
    guarded.release(2, "press-3", T0)
    guarded.release(0, "press-1", T0)
    assert why(guarded, T0, 1) == "latched"


# --- cost ---


class CountingTime(int):
    """A time that counts how often it is compared with another one."""

    differences = 0

    def __sub__(self, other: int) -> int:
        CountingTime.differences += 1
        return int(self) - other


def test_a_tick_over_lanes_that_are_alive_looks_at_one_of_them() -> None:
    guarded = safety.Envelope([limits()], 1000, "b00t")
    for now_ns in (T0, T0 + 1000):
        for lane in range(1000):
            guarded.alive(lane, now_ns + lane)
    CountingTime.differences = 0
    assert guarded.tick(CountingTime(T0 + 1000 + STALE), [""] * 1000) == []
    assert CountingTime.differences == 1
    CountingTime.differences = 0
    assert len(guarded.tick(CountingTime(T0 + 1000 + STALE + 3), [""] * 1000)) == 3
    assert CountingTime.differences < 10
