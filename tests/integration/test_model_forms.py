"""Cascades and states in a daemon that works; seen by strangers through a real broker."""

import json
import time

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the models of these tests are built with onnx: pip install -e '.[dev]'")

from edge.inference.writer import BundleWriter
from tests.broker import needs_mosquitto
from tests.integration import model_bundles
from tests.integration.test_daemon import Edge, Peer, until
from tests.unit import inference_models as models
from tests.unit.test_inference_states import leaky, leaky_expected

pytestmark = [needs_mosquitto, pytest.mark.timeout(300)]
WAIT_S = 30
BUDGET_MS = 100
NAMES = [name.replace("2s", "2") for name in models.NAMES]
TEXT = """
name = "forms"
budget_ms = {budget_ms}
tick_ms = 10
on_overrun = ["smaller_model", "skip"]

[streams.imu]
topic = "d/{{device}}/imu"
format = "json"
channels = {{ ax = "m/s^2", ay = "m/s^2", az = "m/s^2" }}
rate_hz = 100

[[features]]
stream = "imu"
channels = ["ax", "ay", "az"]
window = 2
hop = 1
stats = ["mean", "std"]

[model]
bundle = "bundle"
{model}

[[rules]]
name = "note"
score = "calm"
enter = 1e9
exit = 1e8
emit = "alert"
topic = "d/{{device}}/alerts"

[publish.predictions]
topic = "d/{{device}}/pred"

[publish.status]
every_s = 0.1
"""


class Site:
    """A daemon with a bundle, and devices that send one value on all channels."""

    def __init__(self, folder, broker, text):
        self.peer = Peer(broker.port)
        self.seq = 0
        self.edge = Edge(folder, broker, text)
        until(lambda: self.peer.status() and self.peer.status()["state"] == "running", self.edge.log.read_text, WAIT_S)

    def answers(self, device, value, n):
        """The next n predictions; a device's first row alone leads to none."""
        before = len(self.peer.all(f"d/{device}/pred"))
        for _ in range(n if before else n + 1):
            row = {"ax": value, "ay": value, "az": value, "seq": self.seq}
            self.peer.client.publish(f"d/{device}/imu", json.dumps(row), qos=1)
            self.seq += 1
        until(lambda: len(self.peer.all(f"d/{device}/pred")) >= before + n, f"{self.peer.status()}", WAIT_S)
        return self.peer.json(f"d/{device}/pred")[before:]

    def one_by_one(self, device, value):
        """The variant that answers a row, before the next one is sent; None when nobody does in time."""
        before = len(self.peer.all(f"d/{device}/pred"))
        row = {"ax": value, "ay": value, "az": value, "seq": self.seq}
        self.seq += 1
        self.peer.client.publish(f"d/{device}/imu", json.dumps(row), qos=1)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            said = self.peer.json(f"d/{device}/pred")[before:]
            if said:
                return said[-1]["variant"]
            time.sleep(0.002)
        return None

    def close(self):
        self.edge.close()
        self.peer.close()


@pytest.fixture
def site(tmp_path, broker):
    opened = []

    def start(write, model="", budget_ms=2000):
        made, inputs = models.writer(tmp_path / "bundle"), models.golden_inputs()
        made.set_features(NAMES, models.UNITS)
        write(made, inputs)
        made.write(inputs)
        opened.append(Site(tmp_path, broker, TEXT.format(model=model, budget_ms=budget_ms)))
        return opened[0]

    yield start
    for one in opened:
        one.close()


def add_linear(made, inputs, name, bias):
    made.add_variant(name, models.linear(bias=bias).SerializeToString(), models.linear_expected(inputs, bias=bias))


