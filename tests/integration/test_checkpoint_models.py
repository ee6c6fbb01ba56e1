"""Kill -9 and a new start of the real daemon with a recurrent model: it goes on with what it carried, another version does not."""

import json
import signal

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the models of these tests are built with onnx: pip install -e '.[dev]'")

from tests.broker import needs_mosquitto
from tests.integration.test_daemon import Edge, Peer, until
from tests.integration.test_model_forms import NAMES, TEXT
from tests.unit import inference_models as models
from tests.unit.test_inference_states import leaky, leaky_expected

pytestmark = [needs_mosquitto, pytest.mark.timeout(180)]
WAIT_S = 30
MORE = """
[checkpoint]
path = "state"
every_s = 0.1

[drift]
enabled = true
window_frames = 1000
"""


def write(folder, version="1.0.0"):
    made, inputs = models.writer(folder / "bundle", version), models.golden_inputs()
    made.set_features(NAMES, models.UNITS, np.random.default_rng(8).normal(size=(400, models.FEATURES)))
    made.add_state("h", "hn", [1, 1], "what it remembers")
    made.add_constant("rate", np.array(3, np.int64), "of sampling")
    made.add_variant("full", leaky().SerializeToString(), leaky_expected(inputs))
    made.write(inputs)


class Life:
    """One daemon after the other, and a device whose time goes on meanwhile."""

    def __init__(self, folder, broker):
        self.folder, self.broker, self.peer, self.seq = folder, broker, Peer(broker.port), 0
        self.start()

    def start(self):
        said = len(self.peer.json("/status"))
        self.edge = Edge(self.folder, self.broker, TEXT.format(model="", budget_ms=2000) + MORE)
        until(lambda: any(s["state"] == "running" for s in self.peer.json("/status")[said:]), self.edge.log.read_text, WAIT_S)

    def scores(self, n):
        """What the next n rows lead to."""
        before = len(self.peer.all("d/a/pred"))
        for _ in range(n):
            row = {"ax": 1.0, "ay": 1.0, "az": 1.0, "seq": self.seq, "t": (self.seq + 1) * 10_000_000}
            self.peer.client.publish("d/a/imu", json.dumps(row), qos=1)
            self.seq += 1
        due = before + n - (self.seq == n)  # a device's first row alone leads to none
        until(lambda: len(self.peer.all("d/a/pred")) >= due, lambda: f"{self.peer.status()}", WAIT_S)
        return [said["scores"]["calm"] for said in self.peer.json("d/a/pred")[before:]]

    def kill(self):
        """Kill -9, once the state is on disk."""
        written = self.peer.status()["checkpoint"]["written"]
        until(lambda: self.peer.status()["checkpoint"]["written"] >= written + 2, lambda: f"{self.peer.status()}", WAIT_S)
        self.edge.process.send_signal(signal.SIGKILL)
        self.edge.process.wait(10)
        self.edge.close()

    def close(self):
        self.edge.close()
        self.peer.close()


@pytest.fixture
def life(tmp_path, broker):
    write(tmp_path)
    one = Life(tmp_path, broker)
    yield one
    one.close()


def expected(n):
    h, found = 0.0, []
    for _ in range(n):
        h = 0.5 * h + 3.0
        found.append(h)
    return found


def test_a_recurrent_model_goes_on_after_kill_9_and_so_does_what_was_counted_of_drift(life):
    scores = life.scores(5)
    life.kill()
    life.start()
    assert "starts anew" not in life.edge.log.read_text()
    scores += life.scores(3)
    assert scores == pytest.approx(expected(7), abs=1e-4)
    until(lambda: life.peer.status()["monitoring"]["drift"]["frames"] == 7, lambda: f"{life.peer.status()}", WAIT_S)


def test_another_version_begins_anew_and_the_log_says_so(life):
    life.scores(5)
    life.kill()
    write(life.folder, "1.0.1")
    life.start()
    log = life.edge.log.read_text()
    assert "model starts anew: the state of the model belongs to another model or version of it" in log
    assert "drift starts anew: the drift belongs to another model or version of it" in log
    assert life.scores(2) == pytest.approx(expected(2), abs=1e-4)
