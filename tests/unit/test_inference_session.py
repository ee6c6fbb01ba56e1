"""One graph, bound once: right numbers, faults by name, nothing printed."""

import gc
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inference_models import FEATURES, LABELS, endless, golden_inputs, info, linear, linear_expected, model_of, tensor
from onnx import TensorProto, helper

from edge.errors import BundleError, InferenceFault
from edge.inference.manifest import DType, Input, Output
from edge.inference.session import Session, Tensors

TAKES = Input(name="features", dtype="float32", shape=[1, FEATURES], meaning="m")
TAKES_TWO = Input(name="features", dtype="float32", shape=[1, 2], meaning="m")
GIVES = Output(name="scores", dtype="float32", shape=[1, 2], labels=list(LABELS), meaning="m")


def session(model: onnx.ModelProto, takes: Input = TAKES, *gives: Output) -> Session:
    return Session(model.SerializeToString(), "m.onnx", Tensors(takes, gives or (GIVES,)))


def output(name: str, shape: list[int], labels: list[str], dtype: DType = "float32") -> Output:
    return Output(name=name, dtype=dtype, shape=shape, labels=labels, meaning="m")


def test_scores_are_those_of_the_reference() -> None:
    bound, inputs = session(linear()), golden_inputs(50)
    got = np.array([bound.run(vector) for vector in inputs])
    np.testing.assert_allclose(got, linear_expected(inputs), rtol=1e-5, atol=1e-6)


def test_the_bound_arrays_outlive_whatever_the_caller_drops() -> None:
    bounds = [session(linear()) for _ in range(20)]
    gc.collect()
    trash = [np.full(FEATURES, np.nan, np.float32) for _ in range(1000)]
    inputs = golden_inputs(3)
    want = linear_expected(inputs)
    for bound in bounds:
        np.testing.assert_allclose([bound.run(vector) for vector in inputs], want, rtol=1e-5)
    assert len(trash) == 1000


@settings(max_examples=50)
@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=FEATURES, max_size=FEATURES))
def test_a_run_depends_on_its_vector_alone(values: list[float]) -> None:
    vector = np.array(values, np.float32)
    first = SHARED.run(vector)
    SHARED.run(golden_inputs(1)[0])
    assert SHARED.run(vector) == first
    assert all(isinstance(score, float) for score in first)


SHARED = session(linear())


@pytest.mark.parametrize("batch", ["N", "batch_size", None])
@pytest.mark.parametrize("out_batch", ["same", "M", None])
def test_an_open_batch_size_is_closed(batch: str | None, out_batch: str | None) -> None:
    vector = golden_inputs(1)
    np.testing.assert_allclose(session(linear(batch, out_batch)).run(vector[0]), linear_expected(vector)[0], rtol=1e-5)


def test_several_outputs_are_read_in_order_and_those_without_labels_are_not() -> None:
    nodes = [
        helper.make_node("ReduceMax", ["features"], ["highest"], axes=[1], keepdims=1),
        helper.make_node("Slice", ["features", "from", "to", "axis"], ["middle"]),
        helper.make_node("ArgMax", ["features"], ["where"], axis=1, keepdims=0),
    ]
    model = model_of(
        nodes,
        [tensor("from", [1]), tensor("to", [4]), tensor("axis", [1])],
        gives=[info("highest", [1, 1]), info("middle", [1, 3]), info("where", [1], TensorProto.INT64)],
    )
    gives = [output("where", [1], [], "int64"), output("middle", [1, 3], ["a", "b", "c"]), output("highest", [1, 1], ["top"])]
    bound = session(model, TAKES, *gives)
    assert bound.run(np.array([0, 1, 2, 3, 4, 9], np.float32)) == [1.0, 2.0, 3.0, 9.0]


