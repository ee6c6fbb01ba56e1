"""The loop over an emulated board beside the bare line: one run, both printed together.

    .venv/bin/python benchmarks/bridge/loop.py [--seconds 20]

Echo: frames of a command's size sent to QEMU's UART and back, no proxy, host's clock. Loop: the board's probe turns, `edge run` decides
(features and model), the board's lamp obeys, board's clock; half of a block's time (5 ms at 10 rows a frame) and half of the decision's
period (25 of 50 ms) are in it.
"""

import argparse
import json
import os
import select
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from firmware_bridge.hil.qemu import FIRMWARE, Qemu, build_firmware, open_raw
from firmware_bridge.hil.run import Run
from firmware_bridge.hil.scenario import FOLDER, Scenario

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
    scenario = Scenario(name="loop", title="Loop", duration_s=0.0, parameters={"host_timeout_ms": 2000, "blink_ms": 150})
    run = Run(scenario, FOLDER / "loop.toml", "qemu", folder)
    try:
        run.play()
        time.sleep(seconds)
        return run.recording.loops_ms(after_us=run.origin_us)
    finally:
        run.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name:
        build_firmware(Path(name) / "firmware")
        bare, closed = echo(Path(name) / "firmware", seconds), loop(Path(name), seconds)
    found: dict[str, Any] = {"echo_ms": quantiles(bare), "echoes": len(bare), "loop_ms": quantiles(closed), "loops": len(closed)}
    for share in ("p50", "p99"):
        print(f"{share}: bare echo {found['echo_ms'][share]:8.3f} ms    loop {found['loop_ms'][share]:8.3f} ms")
    print(json.dumps(found | {"load_average": os.getloadavg()[0]}, indent=1))


if __name__ == "__main__":
    main()
