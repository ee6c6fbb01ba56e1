"""What checkpoints cost the loop: a frame without them, with those of one device, and with those of so many that they take 40 MB.

    python benchmarks/checkpoint.py [--rounds N] [--seconds S] [--rate HZ] [--every S] [--megabytes M] [--tick-ms MS] [--out FILE]

A frame is a message of 8 channels: decode, admit, roll four statistics of each over 64 samples, decide. Frames come at a fixed rate, as
from a sensor, of one device; the others have been heard once, and have their windows. A frame's time is from when it is due to its
decision, so what holds up the loop before it counts. Ticks are between frames, and copy the state as in the daemon, 0.5 ms each, so that a
large one may take longer than the period that is asked for: with --tick-ms 4, one of 40 MB is copied in about a second. The thread of the
daemon writes it. The three ways take turns within a round, so that each meets the same moments of a busy machine.
"""

import argparse
import gc
import json
import os
import platform
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path

import msgpack

from edge.build import pipeline_of, warm_up
from edge.config.load import loads
from edge.daemon.keeper import Keeper
from edge.messages import RawMessage
from edge.store.checkpoint import CheckpointWriter

PIPELINE = """
name = "checkpoint"
budget_ms = 50
lanes = {lanes}

[streams.imu]
topic = "plant/{{device}}/imu"
channels = {{ a = "1", b = "1", c = "1", d = "1", e = "1", f = "1", g = "1", h = "1" }}
rate_hz = 1000

[[features]]
stream = "imu"
channels = ["a", "b", "c", "d", "e", "f", "g", "h"]
window = 64
stats = ["mean", "std", "min", "max"]

[publish.predictions]
topic = "plant/{{device}}/pred"
"""
WAYS = ("off", "small", "large")
SHARES = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("worst", 1.0))


class Loop:
    """One pipeline of so many devices, and the checkpoints of it."""

    def __init__(self, folder, lanes):
        self.path = folder / f"state-{lanes}"
        self.pipeline = pipeline_of(loads(PIPELINE.format(lanes=lanes), folder))
        warm_up(self.pipeline)
        self.pipeline.run_on(time.monotonic_ns, time.time_ns() - time.monotonic_ns())
        self.seq = 0
        for lane in range(lanes):
            self.pipeline.step(self.message(f"d{lane}", 1))

    def message(self, device, seq):
        rows = struct.pack("<8f", *[seq % 17 + i for i in range(8)])
        payload = msgpack.packb({"v": 1, "seq": seq, "t": seq * 1_000_000, "x": rows})
        return RawMessage(f"plant/{device}/imu", payload, time.monotonic_ns())

    def frames(self, seconds, period_ns, every_ns, tick_ns):
        """Times of frames in ns, those of them while a file was written, and the checkpoints' status; 0 for ``every_ns``: none."""
        keeper = Keeper(self.pipeline, CheckpointWriter(self.path), every_ns) if every_ns else None
        payloads = [self.message("d0", self.seq + i + 2).payload for i in range(int(seconds * 1e9 / period_ns))]
        self.seq += len(payloads)
        took, beside, step = [], [], self.pipeline.step
        due = time.monotonic_ns() + period_ns
        next_tick = 0
        for payload in payloads:
            is_written = keeper is not None and keeper.pulse()[0] < keeper.rounds
            while (now := time.monotonic_ns()) < due:
                time.sleep(max(0.0, (due - now - 60_000) * 1e-9))
            step(RawMessage("plant/d0/imu", payload, now))
            done = time.monotonic_ns()
            took.append(done - due)
            if is_written:
                beside.append(done - due)
            if done >= next_tick:
                next_tick = (done // tick_ns + 1) * tick_ns
                self.pipeline.tick(done)
                if keeper is not None:
                    keeper.look(done)
            due = max(due + period_ns, done)
        status = keeper.status() if keeper is not None else {}
        if keeper is not None:
            keeper.close()
        return took, beside, status


def run(loops, options):
    """By way, what ``frames`` gave in each round."""
    period_ns, every_ns, tick_ns = int(1e9 / options.rate), int(options.every * 1e9), int(options.tick_ms * 1e6)
    for loop in loops.values():
        loop.frames(0.5, period_ns, 0, tick_ns)
    gc.collect()
    gc.freeze()
    gc.disable()
    found = {way: [] for way in WAYS}
    for number in range(options.rounds):
        for way in WAYS[number % 3 :] + WAYS[: number % 3]:
            found[way].append(loops[way].frames(options.seconds, period_ns, every_ns if way != "off" else 0, tick_ns))
            time.sleep(0.5)
    gc.enable()
    return found


def spread(runs, share):
    """Of the rounds' times at a share of their frames, in us: median, lowest, highest; None without frames."""
    cells = [sorted(times)[min(len(times) - 1, int(share * len(times)))] / 1e3 for times in runs if times]
    return [round(of(cells), 1) for of in (statistics.median, min, max)] if cells else None


def measured(loops, found, options):
    """As numbers."""
    statuses = {way: [status for _, _, status in found[way]] for way in WAYS[1:]}
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}",
        "rounds": options.rounds,
        "seconds": options.seconds,
        "rate_hz": options.rate,
        "every_s": options.every,
        "tick_ms": options.tick_ms,
        "frame_us": {way: {name: spread([run[0] for run in runs], share) for name, share in SHARES} for way, runs in found.items()},
        "beside_us": {way: {name: spread([run[1] for run in runs], share) for name, share in SHARES} for way, runs in found.items()},
        "frames_beside": {way: sum(len(run[1]) for run in runs) for way, runs in found.items()},
        "file_mb": {way: round(loops[way].path.stat().st_size / 1e6, 3) for way in statuses},
        "written": {way: [status["written"] for status in of] for way, of in statuses.items()},
        "longest_copy_us": {way: max(status["longest_us"] for status in of) for way, of in statuses.items()},
    }


