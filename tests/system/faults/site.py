"""What every fault happens to: a daemon with all that it has on disk, a broker, a sensor that counts, and a stranger who listens."""

import collections
import functools
import json
import re
import statistics
import threading
import time

from tests.integration.test_daemon import Edge, Peer
from tests.integration.test_daemon import until as _until
from tests.system.faults.proxy import Proxy
from tests.system.kills import stored

WAIT_S = 60
RATE_HZ, FLIP = 200, 20  # an alert every tenth of a second: raised, cleared, raised ...
TTL_MS, STALE_MS, SAFE = 400, 500, 0.3
PIPELINE = """
name = "guard"
budget_ms = 150
tick_ms = 10

[broker]
keepalive_s = 5

[streams.s]
topic = "d/{device}/s"
format = "json"
channels = { x = "1" }
rate_hz = 200
silent_ms = 1000

[streams.s.clean]
range = { x = [-100, 100] }

[[features]]
stream = "s"
channels = ["x"]
window = 1
stats = ["last"]

[[features]]
stream = "s"
channels = ["x"]
window = 20
stats = ["mean", "std"]

[[rules]]
name = "hot"
score = "s.x.last.1"
enter = 0.5
exit = 0.5
emit = "alert"
topic = "d/{device}/alerts"

[[rules]]
name = "cool"
score = "s.x.last.1"
enter = 0.5
exit = 0.5
emit = "command"
actuator = "fan"
value = 0.9
otherwise = 0.1

[actuators.fan]
topic = "d/{device}/cmd/fan"
unit = "1"
min = 0.0
max = 1.0
ttl_ms = 400
safe_value = 0.3
stale_ms = 500
rearm_ms = 0

[outbox]
path = "alerts.db"
durability = "process"

[checkpoint]
path = "state"
every_s = 0.2

[publish.status]
every_s = 0.1
"""


def until(condition, what="", timeout_s=WAIT_S):
    """Waits; a slow machine has a minute for everything. Returns what the condition gave."""
    try:
        return _until(condition, what, timeout_s)
    except AssertionError as fault:
        raise AssertionError(what() if callable(what) else what) from fault  # what there is to say now, not when the wait began


