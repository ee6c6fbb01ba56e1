"""Public models, packed with the command, prove themselves and give the outputs that onnxruntime gave for the files as they came."""

from pathlib import Path

import numpy as np
import pytest

import edge
from edge.cli.main import main
from edge.inference.admission import admit
from edge.inference.bundle import load_bundle

MODELS = Path(__file__).parents[3] / "shared" / "data" / "models"


def model(name):
    path = MODELS / f"{name}.onnx"
    if not path.is_file():
        pytest.skip(f"needs {name}.onnx in {MODELS}; such models are not part of the repository")
    with np.load(MODELS / f"{name}.golden.npz") as file:
        return path, {key: file[key] for key in file.files}


def pack(tmp_path, name, path, samples, feature, *options):
    np.savez(tmp_path / "samples.npz", samples=samples)
    (tmp_path / "features.txt").write_text(feature)
    arguments = ["--samples", str(tmp_path / "samples.npz"), "--features", str(tmp_path / "features.txt")]
    return main(["models", "pack", str(path), *arguments, "--out", str(tmp_path / name), "--budget-ms", "2000", *options])


def proved(tmp_path, name):
    """Loaded from disk and admitted as the daemon does; what runs it."""
    bundle = load_bundle(tmp_path / name)
    return bundle, admit(bundle).variants[0].run


@pytest.mark.timeout(600)  # those with 150,528 features take 20 s each on an idle machine
@pytest.mark.parametrize(
    ("name", "feature", "options"),
    [
        ("magika_standard_v3_3", "byte[0-2047]", ()),
        ("ch_ppocr_mobile_v2.0_cls_mobile", "pixel[0-27647]", ("--labels", "0,180")),
        ("light_squeezenet", "pixel[0-150527]", ("--labels", "class[0-999]")),
        ("light_shufflenet", "pixel[0-150527]", ("--labels", "class[0-999]")),
        ("logreg_iris", "x[0-1]", ("--labels", "setosa,versicolor,virginica")),
        ("mul_1", "x[0-5]", ()),
        ("sigmoid", "x[0-19]", ()),
    ],
)
def test_a_model_without_states(tmp_path, capsys, name, feature, options):
    path, golden = model(name)
    samples = next(value for key, value in golden.items() if key.startswith("in__"))
    if name == "mul_1":  # its 3 x 2 values are one sample: each has a factor of its own
        samples = samples[np.newaxis]
    wanted = next(value for key, value in golden.items() if key.startswith("out__") and value.dtype.kind == "f")
    assert pack(tmp_path, name, path, samples, feature, *options) == 0, capsys.readouterr().out
    bundle, run = proved(tmp_path, name)
    got = np.array([run(row) for row in samples.reshape(len(samples), -1).astype(np.float32)])
    np.testing.assert_allclose(got, wanted.reshape(len(samples), -1), rtol=1e-4, atol=1e-5)
    assert bundle.manifest.inputs[0].dtype == ("int32" if name.startswith("magika") else "float32")


@pytest.mark.parametrize(("name", "options"), [("silero_vad_16k_op15", ("--constant", "sr=16000")), ("silero_vad_half", ())])
def test_silero_carries_its_state_over_a_sequence(tmp_path, capsys, name, options):
    import onnxruntime

    path, golden = model(name)
    chunk = golden["in__input"].reshape(576)
    sequence = np.stack([np.roll(chunk, 37 * i) * (0.2 + 0.1 * i) for i in range(12)]).astype(np.float32)
    assert pack(tmp_path, name, path, sequence, "sample[0-575]", "--labels", "speech", *options) == 0, capsys.readouterr().out
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    state, wanted = np.zeros((2, 1, 128), np.float32), []
    for row in sequence:
        feeds = {"input": row[np.newaxis], "state": state} | ({"sr": np.array(16000, np.int64)} if options else {})
        score, state = session.run(["output", "stateN"], feeds)
        wanted.append(score[0])
    _, run = proved(tmp_path, name)
    got = [run(row) for row in sequence]
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    again = [run(row, 0) for row in sequence]
    assert not np.allclose(again[0], wanted[0], atol=1e-9), "the state goes on"


def test_silero_is_fed_from_a_stream_of_samples(tmp_path, capsys):
    """One decision for 512 new samples, with the 64 before them: the last 576 of the channel, as the model was made for."""
    import onnxruntime

    path, _ = model("silero_vad_16k_op15")
    audio = (np.sin(np.arange(6 * 512 + 64) * 0.05) * np.random.default_rng(3).normal(0.1, 0.2, 6 * 512 + 64)).astype(np.float32)
    file = tmp_path / "pipeline.toml"
    file.write_text(
        """
name = "listen"
budget_ms = 2000
[streams.mic]
topic = "room/{device}/mic"
rate_hz = 16000
channels = { x = "1" }
[[features]]
stream = "mic"
channels = ["x"]
window = 576
hop = 512
stats = ["lag(575-0)"]
[model]
bundle = "speech"
[[rules]]
name = "someone-speaks"
score = "speech"
enter = 0.5
exit = 0.3
emit = "alert"
topic = "room/{device}/alerts"
"""
    )
    windows = np.stack([audio[512 * i : 512 * i + 576] for i in range(6)])
    np.savez(tmp_path / "samples.npz", samples=windows)
    arguments = ["--pipeline", str(file), "--samples", str(tmp_path / "samples.npz"), "--out", str(tmp_path / "speech")]
    options = ["--labels", "speech", "--constant", "sr=16000", "--budget-ms", "2000"]
    assert main(["models", "pack", str(path), *arguments, *options]) == 0, capsys.readouterr().out
    pipeline = edge.load(file)
    stamps = np.arange(len(audio), dtype=np.int64) * 62_500
    predictions = []
    for first in range(0, len(audio), 160):
        predictions += pipeline.push("mic", audio[first : first + 160, np.newaxis], stamps=stamps[first : first + 160]).predictions
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    state, wanted = np.zeros((2, 1, 128), np.float32), []
    for prediction in predictions:
        vector = prediction.features[np.newaxis]
        score, state = session.run(["output", "stateN"], {"input": vector, "state": state, "sr": np.array(16000, np.int64)})
        wanted.append(float(score[0, 0]))
    assert len(predictions) >= 5
    np.testing.assert_allclose([prediction.scores["speech"] for prediction in predictions], wanted, rtol=1e-4, atol=1e-5)
    newest = int(predictions[0].stamp_ns // 62_500)
    assert predictions[0].features.tolist() == audio[newest - 575 : newest + 1].tolist()
