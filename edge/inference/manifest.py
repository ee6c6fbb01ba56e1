"""The manifest of a model bundle as types: every key, its range, and what must agree with what. Reads no file and no model.

A manifest is the only thing in a bundle that says what the numbers mean, so nothing in it is optional but the drift reference,
and a key that is not known is an error: it may be one that a newer runtime would have had to obey.
"""

import difflib
import hashlib
import json
import math
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edge.errors import BundleError

MANIFEST = "manifest.toml"
DECILES = 11  # minimum, nine deciles, maximum

_Text = Annotated[str, Meta(min_length=1, max_length=10_000)]
_Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$")]
_Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
_Size = Annotated[int, Meta(ge=1, le=1 << 20)]
_Tolerance = Annotated[float, Meta(ge=0, le=1)]
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
        dtype: must be float32.
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
        dtype: float32 if it has labels.
        shape: fixed; the product is the number of labels.
        labels: score names in row-major order; empty: declared, but never read.
        meaning: for people.
    """

    name: _Text
    dtype: DType
    shape: Annotated[list[_Size], Meta(max_length=8)]
    labels: list[_Text]
    meaning: _Text


class Reference(_Table, frozen=True):
    """How a feature was distributed in training, for telling drift.

    Args:
        mean, std: in the feature's unit; population standard deviation.
        deciles: minimum, the nine deciles, maximum.
    """

    mean: float
    std: Annotated[float, Meta(ge=0)]
    deciles: Annotated[list[float], Meta(min_length=DECILES, max_length=DECILES)]


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
    """

    name: _Name
    file: _Text


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
        golden: the proof that a variant computes what was trained.
        files: path inside the bundle to sha256, for every file that is read.
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


def parse(data: bytes, where: str) -> Manifest:
    """Read and check a manifest.

    Args:
        data: the file's bytes.
        where: its path, for messages.

    Raises:
        BundleError: not TOML, a key that is missing, unknown or wrong, or keys that contradict each other; one line per problem.
    """
    try:
        tables = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as e:
        raise BundleError(f"{where}: not readable as TOML: {e}; it may be cut off, copy the bundle again") from e
    if "format" in tables and tables["format"] != 1:
        raise BundleError(
            f"{where}: format is {tables['format']!r}; this runtime reads format 1, use a bundle made for it or a newer runtime"
        )
    try:
        manifest = msgspec.convert(tables, Manifest)
    except msgspec.ValidationError as e:
        raise BundleError(f"{where}: {e}{_hint(str(e))}") from e
    if found := list(problems(manifest)):
        raise BundleError("\n".join(f"{where}: {problem}" for problem in found))
    return manifest


def problems(manifest: Manifest) -> Iterator[str]:
    """Everything in a manifest that contradicts something else in it, each with what would be right."""
    yield from _tensor_problems(manifest)
    yield from _feature_problems(manifest)
    yield from _file_problems(manifest)
    named = {"outputs": [o.name for o in manifest.outputs], "variants": [v.name for v in manifest.variants], "labels": manifest.labels}
    for key, names in (named | {"features": [f.name for f in manifest.features]}).items():
        if twice := sorted({name for name in names if names.count(name) > 1} if len(names) > len(set(names)) else ()):
            yield f"{key}: {', '.join(twice)} is there more than once; every name must be different"


def _tensor_problems(manifest: Manifest) -> Iterator[str]:
    if len(manifest.inputs) != 1:
        yield f"inputs: there are {len(manifest.inputs)}; exactly one is supported, the feature vector"
    for tensor in manifest.inputs:
        if tensor.dtype != "float32":
            yield f"inputs.{tensor.name}.dtype is {tensor.dtype}; the feature vector is float32"
        if math.prod(tensor.shape) != len(manifest.features):
            yield (
                f"inputs.{tensor.name}.shape {tensor.shape} holds {math.prod(tensor.shape)} values; "
                f"{len(manifest.features)} are needed, one per feature"
            )
    for output in manifest.outputs:
        if output.labels and output.dtype != "float32":
            yield f"outputs.{output.name}.dtype is {output.dtype}; an output with labels is float32"
        if output.labels and math.prod(output.shape) != len(output.labels):
            yield (
                f"outputs.{output.name}.shape {output.shape} holds {math.prod(output.shape)} values for {len(output.labels)} labels; "
                "one label per value is right"
            )
    if not manifest.labels:
        yield "outputs: none has labels; at least one must, its values are the scores"


def _feature_problems(manifest: Manifest) -> Iterator[str]:
    right = feature_hash([(feature.name, feature.unit) for feature in manifest.features])
    if manifest.feature_hash != right:
        yield f"feature_hash is {manifest.feature_hash}; the features listed have {right}"
    references = [(feature.name, feature.reference) for feature in manifest.features if feature.reference is not None]
    if references and len(references) != len(manifest.features):
        yield f"features: {len(references)} of {len(manifest.features)} have a reference; give it for all of them or for none"
    for name, reference in references:
        if not all(map(math.isfinite, [reference.mean, reference.std, *reference.deciles])):
            yield f"features.{name}.reference holds NaN or infinity; numbers are right"
        elif any(a > b for a, b in zip(reference.deciles, reference.deciles[1:], strict=False)):
            yield f"features.{name}.reference.deciles fall; minimum, nine deciles and maximum must rise"


def _file_problems(manifest: Manifest) -> Iterator[str]:
    for file in manifest.files:
        if not is_inside(file):
            yield f"files: {file!r} is not a plain path inside the bundle; write it like 'model.onnx' or 'sub/model.onnx'"
    needed = {f"variants.{variant.name}.file": variant.file for variant in manifest.variants} | {"golden.file": manifest.golden.file}
    for key, file in needed.items():
        if file not in manifest.files:
            yield f"{key} is {file!r}, which is not listed under files; add it with its sha256"


def is_inside(file: str) -> bool:
    """Whether a path is relative, canonical, POSIX, and cannot leave the folder it is joined to."""
    path = PurePosixPath(file)
    odd = any(c in file for c in "\\:") or any(ord(c) < 32 for c in file)
    return file == str(path) and not path.is_absolute() and not odd and ".." not in path.parts and file not in (".", MANIFEST)


def _hint(message: str) -> str:
    """The nearest known key, if the message is about one that is not known."""
    match = re.search(r"unknown field `([^`]*)`", message)
    known: set[str] = set()
    tables: list[Any] = [Manifest, TrainingData, Input, Output, Feature, Reference, Variant, Golden]
    for table in tables:
        known.update(table.__struct_fields__)
    near = difflib.get_close_matches(match[1], sorted(known), n=1) if match else []
    return f" (did you mean {near[0]!r}?)" if near else ""
