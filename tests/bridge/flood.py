"""Telemetry at the rate of a 3 Mbaud line (300,000 bytes a second) through a pseudo-terminal, from another process."""

import os
import subprocess
import sys
import time
import tty

import numpy as np

from firmware_bridge.framing import encode, header
from firmware_bridge.link import Link
from firmware_bridge.messages import Telemetry

BYTES_S = 300_000


def flood(seconds: float) -> tuple[int, int, dict[str, int], int]:
    """Frames sent, telemetry taken, the session's counters, bytes a second asked for."""
    master, slave = os.openpty()
    tty.setraw(slave)
    path = os.ttyname(slave)
    with Link(path) as link:
        link.step(0.01)
        writer = subprocess.Popen(
            [sys.executable, "-m", "tests.bridge.flood", str(master), str(seconds)], pass_fds=[master], stdout=subprocess.PIPE
        )
        used, end_s = 0, time.monotonic() + seconds + 60
        while time.monotonic() < end_s:
            found = link.step(0.2)
            used += sum(isinstance(received.message, Telemetry) for received in found)
            if not found and writer.poll() is not None:
                break
        sent = int(writer.communicate(timeout=10)[0])
        counts = link.port.session.counts()
    os.close(master)
    os.close(slave)
    return sent, used, counts, BYTES_S


def main() -> None:
    master, seconds = int(sys.argv[1]), float(sys.argv[2])
    data = np.arange(64, dtype="<f4").tobytes()
    start = time.monotonic()
    written = sent = 0
    while time.monotonic() - start < seconds:
        due = int((time.monotonic() - start) * BYTES_S)
        while written < due:
            frame = encode(header(Telemetry.CODE, 0, 1, sent & 0xFFFF, sent * 1000, Telemetry(sent, 125_000, 8, 8, 0, data).pack()))
            view = memoryview(frame)
            while view:
                view = view[os.write(master, view) :]
            written += len(frame)
            sent += 1
        time.sleep(0.001)
    sys.stdout.write(str(sent))


if __name__ == "__main__":
    main()
