"""A day of a 100 Hz sensor through the daemon's own reactor, by a clock that the test turns: does it keep memory, descriptors, threads?

``python -m tests.system.soak [--hours 24]`` prints the figures of docs/reliability.md. The daemon is the real one, with outbox, checkpoint,
health and status, and its files on disk; only the socket to the broker is a list, and ``select`` is left out. What the sender does wrong
(gaps, NaN, repeats, bytes that are no message, other devices, leaps of its clock) is seeded.
"""

import argparse
import json
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from edge import build
from edge.daemon import outlet, reactor
from edge.daemon.memory import settle
from edge.messages import Outgoing, RawMessage

ROWS, MESSAGE_NS = 10, 100_000_000  # of 100 Hz
HOUR = 36_000  # messages
SAMPLES = 240  # of this process in a run
WARM_UP = 0.25  # of a run: pools, caches, histograms and logs fill
SLOPE_MB_H = 1.0  # a leak of 28 bytes a message; one of 100 bytes is 3.6 MB
LEAST_HOURS = 0.5  # a shorter run measures pages, not leaks

PIPELINE = """
name = "soak"
budget_ms = 400
tick_ms = 100
lanes = 4

[streams.s]
topic = "d/{device}/s"
channels = { x = "m/s^2", y = "m/s^2", z = "m/s^2" }
rate_hz = 100
clock = "synced"
max_rows = 16
on_silence = "alert"

[streams.s.clean]
range = { x = [-100, 100] }
lateness_ms = 50
spike = { window = 11, sigmas = 6 }
max_gap_ms = 300
max_age_ms = 2000
missing = { policy = "hold", max_age_ms = 200 }

[[features]]
stream = "s"
channels = ["x", "y", "z"]
window = "1s"
hop = "100ms"
stats = ["mean", "std", "rms", "median", "zero_crossings", "band_energy(10-30)"]

[[rules]]
name = "hot"
score = "s.x.mean.1s"
enter = 5.0
exit = -5.0
emit = "alert"
topic = "d/{device}/alerts"

[[rules]]
name = "slow"
score = "s.x.mean.1s"
enter = 5.0
exit = -5.0
emit = "command"
actuator = "fan"
value = 0.8
otherwise = 0.2

[actuators.fan]
topic = "d/{device}/cmd"
unit = "1"
min = 0.0
max = 1.0
ttl_ms = 500
safe_value = 0.5
stale_ms = 500

[outbox]
path = "alerts.db"
durability = "process"

[checkpoint]
path = "state"

[publish.predictions]
topic = "d/{device}/predictions"
"""


class Clock:
    """Stands in for the module ``time`` where the reactor and its outlet read it."""

    def __init__(self) -> None:
        self.now_ns, self._wall_ns = time.monotonic_ns(), time.time_ns() - time.monotonic_ns()

    def monotonic_ns(self) -> int:
        return self.now_ns

    def time_ns(self) -> int:
        return self.now_ns + self._wall_ns


