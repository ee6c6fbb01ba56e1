"""A start whose active version cannot act: an earlier good one, or none; never the end of the daemon, and never a lie in the registry."""

import shutil

import pytest

pytest.importorskip("onnx", reason="the models of these tests are built with onnx: pip install -e '.[dev]'")

from edge.build import plan_of
from edge.build.start import start_with
from edge.config.load import load
from edge.daemon.deployments import Deployments
from edge.errors import BundleError, ConfigError
from edge.inference.admissions import Admissions
from edge.pipeline.status import status
from edge.store.registry import Registry
from tests.integration.model_bundles import PIPELINE, RECIPE, write, write_other_features

BAD = ("slow", "features", "torn manifest", "altered model", "labels")


def spoil(tmp_path, version, how):
    home = tmp_path / "thermo" / version
    shutil.rmtree(home, ignore_errors=True)
    if how == "slow":
        write(tmp_path, version, budget_ms=0.000_01)
    elif how == "features":
        write_other_features(tmp_path, version)
    else:
        write(tmp_path, version, gain=0.2)
    if how == "torn manifest":
        (home / "manifest.toml").write_bytes((home / "manifest.toml").read_bytes()[:100])
    elif how == "altered model":
        (home / "full.onnx").write_bytes(b"nothing")
    elif how == "labels":
        text = (home / "manifest.toml").read_text()
        assert '"hot"' in text
        (home / "manifest.toml").write_text(text.replace('"hot"', '"warm"'))


@pytest.fixture
def place(tmp_path):
    """1.0.0 is good and known to be; others are there as they are."""

    class Place:
        folder, file = tmp_path, tmp_path / "pipeline.toml"
        registry = Registry(tmp_path / "thermo", proof=lambda *_: None)

        def activate(self, version):
            self.registry._verify = lambda version: None  # what is wrong with it came to be after it had been activated
            self.registry.activate(version, "test")

        def start(self, text=PIPELINE):
            self.file.write_text(text)
            admissions = Admissions()
            return start_with(self.file, lambda s: plan_of(s.config or load(self.file), admissions, s.unfit), admissions)

    made = Place()
    write(tmp_path, "1.0.0")
    made.registry.activate("1.0.0", "test")
    made.registry.note_settled()
    return made


def heard(plan):
    """The alerts of the first look, in the order in which they were raised; the thread is not started."""
    assert isinstance(plan.models, Deployments)
    plan.models._thread.run = lambda: None
    return [(out.message.name, out.message.severity, out.message.detail) for out in plan.models.look(0) if out.kind == "alert"]


@pytest.mark.parametrize("how", BAD)
def test_a_version_that_is_refused_gives_way_to_the_last_good_one(place, how):
    write(place.folder, "2.0.0") if how == "torn manifest" else spoil(place.folder, "2.0.0", how)
    place.activate("2.0.0")
    if how == "torn manifest":
        spoil(place.folder, "2.0.0", how)
    plan = place.start()
    assert plan.pipeline.decisions.host.active.model.version == "1.0.0"
    if how == "altered model":  # the start passes over it without a word to the registry; the models' thread proves it and tells
        return
    state = place.registry.state()
    assert (state.active, state.rejected) == ("1.0.0", ["2.0.0"])
    assert "was refused at the start" in place.registry.history()[-1].why
    ((name, severity, detail),) = heard(plan)
    assert (name, severity) == ("model.rolled_back", "critical")
    assert detail.startswith("model 2.0.0 was refused at the start: ")
    assert detail.endswith(": rolled back to 1.0.0")


def test_versions_that_are_refused_one_after_the_other_lead_to_an_earlier_good_one(place):
    for version in ("2.0.0", "3.0.0"):
        write(place.folder, version)
        place.registry.activate(version, "test")
        place.registry.note_settled()
        spoil(place.folder, version, "slow")
    plan = place.start()
    assert plan.pipeline.decisions.host.active.model.version == "1.0.0"
    assert (place.registry.state().active, place.registry.state().rejected) == ("1.0.0", ["3.0.0", "2.0.0"])
    assert [detail.split(":")[0] for _, _, detail in heard(plan)] == [
        "model 3.0.0 was refused at the start",
        "model 2.0.0 was refused too",
    ]


