"""A training script can only write bundles that will be read."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from inference_models import FEATURES, LABELS, NAMES, UNITS, golden_inputs, linear, linear_expected, write_bundle, writer

from edge.errors import BundleError
from edge.inference.admission import admit
from edge.inference.bundle import load_bundle
from edge.inference.writer import BundleWriter


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write_bundle(tmp_path / run / "watch") for run in "ab")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_a_model_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "exported.onnx"
    path.write_bytes(linear().SerializeToString())
    made = writer(tmp_path / "watch")
    made.add_variant("full", path, linear_expected(golden_inputs()).astype(np.float64))
    made.write(golden_inputs().astype(np.float64))
    admit(load_bundle(tmp_path / "watch"))


def test_the_reference_is_that_of_the_training_vectors(tmp_path: Path) -> None:
    training = np.random.default_rng(0).gamma(2.0, size=(5000, FEATURES)).astype(np.float32) * np.array([1e-6, 1, 1e9, 1, 1, 0], np.float32)
    made = writer(tmp_path / "watch")
    made.set_features(NAMES, UNITS, training)
    made.add_variant("full", linear().SerializeToString(), linear_expected(golden_inputs()))
    made.write(golden_inputs())
    for i, feature in enumerate(load_bundle(tmp_path / "watch").manifest.features):
        column = training[:, i].astype(np.float64)
        assert feature.reference is not None
        assert feature.reference.mean == pytest.approx(column.mean(), rel=1e-6)
        assert feature.reference.std == pytest.approx(column.std(), rel=1e-6)
        np.testing.assert_allclose(feature.reference.deciles, np.percentile(column, range(0, 101, 10)), rtol=1e-6)


def test_a_bundle_may_do_without_a_reference(tmp_path: Path) -> None:
    made = writer(tmp_path / "watch")
    made.set_features(NAMES, UNITS)
    made.add_variant("full", linear().SerializeToString(), linear_expected(golden_inputs()))
    text = (made.write(golden_inputs()) / "manifest.toml").read_text()
    assert "reference" not in tomllib.loads(text)["features"][0]


def complete(folder: Path) -> BundleWriter:
    made = writer(folder)
    made.add_variant("full", linear().SerializeToString(), linear_expected(golden_inputs()))
    return made


def no_input(made: BundleWriter) -> None:
    made._inputs.clear()


def no_features(made: BundleWriter) -> None:
    made.set_features([], [])


def nan_in_training(made: BundleWriter) -> None:
    made.set_features(NAMES, UNITS, np.full((10, FEATURES), np.nan))


def same_label(made: BundleWriter) -> None:
    made.add_output("more", LABELS, "again")


def bad_variant(made: BundleWriter) -> None:
    made.add_variant("../full", b"", np.zeros((8, 2)))


def too_few_expected(made: BundleWriter) -> None:
    made.add_variant("small", linear().SerializeToString(), np.zeros((7, 2)))


def no_model(made: BundleWriter) -> None:
    made.add_variant("small", b"\xff", np.zeros((8, 2)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_input, "inputs: there are 0"),
        (no_features, r"length >= 1.*\$\.features"),
        (nan_in_training, "reference"),
        (same_label, "labels: calm, shaken is there more than once"),
        (bad_variant, r"matching regex.*\$\.variants\[1\]\.name"),
        (too_few_expected, r"'outputs\.small' is float32 \(7, 2\)"),
        (no_model, r"small\.onnx: not a well-formed ONNX model"),
    ],
)
def test_what_would_not_be_read_is_not_written(tmp_path: Path, spoil: object, message: str) -> None:
    assert callable(spoil)
    made = complete(tmp_path / "watch")
    spoil(made)
    with pytest.raises(BundleError, match=message):
        made.write(golden_inputs())
    assert not (tmp_path / "watch").exists()


@pytest.mark.parametrize("version", ["../1", "", "a/b", ".hidden"])
def test_a_version_that_is_no_folder_name_is_refused(tmp_path: Path, version: str) -> None:
    made = BundleWriter(tmp_path / "watch", version, description="d", source="s", licence="l", budget_ms=1)
    made.set_input("features", "m")
    made.add_output("scores", LABELS, "m")
    made.set_features(NAMES, UNITS)
    made.add_variant("full", linear().SerializeToString(), linear_expected(golden_inputs()))
    with pytest.raises(BundleError, match="matching regex"):
        made.write(golden_inputs())
    assert not (tmp_path / "watch").exists()
