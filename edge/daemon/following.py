"""What the registry asks for, step by step: a version is proved, tried on live vectors, loaded, and ordered to act.

Owns which step comes next. Everything here may take long and runs in the models' thread, see edge.daemon.lifecycle. Nothing here touches a
pipeline: orders go to the loop.
"""

import logging
import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event as Flag
from threading import Thread
from typing import Literal

import msgspec

from edge.daemon.followed import Followed
from edge.daemon.heartbeat import Heartbeat
from edge.daemon.loading import Loader
from edge.daemon.orders import Asked, Order, Said
from edge.daemon.refused import WHO, Refused
from edge.daemon.retry import Retry
from edge.daemon.trial import Setting
from edge.daemon.trials import Trials, Verdict
from edge.errors import BundleError
from edge.inference.choice import RegistryState
from edge.inference.host import Event
from edge.inference.proving import Proof
from edge.inference.variants import Inference
from edge.pipeline.monitoring import Monitoring
from edge.store.registry import Registry
from edge.store.ring import RingWriter

_log = logging.getLogger(__name__)

Watch = Callable[[str], Monitoring | None]


class Following:
    """Follows a registry; for the arguments and attributes see Lifecycle."""

    def __init__(
        self, registry: Registry, setting: Setting, asked: Asked, running: str, watch: Watch, refused: Refused | None = None
    ) -> None:
        self.orders: SimpleQueue[Order] = SimpleQueue()
        self.happened: SimpleQueue[Event] = SimpleQueue()
        self.missed: SimpleQueue[int] = SimpleQueue()
        self.retired: SimpleQueue[Inference | RingWriter | None] = SimpleQueue()
        self.rollbacks = self.generation = 0
        self.warm = self._coming = self._canary = self._reloading = ""
        self.heartbeat = Heartbeat("models")
        self.name = asked.name
        self.waits_for: Thread | None = None
        self._followed, self._asked = Followed(registry, refused), asked
        self._refused = self._followed.refused
        self._loader = Loader(registry.folder, setting, asked)
        self._running = self._refused.at_work = running
        self.pinned = self._state.pinned
        self._is_new = self._is_cold = True
        if running:
            self._refused.safe_mode = ""
        else:  # only a person may try again
            self._refused.safe_mode = self._refused.safe_mode or "no model was fit to act at the start"
            self._refused.refuse(self._state.active, self._refused.safe_mode)
        self._watch = watch
        self._trials = Trials(setting, asked, self.orders.put)
        self._settles_s = time.monotonic() + asked.settle_s
        self._closed = Flag()
        self._is_orderly = self._has_run = False
        self._hearing, self._judging, self._paying = (Retry(self._tell_fault) for _ in range(3))
        self._following, self._settling, self._warming = (Retry(self._tell_fault) for _ in range(3))
        self._told = ""

    def _look(self) -> None:
        before = self._state.active
        if self._followed.look():
            self._is_new = True
            self._following.hurry()
            self._paying.hurry()
        trouble, told, self._told = self._followed.trouble, self._told, self._followed.trouble
        if trouble and trouble != told:
            at_work = f"{self._running} stays at work" if self._running else "no model is at work"
            self._tell("model.registry", f"{trouble}; {at_work} until it can be read", self._running, is_bad=True)
        self.pinned = self._state.pinned
        if self._state.active != before:
            self.generation += 1  # what was ordered before is not wanted any more: the loop drops it
            self._coming = ""

    def _follow(self) -> None:
        wanted, candidate = self._state.active, self._state.candidate
        if self._refused.safe_mode:
            self._trials.end()
        if self._refused.safe_mode or self._followed.trouble:
            return
        if wanted and wanted != self._running and not self._followed.is_refused(wanted):
            if self._trials.version != wanted or not self._trials.is_probation:
                self._trials.end()
            if not self._trials.version and wanted not in (self._coming, self._reloading):
                self._bring(wanted)
            return
        version = candidate.version if candidate is not None and not self._followed.is_refused(candidate.version) else ""
        is_canary = candidate is not None and candidate.mode == "canary"
        if self._trials.version and (self._trials.version, self._trials.is_probation) != (version, is_canary):
            self._trials.end()
        if self._canary and not (is_canary and version == self._canary):
            self._canary = ""
            self.orders.put(Order("end_canary"))
        if version and self._running and version not in (self._trials.version, self._canary):
            self._begin_trial(version, is_canary=is_canary)

    # -- a new active version ----------------------------------------------------------------------------------------------------

    def _bring(self, version: str) -> None:
        if version == self.warm and self._running:  # it acted before, or was proved to be kept warm: what is urgent needs no trial
            self._order("back", version, None)
            return
        try:
            if not self._loader.is_alike(version) and self._asked.takes_other_features:
                self._reloading = version
                self._tell(
                    "model.reload", f"model {version} has other features or labels: the file is read again, windows begin anew", version
                )
                self.orders.put(Order("reload"))
                return
            self._loader.check_labels(version)
            proof = self._prove(version)
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
        self._order("swap", proof.version, model)

    def _order(self, kind: Literal["swap", "back"], version: str, model: Inference | None) -> None:
        watching, budget_ns = self._watching(version), self._loader.budget_ns(version) if model is not None else 0
        self._look()  # loading took long
        state = self._state
        if state.active != version or self._followed.is_refused(version) or self._followed.trouble:
            self._is_new = True
            return
        self._coming = version
        order = Order(kind, model, good=state.last_known_good, budget_ns=budget_ns, monitoring=watching)
        leaves = self._running in state.rejected
        self.orders.put(msgspec.structs.replace(order, version=version, generation=self.generation, leaves_rejected=leaves))

    def _watching(self, version: str) -> Monitoring | None:
        """What watches a version that acts from now on; it begins anew, since its references are its own."""
        try:
            return self._watch(version)
        except (BundleError, OSError, ValueError, MemoryError) as fault:
            self._tell(
                "model.registry", f"model {version} is not watched for drift, and labels are not joined: {fault}", version, is_bad=True
            )
            return None

    def _refuse(self, version: str, reason: str) -> None:
        at_work = f"{self._running} stays at work" if self._running else "no model is at work"
        self._tell("model.refused", f"model {version} {reason}; {at_work}", version, is_bad=True)
        self._followed.refuse(version, reason)

    # -- trials ------------------------------------------------------------------------------------------------------------------

    def _begin_trial(self, version: str, *, is_canary: bool) -> None:
        """A shadow computes beside the active one; so does a canary first, which acts once it passed its probation."""
        try:
            if is_canary:
                self._loader.check_labels(version)
            proof = self._prove(version)
            if is_canary and not self._asked.probation.frames:
                self._begin_canary(proof)
            else:
                self._trials.begin(proof, self._loader.budget_ns(version), self._running, is_probation=is_canary)
        except BundleError as fault:
            self._refuse(version, f"{fault} (as a candidate)")

    def _begin_canary(self, proof: Proof) -> None:
        version = proof.version
        try:
            model = self._loader.load(proof)
        except BundleError as fault:
            self._refuse(version, f"{fault} (as a candidate)")
            return
        self._look()
        candidate = self._state.candidate
        if candidate is None or (candidate.version, candidate.mode) != (version, "canary") or self._followed.is_refused(version):
            self._is_new = True
            return
        self._canary = version
        self.orders.put(Order("canary", model, candidate.share, budget_ns=self._loader.budget_ns(version)))

    def _take_verdict(self, verdict: Verdict) -> None:
        proof, why = verdict.proof, verdict.why
        if verdict.kind == "refused":
            self._refuse(proof.version, why)
        elif verdict.kind == "passed":
            (self._hand_over if proof.version == self._state.active else self._begin_canary)(proof)
        else:
            self._promote(proof.version, why)

    def _promote(self, version: str, why: str) -> None:
        try:
            self._followed.registry.promote(WHO, why, expect=version)
        except BundleError as fault:
            self._refuse(version, f"cannot be promoted: {fault}")
            return
        self._tell("model.promoted", f"model {version} is promoted: it {why}", version)

    def _prove(self, version: str) -> Proof:
        return self._loader.prove(version, self._closed.is_set)

    def _tell_fault(self, text: str) -> None:
        self._tell("model.registry", text, self._running, is_bad=True)

    @property
    def _state(self) -> RegistryState:
        return self._followed.state

    def _tell(self, name: str, text: str, version: str, *, is_bad: bool = False) -> None:
        self.orders.put(Order("tell", said=Said(name, text, version, is_bad=is_bad)))