@pytest.mark.parametrize("how", ["slow", "features", "torn manifest"])
def test_when_none_is_fit_the_daemon_starts_without_one_and_the_registry_stays(place, how):
    spoil(place.folder, "1.0.0", how)
    plan = place.start()
    decisions = plan.pipeline.decisions
    assert decisions.host.is_off
    assert decisions.host.active is None
    assert "hot" in decisions.host.labels
    ((name, severity, detail),) = heard(plan)
    assert (name, severity) == ("model.off", "critical")
    assert "was refused at the start" in detail
    assert "no model is left to act" in detail
    state = place.registry.state()
    assert (state.active or "1.0.0", state.rejected, state.unsettled_starts) == ("1.0.0", [], 0)
    assert plan.models.status()["state"] == "safe mode"
    assert status(plan.pipeline, 0)
    for _ in range(5):  # no crash loop either
        assert place.start().pipeline.decisions.host.is_off


def test_features_of_the_bundle_are_read_from_a_version_that_has_them(place):
    shutil.rmtree(place.folder / "thermo" / "1.0.0")
    for version in ("1.0.0", "2.0.0"):
        write(place.folder, version, recipe=RECIPE)
    text = PIPELINE.replace('version = "active"', 'version = "active"\nfeatures = "bundle"')
    place.activate("2.0.0")
    spoil(place.folder, "2.0.0", "torn manifest")
    plan = place.start(text)
    assert plan.pipeline.decisions.host.active.model.version == "1.0.0"


def test_a_pinned_version_that_is_refused_is_not_rolled_back(place):
    write(place.folder, "2.0.0")
    place.registry.pin("2.0.0", "test")
    spoil(place.folder, "2.0.0", "slow")
    plan = place.start()
    assert plan.pipeline.decisions.host.is_off
    assert "pinned" in heard(plan)[0][2]
    assert (place.registry.state().active, place.registry.state().pinned) == ("2.0.0", "2.0.0")


def test_a_version_that_the_file_names_is_refused_as_before(place):
    spoil(place.folder, "2.0.0", "slow")
    with pytest.raises(BundleError, match="budget"):
        place.start(PIPELINE.replace('version = "active"', 'version = "2.0.0"'))


def test_a_file_that_is_wrong_is_refused_and_no_version_pays_for_it(place):
    write(place.folder, "2.0.0")
    place.registry.activate("2.0.0", "test")
    with pytest.raises(ConfigError, match="rate_hz"):
        place.start(PIPELINE.replace("rate_hz = 100", "rate_hz = -1"))
    assert (place.registry.state().active, place.registry.state().rejected) == ("2.0.0", [])


def test_a_folder_without_any_version_is_refused(place):
    with pytest.raises(ConfigError, match="no such"):
        place.start(PIPELINE.replace('bundle = "thermo"', 'bundle = "no-such"'))


def test_starts_that_do_not_settle_lead_back_and_then_to_none(place):
    write(place.folder, "2.0.0")
    place.registry.activate("2.0.0", "test")
    text = PIPELINE.replace("settle_s = 600", "settle_s = 600\nstarts = 2")
    assert [place.start(text).pipeline.decisions.host.active.model.version for _ in range(2)] == ["2.0.0"] * 2
    plan = place.start(text)
    assert plan.pipeline.decisions.host.active.model.version == "1.0.0"
    assert "did not let 2 starts settle" in heard(plan)[0][2]
    for _ in range(2):
        assert place.start(text).pipeline.decisions.host.active is not None
    plan = place.start(text)
    assert plan.pipeline.decisions.host.is_off
    assert "did not let 2 starts settle" in heard(plan)[0][2]
