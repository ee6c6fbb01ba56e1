"""Models that carry states from one vector to the next, take constants or other types, or answer in a cascade."""

import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge.errors import BundleError, InferenceFault
from edge.inference.admission import admit
from edge.inference.bundle import load_bundle
from edge.inference.manifest_check import parse
from edge.inference.session import Tensors
from edge.inference.states import States
from edge.inference.variants import BoundVariant, Inference
from tests.unit.inference_models import Array, golden_inputs, info, model_of, tensor, write_bundle, writer

MS = 1_000_000


def leaky(batch: int | str = 1) -> onnx.ModelProto:
    """h' = 0.5 h + x0 * rate; scores are h' and x1: a state, and a constant."""
    nodes = [
        helper.make_node("Slice", ["features", "0", "1", "1"], ["x0"]),
        helper.make_node("Slice", ["features", "1", "2", "1"], ["x1"]),
        helper.make_node("Cast", ["rate"], ["rate_f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x0", "rate_f"], ["scaled"]),
        helper.make_node("Mul", ["h", "half"], ["kept"]),
        helper.make_node("Add", ["kept", "scaled"], ["hn"]),
        helper.make_node("Concat", ["hn", "x1"], ["scores"], axis=1),
    ]
    constants = [tensor("0", [0]), tensor("1", [1]), tensor("2", [2]), tensor("half", np.float32(0.5))]
    takes = [info("features", [batch, 6]), info("h", [batch, 1]), info("rate", [], TensorProto.INT64)]
    return model_of(nodes, constants, takes, [info("scores", [batch, 2]), info("hn", [batch, 1])])


def leaky_expected(inputs: Array, rate: float = 3.0) -> Array:
    h, found = 0.0, []
    for row in inputs.astype(np.float64):
        h = 0.5 * h + rate * row[0]
        found.append([h, row[1]])
    return np.array(found, np.float32)


def write_leaky(folder: Path, batch: int | str = 1) -> Path:
    made = writer(folder)
    made.add_state("h", "hn", [1, 1], "what it remembers")
    made.add_constant("rate", np.array(3, np.int64), "of sampling")
    inputs = golden_inputs()
    made.add_variant("full", leaky(batch).SerializeToString(), leaky_expected(inputs))
    return made.write(inputs)


@pytest.mark.parametrize("batch", [1, "N"])
def test_each_lane_carries_its_own_state(tmp_path: Path, batch: int | str) -> None:
    write_leaky(tmp_path / "watch", batch)
    model = admit(load_bundle(tmp_path / "watch"), lanes=3)
    run = model.variants[0].run
    streams = [golden_inputs(5) * scale for scale in (1, 2, 3)]
    got = [[run(stream[i], lane) for lane, stream in enumerate(streams)] for i in range(5)]
    for lane, stream in enumerate(streams):
        np.testing.assert_allclose([row[lane] for row in got], leaky_expected(stream), rtol=1e-5, atol=1e-6)
    assert model.states is not None
    model.states.reset(1)
    np.testing.assert_allclose(run(streams[1][0], 1), leaky_expected(streams[1])[0], rtol=1e-5)


def test_a_state_that_is_not_finite_is_not_kept(tmp_path: Path) -> None:
    write_leaky(tmp_path / "watch")
    run = admit(load_bundle(tmp_path / "watch")).variants[0].run
    rows = golden_inputs(3)
    run(rows[0], 0)
    bad = rows[1].copy()
    bad[0] = 3e38  # times 3 is infinite
    with pytest.raises(InferenceFault) as raised:
        run(bad, 0)
    assert raised.value.kind == "not_finite"
    np.testing.assert_allclose(run(rows[1], 0), leaky_expected(rows[:2])[1], rtol=1e-5)


def test_variants_share_the_state() -> None:
    states = States(parse_states(), 1)
    states.take(0)
    states.given[0][...] = 7
    assert states.keep(0)
    states.take(0)
    assert states.taken[0].tolist() == [[7.0]]
    states.given[0][...] = np.nan
    assert not states.keep(0)
    states.take(0)
    assert states.taken[0].tolist() == [[7.0]]
    assert states.nbytes == 64  # every state begins on such a place


