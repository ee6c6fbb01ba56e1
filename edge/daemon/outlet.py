"""The way out: alerts through the outbox, commands at once or not at all, the rest in batches. Decides nothing but what is too late."""

import logging
import time

from edge.daemon.recorder import Recorder
from edge.messages import Command, Outgoing
from edge.pipeline.recipe import Pipeline
from edge.store.outbox import Outbox
from edge.transport.mqtt import MqttTransport
from edge.transport.serial import Boards

_log = logging.getLogger(__name__)

BATCH_BYTES = 16_384  # replies to one read are handed over together, at most this many bytes at once
REFUSAL_AGAIN_NS = 60_000_000_000
REFUSALS_KNOWN = 100


class Outlet:
    """Hands over what a pipeline made.

    Args:
        outbox: alerts on their way.
        recorder: told of what leaves; None: nobody is.
        pipeline: told what was withheld, and when decisions left.

    Attributes:
        transport, boards: links, set by the owner.
        handed_ns: CLOCK_MONOTONIC of the last hand-over; set it to 0 to learn whether one happened.
    """

    transport: MqttTransport
    boards: Boards

    def __init__(self, outbox: Outbox, recorder: Recorder | None, pipeline: Pipeline) -> None:
        self.outbox, self.recorder, self.pipeline = outbox, recorder, pipeline
        self._queued_bytes = self.handed_ns = 0
        self._refusals: dict[tuple[str, str], int] = {}  # topic and why to when it may be said again

    def send(self, out: list[Outgoing]) -> None:
        """Take what must leave, in order."""
        for outgoing in out:
            if outgoing.kind == "alert":
                self.outbox.add(outgoing)
                self._record(outgoing)
                self.send_alerts()
            elif outgoing.kind == "command":
                self._send_command(outgoing)
            elif self.transport.send(outgoing):
                self._queued_bytes += len(outgoing.payload)
                if outgoing.kind == "prediction":
                    self._record(outgoing)
        if self._queued_bytes > BATCH_BYTES:
            self.hand_over()

    def send_alerts(self) -> None:
        """Send alerts that wait, as far as the window allows."""
        while self.transport.is_up and (waiting := self.outbox.ready()) is not None:
            token = self.transport.send_acked(waiting)
            if token is None:
                return
            self.outbox.sent(token)

    def refused(self, token: int, why: str) -> None:
        """The broker will not have an alert: it is kept, and that is said once a minute for each topic."""
        message, now_ns = self.outbox.refused(token, why), time.monotonic_ns()
        if message is None or now_ns < self._refusals.get((message.topic, why), 0):
            return
        if len(self._refusals) >= REFUSALS_KNOWN:
            self._refusals.clear()
        self._refusals[message.topic, why] = now_ns + REFUSAL_AGAIN_NS
        _log.error("the broker refuses an alert on %s: %s; it is kept and sent again", message.topic, why)

    def hand_over(self) -> None:
        """Give the batch to the socket."""
        self.transport.flush()
        self._queued_bytes = 0
        self.handed_ns = time.monotonic_ns()
        self.pipeline.times.handed_over(self.handed_ns)

    def _send_command(self, outgoing: Outgoing) -> None:
        now_ns = time.monotonic_ns()
        board = self.boards.board_of(outgoing.topic)
        if board is not None and (barred := board.bars(outgoing.topic)):
            reason = barred  # whenever it comes
        elif now_ns > outgoing.not_after_ns:
            reason = "late"
        elif board is not None:
            reason = "" if board.send(outgoing) else "link_down"
        elif not self.transport.is_up:
            reason = "link_down"
        else:
            reason = "" if self.transport.send(outgoing) else "link_stalled"
        if not reason:
            self.hand_over()  # a command does not wait for the rest of the batch
            self._record(outgoing)
        elif isinstance(outgoing.message, Command):
            self.send(self.pipeline.withhold(outgoing.message, reason, now_ns))

    def _record(self, outgoing: Outgoing) -> None:
        if self.recorder is not None:
            self.recorder.sent(outgoing)
