"""The outbox that a config describes."""

import logging
import os
from collections import deque
from pathlib import Path

from edge.config.types import RuntimeConfig
from edge.pipeline.recipe import Pipeline
from edge.store.outbox import Bounds, Outbox
from edge.store.outbox_disk import in_memory
from edge.store.outbox_file import Durability
from edge.store.outbox_journal import Journal
from edge.store.outbox_said import Said

_log = logging.getLogger(__name__)

ALERTS_IN_FLIGHT = 20  # paho resends everything it holds after a reconnect, so it holds little
_STATE = "STATE_DIRECTORY"
_NO_POWER = "kill -9, not loss of power"


class Resumption:
    """Lets the alert rules of pipelines go on from what they said last: nothing is said twice, and what is over is taken back.

    At a restart, at a reload, when a device that had to give up its lane comes back, and when the outbox's file could be read only
    after the start.

    Args:
        outbox: knows what was said.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._said = outbox.said
        self._pipelines: deque[Pipeline] = deque(maxlen=2)  # at work, and perhaps built to take over
        outbox.on_found = self._found

    def attach(self, pipeline: Pipeline) -> None:
        """A pipeline that is warm, and not at work yet."""
        earlier, policy = pipeline.lanes.on_assign, pipeline.decisions.policy

        def seat(lane: int, device: str) -> None:
            if earlier is not None:
                earlier(lane, device)
            policy.resume(lane, self._said.raised(device))

        pipeline.lanes.on_assign = seat
        self._pipelines.append(pipeline)

    def _found(self, new: Said) -> None:
        for pipeline in self._pipelines:
            for device in new:
                lane = pipeline.lanes.find(device)
                if lane >= 0:
                    pipeline.decisions.policy.resume(lane, new.raised(device))


def outbox_of(config: RuntimeConfig) -> Outbox:
    """Open the outbox of a config; what an earlier run left in it is there. A disk that fails is waited for, not refused.

    Args:
        config: whole.
    """
    terms = config.outbox
    bounds = Bounds(terms.max_alerts, int(terms.max_mb * 1e6), int(terms.max_age_h * 3.6e12))
    path = state_path(config.name, "outbox", terms.path)
    if path is None:
        _log.warning("alerts wait in memory and are lost with this process: outbox.path is not set, and no service manager names a folder")
        return Outbox(bounds, ALERTS_IN_FLIGHT)
    journal = Journal(path, terms.durability)
    outbox = Outbox(bounds, ALERTS_IN_FLIGHT, journal)
    if not journal.fault:  # which the journal has told
        _tell_place(path, terms.durability, len(outbox))
    return outbox


def _tell_place(path: Path, durability: Durability, found: int) -> None:
    """What alerts survive, as far as it is true."""
    what = "alerts wait in %s, %d of an earlier run among them; they survive %s"
    if kind := in_memory(path.parent):
        _log.warning(f"{what}, nor any other end of the machine: that is %s, a file system in memory", path, found, _NO_POWER, kind)
    else:
        _log.info(what, path, found, "loss of power" if durability == "power" else _NO_POWER)


def state_path(name: str, suffix: str, wanted: str | None) -> Path | None:
    """Where a pipeline keeps something: where its file says, or in the folder that systemd made for the service (``StateDirectory=``).

    Args:
        name: of the pipeline.
        suffix: of the file.
        wanted: by the pipeline file; "" is "nowhere".
    """
    if wanted is not None:
        return Path(wanted) if wanted else None
    folder = os.environ.get(_STATE, "").split(":")[0]  # what the service manager tells, as NOTIFY_SOCKET
    return Path(folder) / f"{name}.{suffix}" if folder else None
