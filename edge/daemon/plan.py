"""What a daemon runs."""

import logging

from edge.daemon.deployments import Deployments
from edge.daemon.health import MODE, HealthTerms, Helper
from edge.daemon.helpers import of_heartbeat, of_keeper
from edge.daemon.keeper import Keeper
from edge.daemon.realtime import Place
from edge.daemon.tables import TableWatcher
from edge.messages import Outgoing
from edge.pipeline.recipe import Pipeline
from edge.transport.link import Settings
from edge.transport.serial import SerialLine

_log = logging.getLogger(__name__)


class Plan:
    """What a daemon runs: the pipeline, how to reach the broker, and how often status is published.

    Args:
        pipeline: compiled and warm.
        settings: of the link.
        subscriptions: (topic filter, QoS).
        status_topic, status_every_s: where and how often counters are published.
        tick_ms: period of the reactor's ticks.
        watcher: of the tables; None without any.

    Attributes:
        place: of the process on its machine.
        alert_topic: of the outbox's own alerts.
        health: what is told of it.
        is_safe: safe mode.
        keeper: of the pipeline's state; None: a restart begins anew.
        models: keeps them as the registry says; None where the file says which version runs.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        settings: Settings,
        subscriptions: list[tuple[str, int]],
        status_topic: str,
        status_every_s: float,
        tick_ms: int,
        watcher: TableWatcher | None = None,
    ) -> None:
        self.pipeline, self.settings, self.subscriptions = pipeline, settings, subscriptions
        self.status_topic, self.status_every_s, self.tick_ms = status_topic, status_every_s, tick_ms
        self._watcher = watcher
        self.place = Place()
        self.alert_topic = ""
        self.health = HealthTerms()
        self.is_safe = False
        self.keeper: Keeper | None = None
        self.lines: dict[str, SerialLine] = {}
        self.models: Deployments | None = None

    def helpers(self) -> list[Helper]:
        """What tells whether this plan is at work, and whether its threads live."""
        beats = [one.heartbeat for one in (self._watcher, self.models) if one is not None]
        found = [self._mode, *map(of_heartbeat, beats)]
        return [*found, of_keeper(self.keeper)] if self.keeper is not None else found

    def _mode(self, _now_ns: int) -> tuple[str, str, str]:
        if self.is_safe:
            return MODE, "safe", "edge run --safe: no model, no rule, no command"
        return (MODE, "safe", "no model is fit to act") if self.pipeline.decisions.host.is_off else (MODE, "ok", "")

    def look_after_tables(self, wall_ns: int) -> None:
        """Swap in tables that were read again; call often, between two frames.

        Args:
            wall_ns: Unix time.
        """
        if self._watcher is not None:
            self._watcher.take(wall_ns)

    def look_after_models(self, now_ns: int) -> list[Outgoing]:
        """Switch to models that are ready; call often, between two frames. Returns what must be sent.

        Args:
            now_ns: CLOCK_MONOTONIC.
        """
        return self.models.look(now_ns) if self.models is not None else []

    def tell(self) -> None:
        """Log who runs, and what memory its lanes take for good."""
        name, boot_id, lanes = self.pipeline.name, self.pipeline.decisions.terms.boot_id, len(self.pipeline.lanes.devices)
        _log.info("%s runs, boot id %s; the windows of %d lanes take %.1f MB", name, boot_id, lanes, self.pipeline.features.nbytes / 1e6)

    def give_way(self, plan: "Plan") -> None:
        """Another plan takes over, as the file was read again; nothing is waited for: its models' thread waits for the end of this one's.

        Args:
            plan: that takes over.
        """
        if self.models is not None:
            if plan.models is not None:
                plan.models.follows(self.models)
            self.models.close(is_orderly=True, wait_s=0.0)
            self.models = None
        if self.keeper is not None:  # a kill after a reload must find the state of what ran last, not of what ran before
            plan.keeper, self.keeper = self.keeper.passed_on(plan.pipeline), None
        self.close()

    def close(self, *, is_orderly: bool = True) -> None:
        """This plan is over.

        Args:
            is_orderly: it was told to end.
        """
        if self.models is not None:
            self.models.close(is_orderly=is_orderly)
        if self._watcher is not None:
            self._watcher.close()
        if self.keeper is not None and is_orderly:
            self.keeper.close()
