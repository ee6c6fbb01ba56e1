"""The board in QEMU: the firmware as a microcontroller runs it, with registers, interrupts and vectors.

One board is one process. The board's clock is the machine's: it stops only while the board is paused.
"""

import json
import secrets
import shutil
import socket
import tempfile
import time
from pathlib import Path

from firmware_bridge.hil.emulator import START_S, BoardError, Emulator, absent, build

QEMU, COMPILER = "qemu-system-arm", "arm-none-eabi-gcc"
ENTROPY = 0x20010000  # where the firmware expects random bytes: board_entropy in mps2.ld


def missing_tools() -> str | None:
    """What this board lacks on this machine and how to get it, or None."""
    return absent((QEMU, COMPILER, "make"), "make qemu-system-arm gcc-arm-none-eabi")


def build_firmware(folder: Path, image: str = "firmware.elf", **variables: str) -> Path:
    """Builds the firmware for the emulated microcontroller.

    Args:
        folder: for objects and the image.
        image: an ELF file that the Makefile knows.
        variables: of the Makefile.

    Raises:
        BoardError: a tool is missing, or the compiler refuses the source.
    """
    lacks = missing_tools()
    if lacks:
        raise BoardError(lacks)
    return build(folder, image, **variables)


class Qemu(Emulator):
    """One running board.

    Args:
        image: the firmware, an ELF file.

    Raises:
        BoardError: QEMU is missing or does not start.
    """

    def __init__(self, image: Path) -> None:
        program = shutil.which(QEMU)
        if program is None:
            raise BoardError(missing_tools())
        self._folder = tempfile.TemporaryDirectory(prefix="board-")
        self._monitor: _Monitor | None = None
        monitor = Path(self._folder.name) / "qmp"
        command = [program, "-M", "mps2-an385", "-kernel", str(image), "-display", "none", "-monitor", "none"]
        for label in ("host", "bench"):
            command += ["-chardev", f"pty,id={label}", "-serial", f"chardev:{label}"]
        command += ["-device", f"loader,addr={ENTROPY:#x},data={secrets.randbits(64):#x},data-len=8"]
        super().__init__([*command, "-qmp", f"unix:{monitor},server=on,wait=off"])
        try:
            self._monitor = _Monitor(monitor)
        except BaseException:
            self.close()
            raise

    def reset(self) -> None:
        """Presses the board's reset button: memory keeps its content."""
        self._ask("system_reset")

    def pause(self) -> None:
        """Stops the board's processor and its clocks."""
        self._ask("stop")

    def resume(self) -> None:
        """Lets the board go on where it was."""
        self._ask("cont")

    def close(self) -> None:
        """Ends the process."""
        super().close()
        if self._monitor is not None:
            self._monitor.close()
        self._folder.cleanup()

    def _ask(self, command: str) -> None:
        assert self._monitor is not None  # noqa: S101 - made with the board
        self._monitor.ask(command)


class _Monitor:
    """QEMU's machine protocol: one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(START_S)
        end = time.monotonic() + START_S
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError as error:
                if time.monotonic() > end:
                    raise BoardError(f"{QEMU} opened no monitor within {START_S:.0f} s") from error
                time.sleep(0.01)
        self._lines = self._socket.makefile("rb")
        self._lines.readline()  # the greeting
        self.ask("qmp_capabilities")

    def ask(self, command: str) -> None:
        """Sends a command and waits for its answer; events in between are dropped."""
        self._socket.sendall(json.dumps({"execute": command}).encode() + b"\n")
        while True:
            line = self._lines.readline()
            if not line:
                raise BoardError(f"{QEMU} is gone: no answer to {command}")
            answer = json.loads(line)
            if "error" in answer:
                raise BoardError(f"{QEMU} refuses {command}: {answer['error'].get('desc')}")
            if "return" in answer:
                return

    def close(self) -> None:
        self._lines.close()
        self._socket.close()
