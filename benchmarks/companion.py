"""What the recording companion costs the loop: a frame without one, with one, and with one that is stopped (SIGSTOP), side by side.

    python benchmarks/companion.py [--rounds N] [--seconds S] [--rate HZ] [--out FILE.json]

A frame is what the loop does with a message of 8 channels: hand it to the companion, decode, admit, roll four statistics of each channel
over 256 samples, decide, and hand the prediction to the companion as well. Frames come at a fixed rate, as from a sensor. The three ways
take turns within a round, so that each meets the same moments of a busy machine. While the companion is stopped its ring is full from the
start: everything is dropped, and counted.
"""

import argparse
import gc
import json
import os
import platform
import signal
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path

import msgpack

from edge.build import pipeline_of, warm_up
from edge.build.recorder import recorder_of
from edge.config.load import loads
from edge.messages import RawMessage

PIPELINE = """
name = "companion"
budget_ms = 50

[streams.imu]
topic = "plant/{device}/imu"
channels = { a = "1", b = "1", c = "1", d = "1", e = "1", f = "1", g = "1", h = "1" }
rate_hz = 1000

[[features]]
stream = "imu"
channels = ["a", "b", "c", "d", "e", "f", "g", "h"]
window = 256
stats = ["mean", "std", "min", "max"]

[publish.predictions]
topic = "plant/{device}/pred"
"""
WAYS = ("without", "with", "stopped")
SLOTS_FILL = 40_000  # more than the ring has


class Bench:
    """One pipeline, one companion, three ways."""

    def __init__(self, folder, rate_hz):
        recording = f'\n[recording]\npath = "{folder}"\nfree_mb = 0\nkeep_mb = 200\n'
        config = loads(PIPELINE + recording, folder)
        self.pipeline = pipeline_of(config)
        warm_up(self.pipeline)
        self.pipeline.run_on(time.monotonic_ns, time.time_ns() - time.monotonic_ns())
        self.recorder = recorder_of(config)
        self.recorder.start()
        self.period_ns = int(1e9 / rate_hz)
        self.seq = 0
        wait(lambda: self.recorder.state[0] == "recording")

    def message(self):
        self.seq += 1
        rows = struct.pack("<8f", *[self.seq % 17 + i for i in range(8)])
        return msgpack.packb({"v": 1, "seq": self.seq, "t": self.seq * 1_000_000, "x": rows})

    def frames(self, way, seconds):
        """Times of frames in ns."""
        recorder = self.recorder if way != "without" else None
        payloads = [self.message() for _ in range(int(seconds * 1e9 / self.period_ns))]
        took = []
        due = time.monotonic_ns() + self.period_ns
        for payload in payloads:
            while (now := time.monotonic_ns()) < due:
                time.sleep(max(0.0, (due - now - 60_000) * 1e-9))
            due = max(due + self.period_ns, now)
            raw = RawMessage("plant/a/imu", payload, now)
            started = time.perf_counter_ns()
            if recorder is not None:
                recorder.received(raw)
            out = self.pipeline.step(raw)
            if recorder is not None:
                for one in out:
                    recorder.sent(one)
            took.append(time.perf_counter_ns() - started)
        return took

    def note_us(self):
        """Time of one hand-over alone, in us, the best of many short runs."""
        raw = RawMessage("plant/a/imu", self.message(), time.monotonic_ns())
        best = []
        for _ in range(50):
            started = time.perf_counter_ns()
            for _ in range(50):
                self.recorder.received(raw)
            best.append((time.perf_counter_ns() - started) / 50)
            time.sleep(0.02)
        return min(best) / 1e3, statistics.median(best) / 1e3

    def stop(self):
        os.kill(self.recorder.sidecar.pid, signal.SIGSTOP)
        raw = RawMessage("plant/a/imu", bytes(100), time.monotonic_ns())
        before = self.recorder.status()["dropped"]
        for _ in range(SLOTS_FILL):
            self.recorder.received(raw)
        if self.recorder.status()["dropped"] == before:
            raise SystemExit("the ring did not fill")

    def go_on(self):
        os.kill(self.recorder.sidecar.pid, signal.SIGCONT)
        wait(lambda: self.recorder._tape.ring.free > 7000)


def wait(condition):
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("the companion does not come")
        time.sleep(0.05)


def run(bench, rounds, seconds):
    found = {way: [] for way in WAYS}
    for way in WAYS[:2]:
        bench.frames(way, 0.5)
    gc.collect()
    gc.freeze()
    gc.disable()
    for number in range(rounds):
        for way in (*WAYS[number % 2 : 2], *WAYS[: number % 2], "stopped"):
            if way == "stopped":
                bench.stop()
            found[way].append(sorted(bench.frames(way, seconds)))
            if way == "stopped":
                bench.go_on()
    gc.enable()
    return found


def at(times, share):
    return times[min(len(times) - 1, int(share * len(times)))] / 1e3


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.rate)
        before = os.getloadavg()[0]
        note = bench.note_us()
        found = run(bench, options.rounds, options.seconds)
        status = bench.recorder.status()
        bench.recorder.close()
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}",
        "load_before": round(before, 2),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "rate_hz": options.rate,
        "hand_over_us": {"best": round(note[0], 2), "median": round(note[1], 2)},
        "frame_us": {
            way: {
                name: [round(value, 1) for value in (statistics.median(cells), min(cells), max(cells))]
                for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))
                for cells in [[at(times, share) for times in runs]]
            }
            for way, runs in found.items()
        },
        "noted": status["noted"],
        "dropped_while_stopped": status["dropped"],
        "restarts": status["restarts"],
    }
    print(f"{result['machine']}. Load before: {result['load_before']}.")
    print(f"{options.rounds} rounds of {options.seconds:g} s a way, {options.rate:g} frames/s. Median of the rounds (lowest to highest).\n")
    print("| frame, us | without a companion | with one | with one that is stopped |\n|---|---:|---:|---:|")
    for name in ("p50", "p90", "p99", "p99.9"):
        cells = [result["frame_us"][way][name] for way in WAYS]
        print(f"| {name} | " + " | ".join(f"{c[0]:.0f} ({c[1]:.0f} to {c[2]:.0f})" for c in cells) + " |")
    print(f"\nHanding one message over: {note[0]:.2f} us at best, {note[1]:.2f} us in the median.")
    print(f"{status['noted']} messages noted, {status['dropped']} dropped, all while it was stopped; {status['restarts']} restarts.")
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
