"""A recorded serial line, played on a pseudo-terminal: ``python -m firmware_bridge.feed FILE [--rate BYTES_PER_S]``.

Stands for a receiver that is not at hand. Says the terminal's name, then plays the file again and again until it is stopped.
"""

import argparse
import os
import sys
import time
import tty
from contextlib import suppress
from pathlib import Path

RATE = 960  # bytes a second: 9600 baud
CHUNK_S = 0.02
SHIPPED = Path(__file__).resolve().parent / "examples" / "nmea" / "mt3339.log"


def play(file: Path, rate: float, seconds: float | None = None) -> None:
    """Play a file on a terminal of its own.

    Args:
        file: bytes as they came from a line.
        rate: bytes a second, above 0.
        seconds: for how long; None: until the process is stopped.

    Raises:
        OSError: the file cannot be read, or no terminal is to be had.
        ValueError: the file is empty.
    """
    data = file.read_bytes()
    if not data:
        raise ValueError(f"{file} is empty")
    master, slave = os.openpty()
    try:
        tty.setraw(slave)  # kept open: the terminal outlives readers that come and go
        os.set_blocking(master, False)
        sys.stdout.write(f"{os.ttyname(slave)}\n")
        sys.stdout.flush()
        _write(master, data, rate, seconds)
    finally:
        os.close(master)
        os.close(slave)


def _write(master: int, data: bytes, rate: float, seconds: float | None) -> None:
    began_s, sent = time.monotonic(), 0
    while (now_s := time.monotonic() - began_s) < (seconds if seconds is not None else float("inf")):
        at, due = sent % len(data), int(now_s * rate) - sent
        if due <= 0:
            time.sleep(CHUNK_S)
            continue
        piece = data[at : at + due]
        with suppress(BlockingIOError):  # nobody reads, and a receiver does not wait
            os.write(master, piece)
        sent += len(piece)


def main(arguments: list[str] | None = None) -> int:
    """Play until it is stopped; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m firmware_bridge.feed", description="Play a recorded serial line on a pseudo-terminal.")
    parser.add_argument("file", nargs="?", type=Path, default=SHIPPED, help="default: the shipped receiver, mt3339.log")
    parser.add_argument("--rate", type=float, default=RATE, metavar="BYTES", help="bytes a second; default %(default)s")
    parser.add_argument("--seconds", type=float, default=None, help="then end; default: until it is stopped")
    said = parser.parse_args(arguments)
    if not said.rate > 0:
        parser.error("--rate must be above 0")
    try:
        play(said.file, said.rate, said.seconds)
    except KeyboardInterrupt:
        return 0
    except (OSError, ValueError) as fault:
        sys.stderr.write(f"feed: {fault}\n")
        return 3
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
