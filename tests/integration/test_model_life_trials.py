"""Versions on trial beside a working one: shadows, promotion by hand and by guard, canaries on a share of devices, other features."""

import json
import os
import signal
import time

import pytest

pytest.importorskip("onnx", reason="the models of these tests are built with onnx: pip install -e '.[dev]'")

from edge.inference.host import place
from tests.broker import needs_mosquitto
from tests.integration.model_bundles import PIPELINE, RARE, RECIPE, write, write_other_features
from tests.integration.test_model_life import WAIT_S, life, missed, peer, until  # noqa: F401

pytestmark = [needs_mosquitto, pytest.mark.timeout(900)]
DEVICES = tuple(f"d{i}" for i in range(8))


def test_a_shadow_is_compared_published_and_promoted_by_hand(life, peer):  # noqa: F811
    life.start()
    write(life.folder.parent, "2.0.0", gain=0.1001)
    life.registry.set_candidate("2.0.0", "shadow", who="test")
    found = until(lambda: [s for s in peer.json("edge/guard/shadow") if s["n"] > 50], life.edge.log.read_text, WAIT_S)[-1]
    assert (found["mode"], found["version"], found["active"]) == ("shadow", "2.0.0", "1.0.0")
    assert found["agreement"] == 1.0
    assert 0 < found["max_distance"] < 0.01
    assert 0 < found["p50_ms"] <= found["p99_ms"]
    status = life.models()["shadow"]
    assert status["mode"] == "shadow"
    assert {p["version"] for p in peer.json("plant/a/pred")} == {"1.0.0"}, "a shadow is never heard"
    life.registry.promote("test", "looks good")
    life.until(lambda m: m["active"] == "2.0.0" and m["shadow"] is None)
    assert missed(peer) == 0


def test_a_shadow_that_dies_is_started_again_three_times_then_given_up(life, peer):  # noqa: F811
    life.start()
    write(life.folder.parent, "2.0.0")
    life.registry.set_candidate("2.0.0", "shadow", who="test")
    for n in range(4):
        pid = until(lambda n=n: (s := life.models()["shadow"]) and s["n"] > 0 and s["restarts"] == n and s["pid"], life.models, WAIT_S)
        os.kill(pid, signal.SIGKILL if n else signal.SIGSTOP)
        if not n:
            made = peer.status()["decisions"]["made"]
            until(lambda made=made: peer.status()["decisions"]["made"] > made + 50)  # stopped, and nobody waits for it
            os.kill(pid, signal.SIGKILL)
    (alert,) = until(lambda: life.alerts("model.refused"), life.models, WAIT_S)
    assert "gave up being a shadow" in alert["detail"]
    life.until(lambda m: m["shadow"] is None and m["active"] == "1.0.0")
    assert missed(peer) == 0


def test_a_shadow_that_showed_enough_is_promoted_by_the_guard_and_one_that_disagrees_is_not(life, peer):  # noqa: F811
    life.start(PIPELINE.replace("nice = 0", 'nice = 0\npromote = "guard"\nmin_frames = 100\nagreement = 0.9'))
    life.sensor.value = 60.0  # calm for the active one, hot for one with another gain
    write(life.folder.parent, "2.0.0", gain=0.14)
    life.registry.set_candidate("2.0.0", "shadow", who="test")
    until(lambda: (s := life.models()["shadow"]) and s["n"] > 200, life.models, WAIT_S)
    assert life.models()["active"] == "1.0.0"
    assert life.models()["shadow"]["agreement"] < 0.5
    write(life.folder.parent, "3.0.0", gain=0.1001)
    life.registry.set_candidate("3.0.0", "shadow", who="test")
    life.until(lambda m: m["active"] == "3.0.0")
    (alert,) = life.alerts("model.promoted")
    assert (alert["severity"], alert["cause"]["version"]) == ("info", "3.0.0")
    assert "agreed on 100.00% of" in alert["detail"]
    assert life.registry.history()[-1].what in ("promote", "good")


def test_a_shadow_that_is_right_more_often_is_promoted_and_one_that_is_wrong_is_not(life, peer):  # noqa: F811
    guard = 'nice = 0\npromote = "guard"\nmin_frames = 50\nagreement = 0.0\nmin_labels = 30\nmin_accuracy = 0.9\nmax_worse = 0.0'
    life.start(PIPELINE.replace("nice = 0", guard) + '\n[labels]\ntopic = "plant/{device}/labels"\n')
    life.sensor.value = 55.0  # hot, as labels will say; the active one says calm
    told = [0]

    def label():
        until_seq = life.sensor.seq - 20  # what was sent a moment ago, and is predicted by now
        for seq in range(max(told[0], until_seq - 50), until_seq):
            peer.client.publish("plant/a/labels", json.dumps({"seq": seq, "label": "hot"}))
        told[0] = max(told[0], until_seq)
        time.sleep(0.1)
        return True

    write(life.folder.parent, "2.0.0", gain=0.1001)  # agrees, and is as wrong as the active one
    life.registry.set_candidate("2.0.0", "shadow", who="test")
    until(lambda: label() and (s := life.models()["shadow"]) and s.get("labelled", 0) > 60, life.models)
    shadow = life.models()["shadow"]
    assert (shadow["version"], shadow["agreement"]) == ("2.0.0", 1.0)
    assert shadow["accuracy"] == shadow["active_accuracy"] < 0.5
    assert life.models()["active"] == "1.0.0"
    write(life.folder.parent, "3.0.0", gain=0.14)
    life.registry.set_candidate("3.0.0", "shadow", who="test")
    until(lambda: label() and life.models()["active"] == "3.0.0", life.models)
    (alert,) = life.alerts("model.promoted")
    assert "right on 100.00% of" in alert["detail"]


