"""Published models with states, constants and integer inputs, against what onnxruntime said of them when they were collected."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edge.inference.graph import check_self_contained
from edge.inference.manifest import Constant, Input, Output, State
from edge.inference.session import Session, Tensors
from edge.inference.states import States

MODELS = Path(__file__).parents[3] / "shared" / "data" / "models"


def stored(name: str) -> tuple[bytes, dict[str, Any]]:
    if not MODELS.is_dir():
        pytest.skip(f"needs the public models in {MODELS}; they are not part of the repository")
    model = (MODELS / f"{name}.onnx").read_bytes()
    check_self_contained(model, name)
    with np.load(MODELS / f"{name}.golden.npz") as golden:
        return model, {key: golden[key] for key in golden.files}


def with_sizes(model: bytes, sizes: dict[str, list[int]]) -> bytes:
    """With all sizes fixed, as the packer leaves a model."""
    changed = onnx.load_from_string(model)
    for tensor in (*changed.graph.input, *changed.graph.output):
        for dimension, size in zip(tensor.type.tensor_type.shape.dim, sizes.get(tensor.name, []), strict=False):
            dimension.dim_value = size
    data: bytes = changed.SerializeToString()
    return data


def silero(name: str) -> tuple[Session, States, dict[str, Any]]:
    model, golden = stored(name)
    carried = [State(input="state", output="stateN", dtype="float32", shape=[2, 1, 128], meaning="m")]
    rate = [Constant(name="sr", dtype="int64", shape=[], values=[16_000], meaning="m")] if "in__sr" in golden else []
    takes = Input(name="input", dtype="float32", shape=[1, 576], meaning="m")
    gives = [Output(name="output", dtype="float32", shape=[1, 1], labels=["speech"], meaning="m")]
    states = States(carried, 2)
    model = with_sizes(model, {"input": [1, 576], "output": [1, 1], "state": [2, 1, 128], "stateN": [2, 1, 128]})
    return Session(model, name, Tensors(takes, gives, carried, rate), states), states, golden


SILERO = pytest.mark.parametrize("name", ["silero_vad_16k_op15", "silero_vad_half"])


@SILERO
def test_silero_goes_on_from_its_state(name: str) -> None:
    session, states, golden = silero(name)
    states.given[0][...] = golden["in__state"]
    assert states.keep(1)
    scores = session.run(golden["in__input"].reshape(-1), 1)
    np.testing.assert_allclose(scores, golden["out__output"].reshape(-1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(states.given[0], golden["out__stateN"], rtol=1e-3, atol=1e-4)
    states.take(1)
    np.testing.assert_array_equal(states.taken[0], states.given[0])


@SILERO
def test_lanes_of_silero_do_not_hear_each_other(name: str) -> None:
    session, states, _ = silero(name)
    loud, quiet = (np.random.default_rng(1).normal(0, size, (40, 576)).astype(np.float32) for size in (0.3, 0.001))
    alone = [session.run(chunk, 0) for chunk in loud]
    states.reset(0)
    together = []
    for one, other in zip(loud, quiet, strict=True):
        together.append(session.run(one, 0))
        session.run(other, 1)
    assert together == alone
    assert len({score for (score,) in alone}) > 30, "its answers depend on what came before"


def test_magika_takes_bytes_as_integers() -> None:
    model, golden = stored("magika_standard_v3_3")
    labels = [f"class{i}" for i in range(214)]
    takes = Input(name="bytes", dtype="int32", shape=[1, 2048], meaning="m")
    session = Session(
        model, "magika", Tensors(takes, [Output(name="target_label", dtype="float32", shape=[1, 214], labels=labels, meaning="m")])
    )
    scores = session.run(golden["in__bytes"].reshape(-1).astype(np.float32), 0)
    np.testing.assert_allclose(scores, golden["out__target_label"].reshape(-1), rtol=1e-4, atol=1e-5)
