"""Models that change while the daemon runs: the loop's side. A helper thread (edge.daemon.lifecycle) finds, proves and loads them.

Between two frames it hands what is ready to the pipeline's host, and tells what became of it as alerts. It never waits for the thread.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.daemon.heartbeat import Heartbeat
from edge.daemon.lifecycle import Lifecycle
from edge.daemon.orders import Order, Said
from edge.daemon.trial import Trial
from edge.inference.guard import Limits, Trouble
from edge.inference.host import Event, Feed
from edge.inference.shadow import TRUTH
from edge.inference.variants import Inference
from edge.messages import Origin, Outgoing, Severity
from edge.pipeline.labels import Joined
from edge.pipeline.monitoring import Monitoring
from edge.pipeline.recipe import Pipeline
from edge.threads import helper

_log = logging.getLogger(__name__)

SWITCH_S = 0.0001
_SAID = {
    "swapped": "model {version} acts from now on",
    "rolled_back": "model {version} {reason}: rolled back to {to}",
    "off": "model {version} {reason}: no model is left to act, actuators are at their safe values",
    "canary": "model {version} acts on a share of the devices from now on",
    "canary_ended": "model {version} no longer acts on a share of the devices{because}",
}


class Places(msgspec.Struct, frozen=True):
    """Where things are told.

    Args:
        alerts, shadow: topics.
        severity: of alerts that say what went wrong.
    """

    alerts: str
    shadow: str
    severity: Severity


class Deployments:
    """Keeps the models of one pipeline as its registry says.

    Args:
        pipeline: whose host it is.
        lifecycle: the thread's part.
        limits: what models at work are held to.
        budget_ns: of one run of the first one, by its manifest.
        places: where things are told.
        ends_with_drift: drift of features or scores ends the model at work.

    Attributes:
        reload: asks for the file to be read again, which builds a pipeline with other features.
    """

    def __init__(
        self, pipeline: Pipeline, lifecycle: Lifecycle, limits: Limits, budget_ns: int, places: Places, *, ends_with_drift: bool = False
    ) -> None:
        self._pipeline, self._lifecycle, self._places = pipeline, lifecycle, places
        self.reload: Callable[[], None] = lambda: None
        self._host = pipeline.decisions.host
        self._limits, self._pinned = limits, lifecycle.pinned
        self._host.watch(limits, budget_ns)
        self._let_the_pinned_be()
        self._thread = helper("edge-models", lifecycle.run)
        self._orders: SimpleQueue[Order] = lifecycle.orders
        self._ends_with_drift = ends_with_drift
        self._is_thread_refused = False
        self._fed: Trial | None = None

    def look(self, now_ns: int) -> list[Outgoing]:
        """Carry out what the thread ordered, and tell what happened; call between two frames. The first call starts the thread.

        Args:
            now_ns: CLOCK_MONOTONIC.
        """
        if self._thread.ident is None:
            # A helper that computes keeps the interpreter until it is asked for it, and this is how long the asking takes. With the
            # default of 5 ms, a thread in a Python loop delayed a 1 kHz loop by 30 to 55 ms; with 0.1 ms by 1 to 4 ms.
            sys.setswitchinterval(SWITCH_S)
            self._start()
        if self._pinned != self._lifecycle.pinned:
            self._pin(self._lifecycle.pinned)
        out: list[Outgoing] = []
        while True:
            try:
                order = self._orders.get_nowait()
            except Empty:
                break
            self._carry_out(order, out)
        watch = self._pipeline.decisions.monitoring
        if self._ends_with_drift and watch is not None and (reason := watch.take_drift()):
            self.trouble(reason)
        while self._host.retired:
            self._lifecycle.retired.put(self._host.retired.pop())
        events = self._host.events
        if events:
            told, self._host.events = list(events), []
            for event in told:
                self._tell_event(event, out, now_ns)
        self._lifecycle.warm = self._host.former.model.version if self._host.former is not None else ""
        return out

    def status(self) -> dict[str, Any]:
        """The models for the status."""
        host, canary = self._host, self._host.canary
        active = host.active
        return {
            "state": "safe mode" if host.is_off else "at work",
            "active": active.model.version if active is not None else "",
            "deployment": active.id if active is not None else "",
            "former": host.former.model.version if host.former is not None else "",
            "canary": {"version": canary.model.version, "deployment": canary.id, "made": canary.made} if canary is not None else None,
            "shadow": self._lifecycle.shadow_status(),
            "rollbacks": self._lifecycle.rollbacks,
        } | (active.model.report() if active is not None else {"variants": {}, "cascade": {}})

    @property
    def heartbeat(self) -> Heartbeat:
        """Of the thread."""
        return self._lifecycle.heartbeat

    def say(self, said: Said) -> None:
        """Tell something as an alert at the next look."""
        self._orders.put(Order("tell", said=said))

    def trouble(self, reason: str) -> None:
        """Something outside of the runs themselves says that the active model must stop: drift.

        Args:
            reason: in words, to follow the model's name.
        """
        if self._host.active is not None and self._host.active.model.version != self._pinned:
            self._host.stop(self._host.active, Trouble("drift", reason))

    def reload_refused(self, reason: str) -> None:
        """The file could not be read again; held against the version that asked for it, if one did."""
        self._lifecycle.reload_refused(reason)

    def follows(self, before: "Deployments") -> None:
        """Let the thread wait for the end of another one, which may still write the registry; call before the first look."""
        self._lifecycle.waits_for = before._thread if before._thread.ident is not None else before._lifecycle.waits_for

    def close(self, *, is_orderly: bool = False, wait_s: float = 5.0) -> None:
        """End the thread and its processes.

        Args:
            is_orderly: the daemon was told to stop: what ran until now is known to be good.
            wait_s: longest wait for the thread's end; 0: it ends by itself.
        """
        active = self._host.active
        self._host.feed = self._fed = None
        self._feed_labels()
        for event in self._host.events:  # of the last frames: a version that had to stop in them did not run well
            self._lifecycle.happened.put(event)
        self._host.events = []
        self._lifecycle.close(is_orderly=is_orderly and not self._host.is_off, has_run=active is not None and active.made > 0)
        if self._thread.ident is not None and wait_s:
            self._thread.join(wait_s)

    def _start(self) -> None:
        """Start the thread; where the system gives none, the next look tries again."""
        try:
            self._thread.start()
        except (RuntimeError, MemoryError) as fault:
            if not self._is_thread_refused:
                _log.error("models are not looked after: %s; tried again", fault)
            self._is_thread_refused = True

    def _pin(self, version: str) -> None:
        self._pinned = version
        for deployment in (self._host.active, self._host.former, self._host.canary):
            if deployment is not None and deployment.guard is None:
                deployment.hold(self._limits)
        self._let_the_pinned_be()

    def _let_the_pinned_be(self) -> None:
        for deployment in (self._host.active, self._host.former):
            if deployment is not None and self._pinned == deployment.model.version:
                deployment.hold(None)

    def _carry_out(self, order: Order, out: list[Outgoing]) -> None:
        if order.model is not None or order.kind == "back":
            self._take_model(order, order.model, out)
            self._let_the_pinned_be()
        elif order.kind == "end_canary":
            self._host.end_canary()
        elif order.kind == "watch":
            self._watch_with(order.monitoring, out)
        elif order.kind == "feed":
            fed, self._fed = self._fed, order.trial
            self._host.feed = self._feed(order.trial) if order.trial is not None else None
            self._feed_labels()
            if fed is not None:
                self._lifecycle.retired.put(fed.ring)
        elif order.kind == "reload":
            self.reload()
        elif order.kind == "tell" and order.said is not None:
            out.append(self._tell(order.said))
        elif order.kind == "publish":
            out.append(Outgoing("status", self._places.shadow, order.payload))

    def _take_model(self, order: Order, model: Inference | None, out: list[Outgoing]) -> None:
        host, retired = self._host, self._lifecycle.retired
        if order.kind in ("swap", "back") and order.generation != self._lifecycle.generation:
            retired.put(model)  # another version is asked for by now
            return
        budget_ns = order.budget_ns
        if model is None:
            if host.former is None or host.former.model.version != order.version:
                self._lifecycle.missed.put(order.generation)
                return
            model, budget_ns = host.former.model, host.former.budget_ns
            if model.states is not None:  # of the time when it acted
                for lane in range(len(self._pipeline.lanes.devices)):
                    model.states.reset(lane)
        if order.kind in ("swap", "back"):
            retired.put(host.swap(model, order.good, budget_ns))
            if order.leaves_rejected and host.former is not None:
                retired.put(host.former.model)
                host.former = None
            self._watch_with(order.monitoring, out)
        elif order.kind == "warm":
            host.keep_warm(model, budget_ns)
        elif order.kind == "canary":
            host.begin_canary(model, order.share, budget_ns)

    def _watch_with(self, monitoring: Monitoring | None, out: list[Outgoing]) -> None:
        self._pipeline.decisions.watch_with(monitoring, out)
        self._feed_labels()

    def _feed_labels(self) -> None:
        """Labels that are joined with predictions of the active model go to the version on trial as well."""
        watch, trial = self._pipeline.decisions.monitoring, self._fed
        if watch is None or watch.labels is None:
            return
        watch.labels.joined = self._truths(trial) if trial is not None and len(self._host.labels) > 1 else None

    def _truths(self, trial: Trial) -> Joined:
        ring, write, nothing = trial.ring, trial.layout.packer(trial.ring.bytes), np.zeros(trial.layout.features, np.float32)
        scores = {label: [float(i)] * trial.layout.scores for i, label in enumerate(self._host.labels)}

        def joined(lane: int, stamp_ns: int, truth: str) -> None:
            at = ring.begin()
            if at >= 0:
                write(at, TRUTH, lane, stamp_ns, scores[truth], nothing)
                ring.end(trial.layout.nbytes)

        return joined

    def _feed(self, trial: Trial) -> Feed:
        ring, write = trial.ring, trial.layout.packer(trial.ring.bytes)

        def feed(lane: int, begun: int, stamp_ns: int, scores: Sequence[float], vector: npt.NDArray[np.float32]) -> None:
            at = ring.begin()
            if at >= 0:
                write(at, begun, lane, stamp_ns, scores, vector)
                ring.end(trial.layout.nbytes)

        return feed

    def _tell_event(self, event: Event, out: list[Outgoing], now_ns: int) -> None:
        reason = event.trouble.reason if event.trouble is not None else ""
        text = _SAID[event.kind].format(version=event.version, to=event.to, reason=reason, because=f": it {reason}" if reason else "")
        out.append(self._tell(Said(f"model.{event.kind}", text, event.version, event.deployment, is_bad=event.trouble is not None)))
        if event.kind == "off":
            out += self._pipeline.go_safe(now_ns, "model_off")
        self._lifecycle.happened.put(event)

    def _tell(self, said: Said) -> Outgoing:
        (_log.error if said.is_bad else _log.info)("%s", said.text)
        severity: Severity = self._places.severity if said.is_bad else "info"
        origin = Origin(self._lifecycle.name, said.version, "", said.deployment)
        return self._pipeline.decisions.announce(said.name, severity, said.text, origin, self._places.alerts)
