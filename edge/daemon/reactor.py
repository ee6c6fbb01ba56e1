"""The reactor: one thread, one selector, the clock, signals, ticks, health. Owns all I/O of the hot process.

A frame's bytes are read, taken all the way through the pipeline and answered before the next ``select``. Whatever may block lives
elsewhere: the broker is dialled in a helper thread, a new pipeline is built in another. What leaves goes through edge.daemon.outlet.
"""

import gc
import logging
import selectors
import signal
import time
from collections.abc import Callable
from typing import Any

import msgspec

from edge.daemon import realtime
from edge.daemon.health import Health
from edge.daemon.health_file import HealthFile
from edge.daemon.helpers import of_outbox, of_recorder
from edge.daemon.lines import LineWatches
from edge.daemon.memory import settle
from edge.daemon.model_report import ModelReport
from edge.daemon.notices import Notices
from edge.daemon.notify import Notifier
from edge.daemon.outbox_watch import OutboxWatch
from edge.daemon.outlet import Outlet
from edge.daemon.plan import Plan
from edge.daemon.rebuild import Rebuilder
from edge.daemon.recorder import Recorder
from edge.daemon.statement import statement
from edge.daemon.wake import Wake
from edge.errors import EdgeError
from edge.messages import Outgoing, RawMessage
from edge.store.outbox import Outbox
from edge.transport.link import Handlers
from edge.transport.mqtt import MqttTransport
from edge.transport.serial import Boards

_log = logging.getLogger(__name__)

DRAIN_S = 1.3  # SIGTERM: alerts in flight may still be acknowledged for so long; the goodbye takes up to 0.3 s more
WALL_STEP_NS = 5_000_000  # a wall clock that moved more than this against the monotonic one was set
FAULTS_MAX = 5  # unexpected exceptions within FAULT_WINDOW_S: give up and let the supervisor restart us
FAULT_WINDOW_S = 60.0


