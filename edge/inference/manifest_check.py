"""What must hold between the keys of a manifest, and its reading. Reads no file and no model."""

import difflib
import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import msgspec
import numpy as np

from edge.errors import BundleError
from edge.inference.manifest import (
    MANIFEST,
    MAX_STATE_BYTES,
    NUMERIC,
    Constant,
    Feature,
    Golden,
    Input,
    Manifest,
    Output,
    Reference,
    State,
    TrainingData,
    Variant,
    feature_hash,
)


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
    yield from _state_problems(manifest)
    outputs = [output.name for output in manifest.outputs] + [state.output for state in manifest.states]
    named = {"outputs": outputs, "variants": [v.name for v in manifest.variants], "labels": manifest.labels}
    inputs = [tensor.name for tensor in manifest.inputs] + [constant.name for constant in manifest.constants]
    named["inputs"] = inputs + [state.input for state in manifest.states]
    for key, names in (named | {"features": [f.name for f in manifest.features]}).items():
        if twice := sorted({name for name in names if names.count(name) > 1} if len(names) > len(set(names)) else ()):
            yield f"{key}: {', '.join(twice)} is there more than once; every name must be different"


def _tensor_problems(manifest: Manifest) -> Iterator[str]:
    if len(manifest.inputs) != 1:
        yield f"inputs: there are {len(manifest.inputs)}; exactly one is supported, the feature vector"
    for tensor in manifest.inputs:
        if tensor.dtype not in NUMERIC:
            yield f"inputs.{tensor.name}.dtype is {tensor.dtype}; features are numbers"
        if math.prod(tensor.shape) != len(manifest.features):
            yield (
                f"inputs.{tensor.name}.shape {tensor.shape} holds {math.prod(tensor.shape)} values; "
                f"{len(manifest.features)} are needed, one per feature"
            )
    for output in manifest.outputs:
        if output.labels and output.dtype not in NUMERIC:
            yield f"outputs.{output.name}.dtype is {output.dtype}; an output with labels holds numbers"
        if output.labels and math.prod(output.shape) != len(output.labels):
            yield (
                f"outputs.{output.name}.shape {output.shape} holds {math.prod(output.shape)} values for {len(output.labels)} labels; "
                "one label per value is right"
            )
    if not manifest.labels:
        yield "outputs: none has labels; at least one must, its values are the scores"


def _state_problems(manifest: Manifest) -> Iterator[str]:
    for kind, name, dtype in [("states", s.input, s.dtype) for s in manifest.states] + [
        ("constants", c.name, c.dtype) for c in manifest.constants
    ]:
        if dtype not in NUMERIC:
            yield f"{kind}.{name}.dtype is {dtype}; it holds numbers"
    taken = sum(math.prod(state.shape) * np.dtype(state.dtype).itemsize for state in manifest.states if state.dtype in NUMERIC)
    if taken > MAX_STATE_BYTES:
        yield f"states: take {taken} bytes a lane; at most {MAX_STATE_BYTES} are kept"
    for constant in manifest.constants:
        held = math.prod(constant.shape)
        if held != len(constant.values):
            yield f"constants.{constant.name}.shape {constant.shape} holds {held} values; {len(constant.values)} are given"
            continue
        if not _fits(constant):
            yield f"constants.{constant.name}.values cannot all be {constant.dtype}; finite values in its range are right"


def _fits(constant: Constant) -> bool:
    if constant.dtype not in NUMERIC or not all(map(math.isfinite, constant.values)):
        return False
    try:
        array = constant.array()
    except (OverflowError, ValueError):
        return False
    return constant.dtype.startswith("float") or array.ravel().tolist() == constant.values


def _reference_problems(where: str, reference: Reference) -> Iterator[str]:
    if not all(map(math.isfinite, [reference.mean, reference.std, *reference.deciles, *reference.edges])):
        yield f"{where} holds NaN or infinity; numbers are right"
        return
    if any(a > b for a, b in zip(reference.deciles, reference.deciles[1:], strict=False)):
        yield f"{where}.deciles fall; minimum, nine deciles and maximum must rise"
    if any(a >= b for a, b in zip(reference.edges, reference.edges[1:], strict=False)):
        yield f"{where}.edges do not rise; every inner edge of a bin is greater than the one before"
    if reference.shares and len(reference.shares) != len(reference.edges) + 1:
        yield f"{where}.shares has {len(reference.shares)} values for {len(reference.edges)} edges; one more than edges is right"
    elif reference.shares and abs(sum(reference.shares) - 1) > 1e-3:  # they are written with seven digits
        yield f"{where}.shares add up to {sum(reference.shares):.6g}; 1 is right"
    elif reference.edges and not reference.shares:
        yield f"{where} has edges without shares; give both, or none"


def _feature_problems(manifest: Manifest) -> Iterator[str]:
    right = feature_hash([(feature.name, feature.unit) for feature in manifest.features])
    if manifest.feature_hash != right:
        yield f"feature_hash is {manifest.feature_hash}; the features listed have {right}"
    references = [(feature.name, feature.reference) for feature in manifest.features if feature.reference is not None]
    if references and len(references) != len(manifest.features):
        yield f"features: {len(references)} of {len(manifest.features)} have a reference; give it for all of them or for none"
    for name, reference in references:
        yield from _reference_problems(f"features.{name}.reference", reference)
    if manifest.score_references and len(manifest.score_references) != len(manifest.labels):
        n = len(manifest.score_references)
        yield f"score_references: there are {n} for {len(manifest.labels)} labels; one a label, or none, is right"
    for label, reference in zip(manifest.labels, manifest.score_references, strict=False):
        yield from _reference_problems(f"score_references.{label}", reference)


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
    tables: list[Any] = [Manifest, TrainingData, Input, Output, State, Constant, Feature, Reference, Variant, Golden]
    for table in tables:
        known.update(table.__struct_fields__)
    near = difflib.get_close_matches(match[1], sorted(known), n=1) if match else []
    return f" (did you mean {near[0]!r}?)" if near else ""
