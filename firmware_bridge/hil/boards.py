"""Boards by name: ``qemu``, ``simulator``, ``serial:/dev/ttyACM0[,bench=/dev/ttyACM1]``, ``pty:/dev/pts/7``. All look alike to a scenario.

Every board is reached through a `Wire`, so that the same faults and the same observer work on each of them.
"""

import os
import random
import select
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from firmware_bridge import messages
from firmware_bridge.hil import qemu, simulator
from firmware_bridge.hil.emulator import BoardError, Emulator, open_raw
from firmware_bridge.hil.frames import make_frame
from firmware_bridge.hil.host import prefer_this_thread
from firmware_bridge.hil.recording import Recording
from firmware_bridge.hil.wire import Wire
from firmware_bridge.protocol import FLAG_TO_BOARD

KINDS = "qemu, simulator, serial:DEVICE[,bench=DEVICE], pty:DEVICE"
HEARD_S = 20.0
EMULATED = {"qemu": qemu.missing_tools, "simulator": simulator.missing_tools}
T = TypeVar("T")


def lacks(kind: str) -> str | None:
    """What this machine lacks for such a board and how to get it, or None."""
    if kind in EMULATED:
        return EMULATED[kind]()
    device = kind.partition(":")[2].split(",")[0]
    return None if Path(device).exists() else f"{device or kind} is not there"


class Board:
    """A board with a wire to it.

    Args:
        kind: see the module.
        folder: for the firmware and the port's link.
        key: 64 hexadecimal digits that commands must be signed with; "" for none. A board of your own has its key built in.
        seed: of the wire's faults.
        images: where the firmware is built, once for all boards that share the folder; default: in `folder`.

    Raises:
        BoardError: there is no such board, or it says nothing.
    """

    def __init__(self, kind: str, folder: Path | None = None, *, key: str = "", seed: int = 1, images: Path | None = None) -> None:
        self.kind = kind
        self._temporary = tempfile.TemporaryDirectory(prefix="hil-") if folder is None else None
        self.folder = folder if folder is not None else Path(self._temporary.name if self._temporary else ".")
        self.emulator: Emulator | None = None
        self.recording = Recording()
        self._requests = self._sent = 0
        self._closing = False
        host, bench = self._sides(key, images or self.folder)
        self._bench = bench() if bench is not None else None
        self.recording.has_bench = self._bench is not None
        self._listener = threading.Thread(target=self._listen, name="bench", daemon=True)
        self.wire = Wire(host, self.folder / "board", seed)
        self.wire.taps.append(self.recording.tap)
        self.wire.arrivals.append(self.recording.see_arrival)
        if self._bench is not None:
            self._listener.start()
        self._say_hello()

    @property
    def port(self) -> str:
        """The path that the host opens, as if it were the board's own."""
        return str(self.wire.port)

    @property
    def name(self) -> str:
        """For reports."""
        return self.kind

    def set(self, parameter: str, value: float) -> None:
        """Sets a parameter over the bench port, or over the host's line when there is none, and waits for the board's answer.

        Raises:
            BoardError: there is no such parameter, the board refuses the value, or it does not answer.
        """
        number = self.recording.parameters.get(parameter)
        if number is None:
            raise BoardError(f"the board has no parameter {parameter!r}; it has {', '.join(self.recording.parameters)}")
        self._requests += 1
        request = self._requests & 0xFFFF
        if parameter == "reset":  # whoever resets gives no answer
            self._sent += 1
            self._send(messages.ParameterSet(request=request, parameter=number, value=value))
            return
        answer = self._ask(
            messages.ParameterSet(request=request, parameter=number, value=value),
            lambda: next((a for _, a in self.recording.answers if a.request == request and a.parameter == number), None),
        )
        if answer is None:
            raise BoardError(f"the board does not answer when {parameter} is set")
        if answer.status != messages.Status.OK:
            raise BoardError(f"the board refuses {parameter} = {value}: {messages.Status(answer.status).name.lower()}")

    def reset(self) -> None:
        """The reset button of an emulated board; the parameter `reset` of another."""
        if self.emulator is not None:
            self.emulator.reset()
        else:
            self.set("reset", 1)

    def pause(self) -> None:
        """Stops the emulated processor.

        Raises:
            BoardError: the board is a real one.
        """
        if self.emulator is None:
            raise BoardError(f"only an emulated board can be paused, not {self.kind}")
        self.emulator.pause()

    def resume(self) -> None:
        """Lets it go on."""
        if self.emulator is not None:
            self.emulator.resume()

    def close(self) -> None:
        """Ends the wire and the emulator."""
        self._closing = True
        self.wire.close()
        if self._listener.is_alive():
            self._listener.join(5)
        if self._bench is not None:
            os.close(self._bench)
        if self.emulator is not None:
            self.emulator.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _sides(self, key: str, images: Path) -> tuple[Callable[[], int], Callable[[], int] | None]:
        kind, _, rest = self.kind.partition(":")
        if self.kind in EMULATED:
            name = f"{self.kind}-key" if key else self.kind
            if self.kind == "qemu":
                self.emulator = qemu.Qemu(qemu.build_firmware(images / name, KEY=key))
            else:
                self.emulator = simulator.Simulator(simulator.build_simulator(images / name, KEY=key))
            return self.emulator.open, self.emulator.open_bench
        if kind not in ("serial", "pty") or not rest:
            raise BoardError(f"no board is called {self.kind!r}; boards are {KINDS}")
        device, _, bench = rest.partition(",bench=")
        return lambda: open_raw(device), (lambda: open_raw(bench)) if bench else None

    def _send(self, message: messages.Message) -> None:
        if self._bench is not None:
            os.write(self._bench, make_frame(message, seq=self._sent, flags=FLAG_TO_BOARD))
        else:  # far from the host's counter, so that none of its frames is taken for a repeated one
            self.wire.send_to_board(make_frame(message, seq=self.recording.host_seq + 0x4000 + self._sent, flags=FLAG_TO_BOARD))

    def _say_hello(self) -> None:
        request = messages.HelloRequest(session=random.getrandbits(63))
        if self._ask(request, lambda: self.recording.hello) is None:
            self.close()
            raise BoardError(f"{self.kind}: no hello within {HEARD_S:.0f} s: another firmware, another baud rate, or no board")

    def _ask(self, message: messages.Message, find: Callable[[], T | None]) -> T | None:
        end = time.monotonic() + HEARD_S
        found = None
        while found is None and time.monotonic() < end:  # asked again every second: the line may have lost the question, or the answer
            self._sent += 1
            self._send(message)
            found = self._await(find, min(end, time.monotonic() + 1.0))
        return found

    def _await(self, find: Callable[[], T | None], end: float) -> T | None:
        with self.recording.lock:
            while (found := find()) is None and time.monotonic() < end:
                self.recording.lock.wait(0.05)
        return found

    def _listen(self) -> None:
        bench = self._bench
        assert bench is not None  # noqa: S101 - started only then
        prefer_this_thread()
        while not self._closing:
            if select.select([bench], [], [], 0.1)[0]:
                try:
                    data = os.read(bench, 65536)
                except OSError:
                    return
                self.recording.tap("bench", data, time.monotonic_ns())
