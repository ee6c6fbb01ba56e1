"""The manifest of a model bundle as types: every key and its range. What must agree with what is in edge.inference.manifest_check.

A manifest is the only thing in a bundle that says what the numbers mean, so nothing in it is optional but what a model may not have:
states, constants, references for drift, a recipe of its features. A key that is not known is an error: it may be one that a newer
runtime would have had to obey.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

MANIFEST = "manifest.toml"
DECILES = 11  # minimum, nine deciles, maximum
MAX_BINS = 64
MAX_STATE_BYTES = 1 << 22  # of one lane; every lane has its own
NUMERIC = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool")

_Text = Annotated[str, Meta(min_length=1, max_length=10_000)]
_Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$")]
_Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
_Size = Annotated[int, Meta(ge=1, le=1 << 20)]
_Tolerance = Annotated[float, Meta(ge=0, le=1)]
_MOST_FLOAT16 = 65504.0
DType = Literal["float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool", "string"]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every table: immutable, keyword only, unknown keys refused."""


class TrainingData(_Table, frozen=True):
    """Where the numbers in the model come from, and what their licence allows.

    Args:
        source: what was recorded, by whom, which part was used.
        licence: SPDX identifier or the licence's name.
    """

    source: _Text
    licence: _Text


class Input(_Table, frozen=True):
    """The tensor that takes the feature vector, row-major.

    Args:
        name: of the graph's input.
        dtype: any number; features are float32 and are cast, to an integer type by rounding half to even.
        shape: fixed; the product is the number of features.
        meaning: for people.
    """

    name: _Text
    dtype: DType
    shape: Annotated[list[_Size], Meta(max_length=8)]
    meaning: _Text


class Output(_Table, frozen=True):
    """A tensor that the graph computes.

    Args:
        name: of the graph's output.
        dtype: any number if it has labels.
        shape: fixed; the product is the number of labels.
        labels: score names in row-major order; empty: declared, but never read.
        meaning: for people.
    """

    name: _Text
    dtype: DType
    shape: Annotated[list[_Size], Meta(max_length=8)]
    labels: list[_Text]
    meaning: _Text


class State(_Table, frozen=True):
    """A tensor that the graph gives and takes again with the next vector of the same lane; zeros at first.

    Args:
        input, output: names in the graph.
        dtype: any number, of both.
        shape: fixed, of both.
        meaning: for people.
    """

    input: _Text
    output: _Text
    dtype: DType
    shape: Annotated[list[_Size], Meta(max_length=8)]
    meaning: _Text


class Constant(_Table, frozen=True):
    """An input that is the same for every vector, such as a sampling rate.

    Args:
        name: of the graph's input.
        dtype: any number.
        shape: fixed; [] for a single value.
        values: row-major.
        meaning: for people.
    """

    name: _Text
    dtype: DType
    shape: Annotated[list[_Size], Meta(max_length=8)]
    values: Annotated[list[float | int | bool], Meta(min_length=1, max_length=65_536)]
    meaning: _Text

    def array(self) -> np.ndarray[Any, Any]:
        """The values as the graph takes them."""
        return np.array(self.values, self.dtype).reshape(self.shape)


class Reference(_Table, frozen=True):
    """How a feature or a score was distributed in training, for telling drift.

    Args:
        mean, std: in the feature's unit; population standard deviation.
        deciles: minimum, the nine deciles, maximum.
        edges: the k - 1 inner edges of k bins, rising; a value equal to an edge belongs to the bin above it. Without them the inner
            deciles are taken.
        shares: of training values in each of the k bins; they add up to 1.
    """

    mean: float
    std: Annotated[float, Meta(ge=0)]
    deciles: Annotated[list[float], Meta(min_length=DECILES, max_length=DECILES)]
    edges: Annotated[list[float], Meta(max_length=MAX_BINS - 1)] = []
    shares: Annotated[list[Annotated[float, Meta(ge=0, le=1)]], Meta(max_length=MAX_BINS)] = []


class Feature(_Table, frozen=True):
    """One element of the feature vector.

    Args:
        name: ``{stream}.{channel}.{statistic}.{window}``.
        unit: of the value.
        reference: its distribution in training; all features have one, or none.
    """

    name: _Text
    unit: _Text
    reference: Reference | None = None


class Variant(_Table, frozen=True):
    """One graph that computes the outputs; a later one is cheaper.

    Args:
        name: appears in ``cause.variant``.
        file: under ``files``.
        precision: of its weights; for people.
    """

    name: _Name
    file: _Text
    precision: Literal["float32", "float16", "int8"] = "float32"


class Golden(_Table, frozen=True):
    """Inputs with the outputs that each variant must reproduce: ``|got - want| <= atol + rtol * |want|``.

    Args:
        file: npz under ``files``: ``inputs`` (N, F) and ``outputs.<variant>`` (N, labels), float32.
        rtol, atol: tolerance, 0 to 1.
    """

    file: _Text
    rtol: _Tolerance
    atol: _Tolerance


class Manifest(_Table, frozen=True):
    """A whole manifest.

    Args:
        format: version of this layout.
        name, version: of the bundle; the version is also its folder's name.
        description: for people.
        budget_ms: the 99th percentile of one inference must stay within this on the device.
        feature_hash: see feature_hash.
        training_data: provenance.
        inputs: exactly one.
        outputs: every output of the graph.
        features: the vector, in order.
        variants: in order of preference.
        golden: the proof that a variant computes what was trained; with states, its rows are one sequence.
        files: path inside the bundle to sha256, for every file that is read.
        states, constants: further inputs of the graph.
        score_references: how each score was distributed over the training data, one a label; or none.
        recipe: the ``[[features]]`` entries of a pipeline file that make the vector; or none.
    """

    format: Literal[1]
    name: _Name
    version: _Name
    description: _Text
    budget_ms: Annotated[float, Meta(gt=0, le=60_000)]
    feature_hash: _Hash
    training_data: TrainingData
    inputs: list[Input]
    outputs: Annotated[list[Output], Meta(min_length=1, max_length=64)]
    features: Annotated[list[Feature], Meta(min_length=1, max_length=262_144)]
    variants: Annotated[list[Variant], Meta(min_length=1, max_length=16)]
    golden: Golden
    files: Annotated[dict[str, _Hash], Meta(min_length=2, max_length=64)]
    states: Annotated[list[State], Meta(max_length=64)] = []
    constants: Annotated[list[Constant], Meta(max_length=64)] = []
    score_references: list[Reference] = []
    recipe: Annotated[list[dict[str, Any]], Meta(max_length=1024)] = []

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the scores, in the order in which they are returned."""
        return tuple(label for output in self.outputs for label in output.labels)

    @property
    def budget_ns(self) -> int:
        """``budget_ms`` in ns."""
        return round(self.budget_ms * 1e6)


def feature_hash(pairs: Sequence[tuple[str, str]]) -> str:
    """Sha256 of the ordered (name, unit) pairs; equal to the hash of the pipeline's feature plan when both mean the same vector."""
    text = json.dumps([list(pair) for pair in pairs], separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def range_of(dtype: str) -> tuple[float, float] | None:
    """What a type can hold, both included; None where every float32 fits, or is only compared with zero."""
    kind = np.dtype(dtype).kind
    if kind in "iu":
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return (-_MOST_FLOAT16, _MOST_FLOAT16) if dtype == "float16" else None
