"""What running a model costs beyond onnxruntime itself: the same session, bare and through edge.inference, call by call in turns.

usage: python benchmarks/inference/overhead.py [--rounds 15] [--calls 4000]

Bare is ``run_with_iobinding`` alone, on the binding that edge made: no vector is written, no score is read, nothing is checked.
Each figure is the median of a round's calls; the table gives the median of the rounds, with the lowest and the highest. A model that is
larger than the caches is no subject for this: its own time then varies by more than the whole overhead.
"""

import argparse
import statistics
import time
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edge.inference.manifest import Constant, Input, Output, State
from edge.inference.session import Session, Tensors
from edge.inference.states import States

FEATURES, LANES = 32, 8
RNG = np.random.default_rng(3)

_Model = tuple[str, onnx.ModelProto, Tensors]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="each measures bare and edge in turns (default 15)")
    parser.add_argument("--calls", type=int, default=4000, help="of each in a round (default 4000)")
    options = parser.parse_args()
    print(f"onnxruntime {onnxruntime.__version__}, {options.rounds} rounds of {options.calls} calls each, in turns\n")
    print("| model | bare, us, p50 | edge, us, p50 | overhead, us, p50 | overhead, us, mean |\n|---|---:|---:|---:|---:|")
    for name, model, tensors in (mlp(), mlp("int32"), recurrent(1), recurrent(4)):
        states = States(tensors.states, LANES) if tensors.states else None
        session = Session(model.SerializeToString(), name, tensors, states)
        vectors = list(RNG.normal(0, 3, (64, FEATURES)).astype(np.float32))
        _round(session, vectors, options.calls)
        rounds = [_round(session, vectors, options.calls) for _ in range(options.rounds)]
        bare, edge, mean = zip(*rounds, strict=True)
        over = [e - b for b, e in zip(bare, edge, strict=True)]
        print(f"| {name} | {' | '.join(_spread(values) for values in (bare, edge, over, mean))} |", flush=True)


def _round(session: Session, vectors: list[Any], calls: int) -> tuple[float, float, float]:
    """Median us of bare and of edge, and the mean of their difference, which a preempted call moves."""
    execute, binding, run = session._execute, session._binding, session.run
    clock = time.perf_counter_ns
    bare, edge, empty = [], [], []
    for i in range(calls):
        a = clock()
        execute(binding)
        b = clock()
        run(vectors[i & 63], i % LANES)
        c = clock()
        d = clock()
        bare.append(b - a)
        edge.append(c - b)
        empty.append(d - c)
    nothing = statistics.median(empty)
    middle = [(statistics.median(values) - nothing) / 1e3 for values in (bare, edge)]
    return middle[0], middle[1], (statistics.fmean(edge) - statistics.fmean(bare)) / 1e3


def _spread(values: tuple[float, ...] | list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def mlp(dtype: Any = "float32") -> _Model:
    """32-64-32-2, Softmax."""
    nodes, weights, last = [], [], "features"
    if dtype != "float32":
        nodes.append(helper.make_node("Cast", ["features"], ["cast"], to=TensorProto.FLOAT))
        last = "cast"
    for i, (rows, columns) in enumerate(((FEATURES, 64), (64, 32), (32, 2))):
        weights.append(numpy_helper.from_array((RNG.normal(size=(rows, columns)) / rows).astype(np.float32), f"w{i}"))
        weights.append(numpy_helper.from_array(np.zeros(columns, np.float32), f"b{i}"))
        nodes.append(helper.make_node("Gemm", [last, f"w{i}", f"b{i}"], [f"h{i}"]))
        nodes.append(helper.make_node("Softmax" if i == 2 else "Relu", [f"h{i}"], ["scores" if i == 2 else f"r{i}"]))
        last = f"r{i}"
    onnx_type = TensorProto.FLOAT if dtype == "float32" else TensorProto.INT32
    model = _model(nodes, weights, [helper.make_tensor_value_info("features", onnx_type, [1, FEATURES])], [_info("scores", [1, 2])])
    return f"perceptron 32-64-32-2, {dtype}", model, Tensors(_input(dtype), [_output()])


def recurrent(layers: int) -> _Model:
    """GRU layers of 64 with a state each, then two scores; and a constant that scales."""
    nodes = [helper.make_node("Cast", ["rate"], ["rate_f"], to=TensorProto.FLOAT), helper.make_node("Mul", ["features", "rate_f"], ["x"])]
    nodes.append(helper.make_node("Unsqueeze", ["x", "axis"], ["x0"]))
    weights, takes, gives, states, size = [numpy_helper.from_array(np.array([0]), "axis")], [], [], [], FEATURES
    for i in range(layers):
        for name, shape in (("w", (1, 192, size)), ("r", (1, 192, 64))):
            weights.append(numpy_helper.from_array((RNG.normal(size=shape) / size).astype(np.float32), f"{name}{i}"))
        nodes.append(helper.make_node("GRU", [f"x{i}", f"w{i}", f"r{i}", "", "", f"s{i}"], [f"y{i}", f"t{i}"], hidden_size=64))
        nodes.append(helper.make_node("Squeeze", [f"y{i}", "axis1"], [f"x{i + 1}"]))
        takes.append(_info(f"s{i}", [1, 1, 64]))
        gives.append(_info(f"t{i}", [1, 1, 64]))
        states.append(State(input=f"s{i}", output=f"t{i}", dtype="float32", shape=[1, 1, 64], meaning="of a layer"))
        size = 64
    weights.append(numpy_helper.from_array(np.array([1]), "axis1"))
    weights.append(numpy_helper.from_array((RNG.normal(size=(64, 2)) / 8).astype(np.float32), "w"))
    nodes += [helper.make_node("Squeeze", [f"x{layers}", "axis"], ["last"]), helper.make_node("MatMul", ["last", "w"], ["scores"])]
    takes = [_info("features", [1, FEATURES]), helper.make_tensor_value_info("rate", TensorProto.INT64, []), *takes]
    constant = Constant(name="rate", dtype="int64", shape=[], values=[1], meaning="scale")
    model = _model(nodes, weights, takes, [_info("scores", [1, 2]), *gives])
    return f"GRU 32-64 x {layers}, {layers} states, a constant", model, Tensors(_input("float32"), [_output()], states, [constant])


def _model(nodes: Any, weights: Any, takes: Any, gives: Any) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "overhead", takes, gives, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _info(name: str, shape: list[int]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _input(dtype: Any) -> Input:
    return Input(name="features", dtype=dtype, shape=[1, FEATURES], meaning="the vector")


def _output() -> Output:
    return Output(name="scores", dtype="float32", shape=[1, 2], labels=["a", "b"], meaning="scores")


if __name__ == "__main__":
    main()
