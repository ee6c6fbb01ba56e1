"""Names, samples and the roles of tensors: what is understood without being told, and what is asked for."""

import numpy as np
import pyarrow as pa
import pytest
from inference_models import info, model_of, tensor
from onnx import TensorProto, helper
from pyarrow import parquet

from edge.errors import BundleError
from edge.inference.pack.names import expand, read_features, read_labels
from edge.inference.pack.original import Original
from edge.inference.pack.rewrite import rewrite
from edge.inference.pack.roles import Asked, roles_of
from edge.inference.pack.run import say
from edge.inference.pack.samples import read_samples

NAMES = ["a", "b", "c"]
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("pixel[0-2]", ["pixel[0]", "pixel[1]", "pixel[2]"]),
        ("x.lag[3-4].1s", ["x.lag[3].1s", "x.lag[4].1s"]),
        ("imu.ax.histogram(-2,2,8)[0].1s", ["imu.ax.histogram(-2,2,8)[0].1s"]),
        ("imu.ax.band_energy(20-40).1s", ["imu.ax.band_energy(20-40).1s"]),
        ("a", ["a"]),
    ],
)
def test_ranges_of_names(text, names):
    assert expand(text) == names
    assert read_labels(text + ",z" if "," not in text else "z") == ([*names, "z"] if "," not in text else ["z"])


def test_an_image_of_names_is_expanded_at_once():
    names = expand("pixel[0-150527]")
    assert (len(names), names[-1]) == (150_528, "pixel[150527]")


def test_features_in_text_and_in_toml(tmp_path):
    text, table, short = tmp_path / "f.txt", tmp_path / "f.toml", tmp_path / "s.toml"
    text.write_text("# name unit\nimu.ax.std.2s m/s^2\n\ncount[0-1]  # bins\n")
    table.write_text('[[features]]\nname = "imu.ax.std.2s"\nunit = "m/s^2"\n[[features]]\nname = "count[0-1]"\n')
    short.write_text('features = ["imu.ax.std.2s", "count[0-1]"]')
    assert read_features(text) == (["imu.ax.std.2s", "count[0]", "count[1]"], ["m/s^2", "1", "1"])
    assert read_features(table) == read_features(text)
    assert read_features(short)[0] == read_features(text)[0]
    table.write_text('[[features]]\nstream = "imu"\nstats = ["mean"]\n')
    with pytest.raises(BundleError, match="a pipeline file is given with --pipeline"):
        read_features(table)
    table.write_text("[[features]")
    with pytest.raises(BundleError, match="not readable as TOML"):
        read_features(table)
    with pytest.raises(BundleError, match="cannot be read"):
        read_features(tmp_path / "none.txt")


def test_samples_are_the_same_from_every_file(tmp_path):
    np.save(tmp_path / "x.npy", ROWS)
    np.savez(tmp_path / "one.npz", whatever=ROWS)
    np.savez(tmp_path / "named.npz", other=ROWS[:1], features=ROWS)
    np.savez(tmp_path / "shaped.npz", samples=ROWS.reshape(4, 3, 1))
    (tmp_path / "bare.csv").write_text("\n".join(",".join(map(str, row)) for row in ROWS))
    (tmp_path / "named.csv").write_text("\n".join(["t,c,b,a", *(f"0,{c},{b},{a}" for a, b, c in ROWS)]))
    parquet.write_table(pa.table({"device": ["x"] * 4, "b": ROWS[:, 1], "a": ROWS[:, 0], "c": ROWS[:, 2]}), tmp_path / "x.parquet")
    for path in tmp_path.iterdir():
        samples = read_samples(path, NAMES, ["features"])
        assert samples.rows.tolist() == ROWS.tolist(), path
        assert samples.rows.dtype == np.float32
        assert samples.lengths == (4,)


def test_sequences_are_told_from_rows(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(24.0).reshape(2, 4, 3))
    samples = read_samples(tmp_path / "x.npy", NAMES, [])
    assert (samples.row, samples.lengths) == ((3,), (4, 4))
    assert [part.tolist() for part in samples.sequences] == np.arange(24.0).reshape(2, 4, 3).tolist()


def recurrent(tmp_path, names=(("h", "hn"), ("c", "cn")), constant=False):
    """Two states: a sum of the features so far, and how many vectors there were."""
    (h, hn), (c, cn) = names
    nodes = [
        helper.make_node("Add", ["x", h], [hn]),
        helper.make_node("Add", [c, "one"], [cn]),
        helper.make_node("Div", [hn, cn], ["mean"] if constant else ["scores"]),
    ]
    takes = [info(h, ["N", 3]), info("x", ["N", 3]), info(c, ["N", 1])]
    if constant:
        nodes.append(helper.make_node("Mul", ["mean", "gain"], ["scores"]))
        takes.append(info("gain", []))
    gives = [info("scores", ["N", 3]), info(hn, ["N", 3]), info(cn, ["N", 1])]
    path = tmp_path / "model.onnx"
    path.write_bytes(model_of(nodes, [tensor("one", np.ones((1, 1), np.float32))], takes, gives).SerializeToString())
    return Original(path)


def test_states_are_told_from_their_names(tmp_path):
    original = recurrent(tmp_path)
    roles = roles_of(original, Asked(3, (3,)))
    assert [(state.input, state.output, state.shape) for state in roles.states] == [("h", "hn", (1, 3)), ("c", "cn", (1, 1))]
    assert roles.scores == ("scores",)
    scores = say(original, roles, [ROWS, ROWS[2:]], {})
    running = np.cumsum(ROWS, axis=0) / np.arange(1, 5)[:, None]
    np.testing.assert_allclose(scores, np.concatenate([running, np.cumsum(ROWS[2:], axis=0) / [[1], [2]]]), rtol=1e-6)


