"""Whom the monkey plays with: the daemon as a process, its pipeline, a broker, and a stranger who notes what arrives."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.broker import Mosquitto
from tests.system.monkey_inputs import RATE_HZ
from tests.system.monkey_judge import Heard, Life, balance

TTL_MS, BUDGET_MS, MAX_AGE_MS, HOP = 500, 200, 500, 10

PIPELINE = """
name = "monkey"
budget_ms = {budget_ms}
lanes = 8

[broker]
url = "{url}"
keepalive_s = 5
connect_timeout_s = 2
retry_max_s = 1

[serial.gps]
url = "serial://{line}?protocol=nmea"

[streams.s]
topic = "d/{{device}}/s"
channels = {{ x = "1" }}
rate_hz = {rate_hz}
clock = "synced"
max_bytes = 4096

[streams.s.clean]
range = {{ x = [-10, 10] }}
lateness_ms = 20
max_gap_ms = {max_gap_ms}
max_age_ms = {max_age_ms}

[streams.fix]
topic = "serial/{{device}}/fix"
format = "json"
channels = {{ lat = "deg", lon = "deg" }}

[[features]]
stream = "s"
channels = ["x"]
window = {hop}
hop = {hop}
stats = ["mean"]

[[rules]]
name = "hot"
score = "s.x.mean.{hop}"
enter = 0.5
exit = 0.5
emit = "alert"
topic = "d/{{device}}/alerts"

[[rules]]
name = "slow"
score = "s.x.mean.{hop}"
enter = 0.5
exit = 0.5
emit = "command"
actuator = "fan"
value = 0.8
otherwise = 0.2

[actuators.fan]
topic = "d/{{device}}/cmd"
unit = "1"
min = 0.0
max = 1.0
ttl_ms = {ttl_ms}
safe_value = 0.5
stale_ms = 300
rearm_ms = 100

[outbox]
path = "alerts.db"
durability = "process"

[checkpoint]
path = "state"
every_s = 0.5

[recording]
path = "recordings"
max_mb = 2
keep_mb = 8

[publish.status]
every_s = 0.5
"""
BROKER = "allow_anonymous true\nmax_inflight_messages 0\nautosave_interval 5\npersistent_client_expiration 1d"


class Reader:
    """A stranger with a session that the broker keeps: QoS 1, straight to the broker, never touched by the monkey."""

    def __init__(self, port: int, heard: Heard) -> None:
        self.heard, self.status, self.status_ns, self.is_subscribed = heard, dict[str, Any](), 0, False
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "stranger", protocol=paho.MQTTv5)
        self._client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type]
        self._client.on_message, self._client.on_connect = self._hear, self._connected
        self._client.on_subscribe, self._client.on_disconnect = self._subscribed, self._lost
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 86_400
        self._client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        self._client.loop_start()

    def _connected(self, client: paho.Client, *_: object) -> None:
        client.subscribe([("d/+/alerts", 1), ("edge/monkey/alerts", 1), ("d/+/cmd", 1), ("edge/monkey/status", 0), ("witness", 0)])

    def _subscribed(self, *_: object) -> None:
        self.is_subscribed = True

    def _lost(self, *_: object) -> None:
        self.is_subscribed = False

    def _hear(self, _client: object, _userdata: object, message: paho.MQTTMessage) -> None:
        now_ns, told = time.time_ns(), json.loads(message.payload)
        if message.topic == "witness":
            self.heard.witness(told, now_ns)
        elif message.topic.endswith("status"):
            self.heard.unbalanced += balance(told)
            self.heard.statuses += 1
            self.status, self.status_ns = told, now_ns
        elif message.topic.endswith("alerts"):
            self.heard.alert(told)
        else:
            self.heard.command(told, now_ns, is_retained=message.retain)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class KeptMosquitto(Mosquitto):
    """Keeps its database in a folder, every 5 s and at an orderly end."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, BROKER)
        self.database = folder / "mosquitto.db"
        kept = f"persistence true\npersistence_location {folder}/\n"
        self._conf.write_text(self._conf.read_text().replace("persistence false\n", kept))

    def end(self) -> None:
        """Orderly."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


class Daemon:
    """``edge run``, one process after the other. Its log goes through a pipe, so that no limit of files touches it."""

    def __init__(self, folder: Path) -> None:
        self.file, self.started_ns = folder / "pipeline.toml", 0
        self.lives: list[Life] = []
        self._log = (folder / "edge.log").open("wb")
        self.process: subprocess.Popen[bytes] | None = None
        self._readers: list[threading.Thread] = []

    @property
    def life(self) -> Life:
        return self.lives[-1]

    def start(self) -> None:
        command = [sys.executable, "-m", "edge", "run", str(self.file)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.started_ns = time.time_ns()
        self.lives.append(Life(self.process.pid))
        thread = threading.Thread(target=self._read, args=(self.process, self.life), daemon=True)
        thread.start()
        self._readers.append(thread)

    def _read(self, process: "subprocess.Popen[bytes]", life: Life) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._log.write(line)
                self._log.flush()
                text = line.decode(errors="replace")
                life.boots += re.findall(r" boot id (\w+)", text)
                life.refusals += "the old file stays in force" in text
                life.reloads += "windows and counters start anew" in text
                life.faults += "unexpected fault" in text

    def has_ended(self) -> bool:
        """By itself, and nobody has noticed yet."""
        return self.process is not None and self.process.returncode is None and self.process.poll() is not None

    def signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """At once; also one that is stopped."""
        if self.process is not None:
            self.process.kill()
            self.life.died_ns = time.time_ns()
            self.process.wait(10)
            self._readers[-1].join(5)

    def end(self) -> int:
        """Asked to, as a service manager would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        self.life.died_ns = time.time_ns()
        self._readers[-1].join(5)
        return int(code)

    def close(self) -> None:
        self.signal(signal.SIGCONT)
        self.kill()
        self._log.close()


def pipeline(url: str, line: str, max_gap_ms: int = 500) -> str:
    """The file; the gap is what a reload changes."""
    terms = {"ttl_ms": TTL_MS, "budget_ms": BUDGET_MS, "max_age_ms": MAX_AGE_MS, "rate_hz": RATE_HZ, "hop": HOP}
    return PIPELINE.format(url=url, line=line, max_gap_ms=max_gap_ms, **terms)


def copy_of(database: Path, to: Path) -> Path:
    """The outbox of a dead daemon, as it is."""
    to.mkdir(exist_ok=True)
    for suffix in ("", "-wal"):
        (to / f"db{suffix}").unlink(missing_ok=True)
        if (source := Path(f"{database}{suffix}")).exists():
            shutil.copy(source, to / f"db{suffix}")
    return to / "db"


class Sample(msgspec.Struct):
    """What a process held at an instant."""

    at_s: float
    rss_kb: int
    fds: int
    threads: int


def sample(pid: int) -> Sample | None:
    """Of a process that lives; None of one that does not."""
    try:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        rss_kb, threads = int(fields["VmRSS"].split()[0]), int(fields["Threads"])
        return Sample(time.monotonic(), rss_kb, len(os.listdir(f"/proc/{pid}/fd")), threads)
    except (OSError, KeyError):
        return None