def parse_states():
    from edge.inference.manifest import State

    return [State(input="h", output="hn", dtype="float32", shape=[1, 1], meaning="m")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["states"][0].__setitem__("shape", [2, 1]), "has shape"),
        (lambda t: t["states"][0].__setitem__("dtype", "float64"), r"is tensor\(float\); the manifest says tensor\(double\)"),
        (lambda t: t["states"][0].__setitem__("output", "scores"), "scores is there more than once"),
        (lambda t: t["states"][0].__setitem__("input", "rate"), "rate is there more than once"),
        (lambda t: t.pop("states"), "the graph's inputs are features, h, rate"),
        (lambda t: t.pop("constants"), "the graph's inputs are features, h, rate"),
        (lambda t: t["constants"][0].__setitem__("values", [3.5]), "constants.rate.values cannot all be int64"),
        (lambda t: t["constants"][0].__setitem__("values", [3, 4]), "holds 1 values; 2 are given"),
        (lambda t: t["states"][0].__setitem__("shape", [1 << 20, 2]), "at most 4194304 are kept"),
        (lambda t: t.__setitem__("score_references", [t["features"][0]["reference"]]), "there are 1 for 2 labels"),
        (lambda t: t["features"][0]["reference"].__setitem__("shares", [0.5, 0.5]), "one more than edges is right"),
        (lambda t: t["features"][0]["reference"]["edges"].reverse(), "do not rise"),
    ],
)
def test_lies_about_further_inputs_are_refused(tmp_path: Path, change, message: str) -> None:
    home = write_leaky(tmp_path / "watch")
    import msgspec

    from edge.inference.manifest import Manifest
    from edge.inference.writer import to_toml

    tables = tomllib.loads((home / "manifest.toml").read_text())
    change(tables)
    text = to_toml(msgspec.convert(tables, Manifest))
    (home / "manifest.toml").write_text(text)
    with pytest.raises(BundleError, match=message):
        admit(load_bundle(tmp_path / "watch"))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    home = write_leaky(tmp_path / "watch")
    manifest = parse((home / "manifest.toml").read_bytes(), "m")
    assert [state.input for state in manifest.states] == ["h"]
    assert manifest.constants[0].values == [3]
    reference = manifest.features[0].reference
    assert reference is not None
    assert len(reference.shares) == len(reference.edges) + 1 == 10
    assert Tensors.of(manifest).states == manifest.states


def whole(dtype: int) -> onnx.ModelProto:
    """Sums the features in their own type, and gives the sum and twice the sum as another type."""
    nodes = [
        helper.make_node("Cast", ["features"], ["f"], to=TensorProto.DOUBLE),
        helper.make_node("ReduceSum", ["f"], ["sum"], keepdims=1),
        helper.make_node("Cast", ["sum"], ["count"], to=TensorProto.INT64),
    ]
    return model_of(
        nodes, (), [info("features", [1, 6], dtype)], [info("sum", [1, 1], TensorProto.DOUBLE), info("count", [1, 1], TensorProto.INT64)]
    )


@pytest.mark.parametrize(
    ("dtype", "onnx_type"),
    [("int32", TensorProto.INT32), ("uint8", TensorProto.UINT8), ("float64", TensorProto.DOUBLE), ("float16", TensorProto.FLOAT16)],
)
def test_numbers_of_other_types(tmp_path: Path, dtype: str, onnx_type: int) -> None:
    made = writer(tmp_path / "watch")
    made.set_input("features", "counts", dtype=dtype)
    made._outputs.clear()
    made.add_output("sum", ["calm"], "sum", dtype="float64")
    made.add_output("count", ["shaken"], "whole", dtype="int64")
    inputs = np.array([[1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 1]], np.float32)
    made.add_variant("full", whole(onnx_type).SerializeToString(), np.repeat(inputs.sum(1, keepdims=True), 2, axis=1))
    made.write(inputs)
    run = admit(load_bundle(tmp_path / "watch")).variants[0].run
    assert run(np.array([0.5, 1.5, 2.5, 0, 0, 0], np.float32), 0) == ([4.0, 4.0] if dtype in ("int32", "uint8") else [4.5, 4.0])
    if dtype in ("int32", "uint8"):
        for value in (3e9, -3e9, np.nan):
            with pytest.raises(InferenceFault, match=f"range of {dtype}"):
                run(np.full(6, value, np.float32), 0)


