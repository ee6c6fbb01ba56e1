"""The envelope: the last word of this process on every actuator. An Intent becomes a Command, or is refused with a reason.

Owns the allow-list, the clamp, the slew limit, the life and the number of a command, and the latch that silence closes. Trusts neither
policy nor models, reads no clock, and has no switch to turn it off. For one lane an actuator is in exactly one of three states:

    disarmed   no decision was completed yet: nothing is let out, not even the safe value
    armed      decisions flow: intents are limited and let out
    latched    decisions stopped, or the pipeline tripped: the safe value is repeated, intents are refused

The microcontroller enforces its own time-out: this envelope is the second line, never the last one. See docs/safety.md.
"""

import math
from collections.abc import Sequence

import msgspec

from edge.messages import Blocked, Cause, Command, Intent


class ActuatorLimits(msgspec.Struct, frozen=True):
    """What one actuator may ever be told. Checked here, so that the envelope can rely on it.

    Args:
        name: the only name under which intents reach this actuator.
        unit: unit of ``min``, ``max``, ``safe_value`` and of the commands.
        topic: where commands go; ``{device}`` stands for the lane's device.
        min, max: smallest and largest value ever let out.
        slew_per_s: fastest change in units per second, > 0; None for no limit.
        ttl_ns: a command is void this long after it was issued, > 0.
        safe_value: let out when decisions stop, in [min, max].
        stale_ns: a longer time without a decision is silence, > 0.
        rearm_ns: how long decisions must flow before the latch opens, >= 0; 0 opens it with the next decision.

    Raises:
        ValueError: a value is outside its range, or the limits contradict each other.
    """

    name: str
    unit: str
    topic: str
    min: float
    max: float
    slew_per_s: float | None
    ttl_ns: int
    safe_value: float
    stale_ns: int
    rearm_ns: int

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise ValueError(f"actuator {self.name!r}: {problem}")

    def _problem(self) -> str | None:
        checks = (
            (self.name != "", "the name is empty"),
            (self.topic != "", "the topic is empty"),
            (math.isfinite(self.min), f"min must be finite, not {self.min}"),
            (math.isfinite(self.max), f"max must be finite, not {self.max}"),
            (self.min <= self.safe_value <= self.max, f"min <= safe_value <= max does not hold: {self.min}, {self.safe_value}, {self.max}"),
            (self.slew_per_s is None or 0 < self.slew_per_s < math.inf, f"slew_per_s must be finite and above 0, not {self.slew_per_s}"),
            (self.ttl_ns > 0, f"ttl_ns must be above 0, not {self.ttl_ns}"),
            (self.stale_ns > 0, f"stale_ns must be above 0, not {self.stale_ns}"),
            (self.rearm_ns >= 0, f"rearm_ns must be 0 or more, not {self.rearm_ns}"),
        )
        return next((text for holds, text in checks if not holds), None)


