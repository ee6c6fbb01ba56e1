"""Kill -9 of the real daemon at random instants while a sensor sends and a stranger reads, and the set test of what arrived.

An alert is accepted once it is committed to the outbox. Each run numbers its alerts from 1 without holes and commits them in order, so of
each run the numbers that arrived must be 1 to the highest that was committed or arrived. ``python -m tests.system.kills 200`` prints the
figures of docs/reliability.md.
"""

import collections
import json
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.broker import Mosquitto

PIPELINE = """
name = "guard"
budget_ms = 100

[broker]
url = "{url}"

[streams.s]
topic = "d/{{device}}/s"
channels = {{ x = "1" }}
rate_hz = 1000

[[features]]
stream = "s"
channels = ["x"]
window = 1
stats = ["last"]

[[rules]]
name = "hot"
score = "s.x.last.1"
enter = 0.5
exit = 0.5
emit = "alert"
topic = "d/{{device}}/alerts"

[outbox]
path = "alerts.db"
durability = "{durability}"

[publish.status]
every_s = 0.1
"""
RATE_HZ, FLIP = 1000, 2  # 500 alerts a second
LAST_S = 120.0  # a first start compiles the kernels


class Seen(msgspec.Struct):
    """What came of it."""

    kills: int = 0
    kills_before_ready: int = 0
    runs: int = 0
    alerts: int = 0
    stored_at_kill: int = 0
    lost: list[str] = []
    foreign: list[str] = []
    duplicates: int = 0
    most_duplicates: int = 0
    damaged: int = 0
    frames_per_s: float = 0.0


class Reader:
    """A stranger that reads alerts with QoS 1."""

    def __init__(self, port: int) -> None:
        self.lock, self.ids, self.statuses = threading.Lock(), [], []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = self._hear
        self._client.on_connect = lambda client, *_: client.subscribe([("d/a/alerts", 1), ("edge/guard/status", 0)])
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _hear(self, _client: object, _userdata: object, message: paho.MQTTMessage) -> None:
        with self.lock:
            if message.topic.endswith("status"):
                self.statuses.append(json.loads(message.payload))
            else:
                self.ids.append(json.loads(message.payload)["id"])

    def take(self) -> list[str]:
        with self.lock:
            return list(self.ids)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def stored(database: Path, copy: Path) -> list[str]:
    """Ids in an outbox whose daemon is dead, read from a copy."""
    copy.mkdir()
    for suffix in ("", "-wal"):
        if (source := Path(f"{database}{suffix}")).exists():
            shutil.copy(source, copy / f"db{suffix}")
    try:
        db = sqlite3.connect(copy / "db")
        tables = db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'alerts'").fetchone()[0]
        ids = [row[0] for row in db.execute("SELECT id FROM alerts ORDER BY number")] if tables else []
        db.close()
        return ids
    finally:
        shutil.rmtree(copy)


