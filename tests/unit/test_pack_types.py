"""Numbers of every type, scores in several outputs and of odd shapes: packed, admitted, and the same as the file says."""

import numpy as np
import pytest
from inference_models import info, model_of, tensor
from onnx import TensorProto, helper

from edge.cli.main import main
from edge.inference.admission import admit
from edge.inference.bundle import load_bundle

ROWS = np.random.default_rng(2).integers(0, 9, (30, 4)).astype(np.float32)


def pack(tmp_path, model, *options, samples=ROWS):
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    np.savez(tmp_path / "samples.npz", samples=samples)
    (tmp_path / "features.txt").write_text("x[0-3]")
    arguments = ["--samples", str(tmp_path / "samples.npz"), "--features", str(tmp_path / "features.txt"), "--out", str(tmp_path / "m")]
    return main(["models", "pack", str(tmp_path / "model.onnx"), *arguments, "--budget-ms", "1000", *options])


def scores(tmp_path):
    model = admit(load_bundle(tmp_path / "m"))
    return np.array([model.variants[0].run(row, 0) for row in ROWS])


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "int32", "int8", "uint8", "uint16"])
def test_inputs_and_outputs_of_every_type(tmp_path, capsys, dtype):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT), helper.make_node("Mul", ["f", "two"], ["d"]),
        helper.make_node("Cast", ["d"], ["scores"], to=kind),
    ]  # fmt: skip
    model = model_of(nodes, [tensor("two", np.float32([2]))], [info("x", ["N", 4], kind)], [info("scores", ["N", 4], kind)])
    assert pack(tmp_path, model) == 0, capsys.readouterr().out
    manifest = load_bundle(tmp_path / "m").manifest
    assert (manifest.inputs[0].dtype, manifest.outputs[0].dtype) == (dtype, dtype)
    assert scores(tmp_path).tolist() == (2 * ROWS).tolist()


def test_samples_out_of_the_range_of_the_input(tmp_path, capsys):
    model = model_of(
        [helper.make_node("Cast", ["x"], ["scores"], to=TensorProto.FLOAT)],
        [],
        [info("x", ["N", 4], TensorProto.UINT8)],
        [info("scores", ["N", 4])],
    )
    assert pack(tmp_path, model, samples=ROWS - 1) == 1
    assert "samples from -1 to 7 do not fit into the input's uint8" in capsys.readouterr().out


def test_an_output_without_dimensions(tmp_path, capsys):
    model = model_of([helper.make_node("ReduceSum", ["x"], ["scores"], keepdims=0)], [], [info("x", ["N", 4])], [info("scores", [])])
    assert pack(tmp_path, model) == 0, capsys.readouterr().out
    assert scores(tmp_path)[:, 0].tolist() == ROWS.sum(axis=1).tolist()


def test_an_input_without_a_batch(tmp_path, capsys):
    model = model_of([helper.make_node("Mul", ["x", "x"], ["scores"])], [], [info("x", ["n"])], [info("scores", ["n"])])
    assert pack(tmp_path, model) == 0, capsys.readouterr().out
    assert scores(tmp_path).tolist() == (ROWS**2).tolist()


def two_outputs():
    nodes = [
        helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=1),
        helper.make_node("ReduceMax", ["x"], ["most"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["x", "x"], ["squares"]),
    ]  # fmt: skip
    gives = [info("sum", ["N", 1]), info("most", ["N"]), info("squares", ["N", 4])]
    return model_of(nodes, [tensor("axis", np.int64([1]))], [info("x", ["N", 4])], gives)


def test_scores_of_several_outputs_are_named_in_their_order(tmp_path, capsys):
    assert pack(tmp_path, two_outputs(), "--labels", "sum,most,q[0-3]") == 0, capsys.readouterr().out
    assert load_bundle(tmp_path / "m").manifest.labels == ("sum", "most", "q[0]", "q[1]", "q[2]", "q[3]")
    np.testing.assert_allclose(scores(tmp_path), np.column_stack([ROWS.sum(1), ROWS.max(1), ROWS**2]))


def test_outputs_that_are_wanted_are_kept_alone(tmp_path, capsys):
    assert pack(tmp_path, two_outputs(), "--output", "most") == 0, capsys.readouterr().out
    assert "outputs not needed for scores taken away: sum, squares (2 nodes less)" in capsys.readouterr().out
    manifest = load_bundle(tmp_path / "m").manifest
    assert ([output.name for output in manifest.outputs], manifest.labels) == (["most"], ("score",))
    assert scores(tmp_path)[:, 0].tolist() == ROWS.max(axis=1).tolist()


def test_what_exporters_remark_goes_and_what_never_changes_is_said(tmp_path, capsys):
    model = two_outputs()
    model.graph.node[0].doc_string = "/home/someone/secret.py:12"
    samples = ROWS.copy()
    samples[:, 2] = 3
    assert pack(tmp_path, model, samples=samples) == 0
    said = capsys.readouterr().out
    assert "1 remarks of the exporter taken away" in said
    assert "never change: x[2]; is that so?" in said
    assert b"secret" not in load_bundle(tmp_path / "m").files["full.onnx"]