def test_a_vector_may_be_shaped_by_the_graph() -> None:
    model = model_of([helper.make_node("Transpose", ["features"], ["scores"], perm=[0, 2, 1])], [], [info("features", [1, 2, 3])],
                     [info("scores", [1, 3, 2])])  # fmt: skip
    takes = Input(name="features", dtype="float32", shape=[1, 2, 3], meaning="m")
    bound = session(model, takes, output("scores", [1, 3, 2], list("abcdef")))
    assert bound.run(np.arange(6, dtype=np.float32)) == [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]


@pytest.mark.parametrize("activation", ["Log", "Sqrt"])
def test_nan_is_a_fault_and_the_next_run_is_good(activation: str) -> None:
    weights = np.eye(FEATURES, 2, dtype=np.float32)
    bound = session(linear(weights=weights, bias=np.zeros(2, np.float32), activation=activation))
    good = np.ones(FEATURES, np.float32)
    want = bound.run(good)
    for _ in range(3):
        with pytest.raises(InferenceFault, match=r"m\.onnx: scores are .*nan"):
            bound.run(-good)
        assert bound.run(good) == want


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_every_kind_of_non_finite_score_is_a_fault(bad: float, place: int) -> None:
    model = model_of([helper.make_node("Add", ["two", "features"], ["scores"])], [tensor("two", np.zeros((1, 2), np.float32))],
                     [info("features", [1, 2])])  # fmt: skip
    bound = session(model, TAKES_TWO)
    vector = np.array([3e38, 3e38], np.float32)
    assert bound.run(vector) == vector.tolist()  # large is not infinite, and neither is the sum
    vector[place] = bad
    with pytest.raises(InferenceFault):
        bound.run(vector)
    with pytest.raises(InferenceFault):
        bound.run(np.array([np.inf, -np.inf], np.float32))


def test_a_graph_that_fails_is_a_fault(capfd: pytest.CaptureFixture[str]) -> None:
    nodes = [
        helper.make_node("Cast", ["features"], ["i"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "i"], ["picked"]),
        helper.make_node("Slice", ["picked", "from", "to", "axis"], ["scores"]),
    ]
    constants = {"table": np.ones(3, np.float32), "from": [0], "to": [2], "axis": [1]}
    bound = session(model_of(nodes, [tensor(name, values) for name, values in constants.items()]))
    assert bound.run(np.zeros(FEATURES, np.float32)) == [1.0, 1.0]
    with pytest.raises(InferenceFault, match="out of data bounds"):
        bound.run(np.full(FEATURES, 99, np.float32))
    assert bound.run(np.zeros(FEATURES, np.float32)) == [1.0, 1.0]
    assert capfd.readouterr() == ("", "")


def test_an_output_that_would_not_fit_its_array_is_a_fault() -> None:
    """The first size is left open and turns out to be 3: the array of 2 values must not be written past its end."""
    model = model_of(
        [
            helper.make_node("Tile", ["features", "times"], ["tiled"]),
            helper.make_node("Slice", ["tiled", "from", "to", "axis"], ["scores"]),
        ],
        [tensor("times", [3, 1]), tensor("from", [0]), tensor("to", [2]), tensor("axis", [1])],
        gives=[info("scores", ["rows", 2])],
    )
    try:
        bound = session(model)
    except BundleError as e:  # onnxruntime inferred it while loading
        assert "shape" in str(e)  # noqa: PT017
        return
    with pytest.raises(InferenceFault, match="invalid dimensions"):
        bound.run(golden_inputs(1)[0])


def test_a_graph_without_end_is_stopped(capfd: pytest.CaptureFixture[str]) -> None:
    bound = session(endless())
    with pytest.raises(InferenceFault, match=r"did not end within 0\.1 s"):
        bound.first_run(golden_inputs(1)[0], 0.1)
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_ends_is_not_stopped_later() -> None:
    bound, vector = session(linear()), golden_inputs(1)
    bound.first_run(vector[0], 5.0)
    np.testing.assert_allclose(bound.run(vector[0]), linear_expected(vector)[0], rtol=1e-5)