class Envelope:
    """Limits every actuator of every lane. All times are CLOCK_MONOTONIC in ns and are passed in.

    Args:
        actuators: the only outputs that exist.
        lanes: number of lanes, >= 1.
        boot_id: identifies this run of the process; commands of another run are not comparable by ``seq``.

    Raises:
        ValueError: two actuators share a name, or ``lanes`` is below 1.
    """

    def __init__(self, actuators: Sequence[ActuatorLimits], lanes: int, boot_id: str) -> None:
        if lanes < 1:
            raise ValueError(f"lanes must be 1 or more, not {lanes}")
        self._lanes = lanes
        self._guards = {limits.name: _Guard(limits, boot_id) for limits in actuators}
        if len(self._guards) != len(actuators):
            raise ValueError("two actuators share a name")

    def alive(self, lane: int, now_ns: int) -> None:
        """A decision was completed for this lane, in time. Only this arms outputs and opens the latch.

        Raises:
            IndexError: there is no such lane.
        """
        if not 0 <= lane < self._lanes:
            raise IndexError(f"lane {lane} is not in 0..{self._lanes - 1}")
        for guard in self._guards.values():
            guard.alive(lane, now_ns)

    def limit(self, intent: Intent, lane: int, device: str, now_ns: int) -> Command | Blocked:
        """The command that may go out for an intent, or why none may: not_listed, not_finite, disarmed, latched."""
        guard = self._guards.get(intent.actuator)
        if guard is None:
            return Blocked(intent.actuator, "not_listed")
        return guard.limit(intent, lane, device, now_ns)

    def trip(self, lane: int, device: str, now_ns: int, reason: str) -> list[Command]:
        """Latch every armed output of a lane and return its safe values.

        A lane that is latched already starts its re-arming again; its safe value is repeated when it is due, not at every trip.

        Args:
            lane, device: which lane, and the device that it serves.
            now_ns: the time.
            reason: appears in ``cause.rule`` as ``envelope.<reason>``.
        """
        commands = (guard.trip(lane, device, now_ns, reason) for guard in self._guards.values())
        return [command for command in commands if command is not None]

    def tick(self, now_ns: int, devices: Sequence[str]) -> list[Command]:
        """Safe values of outputs whose lane fell silent, and of latched ones again every ``ttl_ns / 2``.

        Args:
            now_ns: the time.
            devices: device name by lane.
        """
        return [command for guard in self._guards.values() for command in guard.tick(now_ns, devices)]

    def is_quiet(self) -> bool:
        """Whether a tick has nothing to do, now and later: no output is armed or latched."""
        return not any(guard.is_held() for guard in self._guards.values())

    def release(self, lane: int, device: str, now_ns: int) -> list[Command]:
        """The lane will serve another device: safe values for the old one where they are still owed; then the lane is disarmed."""
        commands = self.trip(lane, device, now_ns, "release")
        for guard in self._guards.values():
            guard.forget(lane)
        return commands


class _Output(msgspec.Struct, gc=False):
    """One actuator of one lane, from its first decision to its release.

    Args:
        value, value_ns: what was let out last, and when; at first the safe value and the time of arming.
        alive_ns: time of the last decision.
        seq: number of the next command.
    """

    value: float
    value_ns: int
    alive_ns: int
    seq: int


class _Latch(msgspec.Struct, gc=False):
    """Why an output is latched, and how far it is from being armed again.

    Args:
        output: the output.
        cause: goes with every safe value.
        due_ns: when the safe value is sent next.
        flowing_ns: when the decisions began that have flowed without a gap since; None: none came yet.
    """

    output: _Output
    cause: Cause
    due_ns: int
    flowing_ns: int | None = None


