"""The loop over an emulated board beside the bare line: one run, both printed together.

    .venv/bin/python -m benchmarks.bridge.loop [--board qemu|simulator] [--seconds 20] [--rounds 3]

On QEMU the line is the bottleneck, on the simulator it carries what 921,600 baud carry; by default both are measured, one after the other.
Echo: a frame as long as the loop's two frames are on average, sent to the board and back, host's clock. Loop: the board's probe turns,
the board says so at once, `edge run` decides (features and model), the board's lamp obeys, board's clock. Nothing stands in between:
the daemon opens the emulator's own tty, and the board is watched on its other port.
"""

import argparse
import json
import os
import select
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.inference.rig_models import write_large
from edge.config.load import load as load_pipeline
from edge.config.plan import feature_plan
from firmware_bridge import messages
from firmware_bridge.hil.emulator import Emulator
from firmware_bridge.hil.frames import make_frame
from firmware_bridge.hil.host import Process
from firmware_bridge.hil.qemu import Qemu, build_firmware
from firmware_bridge.hil.recording import Recording
from firmware_bridge.hil.simulator import Simulator, build_simulator
from firmware_bridge.protocol import FLAG_TO_BOARD

PIPELINE = Path(__file__).with_name("loop.toml")
PARAMETERS = {"rows": 10, "host_timeout_ms": 2000, "blink_ms": 100}  # 38 ms after the row before: the line is idle, as for the echo
BETWEEN_S = 0.05


def quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    picked = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) for name, share in picked.items()}


def echo(board: Emulator, seconds: float, n_bytes: int) -> list[float]:
    """Round trips of a frame, ms."""
    descriptor = board.open()
    frame = b"\x01" * (n_bytes - 1) + b"\0"
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
        time.sleep(BETWEEN_S)
    os.close(descriptor)
    board.close()
    return found


class Watched:
    """A board that is seen through its bench port only."""

    def __init__(self, board: Emulator) -> None:
        self.board = board
        self._bench = self.board.open_bench()
        self.recording = Recording()
        self.recording.has_bench = True
        self._stopping, self._seq = False, 0
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        self._until(lambda: self.recording.hello, messages.HelloRequest(session=1))

    def set(self, name: str, value: float) -> None:
        number, known = self.recording.parameters[name], len(self.recording.answers)
        message = messages.ParameterSet(request=number, parameter=number, value=value)
        self._until(lambda: len(self.recording.answers) > known, message)

    def _until(self, condition: Any, message: messages.Message) -> None:
        for _ in range(20):
            self._seq += 1
            os.write(self._bench, make_frame(message, seq=self._seq, flags=FLAG_TO_BOARD))
            end = time.monotonic() + 1
            while time.monotonic() < end:
                if condition():
                    return
                time.sleep(0.01)
        raise TimeoutError("the board does not answer on its bench port")

    def _listen(self) -> None:
        while not self._stopping:
            if select.select([self._bench], [], [], 0.1)[0]:
                self.recording.tap("bench", os.read(self._bench, 65536), time.monotonic_ns())

    def close(self) -> None:
        self._stopping = True
        self._thread.join()
        os.close(self._bench)
        self.board.close()


def loop(folder: Path, board: Emulator, seconds: float) -> list[float]:
    """Edges that were answered, ms."""
    watched = Watched(board)
    text = PIPELINE.read_text().replace("serial:///dev/ttyACM0", f"serial://{watched.board.tty}").replace("BUNDLE", str(folder / "large"))
    (folder / "loop.toml").write_text(text)
    daemon = Process([sys.executable, "-m", "edge", "run", str(folder / "loop.toml")], folder / "log")
    try:
        for name, value in PARAMETERS.items():
            watched.set(name, value)
        end = time.monotonic() + 120
        while len(watched.recording.loops_ms()) < 20:
            if not daemon.is_alive() or time.monotonic() > end:
                raise TimeoutError(daemon.said()[-2000:])
            time.sleep(0.1)
        from_us = watched.recording.now_us()
        time.sleep(seconds)
        return watched.recording.loops_ms(after_us=from_us)
    finally:
        daemon.stop()
        watched.close()


def boards(kind: str, folder: Path) -> tuple[Callable[[], Emulator], Callable[[], Emulator]]:
    """What starts a board that only echoes, and one with the firmware."""
    if kind == "qemu":
        echoing, image = build_firmware(folder / kind, "echo.elf"), build_firmware(folder / kind)
        return lambda: Qemu(echoing), lambda: Qemu(image)
    echoing, image = build_simulator(folder / kind, "echo-simulator"), build_simulator(folder / kind)
    return lambda: Simulator(echoing), lambda: Simulator(image)


def measure(kind: str, folder: Path, options: argparse.Namespace, n_bytes: int) -> None:
    make_echo, make_board = boards(kind, folder)
    rounds = []
    for _ in range(options.rounds):
        bare, closed = echo(make_echo(), options.seconds, n_bytes), loop(folder, make_board(), options.seconds)
        found = {"echo": quantiles(bare), "echoes": len(bare), "loop": quantiles(closed), "loops": len(closed)}
        print(json.dumps({"board": kind} | found | {"load_average": round(os.getloadavg()[0], 2)}), flush=True)
        rounds.append(found)
    print(f"\n| {kind}, ms | bare echo of {n_bytes} bytes | loop | more |\n|---|---:|---:|---:|")
    for share in ("p50", "p99", "max"):
        bare, closed = ([one[way][share] for one in rounds] for way in ("echo", "loop"))
        more = [b - a for a, b in zip(bare, closed, strict=True)]
        cells = (f"{statistics.median(x):.2f} ({min(x):.2f} to {max(x):.2f})" for x in (bare, closed, more))
        print(f"| {share} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--board", choices=("qemu", "simulator"), help="default: one after the other")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = feature_plan(load_pipeline(PIPELINE, with_model=False))
        write_large(folder, "1.0.0", 0.01, plan.names, plan.units)
        row = messages.Telemetry(0, 0, 1, 14, 0, bytes(56))
        frames = make_frame(row, seq=1), make_frame(messages.Command(1, 1, 1, 1, 1.0, 1, 0), seq=1, flags=FLAG_TO_BOARD)
        for kind in (options.board,) if options.board else ("qemu", "simulator"):
            measure(kind, folder, options, sum(map(len, frames)) // 2)


if __name__ == "__main__":
    main()