class Sensor(threading.Thread):
    """One device, 200 rows a second, 0 and 1 in turns of 20 rows; says how many it sent.

    Attributes:
        make: row to payload, or None to send nothing; replace it to misbehave.
        seq: of the next row; rises also where nothing is sent.
    """

    def __init__(self, peer, device="a", rate_hz=RATE_HZ, make=None):
        super().__init__(daemon=True)
        self.peer, self.device, self.period_s = peer, device, 1 / rate_hz
        self.seq = self.sent = 0
        self.make = make or self.row
        self.is_silent, self._stop_asked = False, threading.Event()
        self.start()

    @staticmethod
    def row(seq):
        return json.dumps({"x": seq // FLIP % 2, "seq": seq})

    def run(self):
        due = time.monotonic()
        while not self._stop_asked.wait(max(0.0, due - time.monotonic())):
            due += self.period_s
            payload = None if self.is_silent else self.make(self.seq)
            self.seq += 1
            for one in payload if isinstance(payload, list) else [payload]:
                if one is not None:
                    self.peer.client.publish(f"d/{self.device}/s", one)
                    self.sent += 1

    def close(self):
        self._stop_asked.set()
        self.join()


class Site:
    """Started whole, and healthy. ``peer`` listens and the sensor speaks at the broker; the daemon goes through ``proxy`` if asked.

    Args:
        folder: of the daemon.
        broker: from tests.broker.
        text: pipeline file.
        proxied: whether there is a hand on the daemon's connection.
    """

    def __init__(self, folder, broker, text=PIPELINE, *, proxied=False, sensor=True):
        self.folder, self.broker, self.text = folder, broker, text
        self.proxy = Proxy(broker.port) if proxied else None
        self.peer = Peer(broker.port)
        self.edges, self.sensor = [], None
        try:
            self.start()
            if sensor:
                self.begin()
        except BaseException:
            self.close()
            raise

    @property
    def edge(self):
        """The daemon of now."""
        return self.edges[-1]

    def start(self, wait=True, options=()):
        """A daemon (again); its log goes on in a new file."""
        folder = self.folder / f"run-{len(self.edges)}"
        folder.mkdir()
        text = self.text.replace('"alerts.db"', f'"{self.folder}/alerts.db"').replace('path = "state"', f'path = "{self.folder}/state"')
        self.edges.append(Edge(folder, self.proxy or self.broker, text, wait=False, options=options))  # ours, also when it never gets ready
        if wait:
            until(lambda: self.edge.noted("READY=1") or self.edge.process.poll() is not None, self.said, 2 * WAIT_S)
            assert self.edge.process.poll() is None, self.said()
        return self.edge

    def begin(self, make=None, rate_hz=RATE_HZ):
        """The sensor begins; returns when its alerts arrive."""
        self.sensor = Sensor(self.peer, rate_hz=rate_hz, make=make)
        self.until_working()

    def kill(self):
        """SIGKILL."""
        self.edge.process.kill()
        self.edge.process.wait(10)

    def status(self):
        """The latest that arrived; a daemon's first one may come after its first alerts."""
        return until(self.peer.status, "no status came")

    def health(self):
        """The latest that arrived, or None."""
        return (self.peer.json("guard/health") or [None])[-1]

    def told(self, *path):
        """Every state that health told of a part, in order, without repeats: ``told("streams", "s")``."""
        states = []
        for health in self.peer.json("guard/health"):
            state = functools.reduce(lambda part, name: part.get(name, {}), path, health).get("state")
            if state is not None and states[-1:] != [state]:
                states.append(state)
        return states

    def alerts(self):
        """That arrived, in order, repeats included."""
        return self.peer.json("d/a/alerts")

    def commands(self):
        """(arrived_ns, message) of the fan's commands."""
        return [(at, json.loads(m.payload)) for at, m in self.peer.all("cmd/fan")]

    def until_working(self, n=3, timeout_s=WAIT_S):
        """Waits until n new alerts of the running daemon arrived; returns how long the first took, in seconds."""
        began, boot, first = time.monotonic(), self.boot(), []
        before = {a["id"] for a in self.alerts()}

        def arrived():
            found = [a for a in self.alerts() if a["boot_id"] == boot and a["id"] not in before]
            if found and not first:
                first.append(time.monotonic() - began)
            return len(found) >= n

        until(arrived, lambda: self.said()[-2000:], timeout_s)
        return first[0]

    def boot(self):
        """The boot id of the daemon of now, from its log."""
        return until(lambda: re.findall(r"boot id (\w+)", self.edge.log.read_text()), "no boot id")[-1]

    def said(self):
        """All logs."""
        return "".join(edge.log.read_text() for edge in self.edges)

    def until_heard(self):
        """Waits until the stranger hears what is said at the broker: one that was started anew knows nobody."""
        word = str(time.monotonic_ns())

        def said():
            self.peer.client.publish("probe", word)
            time.sleep(0.05)
            return any(message.payload == word.encode() for _, message in self.peer.all("probe"))

        until(said, "the stranger hears nothing")

    def until_said(self, text):
        """Waits for words in the log."""
        until(lambda: text in self.said(), lambda: f"{text!r} not in {self.said()[-2000:]}")

    def kill_broker(self):
        """SIGKILL at a moment in which it has nothing that it acknowledged and did not hand on: without a database, that dies with it."""
        self.sensor.make = lambda seq: json.dumps({"x": 0, "seq": seq})
        until(self._is_empty, lambda: str(self.status()))
        self.broker.kill()
        self.sensor.make = self.sensor.row

    def settle(self):
        """Ends the sensor, lets everything arrive, and ends the daemon as asked; then the books can be closed."""
        if self.sensor is not None:
            self.sensor.close()
            self.sensor = None
        until(self._is_empty, lambda: str(self.status()))
        code = self.edge.stop(timeout_s=20)
        assert code == 0, self.said()[-2000:]

    def _is_empty(self):
        since = len(self.peer.json("/status"))
        until(lambda: len(self.peer.json("/status")) > since + 1, "no status")
        alerts = self.status()["alerts"]
        return alerts["waiting"] + alerts["in_flight"] == 0

    def judge(self, seen, ttl_ms=TTL_MS):
        """Closes the books: no alert lost, none forged, no stale command, counters balanced. Call after `settle`; fills in `seen`."""
        ids = [a["id"] for a in self.alerts() if a["name"] == "hot"]
        boots = set(re.findall(r"boot id (\w+)", self.said()))
        numbers = collections.defaultdict(set)
        for alert in self.peer.json("alerts"):
            boot, kind, number = re.fullmatch(r"(\w+)-([a-z])(\d+)", alert["id"]).groups()
            assert boot in boots, f"{alert['id']} is of nobody"
            if kind == "a":  # the others are the daemon's own, about itself
                numbers[boot].add(int(number))
        holes = [f"{boot}-a{n}" for boot, found in numbers.items() for n in range(1, max(found) + 1) if n not in found]
        left = stored(self.folder / "alerts.db", self.folder / "copy") if (self.folder / "alerts.db").exists() else []
        lost = sorted({*holes, *(set(left) - set(ids))})
        stale = [message for _, message in self.commands() if message["age_ms"] > ttl_ms]
        repeated = collections.Counter(message["id"] for _, message in self.commands())
        seen["alerts"], seen["lost"], seen["twice"] = len(set(ids)), len(lost), len(ids) - len(set(ids))
        seen["commands"], seen["stale"] = len(repeated), len(stale)
        assert not lost, lost[:10]
        assert not stale, stale[:3]
        assert max(repeated.values(), default=1) == 1, "a command was sent twice"

    def close(self):
        if self.sensor is not None:
            self.sensor.close()
        for edge in self.edges:
            edge.close()
        self.peer.close()
        if self.proxy is not None:
            self.proxy.close()


def median_ms(values):
    """For rows: a median with the largest."""
    return f"{statistics.median(values) * 1000:.0f} (largest {max(values) * 1000:.0f})" if values else "none"
