"""Drift that ends a model, and what watches the one that acts instead: through a whole pipeline, its registry and the models' thread."""

import json
import time

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the models of these tests are built with onnx: pip install -e '.[dev]'")

from edge.build import plan_of
from edge.config.load import load
from edge.inference.writer import BundleWriter
from edge.messages import RawMessage
from edge.pipeline.status import status
from edge.store.registry import Registry
from tests.integration.model_bundles import FEATURES, LABELS, PIPELINE, expected, model

S = 1_000_000_000
WAIT_S = 60
MORE = """
[drift]
enabled = true
window_frames = 100
window_s = 1

[labels]
topic = "plant/{device}/labels"
"""


def write(tmp_path, version, low, high):
    """A version that was trained on temperatures from low to high."""
    made = BundleWriter(tmp_path / "thermo", version, description="calm or hot", source="none", licence="CC0-1.0", budget_ms=500)
    made.set_input("features", "temperatures")
    made.add_output("scores", LABELS, "probability of each state")
    rng = np.random.default_rng(7)
    rows = rng.uniform(20, 80, (8, 2)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(rng.uniform(low, high, 4000), 4)
    made.set_features(FEATURES, ("degC", "degC"), np.stack([windows.mean(1), windows.max(1)], axis=1).astype(np.float32))
    made.add_variant("full", model(), expected(rows.astype(np.float64)))
    made.write(rows, rtol=1e-3, atol=1e-4)


class Site:
    """A pipeline, its registry, and a sensor of one device."""

    def __init__(self, folder):
        self.folder, self.registry = folder, Registry(folder / "thermo", proof=lambda *_: None)
        self.said, self.seq, self.plan = [], 0, None

    def start(self, drift="true"):
        text = PIPELINE.replace("probation_frames = 50", f"probation_frames = 0\ndrift = {drift}") + MORE
        (self.folder / "pipeline.toml").write_text(text)
        self.plan = plan_of(load(self.folder / "pipeline.toml"))
        self.pipeline = self.plan.pipeline
        self.pipeline.run_on(None, 0)
        return self

    @property
    def host(self):
        return self.pipeline.decisions.host

    def look(self):
        self.said += [(o.message.name, o.message.detail) for o in self.plan.look_after_models(0) if o.kind == "alert"]

    def until(self, condition):
        end = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < end, self.said
            self.look()
            time.sleep(0.02)

    def feed(self, low, high, n):
        rng = np.random.default_rng(self.seq)
        for celsius in rng.uniform(low, high, n):
            self.seq += 1
            at = self.seq * S // 50
            payload = json.dumps({"celsius": celsius, "seq": self.seq}).encode()
            out = self.pipeline.step(RawMessage("plant/a/temp", payload, at))
            self.said += [(o.message.name, o.message.detail) for o in out if o.kind == "alert"]
        self.look()

    def names(self):
        return [name for name, _ in self.said]


@pytest.fixture
def site(tmp_path):
    """1.0.0 knows 30 to 50 degrees; 2.0.0, which is not active yet, knows 60 to 70."""
    site = Site(tmp_path)
    write(tmp_path, "1.0.0", 30, 50)
    site.registry.activate("1.0.0", "test")
    write(tmp_path, "2.0.0", 60, 70)
    yield site
    if site.plan is not None:
        site.plan.close()


def test_the_new_versions_references_count_and_its_drift_rolls_it_back(site):
    site.start()
    site.feed(30, 50, 300)
    before = status(site.pipeline, 0)["monitoring"]
    assert (before["version"], before["drift"]["n_drifting"]) == ("1.0.0", 0)
    site.registry.activate("2.0.0", "test")
    site.until(lambda: site.host.active.model.version == "2.0.0")
    anew = status(site.pipeline, 0)["monitoring"]
    assert (anew["version"], anew["drift"]["frames"], anew["labels"]["received"]) == ("2.0.0", 0, 0)
    site.feed(30, 50, 20)
    site.pipeline.step(RawMessage("plant/a/labels", b'{"seq":%d,"label":"calm"}' % site.seq, site.seq * S // 50))
    assert status(site.pipeline, 0)["monitoring"]["labels"]["joined"] == 1
    site.feed(30, 50, 1000)  # as 1.0.0 knows it: far from what 2.0.0 was trained on
    site.until(lambda: site.host.active is not None and site.host.active.model.version == "1.0.0")
    (detail,) = [detail for name, detail in site.said if name == "model.rolled_back"]
    assert detail.startswith("model 2.0.0 drifted: feature temp.celsius.")
    assert detail.endswith(": rolled back to 1.0.0")
    site.until(lambda: site.registry.state().rejected == ["2.0.0"])
    site.until(lambda: site.pipeline.decisions.monitoring.version == "1.0.0")
    assert site.names().count("feature-drift") == site.names().count("feature-drift-over"), "nobody looks at 2.0.0 any more"
    site.feed(30, 50, 1000)
    assert site.host.active.model.version == "1.0.0"
    after = status(site.pipeline, 0)["monitoring"]
    assert (after["version"], after["drift"]["n_drifting"]) == ("1.0.0", 0)


def test_drift_is_told_and_nothing_else_where_it_does_not_end_a_model(site):
    site.start(drift="false")
    site.feed(60, 70, 1500)
    assert "feature-drift" in site.names()
    assert site.host.active.model.version == "1.0.0"


def test_drift_of_the_only_version_there_is_leads_to_none(site):
    site.start()
    site.feed(60, 70, 1500)
    assert site.host.is_off
    (detail,) = [detail for name, detail in site.said if name == "model.off"]
    assert "drifted: feature" in detail


def test_drift_does_not_move_a_version_that_is_pinned(site):
    site.registry.pin("1.0.0", "test")
    site.start()
    site.feed(60, 70, 1500)
    assert "feature-drift" in site.names()
    assert site.host.active.model.version == "1.0.0"