@pytest.mark.parametrize("vector", [np.zeros(FEATURES), np.zeros(FEATURES + 1, np.float32), np.zeros((1, FEATURES), np.float32)])
def test_another_dtype_or_size_is_refused(vector: np.ndarray) -> None:
    with pytest.raises((ValueError, TypeError)):
        SHARED.run(vector)


WRONG_TENSORS = [
    (linear(), TAKES, output("scores", [1, 3], ["a", "b", "c"]), r"output 'scores' has shape \[1, 2\]; the manifest says \[1, 3\]"),
    (linear(), TAKES, output("score", [1, 2], ["a", "b"]), "the graph's outputs are scores; the manifest's outputs are score"),
    (linear(), TAKES, output("scores", [2], ["a", "b"]), r"has shape \[1, 2\]; the manifest says \[2\]"),
    (linear(), TAKES, output("scores", [1, 2], [], "int64"), r"output 'scores' is tensor\(float\); the manifest says tensor\(int64\)"),
    (
        linear(), Input(name="x", dtype="float32", shape=[1, 6], meaning="m"), GIVES,
        "the graph's inputs are features; the manifest's inputs are x",
    ),
    (
        linear(), Input(name="features", dtype="float32", shape=[1, 7], meaning="m"), GIVES,
        r"input 'features' has shape \[1, 6\]; the manifest says \[1, 7\]",
    ),
    (linear(4), TAKES, GIVES, r"has shape \[4, 6\]; the manifest says \[1, 6\]"),
    (
        model_of([helper.make_node("Softmax", ["features"], ["scores"])], [], [info("features", [1, "F"])], [info("scores", [1, "F"])]),
        TAKES, GIVES, r"has shape \[1, 'F'\]; the manifest says \[1, 6\] \(all sizes must be fixed",
    ),
    (
        model_of([helper.make_node("Cast", ["features"], ["scores"], to=TensorProto.DOUBLE)], [], [info("features", [1, 2])],
                 [info("scores", [1, 2], TensorProto.DOUBLE)]),
        TAKES_TWO, GIVES, r"is tensor\(double\); the manifest says tensor\(float\)",
    ),
    (
        model_of([helper.make_node("Add", ["features", "more"], ["scores"])], [], [info("features", [1, 2]), info("more", [1, 2])]),
        TAKES_TWO, GIVES, "the graph's inputs are features, more",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("model", "takes", "gives", "message"), WRONG_TENSORS)
def test_tensors_that_differ_from_the_manifest_are_refused(model: onnx.ModelProto, takes: Input, gives: Output, message: str) -> None:
    with pytest.raises(BundleError, match=rf"^m\.onnx: .*{message}"):
        session(model, takes, gives)


def test_damaged_models_raise_one_type_and_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Only reachable when the manifest's hash is that of a damaged model. onnxruntime itself prints, and raises UnicodeDecodeError."""
    rng, healthy, refused = np.random.default_rng(3), linear().SerializeToString(), 0
    for _ in range(400):
        data = bytearray(healthy)
        for _ in range(rng.integers(1, 5)):
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            Session(bytes(data), "m.onnx", Tensors(TAKES, (GIVES,)))
        except BundleError:
            refused += 1
    assert refused > 100
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"\x20\0\0\0ORTM" + b"\0" * 100, b"not a model"])
def test_what_is_no_onnx_model_is_refused(data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BundleError, match=r"^m\.onnx: onnxruntime .* refuses it: .*; export it again"):
        Session(data, "m.onnx", Tensors(TAKES, (GIVES,)))
    assert capfd.readouterr() == ("", "")


def test_settings_hidden_in_the_model_are_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    model = linear()
    entry = model.metadata_props.add()
    entry.key, entry.value = "ort_config", '{"session_options": {"enable_profiling": 1, "intra_op_num_threads": 2}}'
    session(model).run(golden_inputs(1)[0])
    assert list(tmp_path.iterdir()) == []  # a profile would have been written
