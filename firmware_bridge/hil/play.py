"""One run of a scenario: a board, a wire, a host, and steps at their times. Judges nothing.

A host that is slow to start delays the beginning, never a step.
"""

import contextlib
import json
import re
import sys
import threading
import time
import tomllib
from dataclasses import replace
from pathlib import Path

from firmware_bridge import messages
from firmware_bridge.hil.boards import Board
from firmware_bridge.hil.emulator import BoardError
from firmware_bridge.hil.faults import Faults
from firmware_bridge.hil.frames import make_frame
from firmware_bridge.hil.host import Broker, Process, Stalls, busy, do_not_prefer_this_thread, prefer, prefer_this_thread
from firmware_bridge.hil.scenario import ADDRESS, Scenario, Step, pipeline_of
from firmware_bridge.hil.wire import TO_BOARD, TO_HOST
from firmware_bridge.protocol import FLAG_TO_BOARD

CLOSED_S = 120.0
NOBODY = "mqtt://127.0.0.1:9"  # a loop over a serial line needs no broker
KEY = "6f" * 32  # of benches only: a key that everybody knows protects nothing
HOST = [sys.executable, "-m", "edge", "run"]


class Run:
    """One run of one scenario.

    Args:
        scenario, file: as `load_scenario` gives them.
        board: kind, such as ``qemu``.
        folder: for everything that the run writes.
        images: where the firmware is built; default: in `folder`.
    """

    def __init__(self, scenario: Scenario, file: Path, board: str, folder: Path, images: Path | None = None) -> None:
        self.scenario, self.folder = scenario, folder
        self.marks: dict[str, int] = {}
        self.shown: list[tuple[int, str]] = []
        self._pipeline = pipeline_of(scenario, file)
        self._commands = "actuators" in tomllib.loads(self._pipeline.read_text(encoding="utf-8"))
        self._closing = contextlib.ExitStack()
        self._broker: Broker | None = None
        self.board = Board(board, folder, key=KEY if scenario.key else "", seed=scenario.seed, images=images)
        self._closing.callback(self.board.close)
        self.recording = self.board.recording
        self.host: Process | None = None
        self.origin_us = 0
        self.stalls = Stalls()
        self._closing.callback(self.stalls.close)

    def close(self) -> None:
        """Ends everything that the run started."""
        if self.host is not None:
            self.host.stop()
        if self._broker is not None:
            self._broker.close()
        self._closing.close()

    def play(self) -> None:
        """Closes the loop, then does the steps and waits for the end.

        Raises:
            BoardError: the loop does not close, or a step cannot be done on this board.
        """
        for name, value in self.scenario.parameters.items():
            self.board.set(name, value)
        if self.scenario.broker:
            self._broker = Broker(self.folder)
        self.start_host()
        self._await_loop()
        self.origin_us = self.recording.now_us()
        prefer_this_thread()
        self._closing.callback(do_not_prefer_this_thread)
        begin = time.monotonic()
        self.stalls.longest_ms = 0.0
        for step in sorted(self.scenario.step, key=lambda step: step.at_s):
            time.sleep(max(0.0, begin + step.at_s - time.monotonic()))
            self.do(step)
        time.sleep(max(0.0, begin + self.scenario.duration_s - time.monotonic()))

    def start_host(self) -> None:
        """Starts what closes the loop."""
        command = [*HOST, str(self._deploy()), "--broker-url", self._broker.url if self._broker else NOBODY]
        self.host = Process(command, self.folder / "host.log")
        prefer(self.host.pid)

    def _deploy(self) -> Path:
        """The pipeline file as it would stand on this machine: the board's tty, the place of its model, the key's file."""
        text = ADDRESS.sub(f'url = "serial://{self.board.port}', self._pipeline.read_text(encoding="utf-8"))
        text = text.replace('bundle = "."', f"bundle = {json.dumps(str(self._pipeline.parent.resolve()))}")
        if self.scenario.key:
            key = self.folder / "key"
            key.touch(mode=0o600)
            key.write_text(KEY)
            text = re.sub(r"^\[serial\.\w+\]\n", lambda found: f"{found[0]}key_file = {json.dumps(str(key))}\n", text, flags=re.MULTILINE)
        file = self.folder / "pipeline.toml"
        file.write_text(text, encoding="utf-8")
        return file

    def do(self, step: Step) -> None:
        """Does one step and marks when, by the board's clock.

        Raises:
            BoardError: it cannot be done on this board.
        """
        at = self.recording.now_us()
        action = getattr(self, f"_do_{step.do}", None)
        if action is None:
            raise BoardError(f"no step is called {step.do!r}")
        action(step)
        if step.do in ("set", "resume_board"):  # they took effect later than they were asked for
            at = self.recording.answers[-1][0] if step.do == "set" and step.parameter != "reset" else self.recording.now_us()
        label = step.name or step.do
        self.marks[label] = at
        self.shown.append((at, label))

    def _await_loop(self) -> None:
        end = time.monotonic() + CLOSED_S
        while time.monotonic() < end:
            if self._is_closed():
                return
            if self.host is not None and not self.host.is_alive():
                raise BoardError(f"the host ended: {self.host.said()[-2000:]}")
            time.sleep(0.02)
        said = self.host.said()[-2000:] if self.host is not None else ""
        raise BoardError(f"{self._lacking()} within {CLOSED_S:.0f} s; the host said: {said}")

    def _is_closed(self) -> bool:
        """By what every board says: it acknowledged a command as obeyed, and its heartbeat says neither safe nor fault.

        Where the pipeline commands nothing, the heartbeat must say that it runs. The bench's firmware shows its state sooner, in rows.
        """
        recording = self.recording
        if "board.state" in recording.channels():
            rows = recording.rows.get("board", [])
            return bool(rows) and rows[-1][1][recording.column("board.state")] == messages.State.RUNNING
        if not self._commands:
            return recording.state == messages.State.RUNNING
        with recording.lock:
            is_obeyed = any(ack.status == messages.Status.OK for _, ack in recording.acks)
        return is_obeyed and recording.state in (messages.State.STARTING, messages.State.RUNNING)

    def _lacking(self) -> str:
        states = {None: "nothing"} | {int(one): one.name.lower() for one in messages.State}
        state = states.get(self.recording.state, f"state {self.recording.state}")
        statuses = sorted({messages.Status(ack.status).name.lower() for _, ack in self.recording.acks})
        wanted = "no command was obeyed" if self._commands else "the board did not run"
        return f"{wanted} (its heartbeat says {state}; acks: {', '.join(statuses) or 'none'})"

    def _do_mark(self, _step: Step) -> None:
        """Names a moment."""

    def _do_set(self, step: Step) -> None:
        self.board.set(step.parameter, step.value)

    def _do_wire(self, step: Step) -> None:
        names = ("flip", "drop", "garble", "duplicate", "truncate", "burst", "delay_ms", "jitter_ms", "silent")
        faults = Faults(**{name: getattr(step, name) for name in names})
        for direction in (TO_HOST, TO_BOARD):
            if step.direction in (direction, "both"):
                self.board.wire.set(direction, replace(faults))

    def _do_clean_wire(self, _step: Step) -> None:
        for direction in (TO_HOST, TO_BOARD):
            self.board.wire.set(direction, Faults())

    def _do_unplug(self, _step: Step) -> None:
        self.board.wire.unplug()

    def _do_plug(self, _step: Step) -> None:
        self.board.wire.plug()

    def _do_reset(self, _step: Step) -> None:
        self.board.reset()

    def _do_pause_board(self, _step: Step) -> None:
        self.board.pause()

    def _do_resume_board(self, _step: Step) -> None:
        self.board.resume()
        self.recording.await_fresh()

    def _do_kill_host(self, _step: Step) -> None:
        self._host().kill()

    def _do_pause_host(self, _step: Step) -> None:
        self._host().pause()

    def _do_resume_host(self, _step: Step) -> None:
        self._host().resume()

    def _do_start_host(self, _step: Step) -> None:
        self.start_host()

    def _do_cpu_load(self, step: Step) -> None:
        burning = contextlib.ExitStack()
        burning.enter_context(busy(max(1, step.count)))
        self._closing.callback(burning.close)
        end = threading.Timer(step.seconds, burning.close)
        end.daemon = True
        end.start()
        self._closing.callback(end.cancel)

    def _do_full_disk(self, _step: Step) -> None:
        self._host().fill_disk()

    def _do_start_broker(self, _step: Step) -> None:
        if self._broker is None:
            self._broker = Broker(self.folder)
        else:
            self._broker.start()

    def _do_kill_broker(self, _step: Step) -> None:
        if self._broker is not None:
            self._broker.kill()

    def _do_forge(self, step: Step) -> None:
        """Commands from nobody: right in every field, signed with nothing, or with a made-up tag."""
        for i in range(step.count):
            trailer = b"" if i % 2 else (0x7FFF0000 + i).to_bytes(4, "little") + bytes(8)
            flags = FLAG_TO_BOARD | (1 if trailer else 0)
            frame = make_frame(self._made(step, i), seq=self.recording.host_seq + 0x4000 + i, flags=flags, trailer=trailer)
            self.board.wire.send_to_board(frame)
            time.sleep(0.01)

    def _do_command(self, step: Step) -> None:
        """Commands past the host, unsigned: obeyed only where nobody shares a key with the board."""
        for i in range(step.count):
            frame = make_frame(self._made(step, i), seq=self.recording.host_seq + 0x4000 + i, flags=FLAG_TO_BOARD)
            self.board.wire.send_to_board(frame)

    def _do_replay(self, step: Step) -> None:
        """The host's own last commands again, byte for byte."""
        with self.recording.lock:
            frames = [frame.raw for _, frame in self.recording.commands[-step.count :]]
        for raw in frames:
            self.board.wire.send_to_board(raw)
            time.sleep(0.01)

    def _made(self, step: Step, i: int) -> messages.Command:
        number = self.recording.actuators[step.actuator]
        deadline = self.recording.board_clock_us() + step.ttl_ms * 1000
        boot = self.recording.timeline.ids[-1] & 0xFFFFFFFF
        return messages.Command(deadline, boot, 0x0BAD0BAD, i + 1, step.value, number, 0)

    def _host(self) -> Process:
        if self.host is None:
            raise BoardError("no host was started")
        return self.host
