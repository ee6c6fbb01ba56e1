"""The life of a model in a daemon that works: swapped, refused, rolled back, on trial; seen by strangers through a real broker."""

import json
import shutil
import signal
import sys
import threading
import time

import pytest

pytest.importorskip("onnx", reason="the models of these tests are built with onnx: pip install -e '.[dev]'")

from edge.store.registry import Registry
from tests.broker import needs_mosquitto
from tests.integration import test_daemon
from tests.integration.model_bundles import PIPELINE, RARE, write
from tests.integration.test_daemon import Edge, Peer, balanced

pytestmark = [needs_mosquitto, pytest.mark.timeout(900)]
WAIT_S = 150


def until(condition, what="", timeout_s=WAIT_S):
    """As for every daemon, with the patience that proving and starting processes on a slow machine needs."""
    try:
        return test_daemon.until(condition, what, timeout_s)
    except AssertionError as missed:
        raise AssertionError(what() if callable(what) else what or missed) from None


class Sensor:
    """Devices that send a temperature a hundred times a second, until told to stop."""

    def __init__(self, peer, devices=("a",), period_s=0.01):
        self.peer, self.devices, self.period_s = peer, devices, period_s
        self.value, self.seq, self._stop = 50.0, 0, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(self.period_s):
            wobble = self.seq % 7 * 0.5
            for device in self.devices:
                self.peer.client.publish(f"plant/{device}/temp", json.dumps({"celsius": self.value + wobble, "seq": self.seq}))
            self.seq += 1

    def close(self):
        self._stop.set()
        self._thread.join()


@pytest.fixture
def peer(broker):
    peer = Peer(broker.port)
    yield peer
    peer.close()


@pytest.fixture
def life(tmp_path, broker, peer):
    """A daemon with version 1.0.0 at work and a sensor that feeds it; the caller adds versions."""
    opened = []

    class Life:
        folder = tmp_path / "thermo"
        registry = Registry(tmp_path / "thermo", proof=lambda *_: None)  # what is on trial here is the daemon's own judgement

        def start(self, text=PIPELINE, devices=("a",), good="1.0.0"):
            if good and not (self.folder / good).exists():
                write(tmp_path, good)
            self.edge = Edge(tmp_path, broker, text)
            opened.append(self.edge)
            until(lambda: peer.status() and peer.status()["state"] == "running" and peer.status()["models"]["active"] == good)
            self.sensor = Sensor(peer, devices)
            opened.append(self.sensor)
            until(lambda: peer.status()["decisions"]["made"] > 20)
            return self

        def activate(self, version, **how):
            if not (self.folder / version).exists():
                write(tmp_path, version, **how)
            self.registry.activate(version, "test", "because")

        def models(self):
            return peer.status()["models"]

        def until(self, condition):
            return until(lambda: condition(peer.status()["models"]), lambda: None, WAIT_S)

        def alerts(self, name):
            return [a for a in peer.json("edge/guard/alerts") if a["name"] == name]

    yield Life()
    for thing in reversed(opened):
        thing.close()


def missed(peer):
    status = peer.status()
    return status["budget"]["missed"] + sum(status["decisions"]["failed"].values()) + status["budget"]["withheld"]