@pytest.mark.parametrize(
    "names", [(("h_in", "h_out"), ("c_in", "c_out")), (("h0", "h1"), ("c0", "c1")), (("past_h", "new_h"), ("past_c", "new_c"))]
)
def test_states_of_other_habits(tmp_path, names):
    roles = roles_of(recurrent(tmp_path, names), Asked(3, (3,)))
    assert tuple((state.input, state.output) for state in roles.states) == names


def test_states_without_telling_names_are_asked_for(tmp_path):
    original = recurrent(tmp_path, (("17", "42"), ("18", "43")))
    with pytest.raises(BundleError, match=r"which of them are what\? Say --state IN=OUT .*outputs: scores float32 \[N, 3\], 42"):
        roles_of(original, Asked(3, (3,)))
    roles = roles_of(original, Asked(3, (3,), states={"17": "42", "18": "43"}))
    assert [state.output for state in roles.states] == ["42", "43"]
    with pytest.raises(BundleError, match="names one output twice"):
        roles_of(original, Asked(3, (3,), states={"17": "42", "18": "42"}))


def test_a_state_that_could_be_two_is_asked_for(tmp_path):
    nodes = [helper.make_node("Add", ["x", "h"], ["h_out"]), helper.make_node("Mul", ["x", "h"], ["h_new"])]
    gives = [info("h_out", ["N", 3]), info("h_new", ["N", 3])]
    path = tmp_path / "model.onnx"
    path.write_bytes(model_of(nodes, [], [info("x", ["N", 3]), info("h", ["N", 3])], gives).SerializeToString())
    with pytest.raises(BundleError, match="'h' could be the state of h_out or h_new; say which: --state h=h_out"):
        roles_of(Original(path), Asked(3, (3,)))
    roles = roles_of(Original(path), Asked(3, (3,), states={"h": "h_new"}))
    assert roles.scores == ("h_out",)


@pytest.mark.parametrize(("text", "says"), [("loud", "could not convert"), ("1,2", "has 2 values")])
def test_constants_are_read_as_the_input_takes_them(tmp_path, text, says):
    original = recurrent(tmp_path, constant=True)
    roles = roles_of(original, Asked(3, (3,), constants={"gain": "2.5"}))
    assert roles.constants["gain"].shape == ()
    assert roles.constants["gain"].dtype == np.float32
    rewritten = rewrite(original, roles)
    assert sorted(value.name for value in rewritten.proto.graph.input) == ["c", "gain", "h", "x"]
    with pytest.raises(BundleError, match=says):
        roles_of(original, Asked(3, (3,), constants={"gain": text}))


def test_subgraphs_keep_what_they_need(tmp_path):
    """An If reads a weight of the graph around it; another output and its weight go."""

    def branch(name, weight):
        return helper.make_graph([helper.make_node("Mul", ["x", weight], [name])], name, [], [info(name, ["N", 3])])

    nodes = [
        helper.make_node("If", ["yes"], ["scores"], then_branch=branch("a", "w1"), else_branch=branch("b", "w2")),
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64), helper.make_node("Mul", ["i", "w3"], ["label"]),
    ]  # fmt: skip
    weights = [tensor("yes", np.array(True)), tensor("w1", np.float32([2])), tensor("w2", np.float32([3])), tensor("w3", np.int64([1]))]
    path = tmp_path / "model.onnx"
    model = model_of(nodes, weights, [info("x", ["N", 3])], [info("scores", ["N", 3]), info("label", ["N", 3], TensorProto.INT64)])
    path.write_bytes(model.SerializeToString())
    original = Original(path)
    roles = roles_of(original, Asked(3, (3,)))
    rewritten = rewrite(original, roles)
    assert roles.dropped == ("label",)
    assert sorted(weight.name for weight in rewritten.proto.graph.initializer) == ["w1", "w2", "yes"]
    assert [node.op_type for node in rewritten.proto.graph.node] == ["If"]


def test_a_batch_written_into_a_reshape_is_undone(tmp_path):
    """Rows of a batch of 4 are independent, but its size stands in the graph."""
    nodes = [
        helper.make_node("Reshape", ["x", "s1"], ["r"]), helper.make_node("ReduceSum", ["r", "axes"], ["sum"], keepdims=0),
        helper.make_node("Reshape", ["sum", "s2"], ["scores"]),
    ]  # fmt: skip
    weights = [tensor("s1", np.int64([4, 3, 1])), tensor("axes", np.int64([1])), tensor("s2", np.int64([4, 1]))]
    path = tmp_path / "model.onnx"
    path.write_bytes(model_of(nodes, weights, [info("x", [4, 3])], [info("scores", [4, 1])]).SerializeToString())
    original = Original(path)
    roles = roles_of(original, Asked(3, (3,)))
    rewritten = rewrite(original, roles)
    assert roles.batch == 4
    assert rewritten.outputs["scores"] == ("float32", (1, 1))
    assert [note for note in rewritten.notes if "made for a batch of 4 is now for 1" in note]
    assert say(original, roles, [ROWS[:3]], {}).tolist() == ROWS[:3].sum(axis=1, keepdims=True).tolist()
