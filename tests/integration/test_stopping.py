"""How the daemon ends and changes over while telemetry keeps coming."""

import signal
import struct
import threading
import time

import msgpack
import pytest

from edge import build
from edge.config.load import load as load_config
from edge.daemon.notify import Notifier
from edge.daemon.reactor import Daemon
from edge.messages import Outgoing
from edge.store.outbox import Outbox
from tests.broker import needs_mosquitto
from tests.integration.test_daemon import Edge, Peer, until

pytestmark = [needs_mosquitto, pytest.mark.timeout(180)]

PIPELINE = """
name = "guard"
budget_ms = {budget_ms}
tick_ms = {tick_ms}

[streams.s]
topic = "d/{{device}}/s"
channels = {{ x = "1" }}
rate_hz = 1000
qos = {qos}
max_bytes = 8000

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
emit = "command"
actuator = "fan"
value = 0.9

[[rules]]
name = "note"
score = "s.x.last.1"
enter = 0.5
exit = 0.5
emit = "alert"
topic = "d/{{device}}/alerts"

[actuators.fan]
topic = "d/{{device}}/fan"
unit = "1"
min = 0.0
max = 1.0
ttl_ms = 200
safe_value = 0.1
stale_ms = 300
rearm_ms = 0

[publish.status]
every_s = 0.1
"""


_ACTING = PIPELINE[PIPELINE.index('[[rules]]\nname = "hot"') : PIPELINE.index('[[rules]]\nname = "note"')]
_ACTUATOR = PIPELINE[PIPELINE.index("[actuators.fan]") : PIPELINE.index("[publish.status]")]


def alerts_only(tick_ms):
    """A pipeline without actuators, which would bound the tick."""
    return PIPELINE.replace(_ACTING, "").replace(_ACTUATOR, "").format(budget_ms=100, tick_ms=tick_ms, qos=0)


def pipeline(budget_ms=100, tick_ms=20, qos=0):
    return PIPELINE.format(budget_ms=budget_ms, tick_ms=tick_ms, qos=qos)


def frame(seq, n=1, x=1.0):
    message = {"v": 1, "seq": seq, "t": (seq + 1) * 1_000_000 * n, "x": struct.pack(f"<{n}f", *[x] * n)}
    return msgpack.packb(message | ({"dt": 1_000_000} if n > 1 else {}))


class Load:
    """A sender that never stops: about 700 messages/s."""

    def __init__(self, port):
        self._peer, self._stop = Peer(port), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        seq = 0
        while not self._stop.is_set():
            self._peer.client.publish("d/a/s", frame(seq))
            seq += 1
            time.sleep(0.001)

    def close(self):
        self._stop.set()
        self._thread.join()
        self._peer.close()


@pytest.fixture
def peer(broker):
    peer = Peer(broker.port)
    yield peer
    peer.close()


@pytest.fixture
def load(broker):
    load = Load(broker.port)
    yield load
    load.close()


@pytest.fixture
def start(tmp_path, broker, peer):
    started = []

    def make(text):
        edge = Edge(tmp_path, broker, text)
        started.append(edge)
        until(lambda: peer.status() and peer.status()["state"] == "running")
        return edge

    yield make
    for edge in started:
        edge.close()


def test_the_last_command_on_the_wire_is_the_safe_value(peer, start, load):
    for _ in range(2):
        edge = start(pipeline())
        count = len(peer.json("/fan"))
        until(lambda count=count: len(peer.json("/fan")) > count + 200)
        assert edge.stop() == 0
        time.sleep(0.3)
        last = peer.json("/fan")[-1]
        assert (last["value"], last["cause"]["rule"]) == (0.1, "envelope.release")
        report = peer.status()
        assert report["state"] == "stopping"


def test_commands_of_a_block_do_not_wait_for_its_last_decision(peer, start):
    start(pipeline(budget_ms=20))
    for seq in range(10):
        peer.client.publish("d/a/s", frame(seq, n=1000))  # a thousand decisions take three times the budget
        time.sleep(0.1)
    report = until(lambda: (s := peer.status())["streams"]["s"]["used"] == 10_000 and s)
    hot = until(lambda: [c for c in peer.json("/fan") if c["cause"]["rule"] == "hot"])
    assert report["commands"]["sent"] >= len(hot) >= 10


class Inside:
    """A daemon on a thread of this process. Its rebuilding stops between reading the file and handing over the plan."""

    def __init__(self, file, text, broker):
        self.file = file
        file.write_text(text)
        self.daemon = build.daemon(file, broker_url=broker.url, notifier=Notifier())
        self.outbox = self.daemon._outbox
        self.read, self.may_go_on = threading.Event(), threading.Event()
        rebuild = self.daemon._rebuilder._rebuild

        def slowly():
            plan = rebuild()
            self.read.set()
            self.may_go_on.wait(60)
            return plan

        self.daemon._rebuilder._rebuild = slowly
        self.thread = threading.Thread(target=self.daemon.run)
        self.thread.start()

    def in_flight(self):
        return self.outbox.counts()["in_flight"]

    def close(self):
        self.may_go_on.set()
        self.daemon.stop()
        self.thread.join(30)


@pytest.fixture
def inside(tmp_path, broker, peer):
    started = []

    def make(text):
        started.append(Inside(tmp_path / "pipeline.toml", text, broker))
        until(lambda: peer.status() and peer.status()["state"] == "running")
        return started[-1]

    yield make
    for one in started:
        one.close()


