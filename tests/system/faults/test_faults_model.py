"""Faults of the model: slow, wrong, hung, altered on disk, and of the registry that says which version runs."""

import json
import os
import signal
import time

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the models of these tests are built with onnx: pip install -e '.[dev]'")

from edge.inference.writer import BundleWriter
from edge.store.registry import Registry
from tests.broker import needs_mosquitto
from tests.integration.model_bundles import LABELS, RARE, expected, model
from tests.system.faults.site import FLIP, PIPELINE, until

pytestmark = [needs_mosquitto, pytest.mark.timeout(400)]
PATIENCE_S = 120  # proving a version starts a process
TTL_MS = 2000  # the model has 500 ms: where all processors are busy, a sound one may take as long as it waits for its turn
FEATURES = ("s.x.mean.4", "s.x.max.4")
TEXT = """
[model]
bundle = "{bundle}"
version = "{version}"
"""
ROLLBACK = """
[model.rollback]
probation_frames = {probation}
window_frames = 100
windows = 3
settle_s = 600
"""


def pipeline(folder, version="active", probation=0):
    """The pipeline of the other faults, whose rules ask a model instead."""
    text = PIPELINE.replace('channels = { x = "1" }', 'channels = { x = "degC" }').replace("range = { x = [-100, 100] }", "")
    head, _, tail = text.partition("[[features]]")
    feature = '[[features]]\nstream = "s"\nchannels = ["x"]\nwindow = 4\nstats = ["mean", "max"]\n\n[[rules]]'
    text = head + feature + tail.partition("[[rules]]")[2].replace("s.x.last.1", "hot").replace("enter = 0.5", "enter = 0.8")
    text = text.replace("budget_ms = 150", "budget_ms = 1500").replace("[streams.s.clean]\n", "")
    text = text.replace("ttl_ms = 400", f"ttl_ms = {TTL_MS}").replace("stale_ms = 500", "stale_ms = 2500")
    text += TEXT.replace("{bundle}", str(folder / "thermo")).replace("{version}", version)
    return text + (ROLLBACK.replace("{probation}", str(probation)) if version == "active" else "")


def write(folder, version, rare="", turns=5000):
    """A version; where the mean is above RARE it is bad in one way."""
    made = BundleWriter(folder / "thermo", version, description="calm or hot", source="none", licence="CC0-1.0", budget_ms=500)
    made.set_input("features", "temperatures")
    made.add_output("scores", LABELS, "probability of each state")
    rows = np.random.default_rng(7).uniform(20, 80, (8, 2)).astype(np.float32)
    made.set_features(FEATURES, ("degC", "degC"))
    made.add_variant("full", model(rare=rare, turns=turns), expected(rows.astype(np.float64)))
    made.write(rows, rtol=1e-3, atol=1e-4)