def tell(result):
    print(f"{result['machine']}. Load before: {result['load_before']}.")
    setting = f"{result['rate_hz']:g} frames/s, ticks of {result['tick_ms']:g} ms"
    print(f"{result['rounds']} rounds of {result['seconds']:g} s a way, {setting}. Median (lowest to highest).\n")
    files = result["file_mb"]
    names = " | ".join(f"every {result['every_s']:g} s, {files[way]:g} MB" for way in files)
    print(f"| frame, us | without | {names} |\n|---|---:|---:|---:|")
    for kind, more in (("frame_us", ""), ("beside_us", ", while a file is written")):
        for name, _ in SHARES:
            cells = [result[kind][way][name] for way in WAYS]
            print(f"| {name}{more} | " + " | ".join(f"{c[0]:,.0f} ({c[1]:,.0f} to {c[2]:,.0f})" if c else "" for c in cells) + " |")
    for way in files:
        n, copy = result["frames_beside"][way], result["longest_copy_us"][way]
        print(
            f"\n{way}: files in each round {result['written'][way]}; {n} frames while one was written; longest copying in a tick {copy} us"
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each way in a round")
    parser.add_argument("--rate", type=float, default=1000.0, help="frames a second")
    parser.add_argument("--every", type=float, default=1.0, help="seconds from one checkpoint to the next")
    parser.add_argument("--megabytes", type=float, default=40.0, help="of the large state")
    parser.add_argument("--tick-ms", type=float, default=20.0, help="period of ticks; with less, a large state is copied sooner")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory(dir=".") as name:  # on a disk: /tmp may be memory
        small = Loop(Path(name), 1)
        large = Loop(Path(name), round(options.megabytes * 1e6 / small.pipeline.features.plan.lane_bytes))
        loops = {"off": large, "small": small, "large": large}
        result = {"load_before": load} | measured(loops, run(loops, options), options)
    tell(result)
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
