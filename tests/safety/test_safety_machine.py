"""Random lives of an envelope against what must hold in all of them, and against a second opinion from the whole history."""

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from edge import safety
from edge.messages import Blocked, Cause, Command, Intent

LANES = 3
ACTUATORS: dict[str, dict[str, Any]] = {
    "slow": {"min": -1.0, "max": 2.0, "slew_per_s": 3e8, "ttl_ns": 7, "safe_value": 0.25, "stale_ns": 10, "rearm_ns": 15},
    "free": {"min": 0.0, "max": 1.0, "slew_per_s": None, "ttl_ns": 20, "safe_value": 0.0, "stale_ns": 4, "rearm_ns": 0},
    "calm": {"min": 5.0, "max": 9.0, "slew_per_s": 1e7, "ttl_ns": 2, "safe_value": 9.0, "stale_ns": 25, "rearm_ns": 30},
}
STEPS_NS = st.one_of(st.integers(0, 6), st.sampled_from([9, 10, 11, 15, 24, 25, 26, 100]))
LANE = st.integers(0, LANES - 1)
VALUES = st.one_of(st.floats(-12, 12), st.floats(), st.sampled_from([0.0, 0.25, 1.0, 2.0, 5.0, 9.0]))


class Lane:
    """What happened to one actuator of one lane since its device came: the second opinion reads it from the start each time."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.decisions: list[int] = []
        self.breaks: list[int] = []  # how many decisions there were when a trip came
        self.value = spec["safe_value"]
        self.value_ns: int | None = None
        self.safe_ns: int | None = None  # the last safe value since it was armed

    def state(self, now_ns: int) -> str:
        if not self.decisions:
            return "disarmed"
        runs: list[list[int]] = [[]]
        for i, at_ns in enumerate(self.decisions):
            if runs[-1] and (i in self.breaks or at_ns - runs[-1][-1] > self.spec["stale_ns"]):
                runs.append([])
            runs[-1].append(at_ns)
        run = runs[-1]
        if now_ns - run[-1] > self.spec["stale_ns"] or len(self.decisions) in self.breaks:
            return "latched"
        was_open = len(runs) == 1 or run[-1] - run[0] >= self.spec["rearm_ns"]
        return "armed" if was_open else "latched"


class EnvelopeLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        specs = [safety.ActuatorLimits(name=name, unit="1", topic=f"{{device}}/{name}", **spec) for name, spec in ACTUATORS.items()]
        self.envelope = safety.Envelope(specs, LANES, "boot")
        self.now_ns = 0
        self.devices = [f"d{lane}" for lane in range(LANES)]
        self.lanes = [self.fresh() for _ in range(LANES)]
        self.seqs: dict[tuple[str, str], int] = {}
        self.ids: set[str] = set()

    @staticmethod
    def fresh() -> dict[str, Lane]:
        return {name: Lane(spec) for name, spec in ACTUATORS.items()}

    @initialize(start_ns=st.integers(-(10**6), 10**15))
    def start(self, start_ns: int) -> None:
        self.now_ns = start_ns

    def seen(self, command: Command, lane: int) -> Lane:
        """What holds for every command, whoever asked for it."""
        spec = ACTUATORS[command.name]
        past = self.lanes[lane][command.name]
        assert past.decisions, "nothing goes out before the first decision"
        assert spec["min"] <= command.value <= spec["max"]
        assert (command.device, command.topic) == (self.devices[lane], f"{self.devices[lane]}/{command.name}")
        assert (command.issued_ns, command.expires_ns) == (self.now_ns, self.now_ns + spec["ttl_ns"])
        assert command.seq > self.seqs.get((command.name, command.device), -1)
        assert command.id not in self.ids
        self.seqs[command.name, command.device] = command.seq
        self.ids.add(command.id)
        return past

    def seen_safe(self, command: Command, lane: int) -> None:
        past = self.seen(command, lane)
        assert command.value == past.spec["safe_value"]
        past.value, past.value_ns, past.safe_ns = command.value, self.now_ns, self.now_ns

    def owed(self, lane: int, name: str) -> bool:
        past = self.lanes[lane][name]
        if past.state(self.now_ns) != "latched":
            return False
        return past.safe_ns is None or self.now_ns - past.safe_ns >= past.spec["ttl_ns"] // 2

    @rule(step_ns=STEPS_NS)
    def wait(self, step_ns: int) -> None:
        self.now_ns += step_ns

    @rule(lane=LANE, step_ns=st.integers(0, 4), turns=st.integers(1, 8))
    def decisions_flow(self, lane: int, step_ns: int, turns: int) -> None:
        for _ in range(turns):
            self.now_ns += step_ns
            self.decision(lane)

    @rule(lane=LANE)
    def decision(self, lane: int) -> None:
        self.envelope.alive(lane, self.now_ns)
        for past in self.lanes[lane].values():
            past.decisions.append(self.now_ns)
            if past.value_ns is None:
                past.value_ns = self.now_ns
            if past.state(self.now_ns) == "armed":
                past.safe_ns = None

    @rule(lane=LANE, name=st.sampled_from([*ACTUATORS, "other", ""]), value=VALUES)
    def intent(self, lane: int, name: str, value: float) -> None:
        cause = Cause("rule", 0.5)
        answer = self.envelope.limit(Intent(name, value, cause), lane, self.devices[lane], self.now_ns)
        if name not in ACTUATORS:
            assert answer == Blocked(name, "not_listed")
            return
        past = self.lanes[lane][name]
        state = past.state(self.now_ns)
        if not math.isfinite(value):
            assert answer == Blocked(name, "not_finite")
        elif state != "armed":
            assert answer == Blocked(name, state)
        else:
            assert isinstance(answer, Command)
            assert answer.cause is cause
            self.seen(answer, lane)
            self.moved(past, value, answer.value)

    def moved(self, past: Lane, asked: float, value: float) -> None:
        """Towards what was asked for, never beyond it, never faster than allowed, and as fast as allowed."""
        spec = past.spec
        target = min(max(asked, spec["min"]), spec["max"])
        assert min(past.value, target) <= value <= max(past.value, target)
        assert past.value_ns is not None
        if spec["slew_per_s"] is None:
            assert value == target
        else:
            reach = spec["slew_per_s"] * min(self.now_ns - past.value_ns, spec["stale_ns"]) / 1e9
            assert abs(value - past.value) <= reach + 1e-12
            assert value == target or abs(value - past.value) >= reach - 1e-12
        past.value, past.value_ns = value, self.now_ns

    @rule()
    def tick(self) -> None:
        expected = {(lane, name) for lane in range(LANES) for name in ACTUATORS if self.owed(lane, name)}
        commands = self.envelope.tick(self.now_ns, self.devices)
        assert {(self.devices.index(c.device), c.name) for c in commands} == expected
        assert len(commands) == len(expected)
        for command in commands:
            self.seen_safe(command, self.devices.index(command.device))

    @rule(lane=LANE)
    def trip(self, lane: int) -> None:
        self.made_safe(lane, self.envelope.trip(lane, self.devices[lane], self.now_ns, "test"))

    @rule(lane=LANE, device=st.sampled_from([f"d{i}" for i in range(6)]))
    def release(self, lane: int, device: str) -> None:
        if device in self.devices and device != self.devices[lane]:
            return
        self.made_safe(lane, self.envelope.release(lane, self.devices[lane], self.now_ns))
        self.lanes[lane] = self.fresh()
        self.devices[lane] = device

    def made_safe(self, lane: int, commands: list[Command]) -> None:
        for past in self.lanes[lane].values():
            if past.decisions:
                past.breaks.append(len(past.decisions))
        expected = [name for name in ACTUATORS if self.owed(lane, name)]
        assert [c.name for c in commands] == expected
        for command in commands:
            self.seen_safe(command, lane)


@given(
    st.lists(
        st.tuples(st.integers(-12, 12), st.sampled_from(["alive", "alive", "limit", "limit", "tick", "trip"]), st.floats(-2, 3)),
        max_size=80,
    )
)
@settings(deadline=None)
def test_time_that_goes_back_and_forth_gains_nothing(life: list[tuple[int, str, float]]) -> None:
    spec = ACTUATORS["slow"]
    envelope = safety.Envelope([safety.ActuatorLimits(name="slow", unit="1", topic="t", **spec)], 1, "boot")
    now_ns, alive_ns, seq = 1000, None, -1
    base, base_ns, latest_ns = spec["safe_value"], None, 0
    for step_ns, action, value in life:
        now_ns += step_ns
        commands: list[Command] = []
        if action == "alive":
            envelope.alive(0, now_ns)
            alive_ns = now_ns
            base_ns = now_ns if base_ns is None else base_ns
        elif action == "limit":
            answer = envelope.limit(Intent("slow", value, Cause("r", 0.0)), 0, "d", now_ns)
            if isinstance(answer, Command):
                assert alive_ns is not None
                assert base_ns is not None
                commands = [answer]
                latest_ns = max(latest_ns, now_ns, base_ns)
                assert abs(answer.value - base) <= spec["slew_per_s"] * (latest_ns - base_ns) / 1e9 + 1e-12
        else:
            commands = envelope.tick(now_ns, ["d"]) if action == "tick" else envelope.trip(0, "d", now_ns, "x")
            for command in commands:
                base, base_ns, latest_ns = command.value, now_ns, now_ns
                assert command.value == spec["safe_value"]
        for command in commands:
            assert spec["min"] <= command.value <= spec["max"]
            assert (command.issued_ns, command.expires_ns, command.seq) == (now_ns, now_ns + spec["ttl_ns"], seq + 1)
            seq = command.seq


def test_every_life_of_an_envelope_keeps_its_promises() -> None:
    run_state_machine_as_test(EnvelopeLife, settings=settings(deadline=None, stateful_step_count=60))