class Link:
    """A broker in a list: acknowledges at the next turn, is away now and then, and counts."""

    state, last_error, fault, heard_ns, unread = "connected", "", "", 0, 0

    def __init__(self) -> None:
        self.is_up, self.connects, self.sent = True, 1, {"prediction": 0, "alert": 0, "command": 0, "status": 0, "report": 0}
        self.status: bytes = b""
        self._unacked: list[int] = []

    def send(self, outgoing: Outgoing) -> bool:
        if self.is_up:
            self.sent[outgoing.kind] += 1
            if outgoing.kind == "status":
                self.status = outgoing.payload
        return self.is_up

    def send_acked(self, outgoing: Outgoing) -> int | None:
        self.sent[outgoing.kind] += 1
        self._unacked.append(self.sent[outgoing.kind])
        return self._unacked[-1]

    def turn(self, daemon: Any) -> None:
        acked, self._unacked = self._unacked, []
        for token in acked if self.is_up else ():
            daemon._outbox.acked(token)

    def poll(self, _now_ns: int) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class Sender:
    """What arrives, message by message."""

    def __init__(self, seed: int, clock: Clock) -> None:
        self._rng, self._clock, self._seq, self._turn = random.Random(seed), clock, 0, 0
        self._noise = np.random.default_rng(seed).normal(0.0, 1.0, (997, ROWS, 3)).astype("<f4")

    def next(self) -> Iterator[RawMessage]:
        """What came in the last 100 ms."""
        rng, self._turn = self._rng, self._turn + 1
        if rng.random() < 0.0005:
            self._turn += rng.randrange(1000)  # and the alert of the square wave comes at another time
        rows = self._noise[self._turn % 997] + np.float32(10.0 if self._turn // 150 % 2 else -10.0)
        stamp_ns, device = self._clock.time_ns() - MESSAGE_NS, "a"
        chance = rng.random()
        if chance < 0.01:  # the radio was away
            self._seq += 1
            return
        if chance < 0.02:
            rows = rows.copy()
            rows[rng.randrange(ROWS), rng.randrange(3)] = rng.choice([np.nan, np.inf, 1e9])
        elif chance < 0.025:
            stamp_ns += rng.choice([-1, 1]) * rng.randrange(10**10)
        elif chance < 0.03:
            device = f"d{rng.randrange(200)}"
        payload = msgpack.packb({"v": 1, "seq": self._seq, "t": stamp_ns, "dt": MESSAGE_NS // ROWS, "x": rows.tobytes()})
        self._seq += device == "a"
        if 0.03 < chance < 0.04:
            payload = rng.choice([b"", payload[: rng.randrange(len(payload))], rng.randbytes(100)])
        yield RawMessage(f"d/{device}/s", payload, self._clock.now_ns)
        if 0.04 < chance < 0.05:  # twice
            yield RawMessage(f"d/{device}/s", payload, self._clock.now_ns + 1)
        if 0.05 < chance < 0.051:
            yield RawMessage(f"elsewhere/{rng.randrange(10**6)}", payload, self._clock.now_ns)


def memory() -> tuple[int, int, int]:
    """(kB resident, descriptors, threads) of this process."""
    with open("/proc/self/status", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["VmRSS"].split()[0]), len(os.listdir("/proc/self/fd")), int(fields["Threads"])


def run(folder: Path, hours: float, seed: int, leak: int = 0) -> dict[str, Any]:
    """So many hours of the sensor.

    Args:
        folder: for the daemon's files.
        hours: by the sensor's clock.
        seed: of what it does wrong.
        leak: bytes that are kept of every message, to see that it is found.
    """
    clock = Clock()
    reactor.time = outlet.time = clock  # type: ignore[assignment,attr-defined]
    (folder / "pipeline.toml").write_text(PIPELINE)
    daemon: Any = build.daemon(folder / "pipeline.toml")
    link, sender = Link(), Sender(seed, clock)
    daemon._transport = daemon._health.link = daemon._outlet.transport = link
    daemon._set_wall_offset()
    daemon._start_pipeline(daemon._pipeline.decisions.wall_offset_ns)
    settle()  # as the daemon does: no collector runs from here on
    messages, kept = int(hours * HOUR), []
    marks = {int(i * messages / SAMPLES) for i in range(SAMPLES + 1)}
    samples = np.zeros((SAMPLES + 1, 4))
    taken, started_s = 0, time.monotonic()
    for i in range(messages + 1):
        if i in marks:
            samples[taken] = (i / HOUR, *memory())
            taken += 1
        clock.now_ns += MESSAGE_NS
        _turn(daemon, clock, link, sender, i)
        if leak:
            kept.append(os.urandom(leak - 41))  # an object's head and its place in the list
    took_s = time.monotonic() - started_s
    status = json.loads(link.status)
    daemon._outbox.close()
    daemon._plan.close()
    return report(samples[:taken], status, link.sent) | {"hours": hours, "seconds": round(took_s, 1), "messages": messages}


def _turn(daemon: Any, clock: Clock, link: Link, sender: Sender, i: int) -> None:
    """100 ms: what came, a tick, what other threads have to say, and once in ten minutes half a minute without the broker."""
    daemon._guard(daemon._tick, clock.now_ns)
    is_up = i % 6000 < 5700
    if link.is_up and not is_up:
        link.is_up = False
        daemon._outbox.link_lost()
    elif is_up and not link.is_up:
        link.is_up, link.connects = True, link.connects + 1
        daemon._send_alerts()
    for raw in sender.next():
        daemon._guard(daemon._on_message, raw)
    for key, mask in daemon._selector.select(0):
        daemon._guard(key.data, mask)
    daemon._hand_over()
    link.turn(daemon)


def report(samples: Any, status: dict[str, Any], sent: dict[str, int]) -> dict[str, Any]:
    """The figures; ``faulty`` says which are wrong."""
    settled = samples[samples[:, 0] >= samples[-1, 0] * WARM_UP]
    slope_mb_h = float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0]) / 1024
    fds, threads = (int(np.ptp(settled[:, column])) for column in (2, 3))
    stream, alerts = status["streams"]["s"], status["alerts"]
    faulty = [f"memory grows by {slope_mb_h:.2f} MB an hour"] if slope_mb_h > SLOPE_MB_H else []
    faulty += [f"descriptors vary by {fds}"] if fds > 4 else []
    faulty += [f"threads vary by {threads}"] if threads > 1 else []
    faulty += ["unexpected faults"] if status["faults"] else []
    used = stream["used"] + stream["held"] + stream["late"] + stream["duplicate"]
    if stream["received"] != used + sum(stream["invalid"].values()) + sum(stream["dropped"].values()):
        faulty.append("samples are unaccounted for")
    if alerts["accepted"] != sum(alerts[key] for key in ("delivered", "waiting", "in_flight", "evicted")) or alerts["evicted"]:
        faulty.append(f"alerts are unaccounted for: {alerts}")
    busy = (stream["invalid"], stream["gaps"], stream["duplicate"], status["lanes"]["evictions"], alerts["delivered"], sent["command"])
    if not all(busy) or status["checkpoint"]["written"] < 2:
        faulty.append("too little happened: this run proves nothing")
    return {
        "faulty": faulty,
        "slope_mb_h": round(slope_mb_h, 3),
        "rss_mb": [round(samples[i, 1] / 1024, 1) for i in (0, len(samples) - len(settled), -1)],  # at first, warm, at last
        "descriptors": sorted({int(one) for one in settled[:, 2]}),
        "threads": sorted({int(one) for one in settled[:, 3]}),
        "stream": {key: stream[key] for key in ("received", "used", "late", "duplicate", "invalid", "dropped", "lost_frames", "gaps")},
        "evictions": status["lanes"]["evictions"],
        "alerts": alerts,
        "sent": sent,
        "checkpoints": status["checkpoint"]["written"],
        "commits": status["outbox"]["commits"],
    }


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--hours", type=float, default=24.0)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--leak", type=int, default=0, help="bytes to keep of every message, at least 48")
    given = options.parse_args()
    if given.hours < LEAST_HOURS:
        options.error(f"at least {LEAST_HOURS} hours")
    logging.getLogger("edge").addHandler(logging.NullHandler())
    logging.getLogger("edge").propagate = False
    with tempfile.TemporaryDirectory() as name:
        found = run(Path(name), given.hours, given.seed, given.leak)
    print(json.dumps(found, indent=2))  # noqa: T201
    return bool(found["faulty"])


if __name__ == "__main__":
    sys.exit(main())
