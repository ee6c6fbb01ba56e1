"""`edge hil loop`: one board, one pipeline file, one process, no broker: the shortest loop there is. Owns the port and the clock."""

import os
import select
import time
import tty
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.messages import Command
    from edge.pipeline.recipe import Pipeline
    from firmware_bridge.commands import Outcome
    from firmware_bridge.session import Received

STREAM = "motor"  # of the pipeline file, and of the board
RETRY_S = 0.2
NO_RETRY_US = 60_000_000  # decisions come faster than acks: the next command is the better retry
REFRESH = 3  # an unchanged value is sent again after this part of its life


def run_loop(port: str, file: Path, key_file: Path | None, seconds: float | None) -> int:
    """Runs until it is ended; opens the port again when it was unplugged.

    Args:
        port: tty of the board.
        file: pipeline file with a telemetry stream that the board has too.
        key_file: 64 hexadecimal digits, or None: commands are not signed.
        seconds: stop by itself after this; None: never.

    Returns:
        The exit code.
    """
    from edge.build import load

    key = bytes.fromhex(key_file.read_text().strip()) if key_file is not None else None
    loop = Loop(load(file, clock=time.monotonic_ns), key)
    print("loop ready", flush=True)  # noqa: T201 - whoever started it waits for this
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        try:
            descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            time.sleep(RETRY_S)
            continue
        try:
            tty.setraw(descriptor)
            loop.serve(descriptor, end)
        except OSError as error:
            print(f"{port}: {error.strerror}", flush=True)  # noqa: T201
        finally:
            os.close(descriptor)
    return 0


class Loop:
    """Carries telemetry into a pipeline and its commands back to the board.

    Args:
        pipeline: built from a file.
        key: shared with the board, or None.
    """

    def __init__(self, pipeline: "Pipeline", key: bytes | None) -> None:
        from firmware_bridge.session import Session

        self._pipeline = pipeline
        self._descriptor = -1
        self._session: Session = Session(key, self._write, NO_RETRY_US)
        self._actuators: dict[str, int] = {}
        self._streams: dict[int, str] = {}
        self._sent: dict[str, tuple[float, int]] = {}  # value and time of the last command
        self._boots = 0
        self._offset_us: int | None = None

    def serve(self, descriptor: int, end: float | None) -> None:
        """Runs on an open port until it hangs up.

        Raises:
            OSError: it hung up.
        """
        self._descriptor = descriptor
        self._session.lose(time.monotonic_ns() // 1000)
        while end is None or time.monotonic() < end:
            now_us = time.monotonic_ns() // 1000
            due_us = self._session.poll(now_us)
            ready, _, _ = select.select([descriptor], [], [], min(0.01, max(0.0, (due_us - now_us) / 1e6)))
            now_ns = time.monotonic_ns()
            if ready:
                data = os.read(descriptor, 65536)
                if not data:
                    return
                for received in self._session.feed(data, now_ns // 1000):
                    self._take(received, now_ns)
            for outgoing in self._pipeline.tick(time.monotonic_ns()):
                self._send(outgoing.message)

    def _write(self, data: bytes) -> bool:
        try:
            return os.write(self._descriptor, data) == len(data)
        except BlockingIOError:
            return False

    def _take(self, received: "Received", now_ns: int) -> None:
        from firmware_bridge import messages

        message = received.message
        if isinstance(message, messages.Hello):
            self._meet(message.text)
        elif isinstance(message, messages.Telemetry) and self._streams.get(received.stream) == STREAM:
            self._push(message, received.stamp_us, now_ns)

    def _meet(self, schema: str) -> None:
        words = [line[1:].split() for line in schema.splitlines() if line[:1] in "TA"]
        kinds = [line[:1] for line in schema.splitlines() if line[:1] in "TA"]
        self._actuators = {word[1]: int(word[0]) for kind, word in zip(kinds, words, strict=True) if kind == "A"}
        self._streams = {int(word[0]): word[1] for kind, word in zip(kinds, words, strict=True) if kind == "T"}
        if self._session.boots != self._boots:  # the board's clock began anew
            self._boots, self._offset_us = self._session.boots, None
            self._sent.clear()

    def _push(self, block: object, stamp_us: int, now_ns: int) -> None:
        import numpy as np

        from firmware_bridge import messages

        if not isinstance(block, messages.Telemetry):
            return
        if self._offset_us is None:
            self._offset_us = now_ns // 1000 - stamp_us
        rows = np.frombuffer(block.data, "<f4").reshape(block.rows, block.channels)
        stamps = (stamp_us + self._offset_us) * 1000 + np.arange(block.rows, dtype=np.int64) * block.period_ns
        result = self._pipeline.push(STREAM, rows, device="bench", stamps=stamps, received_ns=now_ns)
        for command in result.commands:
            self._send(command)

    def _send(self, message: object) -> None:
        from edge.messages import Command

        if isinstance(message, Command):
            self._command(message)

    def _command(self, command: "Command") -> None:
        number = self._actuators.get(command.name)
        ttl_us, now_us = (command.expires_ns - command.issued_ns) // 1000, time.monotonic_ns() // 1000
        value, sent_us = self._sent.get(command.name, (None, 0))
        if self._session.clock.error_us > ttl_us // 4:
            return  # the board's clock is not known well enough to say when the command ends
        if number is None or (value == command.value and now_us - sent_us < ttl_us // REFRESH):
            return
        if self._session.command(number, command.value, ttl_us, now_us, _forget) is not None:
            self._sent[command.name] = (command.value, now_us)


def _forget(_outcome: "Outcome") -> None:
    """The board counts what became of it."""