class _Guard:
    """One actuator on all lanes. A lane is a key of ``_armed``, or of ``_latched``, or it is disarmed: the default is no."""

    def __init__(self, limits: ActuatorLimits, boot_id: str) -> None:
        self._limits = limits
        self._boot_id = boot_id
        self._beat_ns = limits.ttl_ns // 2
        # Ordered by the last decision, oldest first, so that a tick over lanes that are all alive looks at one of them.
        self._armed: dict[int, _Output] = {}
        self._latched: dict[int, _Latch] = {}
        self._first_seq = 0

    def alive(self, lane: int, now_ns: int) -> None:
        output = self._armed.pop(lane, None)
        if output is None:
            self._flow(lane, now_ns)
        elif self._is_silent(output, now_ns):
            self._latch(lane, output, now_ns, "silence")
            self._flow(lane, now_ns)
        else:
            output.alive_ns = max(output.alive_ns, now_ns)
            self._armed[lane] = output

    def limit(self, intent: Intent, lane: int, device: str, now_ns: int) -> Command | Blocked:
        limits = self._limits
        if not _is_finite(intent.value):
            return Blocked(limits.name, "not_finite")
        output = self._armed.get(lane)
        if output is None:
            return Blocked(limits.name, "latched" if lane in self._latched else "disarmed")
        if self._is_silent(output, now_ns):
            self._latch(lane, self._armed.pop(lane), now_ns, "silence")
            return Blocked(limits.name, "latched")
        value = min(max(intent.value, limits.min), limits.max)
        # Elapsed time is capped: a value may not jump because nothing was asked for a while. Time that steps back counts as none
        # and is not counted again on its way forward, so that no sequence of steps gains anything.
        elapsed_ns = min(max(now_ns - output.value_ns, 0), limits.stale_ns)
        if limits.slew_per_s is not None:
            step = limits.slew_per_s * (elapsed_ns * 1e-9)
            value = min(max(value, output.value - step), output.value + step)
        output.value = float(value)
        output.value_ns = max(output.value_ns, now_ns)
        return self._command(output, device, now_ns, intent.cause)

    def trip(self, lane: int, device: str, now_ns: int, reason: str) -> Command | None:
        output = self._armed.pop(lane, None)
        if output is not None:
            self._latch(lane, output, now_ns, reason)
        latch = self._latched.get(lane)
        if latch is None:
            return None
        latch.flowing_ns = None
        return self._beat(latch, device, now_ns)

    def tick(self, now_ns: int, devices: Sequence[str]) -> list[Command]:
        silent = []
        for lane, output in self._armed.items():
            if not self._is_silent(output, now_ns):
                break
            silent.append(lane)
        for lane in silent:
            self._latch(lane, self._armed.pop(lane), now_ns, "silence")
        beats = (self._beat(latch, devices[lane], now_ns) for lane, latch in self._latched.items())
        return [command for command in beats if command is not None]

    def is_held(self) -> bool:
        return bool(self._armed or self._latched)

    def forget(self, lane: int) -> None:
        latch = self._latched.pop(lane, None)
        if latch is not None:
            # A device may come back on any lane: its numbers must go on, or its receiver would take new commands for old ones.
            self._first_seq = max(self._first_seq, latch.output.seq)

    def _is_silent(self, output: _Output, now_ns: int) -> bool:
        # Both ways: after a long step back nobody knows how long it has been quiet.
        return abs(now_ns - output.alive_ns) > self._limits.stale_ns

    def _latch(self, lane: int, output: _Output, now_ns: int, reason: str) -> None:
        self._latched[lane] = _Latch(output, Cause(rule=f"envelope.{reason}", score=0.0), due_ns=now_ns)

    def _flow(self, lane: int, now_ns: int) -> None:
        """A decision for a lane that is not armed: the first one arms, later ones open the latch when they have flowed long enough."""
        latch = self._latched.get(lane)
        if latch is None:
            self._armed[lane] = _Output(self._limits.safe_value, now_ns, now_ns, self._first_seq)
            return
        if latch.flowing_ns is None or self._is_silent(latch.output, now_ns):
            latch.flowing_ns = now_ns
        latch.output.alive_ns = now_ns
        if now_ns - latch.flowing_ns >= self._limits.rearm_ns:
            self._armed[lane] = self._latched.pop(lane).output

    def _beat(self, latch: _Latch, device: str, now_ns: int) -> Command | None:
        """The safe value if it is due. Due later than a whole period means that time stepped back: then it is due at once."""
        if 0 < latch.due_ns - now_ns <= self._beat_ns:
            return None
        latch.due_ns = now_ns + self._beat_ns
        # Not slewed: the safe state is where nothing can get worse, and on a slow way there it could. An actuator that must not be
        # moved at once has to ramp by itself, as it has to when its own time-out fires.
        latch.output.value = float(self._limits.safe_value)
        latch.output.value_ns = now_ns
        return self._command(latch.output, device, now_ns, latch.cause)

    def _command(self, output: _Output, device: str, now_ns: int, cause: Cause) -> Command:
        limits = self._limits
        seq = output.seq
        output.seq = seq + 1
        return Command(
            id=f"{self._boot_id}-{limits.name}-{device}-{seq}",
            device=device,
            boot_id=self._boot_id,
            seq=seq,
            issued_ns=now_ns,
            expires_ns=now_ns + limits.ttl_ns,
            name=limits.name,
            value=output.value,
            unit=limits.unit,
            cause=cause,
            topic=limits.topic.replace("{device}", device),
        )


def _is_finite(value: float) -> bool:
    """False also for what is no number at all: the value comes from code that is not trusted."""
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError):
        return False
