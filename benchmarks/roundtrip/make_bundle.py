"""Makes the model of the benchmark: a 32-64-32-2 perceptron with seeded random weights. Its scores mean nothing; its time does."""

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.build import feature_plan
from edge.config.load import load
from edge.inference.writer import BundleWriter

SIZES = (32, 64, 32, 2)
LABELS = ("normal", "unusual")
OPSET = 17
IR_VERSION = 10  # what onnxruntime 1.20 reads
GOLDEN_ROWS = 16

_Weights = list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]


def make(folder: Path) -> Path:
    """Write the bundle.

    Args:
        folder: of the bundle; must not hold version 1.0.0 yet.

    Returns:
        The folder of its only version.
    """
    plan = feature_plan(load(Path(__file__).with_name("pipeline.toml"), with_model=False))
    random = np.random.default_rng(2)
    weights = [
        (random.normal(0, 0.6 / rows**0.5, (rows, columns)).astype(np.float32), np.zeros(columns, np.float32))
        for rows, columns in itertools.pairwise(SIZES)
    ]
    writer = BundleWriter(
        folder,
        "1.0.0",
        description="Seeded random weights: something to time.",
        source="none, nothing was trained",
        licence="Apache-2.0",
        budget_ms=1.0,
    )
    writer.set_input("features", "the feature vector")
    writer.add_output("scores", LABELS, "softmax; without meaning")
    writer.set_features(plan.names, plan.units)
    vectors = random.normal(5.0, 4.0, (GOLDEN_ROWS, SIZES[0])).astype(np.float32)
    writer.add_variant("model", _graph(weights), _scores(weights, vectors))
    return writer.write(vectors)


def _graph(weights: _Weights) -> bytes:
    """``features`` float32 (1, 32) to ``scores`` float32 (1, 2)."""
    nodes, constants, last = [], [], "features"
    for i, (weight, bias) in enumerate(weights):
        constants += [numpy_helper.from_array(weight, f"weight{i}"), numpy_helper.from_array(bias, f"bias{i}")]
        nodes.append(helper.make_node("Gemm", [last, f"weight{i}", f"bias{i}"], [f"sum{i}"]))
        last = f"sum{i}"
        if i < len(weights) - 1:
            nodes.append(helper.make_node("Relu", [last], [f"layer{i}"]))
            last = f"layer{i}"
    nodes.append(helper.make_node("Softmax", [last], ["scores"]))
    takes = helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, SIZES[0]])
    gives = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, SIZES[-1]])
    model = helper.make_model(
        helper.make_graph(nodes, "roundtrip", [takes], [gives], constants), opset_imports=[helper.make_opsetid("", OPSET)]
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def _scores(weights: _Weights, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The same without ONNX."""
    values = vectors.astype(np.float64)
    for i, (weight, bias) in enumerate(weights):
        values = values @ weight + bias
        if i < len(weights) - 1:
            values = np.maximum(values, 0)
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    scores: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return scores
