"""Models that behave, and models that do not, in versions of one bundle; and the pipeline that uses them."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.inference.writer import BundleWriter

LABELS = ("calm", "hot")
FEATURES = ("temp.celsius.mean.4", "temp.celsius.max.4")
RARE = 100.0  # a mean above this is where the bad ones are bad

PIPELINE = """
name = "guard"
budget_ms = 3000
tick_ms = 10

[streams.temp]
topic = "plant/{device}/temp"
format = "json"
channels = { celsius = "degC" }
rate_hz = 100

[[features]]
stream = "temp"
channels = ["celsius"]
window = 4
stats = ["mean", "max"]

[model]
bundle = "thermo"
version = "active"

[model.rollback]
probation_frames = 50
window_frames = 20
windows = 2
settle_s = 600

[model.shadow]
nice = 0

[[rules]]
name = "hot"
score = "hot"
enter = 0.8
exit = 0.5
emit = "alert"
topic = "plant/{device}/alerts"

[[rules]]
name = "cool"
score = "hot"
enter = 0.8
exit = 0.5
emit = "command"
actuator = "fan"
value = 0.8

[actuators.fan]
topic = "plant/{device}/cmd/fan"
unit = "1"
min = 0.0
max = 1.0
ttl_ms = 4000
safe_value = 0.3
stale_ms = 5000
rearm_ms = 0

[publish.predictions]
topic = "plant/{device}/pred"

[publish.status]
every_s = 0.1
"""


def _tensor(name, values):
    return numpy_helper.from_array(np.asarray(values), name)


def _info(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, list(shape))


def model(gain: float = 0.1, rare: str = "", bias: float = -6.0, turns: int = 6000) -> bytes:
    """``hot`` is a sigmoid of the mean; where the mean is above RARE, something rare happens.

    Args:
        gain, bias: of the sigmoid.
        rare: ``slow``: more than half a second of work; ``nan``; ``fail``: a run that does not succeed; ``constant`` everywhere.
        turns: how slow; each takes some 0.1 to 0.2 ms.
    """
    weights = np.array([[-gain, gain], [0, 0]], np.float32)
    nodes = [helper.make_node("Gemm", ["features", "w", "b"], ["logits"])]
    tensors = [_tensor("w", weights), _tensor("b", np.array([-bias, bias], np.float32))]
    last = "logits"
    if rare == "constant":
        tensors.append(_tensor("zero", np.float32(0)))
        nodes.append(helper.make_node("Mul", ["logits", "zero"], ["flat"]))
        last = "flat"
    if rare in ("slow", "nan", "fail"):
        tensors += [_tensor("from", [0]), _tensor("to", [1]), _tensor("axis", [1]), _tensor("limit", np.float32(RARE)), _tensor("one", [1])]
        nodes += [
            helper.make_node("Slice", ["features", "from", "to", "axis"], ["mean2"]),
            helper.make_node("Greater", ["mean2", "limit"], ["is_rare2"]),
            helper.make_node("Cast", ["is_rare2"], ["rare_int"], to=TensorProto.INT64),
            helper.make_node("Cast", ["is_rare2"], ["rare_float"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["rare_int", "one"], ["rare_one"]),
        ]
    if rare == "nan":  # log of 0 or of -1
        tensors.append(_tensor("half", np.float32(0.5)))
        nodes += [
            helper.make_node("Sub", ["half", "rare_float"], ["sign"]),
            helper.make_node("Sqrt", ["sign"], ["root"]),
            helper.make_node("Sub", ["root", "root"], ["nothing"]),
            helper.make_node("Add", ["logits", "nothing"], ["out"]),
        ]
        last = "out"
    if rare == "fail":  # an index beyond the table
        tensors.append(_tensor("table", np.zeros((1, 2), np.float32)))
        nodes += [helper.make_node("Gather", ["table", "rare_one"], ["nothing"]), helper.make_node("Add", ["logits", "nothing"], ["out"])]
        last = "out"
    if rare == "slow":
        body = helper.make_graph(
            [
                helper.make_node("Identity", ["c"], ["c_out"]),
                helper.make_node("MatMul", ["v", "big"], ["grown"]),
                helper.make_node("Tanh", ["grown"], ["v_out"]),
            ],
            "body",
            [_info("i", [], TensorProto.INT64), _info("c", [], TensorProto.BOOL), _info("v", [64, 256])],
            [_info("c_out", [], TensorProto.BOOL), _info("v_out", [64, 256])],
        )
        rng = np.random.default_rng(1)
        tensors += [
            _tensor("big", (rng.normal(size=(256, 256)) / 16).astype(np.float32)),
            _tensor("first", np.zeros((64, 256), np.float32)),
            _tensor("turns", np.array(turns, np.int64)),
            _tensor("true", np.bool_(1)),
            _tensor("scalar", np.array([], np.int64)),
            _tensor("axes", np.array([0, 1], np.int64)),
        ]
        nodes += [
            helper.make_node("Reshape", ["rare_int", "scalar"], ["rare_scalar"]),
            helper.make_node("Mul", ["rare_scalar", "turns"], ["trips"]),
            helper.make_node("Loop", ["trips", "true", "first"], ["worked"], body=body),
            helper.make_node("ReduceSum", ["worked", "axes"], ["sum"], keepdims=1),
            helper.make_node("Add", ["logits", "sum"], ["out"]),
        ]
        last = "out"
    nodes.append(helper.make_node("Softmax", [last], ["scores"]))
    graph = helper.make_graph(nodes, "g", [_info("features", [1, 2])], [_info("scores", [1, 2])], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    onnx.checker.check_model(made)
    return made.SerializeToString()


def expected(rows, gain=0.1, bias=-6.0, is_constant=False):
    logits = np.stack([-gain * rows[:, 0] - bias, gain * rows[:, 0] + bias], axis=1) * (0 if is_constant else 1)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


RECIPE = [{"stream": "temp", "channels": ["celsius"], "window": 4, "stats": ["mean", "max"]}]
OTHER = [{"stream": "temp", "channels": ["celsius"], "window": 8, "stats": ["mean", "min"]}]


def write_other_features(folder: Path, version: str) -> None:
    """A version that takes other windows."""
    write(folder, version, recipe=OTHER, features=("temp.celsius.mean.8", "temp.celsius.min.8"))


def write(
    folder: Path, version: str, rare: str = "", gain: float = 0.1, budget_ms: float = 300.0, recipe=(), features=FEATURES, training=None
) -> None:
    """One version in a folder of its own, ``folder/thermo/version``, to be installed or to be there at once; training for references."""
    made = BundleWriter(folder / "thermo", version, description="calm or hot", source="none", licence="CC0-1.0", budget_ms=budget_ms)
    made.set_input("features", "temperatures")
    made.add_output("scores", LABELS, "probability of each state")
    rows = np.random.default_rng(7).uniform(20, 80, (8, 2)).astype(np.float32)
    made.set_features(features, ("degC", "degC"), training)
    if recipe:
        made.set_recipe(list(recipe))
    made.add_variant("full", model(gain, rare), expected(rows.astype(np.float64), gain, is_constant=rare == "constant"))
    made.write(rows, rtol=1e-3, atol=1e-4)
