"""What all boards that are processes have in common: built by the firmware's Makefile, two ttys, an end. Knows no kind of board."""

import os
import re
import select
import shutil
import subprocess
import time
import tty
import weakref
from collections.abc import Sequence
from pathlib import Path

from firmware_bridge.hil import guardian
from firmware_bridge.hil.host import prefer_board

FIRMWARE = Path(__file__).resolve().parent.parent / "firmware"
START_S = 20.0


class BoardError(Exception):
    """A board could not be made, started or reached; the text says what would help."""


def absent(tools: Sequence[str], packages: str) -> str | None:
    """Which of these programs this machine lacks and how to get them, or None."""
    missing = [name for name in tools if shutil.which(name) is None]
    return f"{', '.join(missing)} not found: apt-get install {packages}" if missing else None


def build(folder: Path, image: str, **variables: str) -> Path:
    """Builds the firmware with its own Makefile; nothing is done when it is up to date.

    Args:
        folder: for objects and the image.
        image: what to build, such as ``firmware.elf``.
        variables: of the Makefile.

    Returns:
        The image.

    Raises:
        BoardError: the compiler refuses the source.
    """
    settings = [f"{name}={value}" for name, value in variables.items()]
    command = ["make", "-s", "-C", str(FIRMWARE), f"BUILD={folder}", *settings, str(folder / image)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603 - fixed words
    if made.returncode:
        raise BoardError(f"the firmware does not build:\n{made.stdout}{made.stderr}")
    return folder / image


class Emulator:
    """One running board: a process that opens two ttys and says their names.

    Args:
        command: program and arguments.

    Raises:
        BoardError: it does not start.
    """

    def __init__(self, command: list[str]) -> None:
        self._program = Path(command[0]).name
        self._process = guardian.start(command, subprocess.PIPE, before=prefer_board)
        self._end = weakref.finalize(self, guardian.end, self._process)  # also when nobody closes it: at the interpreter's end
        try:
            self.tty, self.bench_tty = self._await_ttys()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Of the board's process."""
        return self._process.pid

    def open(self) -> int:
        """Opens the board's tty, raw, and returns the file descriptor."""
        return open_raw(self.tty)

    def open_bench(self) -> int:
        """The same for its bench port."""
        return open_raw(self.bench_tty)

    def reset(self) -> None:
        """Presses the board's reset button: memory keeps its content."""
        raise NotImplementedError

    def pause(self) -> None:
        """Stops the board's processor and its clocks."""
        raise NotImplementedError

    def resume(self) -> None:
        """Lets the board go on where it was."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends the process."""
        self._end()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _await_ttys(self) -> tuple[str, str]:
        said, end = b"", time.monotonic() + START_S
        assert self._process.stdout is not None  # noqa: S101 - opened above
        output = self._process.stdout.fileno()
        while len(found := dict(re.findall(rb"redirected to (\S+) \(label (\w+)\)\n", said))) < 2:
            if not select.select([output], [], [], max(0.0, end - time.monotonic()))[0]:
                raise BoardError(f"{self._program} named no ttys within {START_S:.0f} s; it said: {said.decode(errors='replace')!r}")
            more = os.read(output, 4096)
            if not more:
                raise BoardError(f"{self._program} ended: {said.decode(errors='replace').strip()}")
            said += more
        ttys = {label: path.decode() for path, label in found.items()}
        return ttys[b"host"], ttys[b"bench"]


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
