"""What was admitted once is not measured again against its own load."""

from pathlib import Path

import pytest
from inference_models import NAMES, UNITS, golden_inputs, linear, write_bundle

from edge import build
from edge.config.load import loads
from edge.errors import BundleError
from edge.inference import admission
from edge.inference.admissions import Admissions
from edge.inference.bundle import load_bundle
from edge.inference.manifest import feature_hash
from tests.unit.config_files import BUNDLES, changed

HASH = feature_hash(list(zip(NAMES, UNITS, strict=True)))
MS = 1_000_000


@pytest.fixture
def timings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """p99 in ns that the next timings find, and then a device that is too busy for anything."""
    found: list[int] = []
    monkeypatch.setattr(
        admission, "time_runs", lambda run, inputs, budget_ns: admission.Timing(found.pop(0) if found else 1 << 60, 1, admission.LEAST_RUNS)
    )
    return found


def test_the_same_model_is_neither_timed_nor_loaded_again(tmp_path: Path, timings: list[int]) -> None:
    timings += [2 * MS, MS]
    write_bundle(tmp_path / "watch", models={"full": linear(), "small": linear()})
    admissions = Admissions()
    first = admissions.admit(load_bundle(tmp_path / "watch"), NAMES, HASH, 10 * MS)
    first.observe(first.variants[0], 9 * MS)
    again = admissions.admit(load_bundle(tmp_path / "watch"), NAMES, HASH, 5 * MS)
    assert [(v.name, v.p99_ns) for v in again.variants] == [("full", 2 * MS), ("small", MS)]
    assert [v.run for v in again.variants] == [v.run for v in first.variants]
    assert again.variants[0] is not first.variants[0], "what was learnt under the old pipeline stays there"
    assert again.variants[0].run(golden_inputs(1)[0]) == first.variants[0].run(golden_inputs(1)[0])
    assert (again.name, again.labels, again.features) == (first.name, first.labels, first.features)
    smaller = admissions.admit(load_bundle(tmp_path / "watch"), NAMES, HASH, MS)
    assert [v.name for v in smaller.variants] == ["small"]


def test_what_is_not_the_same_is_measured(tmp_path: Path, timings: list[int]) -> None:
    timings += [20 * MS, MS]
    write_bundle(tmp_path / "watch", models={"full": linear(), "small": linear()})
    admissions = Admissions()
    bundle = load_bundle(tmp_path / "watch")
    assert [v.name for v in admissions.admit(bundle, NAMES, HASH, 10 * MS).variants] == ["small"]
    timings += [20 * MS, MS]
    assert len(admissions.admit(bundle, NAMES, HASH, 30 * MS).variants) == 2, "a larger budget may let in what was excluded"
    with pytest.raises(BundleError, match="not those the model was trained on"):
        admissions.admit(bundle, NAMES, "other", 10 * MS)
    write_bundle(tmp_path / "other" / "watch", models={"full": linear(), "tiny": linear()})
    with pytest.raises(BundleError, match="fast enough"):
        admissions.admit(load_bundle(tmp_path / "other" / "watch"), NAMES, HASH, 10 * MS)


def test_a_reload_under_load_keeps_the_model_that_runs(tmp_path: Path, timings: list[int]) -> None:
    timings += [MS]
    config = loads(changed(('"watch-linear"', f'"{BUNDLES}/watch-linear"')), tmp_path)
    admissions = Admissions()
    first, second = (build.plan_of(config, admissions).pipeline.decisions.model for _ in range(2))
    assert first is not None
    assert second is not None
    assert second is not first
    assert [v.run for v in second.variants] == [v.run for v in first.variants]
