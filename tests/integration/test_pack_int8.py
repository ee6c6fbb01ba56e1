"""Quantised variants: added when they are as good and faster, otherwise left out with the figures."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.cli.main import main
from edge.inference.admission import admit, read_golden_of
from edge.inference.bundle import load_bundle
from edge.inference.pack.int8 import distance

MODELS = Path(__file__).parents[1] / "golden" / "onnx"
SIZES = (64, 1024, 1024, 4)  # memory decides how long it takes: a quarter of the bytes, about half of the time


@pytest.fixture
def work(tmp_path):
    random = np.random.default_rng(0)
    nodes, weights, at = [], [], "x"
    for i, (rows, columns) in enumerate(pairwise(SIZES)):
        weights.append(numpy_helper.from_array(random.normal(0, rows**-0.5, (rows, columns)).astype(np.float32), f"w{i}"))
        nodes += [helper.make_node("MatMul", [at, f"w{i}"], [f"m{i}"]), helper.make_node("Relu", [f"m{i}"], [f"r{i}"])]
        at = f"r{i}"
    nodes[-1] = helper.make_node("Softmax", [f"m{len(SIZES) - 2}"], ["scores"])
    takes, gives = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", w]) for n, w in (("x", SIZES[0]), ("scores", SIZES[-1])))
    model = helper.make_model(helper.make_graph(nodes, "wide", [takes], [gives], weights), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    np.savez(tmp_path / "samples.npz", samples=random.normal(0, 1, (120, SIZES[0])).astype(np.float32))
    (tmp_path / "features.txt").write_text(f"x[0-{SIZES[0] - 1}]")
    return tmp_path


def pack(work, *options, model="model.onnx"):
    path = Path(model) if Path(model).is_absolute() else work / model
    samples = path.with_suffix(".npz") if path.parent == MODELS else work / "samples.npz"
    arguments = [
        "--samples",
        str(samples),
        "--features",
        str(work / "features.txt"),
        "--out",
        str(work / "wide"),
        "--int8",
        "--budget-ms",
        "1000",
        *options,
    ]
    return main(["models", "pack", str(path), *arguments])


def test_a_wide_network_gets_a_variant_of_its_own_golden_outputs(work, capsys):
    assert pack(work, "--int8-agreement", "0.9") == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    bundle = load_bundle(work / "wide")
    assert [(variant.name, variant.precision) for variant in bundle.manifest.variants] == [("full", "float32"), ("int8", "int8")], said
    assert "int8 agrees with float32 on" in said
    assert 3 * len(bundle.files["int8.onnx"]) < len(bundle.files["full.onnx"])
    golden = read_golden_of(bundle)
    off = np.abs(golden.outputs["int8"] - golden.outputs["full"]).max()
    assert 1e-4 < off < 0.05
    assert [variant.name for variant in admit(bundle).variants] == ["full", "int8"]


def test_a_variant_that_does_not_agree_is_left_out(work, capsys):
    assert pack(work, "--int8-agreement", "1") == 0
    said = capsys.readouterr().out
    assert "left out     int8 agrees with float32 on 9" in said
    assert "at least 100.0% is asked for (--int8-agreement)" in said
    assert [variant.name for variant in load_bundle(work / "wide").manifest.variants] == ["full"]


def test_trees_have_nothing_to_quantise(work, capsys):
    (work / "features.txt").write_text("x[0-3]")
    assert pack(work, model=str(MODELS / "sklearn_forest.onnx")) == 0
    assert "it has no layer of weights (MatMul, Gemm, Conv, ConvTranspose), as trees and SVMs have none" in capsys.readouterr().out


def test_a_model_with_a_state_is_calibrated_on_its_sequence(work, capsys):
    (work / "features.txt").write_text("x[0-2]")
    assert pack(work, model=str(MODELS / "torch_gru.onnx")) == 0
    assert "int8 agrees with float32 on" in capsys.readouterr().out


def test_agreement_is_about_the_decision():
    first = np.array([[0.9, 0.1], [0.2, 0.8], [0.51, 0.49], [0.4, 0.6]])
    second = first + np.array([[0.02, -0.02], [0, 0], [-0.02, 0.02], [0, 0]])
    far = distance(first, second)
    assert (far.agreement, round(far.greatest, 9), round(far.mean, 9)) == (0.75, 0.02, 0.01)
    assert distance(np.array([[0.4], [0.6]]), np.array([[0.45], [0.49]])).agreement == 0.5
    assert distance(np.array([[0.0], [100.0]]), np.array([[4.9], [94.0]])).agreement == 0.5
