"""The life of a model while the daemon runs, in a helper thread: what the registry asks for is proved, tried on live vectors, loaded.

Owns the order of these steps and everything that may take long. The loop's side is edge.daemon.deployments: orders go there through one
queue, what happened comes back through another. Nothing here touches a pipeline.
"""

import logging
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event as Flag
from typing import Any

from edge.daemon.followed import WHO, Followed
from edge.daemon.heartbeat import Heartbeat
from edge.daemon.loading import Loader
from edge.daemon.orders import Asked, Order, Said
from edge.daemon.trial import Setting
from edge.daemon.trials import Trials, Verdict
from edge.errors import BundleError
from edge.inference.choice import RegistryState
from edge.inference.guard import Trouble
from edge.inference.host import Event
from edge.inference.proving import Proof
from edge.inference.variants import Inference
from edge.pipeline.monitoring import Monitoring
from edge.store.registry import Registry
from edge.store.ring import RingWriter

_log = logging.getLogger(__name__)

PERIOD_S = 0.1
_LOOK_S = 1.0  # longest that a look at the registry's files may take
_FOLLOW_S = 200.0  # and proving and loading what it asks for
Watch = Callable[[str], Monitoring | None]


class Lifecycle:
    """Follows a registry.

    Args:
        registry: of the bundle.
        setting: for shadows.
        asked: see Asked.
        running: version that is at work; "" when none is, see safe mode.
        watch: makes what watches a version from beside, such as for drift; raises BundleError.

    Attributes:
        orders: for the loop.
        happened: switches that the host made, from the loop.
        retired: models to be freed here, from the loop.
        rollbacks: how often a model that was at work had to stop.
        heartbeat: of the thread.
        is_pinned: a person said that the version must stay, whatever it does.
    """

    def __init__(self, registry: Registry, setting: Setting, asked: Asked, running: str, watch: Watch) -> None:
        self.orders: SimpleQueue[Order] = SimpleQueue()
        self.happened: SimpleQueue[Event] = SimpleQueue()
        self.retired: SimpleQueue[Inference | RingWriter | None] = SimpleQueue()
        self.rollbacks = 0
        self.heartbeat = Heartbeat("models")
        self.name = asked.name
        self._followed, self._asked = Followed(registry), asked
        self._loader = Loader(registry.folder, setting, asked)
        self._running = running
        self.is_pinned = bool(self._state.pinned)
        self._is_new = True
        if not running:  # safe mode: only a person may try again
            self._followed.refuse(self._state.active)
        self._reloading = ""
        self._watch = watch
        self._trials = Trials(setting, asked, self.orders.put)
        self._canary = ""
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
        return self._trials.status()

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
        self._trials.end()
        if self._is_orderly:
            self._settle("stopped in an orderly way")

    def _round(self) -> None:
        self.heartbeat.expect(_LOOK_S, "looking at the registry")
        while not self.retired.empty():
            if isinstance(retired := self.retired.get(), RingWriter):
                retired.close()
            del retired  # a session of many megabytes is freed here
        self._take_events()
        self._is_new |= self._followed.look()
        if verdict := self._trials.look(self._running):
            self._take_verdict(verdict)
        if self._is_new:
            self._is_new = False
            self.heartbeat.expect(_FOLLOW_S, "proving and loading")
            self._follow()
        if self._settles_s and time.monotonic() >= self._settles_s:
            self._settle("lived long enough")

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
                if event.kind == "rolled_back":
                    self.orders.put(Order("watch", monitoring=self._watching(event.to)))
            if event.kind == "canary_ended" and event.trouble is not None:
                self.rollbacks += 1
                self._canary = ""
                self._followed.end_trial(event.trouble.reason)
            elif event.trouble is not None:
                self.rollbacks += 1
                self._trials.end()
                if not self._followed.is_refused(event.version):  # as it is in safe mode
                    self._roll_back(event.version, event.trouble.reason)
            self._is_new = True

    def _follow(self) -> None:
        """Do the next thing that the registry asks for."""
        wanted, state = self._state.active, self._state
        if wanted and wanted != self._running and not self._followed.is_refused(wanted):
            if self._trials.version != wanted or not self._trials.is_probation:
                self._trials.end()
            if not self._trials.version:
                self._bring(wanted)
            return
        if self._trials.is_probation:  # of a version that is no longer asked for
            self._trials.end()
        candidate = state.candidate
        shadow = candidate.version if candidate is not None and candidate.mode == "shadow" else ""
        canary = candidate.version if candidate is not None and candidate.mode == "canary" else ""
        if self._trials.version != shadow:
            self._trials.end()
        if self._canary and canary != self._canary:
            self._canary = ""
            self.orders.put(Order("end_canary"))
        if shadow and not self._trials.version and self._running and not self._followed.is_refused(shadow):
            self._begin_shadow(shadow)
        if candidate is not None and canary and not self._canary and self._running and not self._followed.is_refused(canary):
            self._begin_canary(canary, candidate.share)

    # -- a new active version ----------------------------------------------------------------------------------------------------

    def _bring(self, version: str) -> None:
        try:
            if not self._loader.is_alike(version) and self._asked.takes_other_features:
                self._followed.refuse(version)
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
            self._trials.begin(proof, self._loader.budget_ns(version), self._running, is_probation=True)
        else:
            self._hand_over(proof)

    def _hand_over(self, proof: Proof) -> None:
        try:
            model = self._loader.load(proof)
        except BundleError as fault:
            self._refuse(proof.version, str(fault))
            return
        self._running = proof.version
        watching, budget_ns = self._watching(proof.version), self._loader.budget_ns(proof.version)
        self.orders.put(Order("swap", model, good=self._state.last_known_good, budget_ns=budget_ns, monitoring=watching))

    def _watching(self, version: str) -> Monitoring | None:
        """What watches a version that acts from now on; it begins anew, since its references are its own."""
        try:
            return self._watch(version)
        except BundleError as fault:
            self._tell(
                "model.registry", f"model {version} is not watched for drift, and labels are not joined: {fault}", version, is_bad=True
            )
            return None

    def _refuse(self, version: str, reason: str) -> None:
        at_work = f"{self._running} stays at work" if self._running else "no model is at work"
        self._tell("model.refused", f"model {version} {reason}; {at_work}", version, is_bad=True)
        self._followed.refuse(version)
        if self._state.active == version:
            self._roll_back(version, reason)
        elif self._state.candidate is not None and self._state.candidate.version == version:
            self._followed.end_trial(reason)

    def _roll_back(self, version: str, reason: str) -> None:
        if trouble := self._followed.roll_back(version, reason):
            self._tell("model.registry", f"model {version} stays the active one in the registry: {trouble}", version, is_bad=True)

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
            proof = self._loader.prove(version)
            self._trials.begin(proof, self._loader.budget_ns(version), self._running, is_probation=False)
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

    def _take_verdict(self, verdict: Verdict) -> None:
        proof, why = verdict.proof, verdict.why
        if verdict.kind == "refused":
            self._refuse(proof.version, why)
        elif verdict.kind == "passed":
            self._hand_over(proof)
        else:
            self._promote(proof.version, why)

    def _promote(self, version: str, why: str) -> None:
        try:
            self._followed.registry.promote(WHO, why)
        except BundleError as fault:
            self._refuse(version, f"cannot be promoted: {fault}")
            return
        self._tell("model.promoted", f"model {version} is promoted: it {why}", version)

    # -- the rest ----------------------------------------------------------------------------------------------------------------

    def _settle(self, how: str) -> None:
        self._settles_s = 0.0
        if self._running:
            _log.debug("model %s %s", self._running, how)
            self._followed.registry.note_settled(self._running)

    @property
    def _state(self) -> RegistryState:
        return self._followed.state

    def _tell(self, name: str, text: str, version: str, *, is_bad: bool = False) -> None:
        self.orders.put(Order("tell", said=Said(name, text, version, is_bad=is_bad)))