def test_a_version_is_swapped_in_between_two_frames_and_windows_and_rules_go_on(life, peer):
    life.start()
    life.sensor.value = 90.0  # hot: the rule is active, the fan runs
    until(lambda: [a for a in peer.json("plant/a/alerts") if a["state"] == "raised"])
    boot = peer.status()["boot_id"]
    life.activate("2.0.0", gain=0.11)
    life.until(lambda m: m["active"] == "2.0.0")
    assert life.models()["former"] == "1.0.0"
    (told,) = until(lambda: life.alerts("model.swapped"))
    assert (told["severity"], told["detail"]) == ("info", "model 2.0.0 acts from now on")
    assert (told["cause"]["version"], told["cause"]["deployment"]) == ("2.0.0", f"{boot}-m2")
    until(lambda: peer.json("plant/a/pred")[-1]["version"] == "2.0.0")
    predictions = peer.json("plant/a/pred")
    assert [p["deployment"] for p in predictions] == sorted((p["deployment"] for p in predictions), key=lambda d: int(d[-1]))
    assert {(p["version"], p["deployment"]) for p in predictions} == {("1.0.0", f"{boot}-m1"), ("2.0.0", f"{boot}-m2")}
    until(lambda: peer.json("plant/a/cmd/fan")[-1]["cause"]["deployment"] == f"{boot}-m2")
    # Windows survived: there was a decision for every sample; the rule stayed active, so its alert was raised once; nothing went safe.
    sequence = [p["seq"] for p in predictions]
    assert sequence == list(range(sequence[0], sequence[0] + len(sequence)))
    assert len(peer.json("plant/a/alerts")) == 1
    assert {c["value"] for c in peer.json("plant/a/cmd/fan")} == {0.8}
    assert missed(peer) == 0
    balanced(peer.status())


def test_a_model_that_is_slow_on_live_vectors_never_acts_and_no_deadline_is_missed(life, peer, capsys):
    life.start()
    life.sensor.value = RARE + 5  # admission sees none of these; the sensor gives nothing else
    until(lambda: [a for a in peer.json("plant/a/alerts") if a["state"] == "raised"])
    before = missed(peer)
    life.activate("2.0.0", rare="slow")
    (alert,) = until(lambda: life.alerts("model.refused"), life.edge.log.read_text, WAIT_S)
    assert alert["severity"] == "critical"
    assert "took longer than its budget of 300 ms" in alert["detail"]
    assert "it never acted; 1.0.0 stays at work" in alert["detail"]
    until(lambda: life.registry.state().active == "1.0.0")
    assert life.registry.state().rejected == ["2.0.0"]
    assert "took longer than its budget" in life.registry.history()[-1].why
    time.sleep(1.0)
    assert life.models()["active"] == "1.0.0"
    assert {p["version"] for p in peer.json("plant/a/pred")} == {"1.0.0"}
    assert missed(peer) == before
    with capsys.disabled():
        sys.stdout.write(f"\n  the alert: {alert['detail']}\n  missed deadlines: {missed(peer) - before}\n")


def test_a_model_that_becomes_slow_while_it_acts_is_rolled_back_at_once(life, peer):
    life.start()
    life.activate("2.0.0", rare="slow")
    life.until(lambda m: m["active"] == "2.0.0")  # nothing rare came during its probation
    life.sensor.value = RARE + 5
    (alert,) = until(lambda: life.alerts("model.rolled_back"), life.edge.log.read_text, WAIT_S)
    assert "p99 over its budget of 300 ms in 2 windows" in alert["detail"]
    assert alert["detail"].endswith("rolled back to 1.0.0")
    after = missed(peer)
    until(lambda: life.registry.state().active == "1.0.0")
    until(lambda: peer.json("plant/a/pred")[-1]["version"] == "1.0.0")
    made = peer.status()["decisions"]["made"]
    until(lambda: peer.status()["decisions"]["made"] > made + 100)
    assert missed(peer) - after <= after, "what waited in the socket behind slow runs may be late, and nothing after it"
    assert life.models()["rollbacks"] == 1
    # It does not come back by itself.
    time.sleep(1.0)
    assert life.models()["active"] == "1.0.0"
    # No command was late: what was, was withheld.
    for at, message in peer.all("/cmd/fan"):
        assert json.loads(message.payload)["age_ms"] <= 3000, at


