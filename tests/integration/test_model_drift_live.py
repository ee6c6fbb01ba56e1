"""Drift in a daemon that works: told over a real broker, and, where the file asks for it, the end of the version that acts."""

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the models of these tests are built with onnx: pip install -e '.[dev]'")

from tests.broker import needs_mosquitto
from tests.integration.model_bundles import FEATURES, PIPELINE, write
from tests.integration.test_model_life import WAIT_S, life, peer, until  # noqa: F401

pytestmark = [needs_mosquitto, pytest.mark.timeout(300)]
DRIFT = "\n[drift]\nenabled = true\nwindow_frames = 200\nwindow_s = 1\n"


def vectors(value):
    """What the sensor's rows at a value become: mean and largest of four."""
    rows = value + np.arange(7_000) % 7 * 0.5
    windows = np.lib.stride_tricks.sliding_window_view(rows, 4)
    return np.column_stack([windows.mean(axis=1), windows.max(axis=1)]).astype(np.float32)


def told(peer, name):  # noqa: F811
    """What alerts of a name say, by feature: ``feature temp.celsius.mean.4 differs from training ...``."""
    return {a["detail"].split()[1]: a["detail"] for a in peer.json("edge/guard/alerts") if a["name"] == name}


def until_calm(peer, life):  # noqa: F811
    """Four more windows, and nothing drifts."""
    windows = peer.status()["monitoring"]["drift"]["windows"]
    until(lambda: peer.status()["monitoring"]["drift"]["windows"] >= windows + 4, life.edge.log.read_text, WAIT_S)
    assert peer.status()["monitoring"]["drift"]["n_drifting"] == 0


def test_drift_is_told_and_its_end_too(life, peer):  # noqa: F811
    write(life.folder.parent, "1.0.0", training=vectors(50.0))
    life.start(PIPELINE + DRIFT)
    until_calm(peer, life)
    life.sensor.value = 60.0
    until(lambda: len(told(peer, "feature-drift")) == 2, life.edge.log.read_text, WAIT_S)
    assert told(peer, "feature-drift").keys() == set(FEATURES)
    assert all("differs from training" in detail for detail in told(peer, "feature-drift").values())
    assert life.models()["active"] == "1.0.0"  # there is none to go back to, and nothing asked for it
    life.sensor.value = 50.0
    until(lambda: len(told(peer, "feature-drift-over")) == 2, life.edge.log.read_text, WAIT_S)
    until(lambda: peer.status()["monitoring"]["drift"]["n_drifting"] == 0)


def test_what_looks_as_in_training_is_no_drift_and_what_does_not_ends_the_version(life, peer):  # noqa: F811
    text = PIPELINE.replace("settle_s = 600", "settle_s = 600\ndrift = true") + DRIFT
    write(life.folder.parent, "1.0.0", training=vectors(50.0))
    life.start(text)
    life.activate("2.0.0", training=vectors(50.0))
    life.until(lambda m: m["active"] == "2.0.0")
    until_calm(peer, life)
    assert life.models()["active"] == "2.0.0"
    life.sensor.value = 60.0
    (alert,) = until(lambda: life.alerts("model.rolled_back"), life.edge.log.read_text, WAIT_S)
    assert "2.0.0" in alert["detail"]
    assert "differs from training" in alert["detail"]
    assert alert["detail"].endswith("rolled back to 1.0.0")
    until(lambda: "2.0.0" in life.registry.state().rejected, life.edge.log.read_text, WAIT_S)
    assert told(peer, "feature-drift")
