"""The board as a process: the firmware's own source, compiled for this machine, behind two ttys. Needs no emulator and no cross compiler.

Its line carries what 921,600 baud carry and its timer is a signal; what it does not try is the compiler and the registers of a real board.
"""

import os
import signal
import sys
from pathlib import Path

from firmware_bridge.hil.emulator import Emulator, absent, build


def missing_tools() -> str | None:
    """What this board lacks on this machine and how to get it, or None."""
    if sys.platform != "linux":
        return "the simulator is made of Linux timers and pseudo-terminals: use --board qemu here"
    return absent(("gcc", "make"), "gcc libc6-dev make")


def build_simulator(folder: Path, image: str = "simulator", **variables: str) -> Path:
    """Builds the firmware for this machine.

    Args:
        folder: for objects and the program.
        image: a program that the Makefile knows.
        variables: of the Makefile.

    Raises:
        BoardError: the compiler refuses the source.
    """
    return build(folder, image, **variables)


class Simulator(Emulator):
    """One running board.

    Args:
        image: the firmware, a program.

    Raises:
        BoardError: it does not start.
    """

    def __init__(self, image: Path) -> None:
        super().__init__([str(image)])

    def reset(self) -> None:
        """Presses the board's reset button: memory keeps its content."""
        os.kill(self.pid, signal.SIGUSR1)

    def pause(self) -> None:
        """Stops the board's processor and its clocks."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets the board go on where it was."""
        os.kill(self.pid, signal.SIGCONT)