@pytest.mark.parametrize(("rare", "why"), [("nan", "NaN or infinity"), ("fail", "failed")])
def test_a_model_that_gives_nothing_usable_is_rolled_back(life, peer, rare, why):
    life.start()
    life.activate("2.0.0", rare=rare)
    life.until(lambda m: m["active"] == "2.0.0")
    life.sensor.value = RARE + 5
    (alert,) = until(lambda: life.alerts("model.rolled_back"), life.edge.log.read_text, WAIT_S)
    assert why in alert["detail"]
    until(lambda: peer.status()["decisions"]["failed"] == {{"nan": "not_finite", "fail": "failed"}[rare]: 3})
    until(lambda: peer.json("plant/a/pred")[-1]["version"] == "1.0.0")
    until(lambda: life.registry.state().rejected == ["2.0.0"])


def test_nan_on_the_vectors_of_the_day_is_seen_before_it_acts(life, peer):
    life.start()
    life.sensor.value = RARE + 5
    until(lambda: [a for a in peer.json("plant/a/alerts") if a["state"] == "raised"])
    life.activate("2.0.0", rare="nan")
    (alert,) = until(lambda: life.alerts("model.refused"), life.edge.log.read_text, WAIT_S)
    assert "gave NaN or infinity" in alert["detail"]
    assert peer.status()["decisions"]["failed"] == {}


def test_a_frozen_model_never_acts_and_one_that_freezes_later_is_rolled_back(life, peer):
    life.start()
    life.activate("2.0.0", rare="constant")
    (alert,) = until(lambda: life.alerts("model.refused"), life.edge.log.read_text, WAIT_S)
    assert "gave the same scores for all of" in alert["detail"]


def test_a_frozen_model_without_probation_is_rolled_back(life, peer):
    life.start(PIPELINE.replace("probation_frames = 50", "probation_frames = 0\nfrozen_frames = 100"))
    life.activate("2.0.0", rare="constant")
    (alert,) = until(lambda: life.alerts("model.rolled_back"), life.edge.log.read_text, WAIT_S)
    assert "gave the same scores for 100 vectors that differ" in alert["detail"]


def test_a_version_that_admission_refuses_leaves_the_old_one_at_work(life, peer):
    life.start()
    write(life.folder.parent, "2.0.0", rare="slow")
    (life.folder / "2.0.0" / "full.onnx").write_bytes(b"not a model")
    # The registry verifies what it makes active, so the bytes change after that: what is refused here is found by the daemon.
    life.registry._verify = lambda version: None
    life.registry.activate("2.0.0", "test")
    (alert,) = until(lambda: life.alerts("model.refused"), life.edge.log.read_text, WAIT_S)
    assert "sha256" in alert["detail"]
    assert "1.0.0 stays at work" in alert["detail"]
    until(lambda: life.registry.state().active == "1.0.0")


def test_a_restart_keeps_the_active_version(life, peer):
    life.start()
    life.activate("2.0.0")
    life.until(lambda m: m["active"] == "2.0.0")
    life.sensor.close()
    assert life.edge.stop(timeout_s=60) == 0
    assert life.registry.state().last_known_good == "2.0.0"
    life.start(good="2.0.0")
    assert life.edge.process.poll() is None


def test_a_model_that_brings_the_process_down_is_rolled_back_at_start_then_safe_mode(life, peer):
    text = PIPELINE.replace("settle_s = 600", "settle_s = 600\nstarts = 2")
    life.start(text)
    life.sensor.close()
    assert life.edge.stop(timeout_s=60) == 0  # 1.0.0 is known to be good
    life.activate("2.0.0")
    for _ in range(2):
        life.start(text, good="2.0.0")
        life.sensor.close()
        life.edge.process.kill()
        life.edge.process.wait(10)
    life.start(text, good="1.0.0")  # the third start that did not settle
    assert life.registry.state().rejected == ["2.0.0"]
    (alert,) = until(lambda: life.alerts("model.rolled_back"), life.edge.log.read_text, WAIT_S)
    assert alert["detail"] == "model 2.0.0 did not let 2 starts settle, one after the other: rolled back to 1.0.0"
    for n in range(3):  # that start began anew, and two more do not settle either
        life.sensor.close()
        life.edge.process.kill()
        life.edge.process.wait(10)
        if n < 2:
            life.start(text, good="1.0.0")
    life.edge = Edge(life.folder.parent, _broker(life), text)
    try:
        until(lambda: peer.status()["models"]["state"] == "safe mode", life.edge.log.read_text)
        sensor = Sensor(peer)
        try:
            sensor.value = 90.0
            until(lambda: peer.status()["decisions"]["failed"].get("model_off", 0) > 20)
            assert peer.status()["state"] == "safe mode"
            assert peer.status()["decisions"]["made"] == 0
            (alert,) = until(lambda: life.alerts("model.off"))
            assert "did not let 2 starts settle" in alert["detail"]
            # A person may try again.
            life.registry.activate("1.0.0", "test", "try again")
            life.until(lambda m: m["active"] == "1.0.0")
            until(lambda: peer.status()["state"] == "running")
        finally:
            sensor.close()
    finally:
        life.edge.close()


