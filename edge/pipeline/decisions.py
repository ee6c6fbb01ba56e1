"""From a feature vector to messages: infer, decide, limit, encode. Owns the budget of a decision and the count of every outcome."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edge.errors import InferenceFault
from edge.inference.host import Deployment, Host
from edge.inference.states import States
from edge.inference.variants import BoundVariant, Inference
from edge.messages import Alert, Command, Intent, Origin, Outgoing, Prediction, Severity
from edge.pipeline.alerts import alert_of, announcement
from edge.pipeline.lanes import Lanes
from edge.pipeline.moment import Moment, Terms
from edge.pipeline.monitoring import Monitoring
from edge.policy import Notice, Policy
from edge.safety import Envelope
from edge.wire.outputs import Outputs

Counter = dict[str, int]

_NOBODY = Origin()
_NAN = float("nan")


class Decisions:
    """Makes decisions and counts them.

    Args:
        model: what computes scores at first, or None when rules act on features; see ``host``.
        policy, envelope, outputs: scores to intents, intents to commands, all to bytes.
        lanes: the table of devices.
        terms: see Terms.

    Attributes:
        host: the models at work.
        clock: CLOCK_MONOTONIC in ns, or None: processing takes no time (replay).
        spent: ns of infer, decide, encode since it was last set to zero.
        at_ns: CLOCK_MONOTONIC of the message or tick that is being processed; what a frame has waited counts in a replay as well.
        due: until when each decision must have left that was made on the clock and has not been handed over yet.
        safe: the last safe value of each device and actuator; while an output is latched it is repeated before it expires.
        ended_ns: when the last decision was complete, 0 for none since it was last set to zero.
        monitoring: watches the model; None: nothing does.
        kept: predictions are appended here when it is a list.
        emit: takes what must be sent as soon as a decision is made, so that a command does not wait for the rest of its block; None:
            it is left in ``out``.
    """

    def __init__(self, model: Inference | None, policy: Policy, envelope: Envelope, outputs: Outputs, lanes: Lanes, terms: Terms) -> None:
        self.policy, self.envelope, self.outputs, self.lanes, self.terms = policy, envelope, outputs, lanes, terms
        self.host = Host(model, terms.boot_id, lanes.devices)
        self.clock: Callable[[], int] | None = None
        self.wall_offset_ns = 0
        self.at_ns = 0
        self.spent = [0, 0, 0]
        self.due: list[int] = []
        self.safe: dict[tuple[str, str], Command] = {}
        self.ended_ns = 0
        self.kept: list[Prediction] | None = None
        self.emit: Callable[[list[Outgoing]], None] | None = None
        self.monitoring: Monitoring | None = None
        self.stamps: dict[int, int] = {}  # of the last decision of each lane, where a model may carry states
        self._begun: dict[int, int] = {}  # how often what a lane's states belong to began anew
        self.made = self.raised = self.cleared = self.commands = 0
        self.skipped: Counter = {}
        self.failed: Counter = {}
        self.by_variant: Counter = {}
        self.blocked: Counter = {}

    @property
    def model(self) -> Inference | None:
        """The active model; None where there is none."""
        return self.host.active.model if self.host.active is not None else None

    def decide(self, moment: Moment, vector: npt.NDArray[np.float32], out: list[Outgoing]) -> None:
        """Take one vector all the way.

        Args:
            moment: whose and when.
            vector: float32 (F,), valid until the next update of the features.
            out: what must be sent is appended, commands and alerts before the prediction.
        """
        clock = self.clock
        due_ns = moment.received_ns + self.terms.budget_ns
        started = self.at_ns if clock is None else clock()  # without a clock, only a frame that had to wait for another one is late
        answer = self._infer(moment, vector, started, due_ns, out)
        if answer is None:
            return
        scores, origin, inferred = answer
        self.made += 1
        actions = self.policy.decide(moment.lane, scores, vector, moment.stamp_ns, origin)
        decided = inferred if clock is None else clock()
        # A decision that comes too late to command anything is no sign of life: a pipeline that is always late must fall silent.
        is_late = decided > due_ns
        if is_late:
            self._go_safe(moment, out)
        else:
            self.envelope.alive(moment.lane, moment.now_ns)
        if clock is not None:
            self.due.append(due_ns)
        if actions:
            self._act(actions, moment, out, is_late=is_late)
        if self.outputs.publishes_predictions or self.kept is not None:
            self._predict(moment, scores, vector, origin, out)
        if clock is not None:
            self.ended_ns = clock()
            self.spent[0] += inferred - started
            self.spent[1] += decided - inferred
            self.spent[2] += self.ended_ns - decided
        if self.emit is not None and out:
            self.emit(out)
            out.clear()
        if self.monitoring is not None:
            self.monitoring.decided(moment, scores, vector, origin, self, out)

    def _infer(
        self, moment: Moment, vector: npt.NDArray[np.float32], started: int, due_ns: int, out: list[Outgoing]
    ) -> tuple[Sequence[float], Origin, int] | None:
        """Scores, where they come from and the time after them; None when there are none, which is counted."""
        host = self.host
        deployment = host.at(moment.lane)
        if deployment is None:
            return self._without_model(moment, vector, started, due_ns, out)
        model, remaining_ns = deployment.model, due_ns - started
        chosen = model.choose(remaining_ns, self.terms.may_go_smaller)
        if chosen is None:
            self._feed_alone(deployment, moment, vector)
            host.skipped(deployment, remaining_ns)
            self.overrun(moment, out)
            return None
        if model.states is not None or host.feed is not None:
            self._look_for_gap(model.states, moment)
        began = started
        try:
            scores = chosen.run(vector, moment.lane)
            inferred = self._observe(model, chosen, started)
            if model.cascade is not None and chosen is model.cascade.first:
                larger = model.cascade.escalate(scores, due_ns - inferred)
                if larger is not None:
                    chosen, started = larger, inferred
                    scores = chosen.run(vector, moment.lane)
                    inferred = self._observe(model, chosen, started)
        except InferenceFault as fault:
            self.fail(fault.kind)
            self._feed_alone(deployment, moment, vector)
            host.fault(deployment, fault.kind, str(fault), vector)
            return None
        _add(self.by_variant, chosen.name)
        host.ran(deployment, inferred - began, scores, vector, moment.lane)
        if host.feed is not None and host.canary is not deployment:
            host.feed(moment.lane, self._begun.get(moment.lane, 0), moment.stamp_ns, scores, vector)
        return scores, deployment.origins[chosen.name], inferred

    def _feed_alone(self, deployment: Deployment, moment: Moment, vector: npt.NDArray[np.float32]) -> None:
        """A vector without an answer: a version on trial must not wait for ever behind one that gives none."""
        host = self.host
        if host.feed is not None and host.canary is not deployment and math.isfinite(float(vector.sum(dtype=np.float64))):
            host.feed(moment.lane, self._begun.get(moment.lane, 0), moment.stamp_ns, [_NAN] * len(host.labels), vector)

    def _without_model(
        self, moment: Moment, vector: npt.NDArray[np.float32], started: int, due_ns: int, out: list[Outgoing]
    ) -> tuple[Sequence[float], Origin, int] | None:
        """Rules act on features alone; where a model is missing that belongs here, nothing moves an actuator."""
        if self.host.is_off:
            self.fail("model_off")
            silent = [_NAN] * len(self.host.labels)  # a rule whose score is not finite stays as it is and says nothing
            actions = self.policy.decide(moment.lane, silent, vector, moment.stamp_ns, _NOBODY)
            self._act([action for action in actions if isinstance(action, Notice)], moment, out, is_late=False)
            return None
        if due_ns <= started:
            self.overrun(moment, out)
            return None
        return (), _NOBODY, started

    def _observe(self, model: Inference, variant: BoundVariant, started: int) -> int:
        """Note how long a variant took; the time now."""
        if self.clock is None:
            variant.runs += 1
            return started
        now = self.clock()
        model.observe(variant, now - started)
        return now

    def _look_for_gap(self, states: States | None, moment: Moment) -> None:
        """After a gap, or with a clock set back, what a model carries on belongs to another time; so it does with another device."""
        last_ns = self.stamps.get(moment.lane)
        if last_ns is None or not 0 <= moment.stamp_ns - last_ns <= self.policy.gap_ns:
            self._begun[moment.lane] = self._begun.get(moment.lane, 0) + 1
            if states is not None:
                states.reset(moment.lane)
        self.stamps[moment.lane] = moment.stamp_ns

    def send_safe(self, commands: Sequence[Command], out: list[Outgoing]) -> None:
        """Encode safe-state commands; they do not belong to a frame, so only their own life limits them."""
        for command in commands:
            self.commands += 1
            self.safe[command.device, command.name] = command
            out.append(self.outputs.command(command, 0.0, self.wall_offset_ns, command.expires_ns))

    def forget(self, lane: int, device: str, now_ns: int, out: list[Outgoing]) -> None:
        """The device gives up its lane: safe values if its outputs were live, and nothing is remembered."""
        self.send_safe(self.envelope.release(lane, device, now_ns), out)
        self.policy.reset(lane)
        self.stamps.pop(lane, None)
        self.host.forget(lane)
        if self.monitoring is not None:
            self.monitoring.forget(lane)
        for name in [name for owner, name in self.safe if owner == device]:
            del self.safe[device, name]
        self.outputs.forget(lane, device)

    def _act(self, actions: Sequence[Intent | Notice], moment: Moment, out: list[Outgoing], *, is_late: bool) -> None:
        device = self.lanes.devices[moment.lane]
        now_ns = moment.now_ns if self.clock is None else self.clock()
        age_ms = (now_ns - moment.origin_ns) / 1e6
        for action in actions:
            if isinstance(action, Notice):
                out.append(self.outputs.alert(self._count_alert(action, device, moment), age_ms, self.wall_offset_ns))
                continue
            if is_late:
                _add(self.blocked, "late")
                continue
            limited = self.envelope.limit(action, moment.lane, device, moment.now_ns)
            if isinstance(limited, Command):
                self.commands += 1
                not_after_ns = moment.received_ns + self.terms.budget_ns
                out.append(self.outputs.command(limited, age_ms, self.wall_offset_ns, not_after_ns))
            else:
                _add(self.blocked, limited.reason)

    def _count_alert(self, notice: Notice, device: str, moment: Moment) -> Alert:
        if notice.state == "raised":
            self.raised += 1
        else:
            self.cleared += 1
        return alert_of(notice, device, self.terms.boot_id, self.raised + self.cleared, moment.now_ns, moment.stamp_ns)

    def announce(self, name: str, severity: Severity, detail: str, origin: Origin, topic: str) -> Outgoing:
        """An alert that no rule raised, such as one about a model; its device is the pipeline.

        Args:
            name: of what happened; also the cause's rule.
            severity: of it.
            detail: in words.
            origin: the model that it is about.
            topic: where it goes.
        """
        self.raised += 1
        now_ns = self.at_ns if self.clock is None else self.clock()
        alert = announcement(self.terms.boot_id, self.raised + self.cleared, now_ns, name, severity, detail, origin, topic)
        return self.outputs.alert(alert, 0.0, self.wall_offset_ns)

    def watch_with(self, monitoring: Monitoring | None, out: list[Outgoing]) -> None:
        """Watch the model that acts from now on; between two frames."""
        if self.monitoring is not None:
            self.monitoring.end(self, out)
        self.monitoring = monitoring

    def _predict(
        self, moment: Moment, scores: Sequence[float], vector: npt.NDArray[np.float32], origin: Origin, out: list[Outgoing]
    ) -> None:
        is_published = self.outputs.wants_prediction(moment.lane)
        if not is_published and self.kept is None:
            return
        prediction = Prediction(
            self.lanes.devices[moment.lane],
            moment.seq,
            moment.stamp_ns,
            moment.received_ns,
            dict(zip(self.host.labels, scores, strict=True)),
            vector.copy() if self.outputs.with_features or self.kept is not None else None,
            origin.model,
            origin.version,
            origin.variant,
            origin.deployment,
        )
        if is_published:
            out.append(self.outputs.prediction(prediction))
        if self.kept is not None:
            self.kept.append(prediction)

    def fail(self, reason: str) -> None:
        """Count a frame that could not be decided on."""
        _add(self.failed, reason)

    def overrun(self, moment: Moment, out: list[Outgoing]) -> None:
        """Count a frame for which there is no time left, and do what is declared for it."""
        _add(self.skipped, "overrun")
        self._go_safe(moment, out)

    def _go_safe(self, moment: Moment, out: list[Outgoing]) -> None:
        if self.terms.goes_safe_on_overrun:
            device = self.lanes.devices[moment.lane]
            self.send_safe(self.envelope.trip(moment.lane, device, moment.now_ns, "overrun"), out)


def _add(counter: Counter, name: str) -> None:
    counter[name] = counter.get(name, 0) + 1
