"""ONNX graphs and bundles for the tests of the inference room, built with the onnx package."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.inference.writer import BundleWriter

FEATURES = 6
LABELS = ("calm", "shaken")
NAMES = tuple(f"imu.{channel}.{stat}.2s" for channel in ("ax", "ay", "az") for stat in ("mean", "std"))
UNITS = ("m/s^2",) * FEATURES

Array = npt.NDArray[np.float32]


def tensor(name: str, values: Any) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values), name)


def info(name: str, shape: Sequence[Any], dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, list(shape))


def model_of(
    nodes: Sequence[onnx.NodeProto],
    initializers: Sequence[TensorProto] = (),
    takes: Sequence[onnx.ValueInfoProto] = (),
    gives: Sequence[onnx.ValueInfoProto] = (),
) -> onnx.ModelProto:
    takes = takes or [info("features", [1, FEATURES])]
    gives = gives or [info("scores", [1, len(LABELS)])]
    graph = helper.make_graph(list(nodes), "test", list(takes), list(gives), list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model


WEIGHTS = np.random.default_rng(5).normal(0, 0.5, (FEATURES, len(LABELS))).astype(np.float32)
BIAS = np.array([0.1, -0.2], np.float32)


def linear(
    batch: Any = 1, out_batch: Any = "same", weights: Array = WEIGHTS, bias: Array = BIAS, activation: str = "Softmax"
) -> onnx.ModelProto:
    return model_of(
        [helper.make_node("Gemm", ["features", "w", "b"], ["h"]), helper.make_node(activation, ["h"], ["scores"])],
        [tensor("w", weights), tensor("b", bias)],
        [info("features", [batch, weights.shape[0]])],
        [info("scores", [batch if out_batch == "same" else out_batch, weights.shape[1]])],
    )


def linear_expected(inputs: Array, weights: Array = WEIGHTS, bias: Array = BIAS) -> Array:
    """What ``linear`` computes, computed by numpy in float64."""
    h = inputs.astype(np.float64) @ weights.astype(np.float64) + bias
    e = np.exp(h - h.max(1, keepdims=True))
    return (e / e.sum(1, keepdims=True)).astype(np.float32)


def slow(size: int = 600, layers: int = 4) -> onnx.ModelProto:
    """Some milliseconds of matrix products; the result is that of ``linear``."""
    rng = np.random.default_rng(6)
    nodes = [helper.make_node("MatMul", ["features", "grow"], ["g0"]), helper.make_node("MatMul", ["tall", "g0"], ["m0"])]
    initializers = [tensor("grow", rng.normal(size=(FEATURES, size)).astype(np.float32)), tensor("tall", np.ones((size, 1), np.float32))]
    for i in range(layers):
        initializers.append(tensor(f"s{i}", (rng.normal(size=(size, size)) / size).astype(np.float32)))
        nodes.append(helper.make_node("MatMul", [f"m{i}", f"s{i}"], [f"m{i + 1}"]))
    initializers += [tensor("zero", np.zeros((1, size), np.float32)), tensor("zeros", np.zeros((size, 2), np.float32))]
    initializers += [tensor("w", WEIGHTS), tensor("b", BIAS)]
    nodes += [
        helper.make_node("MatMul", ["zero", f"m{layers}"], ["row"]),
        helper.make_node("MatMul", ["row", "zeros"], ["nothing"]),
        helper.make_node("Gemm", ["features", "w", "b"], ["h"]),
        helper.make_node("Add", ["h", "nothing"], ["h2"]),
        helper.make_node("Softmax", ["h2"], ["scores"]),
    ]
    return model_of(nodes, initializers)


def endless() -> onnx.ModelProto:
    """A Loop whose condition stays true."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c_out"]), helper.make_node("Add", ["v", "v"], ["v_out"])],
        "body",
        [info("i", [], TensorProto.INT64), info("c", [], TensorProto.BOOL), info("v", [1, 2])],
        [info("c_out", [], TensorProto.BOOL), info("v_out", [1, 2])],
    )
    nodes = [
        helper.make_node("Slice", ["features", "from", "to", "axis"], ["two"]),
        helper.make_node("Loop", ["", "true", "two"], ["scores"], body=body),
    ]
    return model_of(nodes, [tensor("from", [0]), tensor("to", [2]), tensor("axis", [1]), tensor("true", np.bool_(1))])


def golden_inputs(rows: int = 8) -> Array:
    return np.random.default_rng(7).normal(size=(rows, FEATURES)).astype(np.float32)


def writer(folder: Path, version: str = "1.0.0", budget_ms: float = 1000.0) -> BundleWriter:
    """A writer that lacks only the variants."""
    made = BundleWriter(
        folder, version, description="calm or shaken", source="random numbers of a fixed seed", licence="CC0-1.0", budget_ms=budget_ms
    )
    made.set_input("features", "window statistics of a wrist IMU")
    made.add_output("scores", LABELS, "probability of each state")
    made.set_features(NAMES, UNITS, np.random.default_rng(8).normal(size=(400, FEATURES)))
    return made


def write_bundle(
    folder: Path,
    version: str = "1.0.0",
    budget_ms: float = 1000.0,
    models: dict[str, onnx.ModelProto] | None = None,
    expected: Callable[[Array], Array] = linear_expected,
) -> Path:
    """A complete bundle; unless ``models`` says otherwise, with one linear variant ``full``."""
    made = writer(folder, version, budget_ms)
    inputs = golden_inputs()
    for name, model in (models or {"full": linear()}).items():
        made.add_variant(name, model.SerializeToString(), expected(inputs))
    return made.write(inputs)
