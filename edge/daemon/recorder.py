"""The daemon's side of the recording companion: hands every message over, and looks after the process from a thread of its own.

The loop writes into shared memory and goes on, whatever becomes of the companion; see edge.companion.recording for the other side.
"""

import logging
import threading
import time
from typing import Any

import msgspec

from edge.daemon.heartbeat import Heartbeat
from edge.daemon.sidecar import Sidecar
from edge.messages import Outgoing, RawMessage
from edge.store.ring import RingWriter
from edge.store.tape import RETAINED, SENT, Report, TapeWriter, Task
from edge.threads import helper

_log = logging.getLogger(__name__)

MODULE = "edge.companion.recorder"
PERIOD_S = 0.1
CLOSE_S = 1.0
SILENT_S = 3.0  # a companion tells four times a second
_SAID_AGAIN_S = 60.0


class Setting(msgspec.Struct, frozen=True):
    """What is recorded, and how.

    Args:
        task: of the companion.
        filters: MQTT filters of what is wanted; empty: everything.
        slots, slot_bytes: of the ring.
        nice: of the companion.
        inputs, outputs: what comes in, what goes out.
    """

    task: Task
    filters: tuple[str, ...]
    slots: int
    slot_bytes: int
    nice: int
    inputs: bool = True
    outputs: bool = True


class Recorder:
    """Records one daemon. Without shared memory nothing is recorded, until the next start: recording is no reason not to run.

    Args:
        setting: see Setting.

    Attributes:
        heartbeat: of its thread.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.heartbeat = Heartbeat("recorder")
        self._tape, self._refused = _tape_of(setting)
        self._takes_inputs = self._takes_outputs = False
        descriptors: list[int] = []
        if self._tape is not None:
            self._note = self._tape.note
            self._takes_inputs, self._takes_outputs = setting.inputs, setting.outputs
            descriptors = [self._tape.ring.descriptor]
        arguments = [*map(str, descriptors), str(setting.nice)]
        self.sidecar = Sidecar(MODULE, arguments, msgspec.json.encode(setting.task), tuple(descriptors), self._hear)
        self._said = Report(why="begins")
        self._recorded = self._lives = 0  # of earlier lives of the companion
        self._told, self._told_s = ("", ""), 0.0
        self._closed = threading.Event()
        self._thread = helper("edge-recorder", self._run)

    # -- from the loop -------------------------------------------------------------------------------------------------------

    def received(self, raw: RawMessage) -> None:
        """A message came in. Measured: see docs/companion.md."""
        if self._takes_inputs:
            self._note(RETAINED if raw.is_retained else 0, raw.received_ns, raw.topic, raw.payload)

    def sent(self, outgoing: Outgoing) -> None:
        """A message went out, or to the outbox."""
        if self._takes_outputs:
            self._note(SENT, time.monotonic_ns(), outgoing.topic, outgoing.payload)

    def start(self) -> None:
        """Start the companion. Call before the loop takes its place on the machine, which is not for the companion."""
        if self._tape is None:
            return
        self.heartbeat.expect(PERIOD_S)
        self._thread.start()

    def close(self) -> None:
        """The end: the companion writes what is in the ring and closes its file."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S + 1.0)
        if self._tape is not None and not self._thread.is_alive():
            self._tape.ring.close()

    @property
    def state(self) -> tuple[str, str]:
        """One word and why: ``recording``; ``starting``, ``paused``, ``silent``, ``waiting`` or ``given up`` while nothing is recorded."""
        if self._refused:  # the health message and its line in the log say it
            return "given up", self._refused
        sidecar, said = self.sidecar, self._said
        if sidecar.state in ("waiting", "given up") and sidecar.deaths:
            return sidecar.state, f"the companion {sidecar.why}"
        if sidecar.state == "silent" or sidecar.silent_s > SILENT_S:
            return "silent", f"nothing was heard of the companion for {sidecar.silent_s:.0f} s"
        if self._lives != sidecar.deaths:  # what was said, a companion said that is dead
            return "starting", ""
        if said.is_recording:
            return "recording", ""
        return ("starting", "") if said.why in ("", "begins") else ("paused", said.why)

    def status(self) -> dict[str, Any]:
        """For the status: noted = recorded + waiting in the ring or in a file that is not flushed + dropped + lost with a companion."""
        state, why = self.state
        said, tape = self._said, self._tape
        return {
            "state": state,
            "why": why,
            "noted": tape.noted if tape is not None else 0,
            "dropped": tape.dropped if tape is not None else 0,
            "recorded": self._recorded + said.recorded,
            "file": said.file,
            "files": said.files,
            "mb": round(said.nbytes / 1e6, 3),
            "pid": self.sidecar.pid,
            "restarts": self.sidecar.deaths,
        }

    # -- the thread ----------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed.wait(PERIOD_S):
            self.heartbeat.expect(PERIOD_S)
            self.sidecar.poll()
            self._tell()
        self.heartbeat.rest()
        self.sidecar.close(CLOSE_S)

    def _hear(self, line: bytes) -> None:
        try:
            said = msgspec.json.decode(line, type=Report)
        except msgspec.DecodeError:  # a line that was cut off
            return
        if self._lives != self.sidecar.deaths:
            self._lives = self.sidecar.deaths
            self._recorded += self._said.recorded
        self._said = said

    def _tell(self) -> None:
        """Log every change of state, at once but not the same one again within a minute."""
        state, now = self.state, time.monotonic()
        if state[0] in (self._told[0], "starting"):  # one that never gets beyond its start is silent
            return
        is_good = state[0] == "recording"
        if not is_good and now - self._told_s < _SAID_AGAIN_S and self._told[0] not in ("", "recording"):
            return
        self._told, self._told_s = state, now
        if is_good:
            _log.info("recording to %s", self.setting.task.folder)
        else:
            _log.warning("nothing is recorded: %s", state[1])


def _tape_of(setting: Setting) -> tuple[TapeWriter | None, str]:
    """The hot side in shared memory; without, why there is none."""
    try:
        return TapeWriter(RingWriter(setting.slots, setting.slot_bytes), setting.filters), ""
    except OSError as fault:
        return None, f"{fault.strerror}; nothing is recorded until the next start"