class Stage:
    """A broker, a reader, a sensor, and one daemon after the other."""

    def __init__(self, folder: Path, seed: int, durability: str) -> None:
        self._folder, self._random = folder, random.Random(seed)
        self._broker = Mosquitto(folder).start()
        self.reader = Reader(self._broker.port)
        (folder / "pipeline.toml").write_text(PIPELINE.format(url=self._broker.url, durability=durability))
        self._log = (folder / "edge.log").open("ab")
        sensor = [sys.executable, "-m", "tests.system.producer", str(self._broker.port), str(RATE_HZ), str(FLIP)]
        self._sensor = subprocess.Popen(sensor)
        self._daemon: subprocess.Popen[bytes] | None = None

    def life(self) -> tuple[bool, list[str]]:
        """One daemon from start to kill. Whether it worked, and the ids in its outbox afterwards."""
        daemon, heard = self._start()
        if self._random.random() < 0.85:  # most once it works, the others while it starts
            wait(lambda: len(self.reader.statuses) > heard, daemon)
        time.sleep(self._random.uniform(0.0, 1.0))
        if self._random.random() < 0.5:  # a broker that acknowledges nothing leaves alerts in the box
            self._broker.pause()
            time.sleep(self._random.uniform(0.0, 0.1))
        daemon.kill()
        daemon.wait(10)
        self._broker.resume()
        return len(self.reader.statuses) > heard, stored(self._folder / "alerts.db", self._folder / "copy")

    def deliver(self) -> None:
        """A last daemon, without a sensor, that empties the box and stops as asked."""
        self._sensor.kill()
        daemon, heard = self._start()
        wait(lambda: any(s["alerts"]["waiting"] + s["alerts"]["in_flight"] == 0 for s in self.reader.statuses[heard + 3 :]), daemon)
        time.sleep(0.3)
        daemon.terminate()
        daemon.wait(10)

    def close(self) -> None:
        for process in (self._sensor, self._daemon):
            if process is not None:
                process.kill()
                process.wait(10)
        self.reader.close()
        self._broker.close()
        self._log.close()

    def _start(self) -> tuple["subprocess.Popen[bytes]", int]:
        command = [sys.executable, "-m", "edge", "run", str(self._folder / "pipeline.toml")]
        self._daemon = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        return self._daemon, len(self.reader.statuses)


def run(folder: Path, kills: int, seed: int, durability: str = "process") -> Seen:
    """Kill so many times, then let the last run deliver everything."""
    stage = Stage(folder, seed, durability)
    accepted: set[str] = set()
    seen = Seen()
    again = 0
    try:
        for _ in range(kills):
            has_worked, held = stage.life()
            seen.kills += 1
            seen.kills_before_ready += not has_worked
            seen.stored_at_kill += len(held)
            accepted.update(held)
            ids = stage.reader.take()
            seen.most_duplicates = max(seen.most_duplicates, len(ids) - len(set(ids)) - again)
            again = len(ids) - len(set(ids))
        stage.deliver()
    except KeyboardInterrupt:  # judged by what there is
        stage.deliver()
    finally:
        stage.close()
    seen.frames_per_s = rate(stage.reader.statuses)
    return judge(stage.reader.take(), accepted, (folder / "edge.log").read_text(), seen)


def rate(statuses: list[dict]) -> float:
    """Median over the reports of how many frames a second a run had taken."""
    rates = sorted(s["streams"]["s"]["received"] / s["uptime_s"] for s in statuses if s["uptime_s"] > 0.5)
    return round(rates[len(rates) // 2]) if rates else 0.0


def judge(ids: list[str], accepted: set[str], log: str, seen: Seen) -> Seen:
    """The set test."""
    boots = set(re.findall(r"boot id (\w+)", log))
    numbers: dict[str, set[int]] = collections.defaultdict(set)
    for one in set(ids):
        boot, _, number = one.partition("-a")
        if boot in boots and number.isdigit():
            numbers[boot].add(int(number))
        else:
            seen.foreign.append(one)
    holes = [f"{boot}-a{n}" for boot, found in numbers.items() for n in set(range(1, max(found) + 1)) - found]
    seen.lost = sorted({*holes, *(accepted - set(ids))})
    seen.runs, seen.alerts = len(boots), len(set(ids))
    seen.duplicates = len(ids) - len(set(ids))
    seen.damaged = log.count("was set aside")
    return seen


def wait(condition, daemon: subprocess.Popen) -> None:  # type: ignore[no-untyped-def,type-arg]
    end = time.monotonic() + LAST_S
    while not condition():
        assert daemon.poll() is None, f"the daemon ended with {daemon.returncode}"
        assert time.monotonic() < end, "nothing was heard"
        time.sleep(0.01)


if __name__ == "__main__":
    number, mode = int(sys.argv[1]), (*sys.argv, "process")[2]
    with tempfile.TemporaryDirectory() as name:
        started = time.monotonic()
        result = msgspec.to_builtins(run(Path(name), number, number, mode))
        print(json.dumps(result | {"durability": mode, "minutes": round((time.monotonic() - started) / 60, 1)}, indent=2))  # noqa: T201
