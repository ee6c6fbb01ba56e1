"""The life of a model while the daemon runs, in a helper thread: what the registry asks for is proved, tried on live vectors, loaded.

Owns the order of these steps and everything that may take long. The loop's side is edge.daemon.deployments: orders go there through one
queue, what happened comes back through another. Nothing here touches a pipeline.
"""

import logging
import time
from queue import Empty
from typing import Any

from edge.daemon.following import Following
from edge.daemon.orders import Order
from edge.errors import BundleError
from edge.inference.guard import Trouble
from edge.inference.host import Event
from edge.store.ring import RingWriter

_log = logging.getLogger(__name__)

PERIOD_S = 0.1
_LOOK_S = 1.0  # longest that a look at the registry's files may take
_FOLLOW_S = 200.0  # and proving and loading what it asks for


class Lifecycle(Following):
    """Follows a registry.

    Args:
        registry: of the bundle.
        setting: for shadows.
        asked: see Asked.
        running: version that is at work; "" when none is, see safe mode.
        watch: makes what watches a version from beside, such as for drift; raises BundleError.
        refused: what the process holds against versions; outlives this object.

    Attributes:
        orders: for the loop.
        happened: switches that the host made, from the loop.
        missed: generations of orders that could not be carried out, from the loop.
        retired: models to be freed here, from the loop.
        rollbacks: how often a model that was at work had to stop.
        heartbeat: of the thread.
        pinned: version of which a person said that it must stay, whatever it does; "" for none.
        generation: rises when the registry asks for another version; orders of an earlier one are not carried out.
        warm: version that the loop keeps warm; set by the loop.
        waits_for: thread that wrote the registry before; it must end first.
    """

    # -- from the loop -----------------------------------------------------------------------------------------------------------

    def close(self, *, is_orderly: bool, has_run: bool = True) -> None:
        """End the thread; see Deployments.close."""
        self._is_orderly, self._has_run = is_orderly, has_run
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
        if self.waits_for is not None:  # two must never write one registry; closed or not, the next one waits for this one
            while self.waits_for.is_alive():
                self.heartbeat.expect(PERIOD_S, "waiting for the one before")
                self.waits_for.join(PERIOD_S)
            self.waits_for = None
        while not self._closed.is_set():
            self._round()
            self.heartbeat.expect(PERIOD_S)
            self._closed.wait(PERIOD_S)
        self.heartbeat.rest()
        self._hearing.attempt(self._trials.end)
        self._take_events()
        self._paying.hurry()
        self._paying.attempt(self._followed.pay)
        if self._is_orderly:
            self._settling.hurry()
            self._settling.attempt(self._settle)

    def _round(self) -> None:
        self.heartbeat.expect(_LOOK_S, "looking at the registry")
        self._hearing.attempt(self._hear)
        self._judging.attempt(self._judge)
        self._paying.attempt(self._followed.pay)
        self.heartbeat.expect(_FOLLOW_S, "proving and loading")
        if self._is_cold and self._warming.attempt(self._keep_good_warm):
            self._is_cold = False
        if self._is_new and self._following.attempt(self._follow_all):
            return
        if self._settles_s and time.monotonic() >= self._settles_s:
            self._settling.attempt(self._settle)

    def _hear(self) -> None:
        while not self.retired.empty():
            if isinstance(retired := self.retired.get(), RingWriter):
                retired.close()
            del retired  # a session of many megabytes is freed here
        self._take_events()
        self._look()

    def _judge(self) -> None:
        if verdict := self._trials.look(self._running):
            self._is_new = True
            self._take_verdict(verdict)

    def _take_events(self) -> None:
        while not self.missed.empty():
            if self.missed.get() == self.generation:
                self._coming, self.warm, self._is_new = "", "", True
        while True:
            try:
                event = self.happened.get_nowait()
            except Empty:
                return
            self._is_new = True
            self._take_event(event)

    def _take_refused(self, version: str, reason: str) -> None:
        """A reload that a version asked for was refused."""
        self._reloading = ""
        self._look()
        if not self._followed.trouble:  # else it is the registry's fault and not the version's: asked for again once it can be read
            self._refuse(version, reason)

    def _take_event(self, event: Event) -> None:
        reason = event.trouble.reason if event.trouble is not None else ""
        if event.kind == "refused":
            self._take_refused(event.version, reason)
            return
        if event.kind in ("swapped", "rolled_back", "off"):
            self._running = self._refused.at_work = event.to
            self._settles_s = time.monotonic() + self._asked.settle_s if event.to else 0.0
            if event.to == self._coming:
                self._coming = ""
            if event.kind == "off":
                self._refused.safe_mode = self._refused.safe_mode or reason
                self._canary = ""  # it ended with the rest
            if event.kind == "rolled_back":
                self.orders.put(Order("watch", monitoring=self._watching(event.to)))
        if event.kind == "canary_ended" and event.version == self._canary:
            self._canary = ""
        if event.trouble is None:
            return
        self.rollbacks += 1
        if event.kind == "canary_ended":
            self._followed.refuse(event.version, reason)
            return
        self._trials.end()
        if not self._followed.is_refused(event.version):  # as it is in safe mode
            self._followed.refuse(event.version, reason)

    def _follow_all(self) -> None:
        """Do the next thing that the registry asks for; it is tried again until it is done, also where the registry stays as it is."""
        self._is_new = False
        try:
            self._follow()
        except BaseException:
            self._is_new = True
            raise

    def _keep_good_warm(self) -> None:
        """What ran well last is loaded at once, for the day that it is needed."""
        good = self._state.last_known_good
        if not good or good == self._running or not self._running or self._followed.is_refused(good):
            return
        try:
            if self._loader.is_alike(good):
                model = self._loader.load(self._prove(good))
                self.orders.put(Order("warm", model, budget_ns=self._loader.budget_ns(good)))
        except BundleError as fault:
            _log.warning("model %s, which ran well last, cannot be kept warm: %s", good, fault)

    def _settle(self) -> None:
        """What runs is known to be good: it lived long enough, or the daemon stops in an orderly way."""
        if self._running:  # in safe mode the starts stay counted: the next one must not take what crashed
            self._followed.settle(self._running if self._has_run or not self._closed.is_set() else "")
        self._settles_s = 0.0