def usual(seq):
    return json.dumps({"x": 20 + 70 * (seq // FLIP % 2), "seq": seq})


def unusual(seq):
    return json.dumps({"x": RARE + 5 + seq % 7, "seq": seq})


def told(one, name):
    return [a for a in one.peer.json("guard/alerts") if a["name"] == name]


@pytest.fixture
def modelled(site, tmp_path):
    """``modelled(text)``: a site whose rules ask the active version, with a sensor; and the registry."""
    registry = Registry(tmp_path / "thermo", proof=lambda *_: None)  # what is on trial here is the daemon's own judgement

    def start(**options):
        one = site(text=pipeline(tmp_path, **options), sensor=False)
        one.begin(usual, rate_hz=50)
        return one

    start.registry, start.folder = registry, tmp_path
    return start


def acted(modelled, **bad):
    """A site with 1.0.0 behind it and 2.0.0 at work, which is bad where values are unusual."""
    write(modelled.folder, "1.0.0")
    one = modelled()
    write(modelled.folder, "2.0.0", **bad)
    modelled.registry.activate("2.0.0", "test", "because")
    until(lambda: one.status()["models"]["active"] == "2.0.0", one.said, PATIENCE_S)
    one.until_working(1)
    return one


def rolled_back(one, seen):
    """Unusual values until the bad version is gone; back to usual ones."""
    one.sensor.make = unusual
    began = time.monotonic()
    (alert,) = until(lambda: told(one, "model.rolled_back"), one.said, PATIENCE_S)
    seen["rolled back, s"] = time.monotonic() - began
    assert alert["detail"].endswith("rolled back to 1.0.0")
    one.sensor.is_silent, one.sensor.make = True, usual
    time.sleep(1)  # what waited behind slow runs is over, and nothing of it is held against the former version
    one.sensor.is_silent = False
    one.until_working()
    status = one.status()
    assert status["models"]["active"] == "1.0.0"
    seen["missed"], seen["withheld"] = status["budget"]["missed"], sum(status["commands"]["withheld"].values())
    return alert["detail"]


@pytest.mark.fault(
    "model", "a model at work becomes slower than its budget", "misses counted; late commands withheld; the former version is back"
)
def test_slow(modelled, seen):
    one = acted(modelled, rare="slow")
    assert "over its budget of 500 ms" in rolled_back(one, seen)
    one.settle()
    one.judge(seen, TTL_MS)


@pytest.mark.parametrize(
    ("rare", "why", "counter"),
    [
        pytest.param(
            "nan",
            "NaN or infinity",
            "not_finite",
            marks=pytest.mark.fault("model", "a model gives NaN", "never a command of it; the former version is back after three"),
        ),
        pytest.param(
            "fail",
            "failed",
            "failed",
            marks=pytest.mark.fault("model", "a model throws", "counted; the loop goes on; the former version is back after three"),
        ),
    ],
)
def test_no_scores(modelled, seen, rare, why, counter):
    one = acted(modelled, rare=rare)
    assert why in rolled_back(one, seen)
    seen["failed runs"] = one.status()["decisions"]["failed"][counter]
    assert seen["failed runs"] == 3
    one.settle()
    one.judge(seen, TTL_MS)


@pytest.mark.fault(
    "model", "one bit of the active version's file flipped before the start", "never loaded; the version before it acts; told"
)
def test_flipped_at_rest(modelled, seen):
    for version in ("1.0.0", "2.0.0"):
        write(modelled.folder, version)
        modelled.registry.activate(version, "test")
    file = modelled.folder / "thermo" / "2.0.0" / "full.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    began = time.monotonic()
    one = modelled()
    seen["started and working, s"] = time.monotonic() - began
    (alert,) = until(lambda: told(one, "model.refused"), one.said)
    assert alert["severity"] == "critical"
    assert "sha256" in alert["detail"]
    assert one.status()["models"]["active"] == "1.0.0"
    until(lambda: modelled.registry.state().active == "1.0.0")
    one.settle()
    one.judge(seen, TTL_MS)


@pytest.mark.fault(
    "model", "registry's file torn at the start, noise in mid-run", "told; what its history said last acts, not the highest version"
)
def test_registry_torn(modelled, seen):
    for version in ("2.0.0", "1.0.0"):
        write(modelled.folder, version)
        modelled.registry.activate(version, "test")
    file = modelled.folder / "thermo" / "registry.json"
    file.write_bytes(file.read_bytes()[:40])
    one = modelled()
    assert one.status()["models"]["active"] == "1.0.0"
    file.write_bytes(os.urandom(200))
    began = time.monotonic()
    (alert,) = until(lambda: told(one, "model.registry"), one.said)
    seen["told, s"] = time.monotonic() - began
    assert "1.0.0 stays at work until it can be read" in alert["detail"]
    one.until_working()
    assert one.status()["models"]["active"] == "1.0.0"
    one.settle()
    one.judge(seen, TTL_MS)


@pytest.mark.fault("model", "a native call that hangs for many seconds", "the watchdog is not fed; killed as systemd would, it works again")
def test_hung(modelled, seen):
    write(modelled.folder, "1.0.0", rare="slow", turns=60_000)
    one = modelled(version="1.0.0")
    one.sensor.make = unusual
    began = time.monotonic()

    def is_unfed():
        """Nothing for four times the time in which systemd expects a note."""
        one.edge.noted("")
        notes = [at for at, note in one.edge.notes if "WATCHDOG=1" in note]
        return time.monotonic() - notes[-1] > 1.6

    until(is_unfed)
    seen["not fed for 1.6 s after, s"] = time.monotonic() - began
    assert one.edge.process.poll() is None
    one.kill()
    one.sensor.make = usual
    began = time.monotonic()
    one.start()
    one.until_working()
    seen["started and working, s"] = time.monotonic() - began
    one.settle()
    one.judge(seen, TTL_MS)


@pytest.mark.fault(
    "model", "process of a shadow stopped, then killed", "nobody waits for it; started again; the active version misses nothing"
)
def test_shadow_killed(modelled, seen):
    write(modelled.folder, "1.0.0")
    one = modelled()
    write(modelled.folder, "2.0.0")
    modelled.registry.set_candidate("2.0.0", "shadow", who="test")

    def shadow(restarts):
        found = one.status()["models"]["shadow"]
        return found and found["n"] > 0 and found["restarts"] == restarts and found["pid"]

    pid = until(lambda: shadow(0), one.said, PATIENCE_S)
    made = one.status()["decisions"]["made"]
    os.kill(pid, signal.SIGSTOP)
    one.until_working()
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    one.until_working()
    until(lambda: shadow(1), one.said, PATIENCE_S)
    seen["at work again, s"] = time.monotonic() - began
    status = one.status()
    seen["decisions"], seen["failed"] = status["decisions"]["made"] - made, sum(status["decisions"]["failed"].values())
    assert status["models"]["active"] == "1.0.0"
    assert seen["failed"] == 0
    one.settle()
    one.judge(seen, TTL_MS)