def test_an_active_version_that_admission_refuses_at_the_start_gives_way_and_without_another_one_to_none(life, peer):
    life.start()
    life.sensor.close()
    assert life.edge.stop(timeout_s=60) == 0  # 1.0.0 is known to be good
    write(life.folder.parent, "2.0.0", budget_ms=0.000_01)
    life.registry.activate("2.0.0", "test")
    life.start(good="1.0.0")
    (alert,) = until(lambda: life.alerts("model.rolled_back"), life.edge.log.read_text, WAIT_S)
    assert alert["severity"] == "critical"
    assert alert["detail"].startswith("model 2.0.0 was refused at the start: ")
    assert alert["detail"].endswith(": rolled back to 1.0.0")
    assert life.registry.state().rejected == ["2.0.0"]
    life.sensor.close()
    assert life.edge.stop(timeout_s=60) == 0
    shutil.rmtree(life.folder / "1.0.0")
    write(life.folder.parent, "1.0.0", budget_ms=0.000_01)
    seen = len(peer.json("plant/a/cmd/fan"))
    life.edge = Edge(life.folder.parent, _broker(life), PIPELINE)
    try:
        until(lambda: peer.status()["state"] == "safe mode", life.edge.log.read_text, WAIT_S)
        sensor = Sensor(peer)
        try:
            sensor.value = 90.0
            until(lambda: peer.status()["decisions"]["failed"].get("model_off", 0) > 20, peer.status, WAIT_S)
        finally:
            sensor.close()
        (alert,) = until(lambda: life.alerts("model.off"), life.edge.log.read_text, WAIT_S)
        assert alert["severity"] == "critical"
        assert "was refused at the start" in alert["detail"]
        assert {c["value"] for c in peer.json("plant/a/cmd/fan")[seen:]} <= {0.3}, "nothing but safe values"
        assert life.edge.stop(timeout_s=60) == 0
    finally:
        life.edge.close()


def test_a_version_that_the_file_names_and_admission_refuses_ends_the_start_with_its_code(life, broker):
    write(life.folder.parent, "1.0.0", budget_ms=0.000_01)
    edge = Edge(life.folder.parent, broker, PIPELINE.replace('version = "active"', 'version = "1.0.0"'), wait=False)
    try:
        assert edge.process.wait(WAIT_S) == 5, "too slow here and now: the one refusal that another start may cure"
        assert "Traceback" not in edge.log.read_text()
    finally:
        edge.close()


def _broker(life):
    class At:
        url = life.edge.process.args[-1]

    return At


def test_sigterm_during_a_probation_ends_everything(life, peer):
    life.start(PIPELINE.replace("probation_frames = 50", "probation_frames = 100000"))
    life.activate("2.0.0")
    life.until(lambda m: m["shadow"] and m["shadow"]["n"] > 10)
    shadow = life.models()["shadow"]
    assert shadow["mode"] == "probation"
    assert life.models()["active"] == "1.0.0"
    assert life.edge.stop(signal.SIGTERM, 60) == 0
    until(lambda: not _is_alive(shadow["pid"]))


def _is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().split()[2] != "Z"
    except OSError:
        return False
