"""A seeded monkey beside the real daemon: it kills, stops, cuts, fills, floods and lies; then all is healed, and what came is judged.

``python -m tests.system.monkey [--seconds S] [--seed N]`` prints the tables of docs/reliability.md. The seed decides which faults come, in
which order and for how long; at which instant of the daemon's life, the machine decides.
"""

import argparse
import collections
import itertools
import json
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec

from tests.system import monkey_judge as judge
from tests.system.monkey_faults import FAULTS, Ends, pranks
from tests.system.monkey_inputs import Gps, Sensor
from tests.system.monkey_proxy import Proxy
from tests.system.monkey_stage import BUDGET_MS, MAX_AGE_MS, TTL_MS, Daemon, KeptMosquitto, Reader, Sample, copy_of, pipeline, sample

RECOVERS_S = 90.0  # a first start compiles the kernels; what takes longer is no recovery
LATE_S = 0.25  # the monkey's own process was not given the processor for so long: arrivals prove nothing then
LONGEST_S = 9.0  # of a fault; a link that says nothing is given up after 7.5 s


class Found(msgspec.Struct):
    """What came of it. Lists of what must not be are empty."""

    seed: int
    seconds: float = 0.0
    faults: int = 0
    runs: int = 0
    sent: int = 0
    statuses: int = 0
    alerts: int = 0
    alerts_twice: int = 0
    alerts_stored_at_kills: int = 0
    lost: list[str] = []
    forged_alerts: list[str] = []
    commands: judge.Commands = msgspec.field(default_factory=judge.Commands)
    retained: int = 0
    unbalanced: list[str] = []
    wrong: list[str] = []
    judge_late: int = 0  # times that the monkey itself was not let run
    witness_late: int = 0  # messages past the daemon
    run_s: float = 0.0
    memory: judge.Growth | None = None  # of the longest run
    recovery_s: dict[str, list[float]] = {}

    def faulty(self) -> list[str]:
        """Everything that must not be."""
        out = [f"lost {one}" for one in self.lost] + [f"forged {one}" for one in (*self.forged_alerts, *self.commands.forged)]
        out += [f"stale {one}" for one in self.commands.stale] + [f"unbalanced {one}" for one in self.unbalanced] + self.wrong
        out += [f"{self.retained} commands were retained"] if self.retained else []
        is_flat = self.memory is None or self.memory.is_flat
        return out if is_flat else [*out, f"memory or descriptors grew: {self.memory}"]


