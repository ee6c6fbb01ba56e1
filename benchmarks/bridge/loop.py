"""The loop over an emulated board beside the bare line: one run, both printed together.

    .venv/bin/python benchmarks/bridge/loop.py [--seconds 20]

Echo: frames of a command's size sent to QEMU's UART and back, no proxy, host's clock. Loop: the board's probe turns, the runtime decides,
the board's lamp obeys, board's clock; half of a block's time (5 ms at 10 rows a frame) and the decision's period (20 ms) are in it.
"""

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from firmware_bridge.hil.boards import Board
from firmware_bridge.hil.qemu import FIRMWARE, Qemu, build_firmware, open_raw
from firmware_bridge.hil.scenario import FOLDER

COMMAND_BYTES = 52  # on the line


def quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    picked = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) for name, share in picked.items()}


def echo(folder: Path, seconds: float) -> list[float]:
    subprocess.run(["make", "-s", "-C", str(FIRMWARE), f"BUILD={folder}", str(folder / "echo.elf")], check=True, timeout=120)
    board = Qemu(folder / "echo.elf")
    descriptor = open_raw(board.tty)
    frame = b"\x01" * (COMMAND_BYTES - 1) + b"\0"
    found: list[float] = []
    time.sleep(2)  # QEMU looks once a second whether somebody has opened its tty
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began, back = time.perf_counter(), b""
        os.write(descriptor, frame)
        while len(back) < len(frame) and select.select([descriptor], [], [], 2)[0]:
            back += os.read(descriptor, 256)
        if len(back) == len(frame):
            found.append((time.perf_counter() - began) * 1000)
        time.sleep(0.01)
    os.close(descriptor)
    board.close()
    return found


def loop(folder: Path, seconds: float) -> list[float]:
    board = Board("qemu", folder)
    board.set("host_timeout_ms", 2000)
    board.set("blink_ms", 150)
    words = [sys.executable, "-m", "edge", "hil", "loop", board.port, str(FOLDER / "motor-guard.toml")]
    host = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not board.recording.loops_ms() and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(seconds)
    host.terminate()
    host.wait(10)
    found = board.recording.loops_ms()
    board.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name:
        build_firmware(Path(name) / "firmware")
        bare, closed = echo(Path(name) / "firmware", seconds), loop(Path(name), seconds)
    found = {"echo_ms": quantiles(bare), "echoes": len(bare), "loop_ms": quantiles(closed), "loops": len(closed)}
    print(json.dumps(found | {"load_average": os.getloadavg()[0]}, indent=1))


if __name__ == "__main__":
    main()