def cascade(first_score: float) -> Inference:
    variants = [
        BoundVariant("large", lambda _vector, _lane: [0.9], 4 * MS),
        BoundVariant("small", lambda _vector, _lane: [first_score], MS),
        BoundVariant("tiny", lambda _vector, _lane: [0.0], MS // 2),
    ]
    model = Inference("m", "1", ["anomaly"], ["f"], variants)
    model.set_cascade("small", "large", "anomaly", (0.2, 0.8))
    return model


def test_the_large_variant_answers_only_where_the_small_one_is_unsure_and_time_is_left() -> None:
    model = cascade(0.5)
    chosen = model.choose(10 * MS, may_go_smaller=True)
    assert chosen is not None
    assert chosen.name == "small"
    assert model.cascade is not None
    larger = model.cascade.escalate([0.5], 5 * MS)
    assert larger is not None
    assert larger.name == "large"
    assert model.cascade.escalate([0.2], 5 * MS) is None
    assert model.cascade.escalate([0.81], 5 * MS) is None
    assert model.cascade.escalate([0.5], 3 * MS) is None
    assert (model.cascade.settled, model.cascade.escalated, model.cascade.no_time) == (2, 1, 1)
    fallback = model.choose(MS * 3 // 4, may_go_smaller=True)
    assert fallback is not None
    assert fallback.name == "tiny", "the large one is never taken for want of time"


def test_states_of_several_types_do_not_touch_each_other() -> None:
    from edge.inference.manifest import State

    shapes = {"a": ("float32", [3, 5]), "b": ("int64", [2]), "c": ("float16", [7]), "d": ("float64", []), "e": ("float32", [1, 1])}
    states = States([State(input=k, output=f"{k}n", dtype=t, shape=s, meaning="m") for k, (t, s) in shapes.items()], 3)  # type: ignore[arg-type]
    rng = np.random.default_rng(4)
    kept: dict[int, list[np.ndarray]] = {}
    for lane in (0, 2, 1, 2):
        for array in states.given:
            array[...] = rng.integers(-9, 9, array.shape)
        kept[lane] = [array.copy() for array in states.given]
        assert states.keep(lane)
    states.reset(1)
    for lane in range(3):
        states.take(lane)
        for array, (dtype, shape), want in zip(states.taken, shapes.values(), kept[lane], strict=True):
            assert (array.dtype, list(array.shape)) == (dtype, shape)
            np.testing.assert_array_equal(array, want * (lane != 1))
    for i in (0, 2, 3, 4):
        for bad in (np.nan, np.inf, -np.inf):
            good = states.given[i].copy()
            states.given[i].reshape(-1)[-1] = bad
            assert not states.keep(0)
            states.given[i][...] = good
    assert states.keep(0)


def test_the_edges_of_integer_types_are_exact(tmp_path: Path) -> None:
    made = writer(tmp_path / "watch")
    made.set_input("features", "counts", dtype="int64")
    made._outputs.clear()
    made.add_output("sum", ["calm"], "sum", dtype="float64")
    made.add_output("count", ["shaken"], "whole", dtype="int64")
    inputs = np.zeros((1, 6), np.float32)
    made.add_variant("full", whole(TensorProto.INT64).SerializeToString(), np.zeros((1, 2)))
    made.write(inputs)
    run = admit(load_bundle(tmp_path / "watch")).variants[0].run
    edge, vector = np.float32(2**63), np.zeros(6, np.float32)
    vector[0] = -edge  # the smallest int64
    assert run(vector, 0)[0] == -(2.0**63)
    vector[0] = np.nextafter(edge, np.float32(0))
    assert run(vector, 0)[0] == float(vector[0])
    vector[0] = edge
    with pytest.raises(InferenceFault, match="range of int64"):
        run(vector, 0)
    with pytest.raises(ValueError, match=r"float32 \(6,\) is right"):
        run(np.zeros(5, np.float32), 0)


def test_a_value_beyond_float16_is_a_fault_and_nan_is_for_the_graph_to_judge(tmp_path: Path) -> None:
    made = writer(tmp_path / "watch")
    made.set_input("features", "counts", dtype="float16")
    made._outputs.clear()
    made.add_output("sum", ["calm"], "sum", dtype="float64")
    made.add_output("count", ["shaken"], "whole", dtype="int64")
    inputs = np.zeros((1, 6), np.float32)
    made.add_variant("full", whole(TensorProto.FLOAT16).SerializeToString(), np.zeros((1, 2)))
    made.write(inputs)
    run = admit(load_bundle(tmp_path / "watch")).variants[0].run
    with pytest.raises(InferenceFault, match="range of float16"):
        run(np.full(6, 1e5, np.float32), 0)
    with pytest.raises(InferenceFault, match="scores are"):
        run(np.full(6, np.nan, np.float32), 0)


def test_a_cascade_needs_its_label_and_no_states() -> None:
    model = cascade(0.5)
    with pytest.raises(ValueError, match="is none of anomaly"):
        model.set_cascade("small", "large", "calm", (0.2, 0.8))
    model.states = States(parse_states(), 1)
    with pytest.raises(ValueError, match="every vector once"):
        model.set_cascade("small", "large", "anomaly", (0.2, 0.8))


def test_a_cascade_without_one_of_its_variants_is_none(tmp_path: Path) -> None:
    write_bundle(tmp_path / "watch")
    model = admit(load_bundle(tmp_path / "watch"))
    model.set_cascade("small", "full", "calm", (0.2, 0.8))
    assert model.cascade is None
    assert model.summary()["full"]["runs"] == 0


def test_counts_say_who_answered_and_who_did_not_fit() -> None:
    model = cascade(0.5)
    assert model.cascade is not None
    for left, score in ((10 * MS, 0.1), (10 * MS, 0.5), (2 * MS, 0.5), (MS * 3 // 4, 0.5)):
        chosen = model.choose(left, may_go_smaller=True)
        assert chosen is not None
        model.observe(chosen, MS // 4)
        if chosen is model.cascade.first and (larger := model.cascade.escalate([score], left - MS // 4)):
            model.observe(larger, 3 * MS)
    assert model.cascade.summary() == {"first": "small", "then": "large", "settled": 1, "escalated": 1, "no_time": 1}
    found = model.summary()
    assert [(name, found[name]["runs"], found[name]["excluded"]) for name in found] == [("large", 1, 0), ("small", 3, 1), ("tiny", 1, 0)]
    assert all(found[name]["best_p99_us"] <= found[name]["p99_us"] for name in found)
