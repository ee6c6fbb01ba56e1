"""An int8 variant: static quantisation by onnxruntime's own tool, calibrated on the samples. Says how far it is off; others decide.

Weights get 7 bits: with 8 the sums of processors without VNNI saturate, the same file gives other scores there, and golden vectors that
hold on this machine would not hold on that one.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import BundleError
from edge.inference.pack.original import call, first_line, nodes_of, open_plainly
from edge.inference.pack.rewrite import Rewritten
from edge.inference.pack.roles import Roles
from edge.inference.pack.run import zero_states

MOST_CALIBRATED = 512  # rows; more change the ranges little and take long
_LAYERS = ("MatMul", "Gemm", "Conv", "ConvTranspose")  # with weights that the tool makes int8
_NEAR = 0.05  # of the range of a lone score: what counts as agreement

Array = npt.NDArray[Any]


class Distance(msgspec.Struct, frozen=True):
    """How far one model's scores are from another's.

    Args:
        agreement: share of the samples with the same greatest score; of a lone score: the same side of one half where all are within 0
            and 1, otherwise no further apart than a twentieth of their range.
        mean, greatest: of the scores' absolute differences.
    """

    agreement: float
    mean: float
    greatest: float


def distance(wanted: Array, got: Array) -> Distance:
    """Compare scores (n, labels)."""
    off = np.abs(wanted - got)
    if wanted.shape[1] > 1:
        same = wanted.argmax(axis=1) == got.argmax(axis=1)
    elif wanted.min() >= 0.0 and wanted.max() <= 1.0:
        same = (wanted[:, 0] >= 0.5) == (got[:, 0] >= 0.5)
    else:
        same = off[:, 0] <= _NEAR * float(np.ptp(wanted))
    return Distance(float(same.mean()), float(off.mean()), float(off.max()))


def quantise(rewritten: Rewritten, roles: Roles, sequences: list[Array], where: str) -> bytes:
    """An int8 model of a rewritten graph.

    Args:
        rewritten: the float graph.
        roles: of its original.
        sequences: float32 (n, F) each, to calibrate on.
        where: the original's path, for messages.

    Raises:
        BundleError: there is nothing in it that int8 makes smaller, or the tool fails.
    """
    if rewritten.dtype != "float32":
        raise BundleError(f"{where}: --int8: the input is {rewritten.dtype}; only models of float32 are quantised")
    if not any(node.op_type in _LAYERS for node in nodes_of(rewritten.proto.graph)):
        raise BundleError(
            f"{where}: --int8: it has no layer of weights ({', '.join(_LAYERS)}), as trees and SVMs have none; nothing becomes int8"
        )
    feeds = list(_feeds(rewritten, roles, sequences, where))
    with tempfile.TemporaryDirectory(prefix="edge-int8-") as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(rewritten.proto.SerializeToString())
        try:
            with _silence():
                model = _quantise(source, target, feeds)
        except Exception as e:  # the tool raises whatever its parts raise
            raise BundleError(f"{where}: --int8: onnxruntime's quantisation fails: {first_line(e)}; pack without --int8") from e
    return model


def _quantise(source: Path, target: Path, feeds: list[dict[str, Array]]) -> bytes:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Gives the samples one after another."""

        def __init__(self) -> None:
            self._left = iter(feeds)

        def get_next(self) -> dict[str, Array] | None:
            return next(self._left, None)

    prepared = source.with_name("prepared.onnx")
    try:
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    except Exception:  # noqa: BLE001 - it makes the result better, but is not needed
        prepared = source
    quantize_static(
        str(prepared), str(target), Reader(), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    if not any(node.op_type == "QuantizeLinear" for node in nodes_of(onnx.load(target).graph)):
        raise ValueError("none of its layers can become int8")
    return target.read_bytes()


def _feeds(rewritten: Rewritten, roles: Roles, sequences: list[Array], where: str) -> Iterator[dict[str, Array]]:
    """Inputs of the float graph, with the states that it has on the way."""
    session = open_plainly(rewritten.proto.SerializeToString(), where) if roles.states else None
    given = 0
    for rows in sequences:
        states = zero_states(roles)
        for row in rows:
            if given == MOST_CALIBRATED:
                return
            given += 1
            feeds = one_row(rewritten, roles, row) | states
            yield feeds
            if session is not None:
                values = call(session, where, [state.output for state in roles.states], feeds)
                states = {state.input: value for state, value in zip(roles.states, values, strict=True)}


def one_row(rewritten: Rewritten, roles: Roles, row: Array) -> dict[str, Array]:
    """Inputs of a rewritten graph for one row, without states."""
    values = np.rint(row) if np.dtype(rewritten.dtype).kind in "iu" else row
    return {rewritten.input: np.ascontiguousarray(values.reshape(rewritten.shape), rewritten.dtype)} | roles.constants


def say_variant(model: bytes, rewritten: Rewritten, roles: Roles, sequences: list[Array], where: str) -> Array:
    """Scores of a rewritten graph, run by onnxruntime alone.

    Returns:
        Float64 (all rows, scores).
    """
    session, found = open_plainly(model, where), []
    names = [*roles.scores, *(state.output for state in roles.states)]
    for rows in sequences:
        states = zero_states(roles)
        for row in rows:
            values = call(session, where, names, one_row(rewritten, roles, row) | states)
            states = {state.input: value for state, value in zip(roles.states, values[len(roles.scores) :], strict=True)}
            found.append(np.concatenate([np.asarray(value, np.float64).ravel() for value in values[: len(roles.scores)]]))
    return np.array(found)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The tool logs, warns and prints."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
