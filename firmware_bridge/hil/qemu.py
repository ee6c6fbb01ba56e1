"""The emulated board: builds the firmware, starts QEMU with its serial port on a pty, and holds the board's reset and power.

One board is one process. The board's clock is the machine's: it stops only while the board is paused.
"""

import json
import os
import re
import secrets
import select
import shutil
import socket
import subprocess
import tempfile
import time
import tty
import weakref
from pathlib import Path

from firmware_bridge.hil import guardian
from firmware_bridge.hil.host import prefer

FIRMWARE = Path(__file__).resolve().parent.parent / "firmware"
QEMU, COMPILER = "qemu-system-arm", "arm-none-eabi-gcc"
HINT = "apt-get install make qemu-system-arm gcc-arm-none-eabi"
START_S = 20.0
ENTROPY = 0x20010000  # where the firmware expects random bytes: board_entropy in mps2.ld


class BoardError(Exception):
    """A board could not be made, started or reached; the text says what would help."""


def missing_tools() -> str | None:
    """What an emulated board lacks on this machine and how to get it, or None."""
    absent = [name for name in (QEMU, COMPILER, "make") if shutil.which(name) is None]
    return f"{', '.join(absent)} not found: {HINT}" if absent else None


def build_firmware(folder: Path, **variables: str) -> Path:
    """Builds the firmware with its own Makefile; nothing is done when it is up to date.

    Args:
        folder: for objects and the image.
        variables: of the Makefile.

    Returns:
        The image, an ELF file.

    Raises:
        BoardError: a tool is missing, or the compiler refuses the source.
    """
    lacks = missing_tools()
    if lacks:
        raise BoardError(lacks)
    command = ["make", "-s", "-C", str(FIRMWARE), f"BUILD={folder}", *(f"{name}={value}" for name, value in variables.items())]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603 - fixed words
    if made.returncode:
        raise BoardError(f"the firmware does not build:\n{made.stdout}{made.stderr}")
    return folder / "firmware.elf"


class Qemu:
    """One running board.

    Args:
        image: the firmware, an ELF file.

    Raises:
        BoardError: QEMU is missing or does not start.
    """

    def __init__(self, image: Path) -> None:
        program = shutil.which(QEMU)
        if program is None:
            raise BoardError(f"{QEMU} not found: {HINT}")
        self._folder = tempfile.TemporaryDirectory(prefix="board-")
        monitor = Path(self._folder.name) / "qmp"
        self._process = guardian.start(
            [
                program,
                "-M",
                "mps2-an385",
                "-kernel",
                str(image),
                "-display",
                "none",
                "-monitor",
                "none",
                "-chardev",
                "pty,id=host",
                "-serial",
                "chardev:host",
                "-chardev",
                "pty,id=bench",
                "-serial",
                "chardev:bench",
                "-device",
                f"loader,addr={ENTROPY:#x},data={secrets.randbits(64):#x},data-len=8",
                "-qmp",
                f"unix:{monitor},server=on,wait=off",
            ],
            subprocess.PIPE,
            before=prefer,
        )
        self._end = weakref.finalize(self, guardian.end, self._process)  # also when nobody closes it: at the interpreter's end
        try:
            self.tty, self.bench_tty = self._await_ttys()
            self._monitor = _Monitor(monitor)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Of the emulator's process."""
        return self._process.pid

    def open(self) -> int:
        """Opens the board's tty, raw, and returns the file descriptor."""
        return open_raw(self.tty)

    def open_bench(self) -> int:
        """The same for its bench port."""
        return open_raw(self.bench_tty)

    def reset(self) -> None:
        """Presses the board's reset button: memory keeps its content."""
        self._monitor.ask("system_reset")

    def pause(self) -> None:
        """Stops the board's processor and its clocks."""
        self._monitor.ask("stop")

    def resume(self) -> None:
        """Lets the board go on where it was."""
        self._monitor.ask("cont")

    def close(self) -> None:
        """Ends the process."""
        self._end()
        if self._process.stdout is not None:
            self._process.stdout.close()
        if hasattr(self, "_monitor"):
            self._monitor.close()
        self._folder.cleanup()

    def _await_ttys(self) -> tuple[str, str]:
        said, end = b"", time.monotonic() + START_S
        assert self._process.stdout is not None  # noqa: S101 - opened above
        output = self._process.stdout.fileno()
        while len(found := dict(re.findall(rb"redirected to (\S+) \(label (\w+)\)\n", said))) < 2:
            if not select.select([output], [], [], max(0.0, end - time.monotonic()))[0]:
                raise BoardError(f"{QEMU} named no ttys within {START_S:.0f} s; it said: {said.decode(errors='replace')!r}")
            more = os.read(output, 4096)
            if not more:
                raise BoardError(f"{QEMU} ended: {said.decode(errors='replace').strip()}")
            said += more
        ttys = {label: path.decode() for path, label in found.items()}
        return ttys[b"host"], ttys[b"bench"]


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


def open_raw(path: str) -> int:
    """Opens a tty without line editing, and returns the file descriptor.

    Raises:
        BoardError: there is no such tty, or it may not be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(descriptor)
    except OSError as error:
        raise BoardError(f"{path}: {error.strerror}") from error
    return descriptor