def test_a_reload_that_changes_nothing_of_the_link_keeps_it(peer, start):
    edge = start(pipeline())
    boot = peer.status()["boot_id"]
    edge.file.write_text(pipeline(budget_ms=90))
    edge.process.send_signal(signal.SIGHUP)
    until(lambda: peer.status()["boot_id"] != boot)
    time.sleep(0.3)
    assert [m.payload for _, m in peer.all("/availability")] == [b"online"]


def test_a_file_that_changed_while_it_was_read_is_read_again(peer, inside):
    one = inside(pipeline())
    one.file.write_text(pipeline().replace("value = 0.9", "value = 0.5"))
    one.daemon.reload()
    assert one.read.wait(30)
    one.file.write_text(pipeline().replace("value = 0.9", "value = 0.7"))
    one.daemon.reload()
    until(lambda: one.daemon._rebuilder.is_wanted)
    one.may_go_on.set()

    def asks_for_the_last():
        peer.client.publish("d/a/s", frame(0))
        return [c for c in peer.json("/fan") if c["value"] == 0.7]

    until(asks_for_the_last)


def test_a_plan_that_is_ready_after_the_end_began_is_discarded(broker, peer, inside):
    one = inside(pipeline())
    running = one.daemon._pipeline
    one.daemon.reload()
    assert one.read.wait(30)
    broker.pause()
    one.outbox.add(Outgoing("alert", "d/a/alerts", b"never acknowledged"))
    until(lambda: one.in_flight() == 1)
    one.daemon.stop()
    until(lambda: one.daemon._stop_at_ns)
    one.may_go_on.set()
    one.thread.join(30)
    assert not one.thread.is_alive()
    assert one.daemon._pipeline is running


def test_the_end_does_not_wait_for_a_tick_and_says_what_it_gives_up(broker, inside, caplog):
    one = inside(alerts_only(tick_ms=1000))
    broker.pause()
    one.outbox.add(Outgoing("alert", "d/a/alerts", b"never acknowledged"))
    until(lambda: one.in_flight() == 1)
    time.sleep(1.45 - time.monotonic() % 1)  # ticks are on whole seconds: the first one after the deadline is far away
    began = time.monotonic()
    one.daemon.stop()
    one.thread.join(30)
    assert time.monotonic() - began < 2.2
    assert "1 alerts were not acknowledged and are given up" in caplog.text


def test_the_tick_of_a_reloaded_file_is_used(peer, start):
    edge = start(alerts_only(tick_ms=1000))
    boot = peer.status()["boot_id"]
    edge.file.write_text(alerts_only(tick_ms=20))
    edge.process.send_signal(signal.SIGHUP)

    def times():
        return [s["uptime_s"] for s in peer.json("/status") if s["boot_id"] != boot]

    until(lambda: len(times()) >= 12)
    assert times()[11] - times()[1] < 6, "ten periods of 0.1 s, which take ten ticks of the old file"


def test_alerts_that_the_outbox_gives_up_are_told_once_a_second(tmp_path, caplog):
    file = tmp_path / "pipeline.toml"
    file.write_text(pipeline())
    plan = build.plan_of(load_config(file))
    daemon = Daemon(plan, lambda: plan, Outbox(2, 1), Notifier())
    daemon._send([Outgoing("alert", "d/a/alerts", b"") for _ in range(5)])
    for now_ns in (1, 2, 3):
        daemon._outbox_watch.look(plan.pipeline, now_ns)
    assert [r.getMessage() for r in caplog.records if "given up" in r.getMessage()] == [
        "3 alerts were given up: more wait for the broker than [outbox] allows"
    ]
    daemon._wake.close()
    daemon._selector.close()


def test_a_refused_reload_names_the_file_in_a_line_for_each_problem(peer, start):
    edge = start(pipeline())
    edge.file.write_text(pipeline().replace("enter =", "entre =").replace("tick_ms", "tock_ms"))
    edge.process.send_signal(signal.SIGHUP)
    until(lambda: "the old file stays in force" in edge.log.read_text())
    lines = [line for line in edge.log.read_text().splitlines() if f"reload refused: {edge.file}: " in line]
    assert [key for line in lines for key in ("tock_ms", "rules[0].entre", "rules[1].entre") if key in line] == [
        "tock_ms",
        "rules[0].entre",
        "rules[1].entre",
    ]
    assert max(map(len, edge.log.read_text().splitlines())) < 400


def test_what_the_lanes_take_and_what_is_not_permitted_is_said_at_the_start(start):
    cpus = "[4095]"  # no machine has it
    edge = start(pipeline() + f"\n[process]\ncpu = {cpus}\n")
    log = edge.log.read_text()
    assert "the windows of 16 lanes take" in log
    assert log.count("process.cpu is not in force") == 1
    assert edge.stop() == 0


def test_a_fault_at_the_end_of_a_turn_is_counted_and_not_the_end(peer, inside):
    one = inside(pipeline())
    pipeline_of_now, broken = one.daemon._pipeline, [1]
    flush = pipeline_of_now.flush_scans

    def breaks_once():
        if broken:
            broken.pop()
            raise RuntimeError("a scan that nobody foresaw")
        return flush()

    pipeline_of_now.flush_scans = breaks_once
    until(lambda: peer.status()["faults"] == 1)
    assert one.thread.is_alive()
