"""The life of a model while the daemon runs, in a helper thread: what the registry asks for is proved, tried on live vectors, loaded.

Owns the order of these steps and everything that may take long. The loop's side is edge.daemon.deployments: orders go there through one
queue, what happened comes back through another. Nothing here touches a pipeline.
"""

import logging
import os
import time
from queue import Empty, SimpleQueue
from threading import Event as Flag
from typing import Any

import msgspec

from edge.daemon.heartbeat import Heartbeat
from edge.daemon.loading import Loader, is_fit
from edge.daemon.orders import Asked, Order, Said
from edge.daemon.trial import Setting, Trial
from edge.errors import BundleError
from edge.inference.choice import STATE_FILE
from edge.inference.guard import Trouble
from edge.inference.host import Event
from edge.inference.proving import Proof
from edge.inference.shadow import Report
from edge.inference.variants import Inference
from edge.store.registry import Registry
from edge.store.ring import RingWriter

_log = logging.getLogger(__name__)

PERIOD_S = 0.1
_LOOK_S = 1.0  # longest that a look at the registry's files may take
_FOLLOW_S = 200.0  # and proving and loading what it asks for
WHO = "daemon"


class Lifecycle:
    """Follows a registry.

    Args:
        registry: of the bundle.
        setting: for shadows.
        asked: see Asked.
        running: version that is at work; "" when none is, see safe mode.

    Attributes:
        orders: for the loop.
        happened: switches that the host made, from the loop.
        retired: models to be freed here, from the loop.
        rollbacks: how often a model that was at work had to stop.
        heartbeat: of the thread.
        is_pinned: a person said that the version must stay, whatever it does.
    """

    def __init__(self, registry: Registry, setting: Setting, asked: Asked, running: str) -> None:
        self.orders: SimpleQueue[Order] = SimpleQueue()
        self.happened: SimpleQueue[Event] = SimpleQueue()
        self.retired: SimpleQueue[Inference | RingWriter | None] = SimpleQueue()
        self.rollbacks = 0
        self.heartbeat = Heartbeat("models")
        self.name = asked.name
        self._registry, self._setting, self._asked = registry, setting, asked
        self._loader = Loader(registry.folder, setting, asked)
        self._running = running
        self._state = registry.state()
        self.is_pinned = bool(self._state.pinned)
        self._seen: tuple[int, int, int] = (0, 0, 0)
        self._is_new = True
        self._refused: set[tuple[str, int]] = set()  # version and number of the history's line: a person may try again
        if not running:  # safe mode: only a person may try again
            self._refuse_again(self._state.active)
        self._reloading = ""
        self._trial: Trial | None = None
        self._is_probation = False
        self._canary = ""
        self._shown: Report | None = None
        self._settles_s = time.monotonic() + asked.settle_s
        self._closed = Flag()
        self._is_orderly = False

    # -- from the loop -----------------------------------------------------------------------------------------------------------

    def close(self, *, is_orderly: bool) -> None:
        """End the thread; see Deployments.close."""
        self._is_orderly = is_orderly
        self._closed.set()

    def reload_refused(self, reason: str) -> None:
        """The file was read again, as ordered, and cannot be run."""
        if self._reloading:
            self.happened.put(Event("refused", self._reloading, "", "", Trouble("failed", reason)))

    def shadow_status(self) -> dict[str, Any] | None:
        """What is known of the version on trial; None without one."""
        trial, report = self._trial, self._shown
        if trial is None:
            return None
        known = msgspec.to_builtins(report) if report is not None else {"version": trial.version, "n": 0}
        return known | {"mode": "probation" if self._is_probation else "shadow", "pid": trial.pid, "restarts": trial.deaths}

    # -- the thread --------------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Follow the registry until closed."""
        self.heartbeat.expect(_FOLLOW_S, "loading the last good version")
        self._keep_good_warm()
        self.heartbeat.expect(PERIOD_S)
        while not self._closed.wait(PERIOD_S):
            try:
                self._round()
            except (BundleError, OSError, ValueError) as fault:  # a full disk, no more processes: said, and tried again
                self._tell("model.registry", str(fault), self._running, is_bad=True)
                self.heartbeat.expect(10 * PERIOD_S)
                self._closed.wait(10 * PERIOD_S)
            self.heartbeat.expect(PERIOD_S)
        self.heartbeat.rest()
        self._end_trial()
        if self._is_orderly:
            self._settle("stopped in an orderly way")

    def _round(self) -> None:
        self.heartbeat.expect(_LOOK_S, "looking at the registry")
        while not self.retired.empty():
            if isinstance(retired := self.retired.get(), RingWriter):
                retired.close()
            del retired  # a session of many megabytes is freed here
        self._take_events()
        self._look_at_registry()
        if self._trial is not None:
            self._watch_trial(self._trial)
        if self._is_new:
            self._is_new = False
            self.heartbeat.expect(_FOLLOW_S, "proving and loading")
            self._follow()
        if self._settles_s and time.monotonic() >= self._settles_s:
            self._settle("lived long enough")

    def _look_at_registry(self) -> None:
        try:
            stat = os.stat(self._registry.folder / STATE_FILE)
        except OSError:
            return
        seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if seen != self._seen:
            self._seen = seen
            self._state = self._registry.state()
            self._is_new = True

    def _take_events(self) -> None:
        while True:
            try:
                event = self.happened.get_nowait()
            except Empty:
                return
            if event.kind == "refused" and event.trouble is not None:
                self._reloading = ""
                self._refuse(event.version, event.trouble.reason)
                continue
            if event.kind in ("swapped", "rolled_back", "off"):
                self._running = event.to
                self._settles_s = time.monotonic() + self._asked.settle_s if event.to else 0.0
            if event.kind == "canary_ended" and event.trouble is not None:
                self.rollbacks += 1
                self._canary = ""
                self._registry.clear_candidate(WHO, event.trouble.reason)
            elif event.trouble is not None:
                self.rollbacks += 1
                self._end_trial()
                if not self._is_refused(event.version):  # as it is in safe mode
                    self._roll_back(event.version, event.trouble.reason)
            self._is_new = True

    def _follow(self) -> None:
        """Do the next thing that the registry asks for."""
        wanted, state = self._state.active, self._state
        if wanted and wanted != self._running and not self._is_refused(wanted):
            if self._trial is not None and (self._trial.version != wanted or not self._is_probation):
                self._end_trial()
            if self._trial is None:
                self._bring(wanted)
            return
        if self._is_probation:  # of a version that is no longer asked for
            self._end_trial()
        candidate = state.candidate
        shadow = candidate.version if candidate is not None and candidate.mode == "shadow" else ""
        canary = candidate.version if candidate is not None and candidate.mode == "canary" else ""
        if self._trial is not None and self._trial.version != shadow:
            self._end_trial()
        if self._canary and canary != self._canary:
            self._canary = ""
            self.orders.put(Order("end_canary"))
        if shadow and self._trial is None and self._running and not self._is_refused(shadow):
            self._begin_shadow(shadow)
        if candidate is not None and canary and not self._canary and self._running and not self._is_refused(canary):
            self._begin_canary(canary, candidate.share)

    # -- a new active version ----------------------------------------------------------------------------------------------------

    def _bring(self, version: str) -> None:
        try:
            if not self._loader.is_alike(version) and self._asked.takes_other_features:
                self._refuse_again(version)
                self._reloading = version
                self._tell(
                    "model.reload", f"model {version} has other features or labels: the file is read again, windows begin anew", version
                )
                self.orders.put(Order("reload"))
                return
            self._loader.check_labels(version)
            proof = self._loader.prove(version)
        except BundleError as fault:
            self._refuse(version, str(fault))
            return
        if self._asked.probation.frames and self._running:
            self._begin_trial(proof, is_probation=True)
        else:
            self._hand_over(proof)

    def _hand_over(self, proof: Proof) -> None:
        try:
            model = self._loader.load(proof)
        except BundleError as fault:
            self._refuse(proof.version, str(fault))
            return
        self._running = proof.version
        self.orders.put(Order("swap", model, good=self._state.last_known_good, budget_ns=self._loader.budget_ns(proof.version)))

    def _refuse(self, version: str, reason: str) -> None:
        at_work = f"{self._running} stays at work" if self._running else "no model is at work"
        self._tell("model.refused", f"model {version} {reason}; {at_work}", version, is_bad=True)
        self._refuse_again(version)
        if self._state.active == version:
            self._roll_back(version, reason)
        elif self._state.candidate is not None and self._state.candidate.version == version:
            self._registry.clear_candidate(WHO, reason)

    def _roll_back(self, version: str, reason: str) -> None:
        """Write down that a version must not be active."""
        self._refuse_again(version)
        if self._registry.state().active != version:
            return
        try:
            self._registry.rollback(WHO, reason)
        except BundleError as fault:
            self._tell("model.registry", f"model {version} stays the active one in the registry: {fault}", version, is_bad=True)

    def _keep_good_warm(self) -> None:
        """What ran well last is loaded at once, for the day that it is needed."""
        good = self._state.last_known_good
        if not good or good == self._running or not self._running:
            return
        try:
            if self._loader.is_alike(good):
                model = self._loader.load(self._loader.prove(good))
                self.orders.put(Order("warm", model, budget_ns=self._loader.budget_ns(good)))
        except BundleError as fault:
            _log.warning("model %s, which ran well last, cannot be kept warm: %s", good, fault)

    # -- trials ------------------------------------------------------------------------------------------------------------------

    def _begin_shadow(self, version: str) -> None:
        try:
            self._begin_trial(self._loader.prove(version), is_probation=False)
        except BundleError as fault:
            self._refuse(version, f"{fault} (as a candidate)")

    def _begin_canary(self, version: str, share: float) -> None:
        try:
            self._loader.check_labels(version)
            model = self._loader.load(self._loader.prove(version))
        except BundleError as fault:
            self._refuse(version, f"{fault} (as a candidate)")
            return
        self._canary = version
        self.orders.put(Order("canary", model, share, budget_ns=self._loader.budget_ns(version)))

    def _begin_trial(self, proof: Proof, *, is_probation: bool) -> None:
        self._trial, self._shown = Trial(self._setting, proof, self._loader.budget_ns(proof.version)), None
        self._is_probation = is_probation
        self.orders.put(Order("feed", trial=self._trial))
        what = f"answers {self._asked.probation.frames} live vectors beside" if is_probation else "is a shadow of"
        _log.info("model %s %s %s", proof.version, what, self._running)

    def _end_trial(self) -> None:
        trial, self._trial = self._trial, None
        self._is_probation, self._shown = False, None
        if trial is not None:
            self.orders.put(Order("feed"))
            trial.close()

    def _watch_trial(self, trial: Trial) -> None:
        before = self._shown
        trial.poll()
        self._shown = report = trial.report
        if report is not None and report is not before:
            mode = "probation" if self._is_probation else "shadow"
            payload = {"v": 1, "mode": mode, "model": self.name, "active": self._running} | msgspec.to_builtins(report)
            self.orders.put(Order("publish", payload=msgspec.json.encode(payload)))
        if self._is_probation:
            self._judge_probation(trial, report)
        elif trial.failure:
            self._end_trial()
            self._refuse(trial.version, f"gave up being a shadow: {trial.failure}")
        elif report is not None and self._asked.promotes and is_fit(report, self._asked):
            self._promote(trial.version, report)

    def _judge_probation(self, trial: Trial, report: Report | None) -> None:
        probation = msgspec.structs.replace(self._asked.probation, budget_ms=trial.budget_ns / 1e6)
        reason = trial.failure or (probation.trouble(report) if report is not None else "")
        if reason:
            self._end_trial()
            self._refuse(trial.version, f"{reason}: it never acted")
        elif report is not None and probation.is_passed(report):
            self._end_trial()
            self._hand_over(trial.proof)

    def _promote(self, version: str, report: Report) -> None:
        why = f"agreed on {report.agreement:.2%} of {report.n} vectors, p99 {report.p99_ms:.3f} ms"
        self._end_trial()
        try:
            self._registry.promote(WHO, why)
        except BundleError as fault:
            self._refuse(version, f"cannot be promoted: {fault}")
            return
        self._tell("model.promoted", f"model {version} is promoted: it {why}", version)

    # -- the rest ----------------------------------------------------------------------------------------------------------------

    def _settle(self, how: str) -> None:
        self._settles_s = 0.0
        if self._running:
            _log.debug("model %s %s", self._running, how)
            self._registry.note_settled(self._running)

    def _is_refused(self, version: str) -> bool:
        return (version, self._line) in self._refused

    def _refuse_again(self, version: str) -> None:
        self._refused.add((version, self._line))

    @property
    def _line(self) -> int:
        return self._state.entry.number if self._state.entry is not None else 0

    def _tell(self, name: str, text: str, version: str, *, is_bad: bool = False) -> None:
        self.orders.put(Order("tell", said=Said(name, text, version, is_bad=is_bad)))