def test_a_canary_acts_on_its_share_of_devices_and_its_guard_ends_it_alone(life, peer):  # noqa: F811
    life.start(devices=DEVICES)
    share = (sorted(map(place, DEVICES))[3] + 1) / 10_000
    chosen = {device for device in DEVICES if place(device) < share * 10_000}
    assert len(chosen) == 4
    write(life.folder.parent, "2.0.0", rare="nan")
    life.registry.set_candidate("2.0.0", "canary", share, who="test")
    life.until(lambda m: m["canary"] and m["canary"]["made"] > 20)
    until(
        lambda: (
            {d: peer.json(f"plant/{d}/pred")[-1]["version"] for d in DEVICES} == {d: "2.0.0" if d in chosen else "1.0.0" for d in DEVICES}
        )
    )
    assert missed(peer) == 0
    life.sensor.value = RARE + 5
    (alert,) = until(lambda: life.alerts("model.canary_ended"), life.models, WAIT_S)
    assert "no longer acts on a share of the devices: it gave NaN or infinity 3 times" in alert["detail"]
    until(lambda: {peer.json(f"plant/{d}/pred")[-1]["version"] for d in DEVICES} == {"1.0.0"})
    until(lambda: life.registry.state().candidate is None)
    assert life.models()["active"] == "1.0.0"
    assert life.registry.state().active == "1.0.0"


def test_a_canary_is_promoted_by_hand_and_acts_everywhere(life, peer):  # noqa: F811
    life.start(devices=DEVICES)
    write(life.folder.parent, "2.0.0")
    life.registry.set_candidate("2.0.0", "canary", 0.5, who="test")
    life.until(lambda m: m["canary"] and m["canary"]["made"] > 20)
    life.registry.promote("test")
    life.until(lambda m: m["active"] == "2.0.0" and m["canary"] is None)
    until(lambda: {peer.json(f"plant/{d}/pred")[-1]["version"] for d in DEVICES} == {"2.0.0"})


def test_other_features_are_refused_where_the_file_says_which_ones_there_are(life, peer):  # noqa: F811
    life.start()
    write_other_features(life.folder.parent, "2.0.0")
    life.registry.activate("2.0.0", "test")
    (alert,) = until(lambda: life.alerts("model.refused"), life.models, WAIT_S)
    assert "temp.celsius.min.8" in alert["detail"]
    until(lambda: life.registry.state().active == "1.0.0")
    assert life.models()["active"] == "1.0.0"


def test_other_features_are_taken_from_the_bundle_where_the_file_says_so(life, peer):  # noqa: F811
    write(life.folder.parent, "1.0.0", recipe=RECIPE)
    life.start(PIPELINE.replace('version = "active"', 'version = "active"\nfeatures = "bundle"'))
    boot = peer.status()["boot_id"]
    write_other_features(life.folder.parent, "2.0.0")
    life.registry.activate("2.0.0", "test")
    life.until(lambda m: m["active"] == "2.0.0")
    assert peer.status()["boot_id"] != boot, "a new pipeline, with windows that begin anew"
    until(lambda: peer.json("plant/a/pred")[-1]["version"] == "2.0.0")
    (alert,) = life.alerts("model.reload")
    assert "windows begin anew" in alert["detail"]
    life.sensor.value = 90.0
    until(lambda: [a for a in peer.json("plant/a/alerts") if a["cause"]["version"] == "2.0.0"])
    assert json.dumps(peer.status()["models"])


def test_nothing_is_left_when_the_daemon_is_killed_with_a_shadow(life, peer):  # noqa: F811
    life.start()
    write(life.folder.parent, "2.0.0")
    life.registry.set_candidate("2.0.0", "shadow", who="test")
    pid = until(lambda: (s := life.models()["shadow"]) and s["n"] > 0 and s["pid"], life.models, WAIT_S)
    life.edge.process.kill()
    until(lambda: not os.path.exists(f"/proc/{pid}") or _is_zombie(pid))


def _is_zombie(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().split()[2] == "Z"
    except OSError:
        return True