class Stage:
    """Everybody, and the order in which they come and go."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.windows: list[judge.Window] = []
        self.stored: set[str] = set()
        self.stored_at_kills = 0
        self.samples: dict[int, list[Sample]] = collections.defaultdict(list)
        self._is_closed = False
        self.broker = KeptMosquitto(folder)
        self.broker.start()
        self.proxy = Proxy(self.broker.port)
        self.heard = judge.Heard()
        self.reader = Reader(self.broker.port, self.heard)
        self.sensor, self.gps = Sensor(self.broker.port), Gps()
        self.url = f"mqtt://127.0.0.1:{self.proxy.port}"
        self.daemon = Daemon(folder)
        self.write(pipeline(self.url, self.gps.path))
        self._watch = threading.Thread(target=self._sample, daemon=True)
        self._watch.start()

    def write(self, text: str) -> None:
        self.daemon.file.write_text(text)

    def window(self, kind: str, begin_ns: int) -> None:
        self.windows.append(judge.Window(kind, begin_ns, time.time_ns()))

    def told(self) -> bool:
        """Whether the daemon that runs now has said how it is."""
        return self.reader.status_ns > self.daemon.started_ns and self.reader.status.get("boot_id") in self.daemon.life.boots

    def wait_for(self, condition: Callable[[], object], why: str, seconds: float = RECOVERS_S) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{why}; status {json.dumps(self.reader.status)}"
            assert not self.daemon.has_ended(), "the daemon ended by itself"
            time.sleep(0.01)

    def recover(self, ends: list[Ends]) -> float:
        """Wait until alerts and commands that were made from now on arrive. Returns how long that took, in seconds."""
        healed_ns = time.time_ns()
        is_back = lambda: min(self.heard.last_alert_ns, self.heard.last_command_ns()) > healed_ns  # noqa: E731
        self.wait_for(is_back, "nothing came after everything was healed")
        for one in ends:
            self.wait_for(one, "a fault left something behind")
        return (time.time_ns() - healed_ns) * 1e-9

    def kill(self) -> None:
        """Kill the daemon and look what its outbox holds."""
        self.daemon.kill()
        held = self._read_outbox()
        self.stored_at_kills += len(held)
        self.stored |= held

    def account(self, seconds: float = 3.0) -> list[str]:
        """With everything healed: is every message that is sent within some seconds received?"""
        counts = []
        for _ in range(2):
            self.sensor.pace = 0.0
            counts.append((self.sensor.sent, self._settled(), self.reader.status["boot_id"]))
            self.sensor.pace = 1.0
            time.sleep(seconds)
        (sent, received, boot), (sent_then, received_then, boot_then) = counts
        is_whole = boot == boot_then and sent_then - sent == received_then - received > 0
        return [] if is_whole else [f"sent {sent_then - sent} messages, {received_then - received} were received"]

    def _settled(self) -> int:
        """How many were received, once that changes no more."""
        received = -1
        while received != (now := int(self.reader.status["streams"]["s"]["received"])):
            received, told_ns = now, time.time_ns()
            self.wait_for(lambda at=told_ns: self.reader.status_ns > at + 1_000_000_000, "no status came")  # type: ignore[misc]
        return received

    def finish(self) -> list[str]:
        """The daemon is well, tells everything that it still holds, and ends as asked. Returns what is wrong."""
        self.wait_for(lambda: self.told() and self.reader.status["health"]["state"] == "ok", "the daemon is not well")
        wrong = self.account()
        self.sensor.pace = 0.0
        self.wait_for(lambda: sum(self.reader.status["alerts"][key] for key in ("waiting", "in_flight")) == 0, "alerts wait")
        code = self.daemon.end()
        time.sleep(0.5)
        if code != 0 or (held := self._read_outbox()):
            wrong.append(f"the daemon ended with {code} and holds {held}")
        faults = sum(life.faults for life in self.daemon.lives)
        return [*wrong, f"{faults} unexpected faults"] if faults else wrong

    def close(self) -> None:
        self._is_closed = True
        self._watch.join(5)
        for one in (self.daemon, self.sensor, self.gps, self.reader, self.proxy, self.broker):
            one.close()

    def _read_outbox(self) -> set[str]:
        with closing(sqlite3.connect(copy_of(self._folder / "alerts.db", self._folder / "copy"))) as db:
            tables = db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'alerts'").fetchone()[0]
            return {row[0] for row in db.execute("SELECT id FROM alerts")} if tables else set()

    def _sample(self) -> None:
        """Twice a second what the daemon holds; and when this very process was not let run."""
        for turn in itertools.count():
            if self._is_closed:
                return
            before_ns = time.time_ns()
            self.sensor.witness()
            time.sleep(0.05)
            if time.time_ns() - before_ns > (0.05 + LATE_S) * 1e9:
                self.window("judge late", before_ns)
            if turn % 10 == 0 and self.daemon.lives and (now := sample(self.daemon.life.pid)) is not None:
                self.samples[self.daemon.life.pid].append(now)


def play(stage: Stage, seconds: float, found: Found, tell: Callable[[str], None]) -> None:
    """Faults, one or two at once, until the time is over."""
    end = time.monotonic() + seconds
    known = {one.__name__: one for several in FAULTS.values() for one in several}
    for prank in pranks(found.seed, min(LONGEST_S, seconds / 10)):
        if time.monotonic() > end:
            return
        time.sleep(prank.pause_s)
        going, ends = [], []
        for name, seed, lasts_s in zip(prank.names, prank.seeds, prank.lasts_s, strict=True):
            fault = known[name](stage, random.Random(seed))
            next(fault)
            going.append(fault)
            time.sleep(lasts_s)
        for fault in going:
            try:
                next(fault)
            except StopIteration as over:
                ends.append(over.value or (lambda: True))
        took_s = stage.recover(ends)
        found.faults += len(going)
        words = " and ".join(prank.names).replace("_", " ")
        found.recovery_s.setdefault(words if len(going) == 1 else "two at once", []).append(took_s)
        tell(f"{words}: back after {took_s:.2f} s")


def run(folder: Path, seconds: float, seed: int, tell: Callable[[str], None] = lambda _line: None) -> Found:
    """Play for so long, heal, and judge."""
    found, started_s, stage = Found(seed), time.monotonic(), Stage(folder)
    try:
        stage.daemon.start()
        stage.recover([])
        play(stage, seconds, found, tell)
        found.wrong = stage.finish()
    except AssertionError as fault:  # what is there is judged all the same
        found.wrong = [*found.wrong, str(fault)]
    finally:
        stage.close()
    found.seconds = round(time.monotonic() - started_s, 1)
    return conclude(found, stage)


def conclude(found: Found, stage: Stage) -> Found:
    """What the stranger noted against what the daemon had accepted."""
    heard, lives, windows = stage.heard, stage.daemon.lives, [*stage.windows, *stage.heard.late]
    found.lost, found.forged_alerts = judge.lost_alerts(heard, lives, stage.stored)
    found.commands = judge.judge_commands(heard, lives, windows, MAX_AGE_MS + BUDGET_MS, TTL_MS * 1_000_000)
    found.alerts, found.alerts_twice = len(heard.alerts), heard.alerts.total() - len(heard.alerts)
    found.alerts_stored_at_kills, found.retained, found.unbalanced = stage.stored_at_kills, heard.retained, heard.unbalanced
    found.runs, found.sent, found.statuses = len(lives), stage.sensor.sent, heard.statuses
    found.judge_late, found.witness_late = sum(one.kind == "judge late" for one in windows), len(heard.late)
    longest = max(stage.samples.values(), key=len)
    found.run_s = round(longest[-1].at_s - longest[0].at_s, 1)
    if found.run_s > 2 * judge.STARTED_S:
        found.memory = judge.growth(longest)
    if not (found.faults and heard.alerts and heard.commands and heard.statuses):
        found.wrong.append("nothing happened: this run proves nothing")
    return found


def report(found: Found) -> str:
    """Two tables."""
    rows = ["| fault | times | back after, median (s) | most (s) |", "|---|---:|---:|---:|"]
    for name, took in sorted(found.recovery_s.items()):
        rows.append(f"| {name} | {len(took)} | {statistics.median(took):.2f} | {max(took):.2f} |")
    commands, memory = found.commands, found.memory
    figures = {
        "seconds": found.seconds,
        "faults": found.faults,
        "runs of the daemon": found.runs,
        "messages sent": found.sent,
        "alerts": found.alerts,
        "of them in the outbox at a kill": found.alerts_stored_at_kills,
        "alerts that came twice": found.alerts_twice,
        "alerts lost": len(found.lost),
        "alerts or commands forged": len(found.forged_alerts) + len(commands.forged),
        "commands": commands.arrived,
        "commands stale": len(commands.stale),
        "commands late behind a link or broker that stood": commands.held_back,
        "at most behind one link": commands.most_held_back,
        "commands late at a SIGSTOP": commands.caught,
        "times the monkey was not let run": found.judge_late,
        "messages late past the daemon, 20 a second": found.witness_late,
        "statuses, of them unbalanced": f"{found.statuses}, {len(found.unbalanced)}",
        "longest run (s)": found.run_s,
    }
    if memory is not None:
        figures |= {"its memory, first third and last (MB)": ", ".join(f"{kb / 1024:.1f}" for kb in memory.rss_kb)}
        figures |= {"its descriptors": ", ".join(f"{fds:.0f}" for fds in memory.fds)}
    return "\n".join([*rows, "", "| figure | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in figures.items())])


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    options.add_argument("--keep", type=Path, help="keep logs and files in this folder")
    options.add_argument("-v", action="store_true", help="every fault when it is over")
    given = options.parse_args()
    started_s = time.monotonic()

    def tell(line: str) -> None:
        if given.v:
            print(f"{time.monotonic() - started_s:.1f} s: {line}", file=sys.stderr)  # noqa: T201

    with tempfile.TemporaryDirectory() as name:
        folder = given.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        found = run(folder, given.seconds, given.seed, tell)
    print(report(found))  # noqa: T201
    wrong = found.faulty()
    for one in wrong[:50]:
        print(f"WRONG: {one}")  # noqa: T201
    print(f"--seconds {given.seconds:g} --seed {given.seed}: {'FAILED' if wrong else 'passed'}")  # noqa: T201
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