def test_a_cascade_asks_the_larger_variant_where_the_smaller_one_is_unsure(site):
    other = np.array([3.0, -3.0], np.float32)

    def write(made, inputs):
        add_linear(made, inputs, "full", other)
        add_linear(made, inputs, "small", models.BIAS)

    one = site(write, '[model.cascade]\nfirst = "small"\nthen = "full"\nscore = "calm"\nunsure = [0.4, 0.6]')
    values = np.linspace(-3, 3, 25)
    scores = [float(models.linear_expected(np.array([[v, 0] * 3], np.float32))[0, 0]) for v in values]
    sure = next(i for i, score in enumerate(scores) if score > 0.7 or score < 0.3)
    unsure = next(i for i, score in enumerate(scores) if 0.45 < score < 0.55)
    said = {i: one.answers(device, float(values[i]), 4)[-1] for device, i in (("a", sure), ("b", unsure))}
    assert said[sure]["variant"] == "small"
    assert said[sure]["scores"]["calm"] == pytest.approx(scores[sure], abs=1e-4)
    larger = models.linear_expected(np.array([[values[unsure], 0] * 3], np.float32), bias=other)[0, 0]
    assert said[unsure]["variant"] == "full"
    assert said[unsure]["scores"]["calm"] == pytest.approx(float(larger), abs=1e-4)
    until(lambda: one.peer.status()["decisions"]["by_variant"] == {"full": 4, "small": 4}, lambda: str(one.peer.status()), WAIT_S)


def test_each_device_has_a_state_of_its_own(site):
    def write(made, inputs):
        made.add_state("h", "hn", [1, 1], "what it remembers")
        made.add_constant("rate", np.array(3, np.int64), "of sampling")
        made.add_variant("full", leaky().SerializeToString(), leaky_expected(inputs))

    one = site(write)
    found = {device: [said["scores"]["calm"] for said in one.answers(device, value, 5)] for device, value in (("a", 1.0), ("b", 2.0))}
    found["a"] += [said["scores"]["calm"] for said in one.answers("a", 1.0, 2)]
    h, expected = 0.0, []
    for _ in range(7):
        h = 0.5 * h + 3.0
        expected.append(h)
    assert found["a"] == pytest.approx(expected, abs=1e-4)
    assert found["b"] == pytest.approx([2 * score for score in expected[:5]], abs=1e-4)


def test_while_the_preferred_variant_does_not_fit_the_next_one_answers_and_then_it_comes_back(tmp_path, broker):
    made = BundleWriter(tmp_path / "bundle", "1.0.0", description="calm or hot", source="none", licence="CC0-1.0", budget_ms=1000.0)
    made.set_input("features", "accelerations")
    made.add_output("scores", model_bundles.LABELS, "probability of each state")
    made.set_features(("imu.ax.mean.2", "imu.ax.std.2"), ("m/s^2", "m/s^2"))
    rows = np.random.default_rng(7).uniform(20, 80, (8, 2)).astype(np.float32)
    made.add_variant("full", model_bundles.model(rare="slow", turns=3000), model_bundles.expected(rows.astype(np.float64)))
    made.add_variant("small", model_bundles.model(gain=0.101), model_bundles.expected(rows.astype(np.float64), gain=0.101))
    made.write(rows, rtol=1e-3, atol=1e-4)
    one = Site(tmp_path, broker, TEXT.format(model="", budget_ms=BUDGET_MS).replace('channels = ["ax", "ay", "az"]', 'channels = ["ax"]'))
    try:
        assert "full" in {one.one_by_one("a", 50.0) for _ in range(20)}
        heavy = [one.one_by_one("a", model_bundles.RARE + 5) for _ in range(60)]
        after = heavy[heavy.index("small") :]
        assert after.count("full") <= 6, "only as a trial, each after twice as many frames"
        variants = until(lambda: _told(one, 20), lambda: str(one.peer.status()), WAIT_S)
        assert variants["full"]["p99_us"] > 1000 * BUDGET_MS > variants["small"]["p99_us"]
        for _ in range(300):  # a trial comes after 256 frames at the latest
            if one.one_by_one("a", 50.0) == "full":
                break
        again = [one.one_by_one("a", 50.0) for _ in range(20)]
        assert again.count("full") >= 15, "one fast trial restores it"
    finally:
        one.close()


def _told(one, excluded):
    variants = one.peer.status()["models"]["variants"]
    return variants if variants["full"]["excluded"] >= excluded else None
