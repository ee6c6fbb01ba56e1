"""Models of every toolkit, packed and run in a pipeline: the scores are those that the toolkit itself gives."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

import edge
from edge.cli.main import main
from edge.inference.bundle import load_bundle

MODELS = Path(__file__).parents[1] / "golden" / "onnx"
TABLES = sorted(path.stem for path in MODELS.glob("*.onnx") if path.stem not in ("torch_cnn", "torch_gru", "keras_cnn"))
LETTERS = "abcdef"
ROOMY = ("--budget-ms", "1000")  # what was measured holds on a device, not on a machine that runs tests


def fixture(name):
    with np.load(MODELS / f"{name}.npz") as file:
        return file["samples"], file["expected"]


def pipeline_file(tmp_path, channels, window, hop, stats):
    path = tmp_path / "pipeline.toml"
    path.write_text(
        f"""
name = "packed"
budget_ms = 1000

[streams.s]
topic = "t/{{device}}/s"
rate_hz = 100
channels = {{ {", ".join(f'{letter} = "1"' for letter in LETTERS[:channels])} }}

[[features]]
stream = "s"
channels = {list(LETTERS[:channels])}
window = {window}
hop = {hop}
stats = {stats}

[model]
bundle = "models/packed"

[[rules]]
name = "never"
score = "s.a.{stats[0].replace("-0)", ")")}.{window}"
enter = 1e30
exit = 1e29
emit = "alert"
topic = "t/{{device}}/alerts"
"""
    )
    return path


def pack(tmp_path, name, file, *options):
    """Runs the command as a user would."""
    model = MODELS / f"{name}.onnx"
    arguments = ["--samples", str(model.with_suffix(".npz")), "--pipeline", str(file), "--out", str(tmp_path / "models" / "packed")]
    return main(["models", "pack", str(model), *arguments, *ROOMY, *options])


def scores_of(file, rows):
    pipeline = edge.load(file)
    stamps = (1 + np.arange(len(rows), dtype=np.int64)) * 10_000_000
    predictions = pipeline.push("s", rows, stamps=stamps).predictions
    assert {prediction.model for prediction in predictions} == {"packed"}
    return np.array([list(prediction.scores.values()) for prediction in predictions]), predictions


@pytest.mark.parametrize("name", TABLES)
def test_a_model_of_vectors_says_in_a_pipeline_what_its_toolkit_says(tmp_path, capsys, name):
    samples, expected = fixture(name)
    file = pipeline_file(tmp_path, 4, 1, 1, ["last"])
    assert pack(tmp_path, name, file) == 0, capsys.readouterr().out
    got, predictions = scores_of(file, samples)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    manifest = load_bundle(tmp_path / "models" / "packed").manifest
    assert list(predictions[0].scores) == list(manifest.labels)
    assert [feature.name for feature in manifest.features] == [f"s.{letter}.last.1" for letter in "abcd"]
    assert all(feature.reference is not None for feature in manifest.features)
    assert len(manifest.score_references) == len(manifest.labels)
    assert manifest.recipe == tomllib.loads(file.read_text())["features"]
    assert main(["models", "check", str(tmp_path / "models" / "packed")]) == 0


def test_labels_are_the_classes_unless_they_are_given(tmp_path, capsys):
    file = pipeline_file(tmp_path, 4, 1, 1, ["last"])
    assert pack(tmp_path, "sklearn_boosting", file) == 0
    assert load_bundle(tmp_path / "models" / "packed").manifest.labels == ("rest", "stop", "turn")
    assert pack(tmp_path, "sklearn_forest", file, "--version", "1.1.0") == 0
    assert load_bundle(tmp_path / "models" / "packed").manifest.labels == ("0", "1", "2")
    assert pack(tmp_path, "sklearn_forest", file, "--version", "1.2.0", "--labels", "rest,turn,stop") == 0
    assert load_bundle(tmp_path / "models" / "packed").manifest.labels == ("rest", "turn", "stop")
    assert pack(tmp_path, "torch_external", file, "--version", "1.3.0") == 0
    assert load_bundle(tmp_path / "models" / "packed").manifest.labels == ("class_0", "class_1", "class_2")


@pytest.mark.parametrize(("name", "options"), [("torch_cnn", ()), ("keras_cnn", ("--channels-last",))])
def test_a_cnn_is_fed_raw_windows_from_a_stream(tmp_path, capsys, name, options):
    """PyTorch takes (channels, time), as the vector comes; Keras (time, channels), which is turned in the graph."""
    samples, expected = fixture(name)
    windows = samples if name.startswith("torch") else samples.transpose(0, 2, 1)
    file = pipeline_file(tmp_path, 3, 32, 32, ["lag(31-0)"])
    assert pack(tmp_path, name, file, *options) == 0, capsys.readouterr().out
    got, _ = scores_of(file, np.concatenate(windows.transpose(0, 2, 1)))
    assert len(got) == len(expected)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_a_gru_carries_its_state_from_sample_to_sample(tmp_path, capsys):
    samples, expected = fixture("torch_gru")
    file = pipeline_file(tmp_path, 3, 1, 1, ["last"])
    assert pack(tmp_path, "torch_gru", file) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert "'h' takes what 'hn' gave the call before" in said
    got, _ = scores_of(file, samples)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_a_smaller_model_of_another_toolkit_becomes_a_variant(tmp_path, capsys):
    samples, expected = fixture("sklearn_forest")
    file = pipeline_file(tmp_path, 4, 1, 1, ["last"])
    smaller = MODELS / "sklearn_scaled_mlp.onnx"
    other = MODELS / "xgboost_classifier.onnx"
    assert pack(tmp_path, "sklearn_forest", file, "--smaller", str(smaller), "--smaller", str(other)) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert "named as in the first model: output_probability" not in said
    assert "named as in the first model: input is X, probabilities is output_probability" in said
    manifest = load_bundle(tmp_path / "models" / "packed").manifest
    assert [variant.name for variant in manifest.variants] == ["full", "smaller-1", "smaller-2"]
    got, _ = scores_of(file, samples)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_the_weights_beside_a_file_are_put_inside(tmp_path, capsys):
    file = pipeline_file(tmp_path, 4, 1, 1, ["last"])
    assert (MODELS / "torch_external.onnx.data").stat().st_size > 0
    assert pack(tmp_path, "torch_external", file) == 0
    bundle = load_bundle(tmp_path / "models" / "packed")
    assert all(b".data" not in data for name, data in bundle.files.items() if name.endswith(".onnx"))
    assert all(b"site-packages" not in data for data in bundle.files.values())


def test_the_table_that_edge_features_wrote_is_sample_data(tmp_path, capsys):
    samples, expected = fixture("sklearn_forest")
    file = pipeline_file(tmp_path, 4, 1, 1, ["last"])
    lines = [f"{(1 + i) * 10_000_000},{','.join(map(repr, row.tolist()))}" for i, row in enumerate(samples)]
    (tmp_path / "rows.csv").write_text("\n".join(["t,a,b,c,d", *lines]))
    assert main(["features", str(file), str(tmp_path / "rows.csv"), "--out", str(tmp_path / "vectors.parquet"), "--jobs", "1"]) == 0
    arguments = ["--samples", str(tmp_path / "vectors.parquet"), "--pipeline", str(file), "--out", str(tmp_path / "models" / "packed")]
    assert main(["models", "pack", str(MODELS / "sklearn_forest.onnx"), *arguments, *ROOMY]) == 0, capsys.readouterr().out
    reference = load_bundle(tmp_path / "models" / "packed").manifest.features[2].reference
    assert reference.mean == pytest.approx(samples[:, 2].mean(), rel=1e-5)
    np.testing.assert_allclose(scores_of(file, samples)[0], expected, rtol=1e-4, atol=1e-5)


def test_a_pipeline_with_statistics_of_its_own_gives_no_recipe(tmp_path, capsys):
    file = pipeline_file(tmp_path, 4, 1, 1, ["last"])
    file.write_text(
        file.read_text().replace("stats = ['last']", "stats = ['twice']\nmodule = 'mine.py'").replace("s.a.last.1", "s.a.twice.1")
    )
    (tmp_path / "mine.py").write_text('import edge\n\n@edge.feature(unit="{}")\ndef twice(x, t):\n    return 2 * x[-1]\n')
    assert pack(tmp_path, "sklearn_forest", file) == 0, capsys.readouterr().out
    assert "recipe       not in the bundle" in capsys.readouterr().out
    assert load_bundle(tmp_path / "models" / "packed").manifest.recipe == []


@pytest.mark.parametrize(
    ("change", "says"),
    [("'last'", "'lasst'"), ("[[features]]", "[[featurs]]"), ("budget_ms = 1000", 'budget_ms = "soon"')],
)
def test_a_pipeline_file_that_is_wrong(tmp_path, capsys, change, says):
    file = pipeline_file(tmp_path, 4, 1, 1, ["last"])
    file.write_text(file.read_text().replace(change, says))
    assert pack(tmp_path, "sklearn_forest", file) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(line.startswith("FAILED") for line in lines)


def test_a_pipeline_file_that_is_not_there(tmp_path, capsys):
    assert pack(tmp_path, "sklearn_forest", tmp_path / "none.toml") == 1
    assert capsys.readouterr().out.startswith("FAILED")


def test_the_vector_must_be_named_once(tmp_path, capsys):
    arguments = ["models", "pack", "m.onnx", "--samples", "s.npz", "--out", str(tmp_path / "m")]
    assert main(arguments) == 2
    assert "give exactly one of --pipeline and --features" in capsys.readouterr().err