class Daemon:
    """Runs a plan until told to stop.

    Args:
        plan: what to run.
        rebuild: makes a new plan from the re-read file (SIGHUP); raises EdgeError when the file is not valid.
        outbox: alerts on their way.
        notifier: the service manager.
        tap: called with every message before the pipeline sees it; for tests.
        recorder: records what comes in and goes out.
    """

    def __init__(
        self,
        plan: Plan,
        rebuild: Callable[[], Plan],
        outbox: Outbox,
        notifier: Notifier,
        tap: Callable[[RawMessage], None] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._plan, self._outbox, self._notifier, self._tap = plan, outbox, notifier, tap
        self._recorder = recorder
        self._pipeline = plan.pipeline
        self._selector = selectors.DefaultSelector()
        self._wake = Wake(self._selector, self._on_wake)
        self._outlet = Outlet(outbox, recorder, plan.pipeline)
        self._send, self._send_alerts, self._hand_over = self._outlet.send, self._outlet.send_alerts, self._outlet.hand_over
        self._transport = self._outlet.transport = self._make_transport(plan)
        self._health = Health(self._transport, time.monotonic_ns(), HealthFile.from_environment(outbox.__len__))
        self._boards = self._make_boards(plan)
        outbox.wake_with(self._wake.nudge)
        self._outbox_watch = OutboxWatch(outbox)
        self._stop_at_ns = 0
        self._rebuilder = Rebuilder(rebuild, self._wake.nudge)
        self._faults: list[int] = []
        self._faults_total = 0
        self._started_ns = time.monotonic_ns()
        self._next_status_ns = 0

    # -- the loop ------------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Run until SIGTERM or SIGINT.

        Returns:
            The exit code: 0 when asked to stop, 1 after too many unexpected faults.
        """
        self._set_wall_offset()
        self._start_pipeline(self._pipeline.decisions.wall_offset_ns)
        self._wake.take_signals()
        settle()
        if self._recorder is not None:
            self._recorder.start()
        realtime.take(self._plan.place)
        self._notifier.ready(f"{'safe mode of' if self._plan.is_safe else 'running'} {self._pipeline.name}")
        try:
            return self._loop()
        finally:
            self._outbox.close()
            if self._recorder is not None:
                self._recorder.close()
            gc.enable()
            gc.unfreeze()
            self._plan.close(is_orderly=self._stop_at_ns != 0)
            self._wake.close()
            self._selector.close()

    def _loop(self) -> int:
        next_tick_ns = 0
        while True:
            now_ns = time.monotonic_ns()
            if now_ns >= next_tick_ns:
                if self._guard(self._tick, now_ns):
                    return 1
                tick_ns = self._plan.tick_ms * 1_000_000  # now: a reload may have changed it
                next_tick_ns = (now_ns // tick_ns + 1) * tick_ns
            if self._stop_at_ns and self._is_finished(now_ns):
                return 0
            wake_ns = min(next_tick_ns, self._stop_at_ns or next_tick_ns)
            for key, mask in self._selector.select((wake_ns - now_ns) * 1e-9):
                if self._guard(key.data, mask):
                    return 1
            if self._guard(self._end_turn, now_ns):
                return 1

    def _end_turn(self, _now_ns: int) -> None:
        self._send(self._pipeline.flush_scans())
        self._hand_over()

    def _guard(self, call: Callable[[int], Any], argument: int) -> bool:
        """The one catch-all: count, log, go on; true after too many faults in a short time."""
        try:
            call(argument)
        except Exception:  # noqa: BLE001
            now_ns = time.monotonic_ns()
            self._faults_total += 1
            self._faults = [at for at in self._faults if now_ns - at < FAULT_WINDOW_S * 1e9] + [now_ns]
            _log.exception("unexpected fault %d of %d in %g s: going to safe values", len(self._faults), FAULTS_MAX, FAULT_WINDOW_S)
            self._send(self._pipeline.go_safe(now_ns, "fault"))
            return len(self._faults) >= FAULTS_MAX
        return False

    def _tick(self, now_ns: int) -> None:
        self._set_wall_offset()
        self._transport.poll(now_ns)
        self._boards.poll(now_ns)
        if not self._stop_at_ns:
            self._send(self._pipeline.tick(now_ns))
        self._send(self._outbox_watch.look(self._pipeline, now_ns))
        self._send_alerts()
        if now_ns >= self._next_status_ns:
            self._next_status_ns = now_ns + int(self._plan.status_every_s * 1e9)
            self._publish_status(now_ns)
        if not self._stop_at_ns:
            self._send(self._plan.look_after_models(now_ns))
        self._plan.look_after_tables(now_ns + self._pipeline.decisions.wall_offset_ns)
        if self._plan.keeper is not None and not self._stop_at_ns:
            self._plan.keeper.look(now_ns)
        self._take_rebuilt(now_ns)
        if not self._stop_at_ns:
            self._send(self._health.look(now_ns))
            if line := self._health.line(now_ns):
                self._notifier.status(line)
        if self._health.is_working(now_ns):
            self._notifier.alive(now_ns)
        self._hand_over()

    # -- in and out ----------------------------------------------------------------------------------------------------------

    def _on_message(self, raw: RawMessage) -> None:
        if self._tap is not None:
            self._tap(raw)
        if self._recorder is not None:
            self._recorder.received(raw)
        outlet = self._outlet
        outlet.handed_ns = 0
        out = self._pipeline.step(raw)
        if out:
            outlet.send(out)
        if outlet.handed_ns:  # its last command left before its times were noted
            self._pipeline.times.handed_over(outlet.handed_ns)

    def _on_oversized(self, topic: str) -> None:
        self._pipeline.count_oversized(topic)

    def _make_transport(self, plan: Plan) -> MqttTransport:
        handlers = Handlers(
            on_message=self._on_message,
            on_oversized=self._on_oversized,
            on_up=self._send_alerts,
            on_down=self._outbox.link_lost,
            on_acked=self._outbox.acked,
            on_refused=self._outlet.refused,
        )
        return MqttTransport(plan.settings, plan.subscriptions, handlers, self._selector, self._wake.nudge)

    def _make_boards(self, plan: Plan) -> Boards:
        boards = self._outlet.boards = Boards(plan.lines, self._on_message, self._selector)
        self._health.watch_lines(LineWatches(boards, plan.lines))
        return boards

    def _start_pipeline(self, wall_offset_ns: int) -> None:
        self._pipeline.run_on(time.monotonic_ns, wall_offset_ns)
        self._pipeline.decisions.emit = self._send
        self._plan.tell()
        if self._plan.models is not None:
            self._plan.models.reload = self.reload
        self._outbox_watch.topic = self._plan.alert_topic
        self._health.watch(self._pipeline, self._plan.health, time.monotonic_ns())
        self._health.helpers = [of_outbox(self._outbox), *self._plan.helpers()]
        if self._recorder is not None:
            self._health.helpers.append(of_recorder(self._recorder))
        self._notices = Notices(self._pipeline)
        self._model_report = ModelReport(self._pipeline)

    def _publish_status(self, now_ns: int) -> None:
        report = statement(self._plan, self._outlet, self._health, now_ns, now_ns - self._started_ns)
        report |= {"faults": self._faults_total} | ({"state": "stopping"} if self._stop_at_ns else {})
        self._notices.look(report, now_ns)
        self._transport.send(Outgoing("status", self._plan.status_topic, msgspec.json.encode(report)))
        self._model_report.turn(self._transport.send)

    def _set_wall_offset(self) -> None:
        offset_ns = time.time_ns() - time.monotonic_ns()
        decisions = self._pipeline.decisions
        if abs(offset_ns - decisions.wall_offset_ns) > WALL_STEP_NS:
            if decisions.wall_offset_ns:
                step_s = (offset_ns - decisions.wall_offset_ns) / 1e9
                _log.warning("the wall clock was set by %+.3f s; nothing but outgoing times follows it", step_s)
            decisions.wall_offset_ns = offset_ns

    # -- signals, stopping, reloading ----------------------------------------------------------------------------------------

    def _on_wake(self, signals: list[int]) -> None:
        for number in signals:
            self._begin_reload() if number == signal.SIGHUP else self._begin_stop()
        self._transport.poll(time.monotonic_ns())
        self._outbox.tick()
        self._send_alerts()

    def stop(self) -> None:
        """Ask the loop to drain and end; may be called from any thread."""
        self._wake.tell(signal.SIGTERM)

    def reload(self) -> None:
        """Ask the loop to re-read the file; may be called from any thread."""
        self._wake.tell(signal.SIGHUP)

    def _begin_stop(self) -> None:
        if self._stop_at_ns:
            return
        now_ns = time.monotonic_ns()
        self._notifier.stopping()
        _log.info("stopping: actuators go to their safe values, alerts in flight have %g s", DRAIN_S)
        self._stop_at_ns = now_ns + int(DRAIN_S * 1e9)
        self._send(self._pipeline.stop(now_ns))
        self._publish_status(now_ns)
        self._send(self._health.last_words(now_ns))

    def _is_finished(self, now_ns: int) -> bool:
        if len(self._outbox) and self._transport.is_up and now_ns < self._stop_at_ns:
            return False
        self._outbox_watch.close()
        self._transport.close()
        self._boards.close()
        return True

    def _begin_reload(self) -> None:
        if not self._stop_at_ns:
            self._notifier.reloading(time.monotonic_ns())
            self._rebuilder.start()

    def _take_rebuilt(self, now_ns: int) -> None:
        rebuilt = self._rebuilder.take()
        if rebuilt is None or self._stop_at_ns:  # what is ready only now must not undo the end
            return
        if isinstance(rebuilt, EdgeError):
            for line in str(rebuilt).splitlines():
                _log.error("reload refused: %s", line)
            _log.error("reload refused: the old file stays in force")
            if self._plan.models is not None:
                self._plan.models.reload_refused(str(rebuilt))
        else:
            self._adopt(rebuilt, now_ns)
        if self._rebuilder.is_wanted:
            self._begin_reload()
        else:
            self._notifier.ready(f"running {self._pipeline.name}")

    def _adopt(self, plan: Plan, now_ns: int) -> None:
        self._send(self._pipeline.stop(now_ns))
        self._publish_status(now_ns)
        self._hand_over()
        old, self._plan, self._pipeline = self._plan, plan, plan.pipeline
        self._outlet.pipeline = plan.pipeline
        old.give_way(plan)
        self._start_pipeline(old.pipeline.decisions.wall_offset_ns)
        if plan.settings != old.settings or plan.subscriptions != old.subscriptions:
            self._transport.close()
            self._transport = self._health.link = self._outlet.transport = self._make_transport(plan)
        if plan.lines != old.lines:
            self._boards.close()
            self._boards = self._make_boards(plan)
        self._next_status_ns = 0
        settle()
        realtime.take(plan.place, old.place)
        _log.info("reloaded: windows and counters start anew")
