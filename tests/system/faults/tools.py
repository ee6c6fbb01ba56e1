"""What several groups of faults need: pipeline files, figures of the daemon's process, and a look at what a proxy recorded."""

import collections
import itertools
import json
import time

from tests.integration.test_daemon import balanced
from tests.system.faults.site import FLIP, PIPELINE, until

BROKER = "keepalive_s = 5"
QUICK = PIPELINE.replace(BROKER, f"{BROKER}\nretry_min_s = 0.1\nretry_max_s = 0.5\nconnect_timeout_s = 1.0")
STAMPED = QUICK.replace("silent_ms = 1000", 'silent_ms = 1000\nclock = "synced"\nstamp_unit = "ms"').replace(
    "[streams.s.clean]", "[streams.s.clean]\nmax_age_ms = 250"
)
PERIOD_NS = 5_000_000


def stamped(seq):
    """A row with the time of its making."""
    return json.dumps({"x": seq // 20 % 2, "seq": seq, "t": time.time_ns() // 1_000_000})


def longest_gap_s(one, seconds):
    """The longest time without a word from the loop to its watchdog (every 0.2 s if all is well)."""
    one.edge.noted("")
    first, end = len(one.edge.notes), time.monotonic() + seconds

    def fed():
        one.edge.noted("")
        return [at for at, note in one.edge.notes[first:] if "WATCHDOG=1" in note]

    until(lambda: len(fed()) > 1 and time.monotonic() > end, "the watchdog was not fed")
    times = fed()
    return max(after - before for before, after in itertools.pairwise(times))


def rss_mb(pid, what="VmRSS"):
    """Memory of a process, or (``VmHWM``) the most it ever had."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(what)) / 1024


def most_unacked(passed):
    """The most QoS 1 messages of the daemon that were under way at once, from a proxy's record of whole connections."""
    rests, under_way, most = collections.defaultdict(bytes), collections.defaultdict(set), 0
    for number, is_up, chunk in passed:
        rest = rests[number, is_up] + chunk
        while (packet := _first(rest)) is not None:
            kind, body, rest = packet
            if is_up and kind & 0xF6 == 0x32:
                at = 2 + int.from_bytes(body[:2], "big")
                under_way[number].add(body[at : at + 2])
                most = max(most, len(under_way[number]))
            elif not is_up and kind == 0x40:
                under_way[number].discard(body[:2])
        rests[number, is_up] = rest
    return most


def _first(stream):
    """First byte, body and rest of the first packet, or None."""
    length = 0
    for i, byte in enumerate(stream[1:5]):
        length |= (byte & 0x7F) << 7 * i
        if not byte & 0x80:
            end = i + 2 + length
            return (stream[0], stream[i + 2 : end], stream[end:]) if len(stream) >= end else None
    return None


def timed(seq, t=None):
    """A row with a stamp of the sensor's own clock."""
    return json.dumps({"x": seq // FLIP % 2, "seq": seq, "t": (seq if t is None else t) * PERIOD_NS + 1})


def misbehave(one, make, rows=200):
    """The sensor sends something else for so many periods, and is well again."""
    good, mark = one.sensor.make, one.sensor.seq
    one.sensor.make = make
    until(lambda: one.sensor.seq >= mark + rows, "the sensor stands")
    one.sensor.make = good
    one.until_working()


def between(one, bad, make):
    """Good rows with one of these before each; returns how many of these were sent."""
    sent = []

    def both(seq):
        sent.append(bad[len(sent) % len(bad)])
        return [sent[-1], make(seq)]

    misbehave(one, both)
    return len(sent)


def counts(one):
    """Of the stream, at the end, when all that was sent has arrived; balanced."""
    one.sensor.close()

    def is_quiet():
        told = one.peer.json("/status")
        received = [status["streams"]["s"]["received"] for status in told[-5:]]
        return len(told) >= known + 5 and len(set(received)) == 1

    known = len(one.peer.json("/status"))
    until(is_quiet, lambda: str(one.status()))
    one.settle()
    status = balanced(one.status())
    assert status["faults"] == 0
    assert "Traceback" not in one.said()
    return status["streams"]["s"]
