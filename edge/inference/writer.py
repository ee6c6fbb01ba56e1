"""Writes bundles, for training scripts. Owns the order in which that is safe: every file first, the manifest last, by rename."""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import BundleError
from edge.inference.golden import GoldenVectors, read_golden
from edge.inference.graph import check_self_contained
from edge.inference.manifest import (
    MANIFEST,
    Constant,
    DType,
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
from edge.inference.manifest_check import parse

GOLDEN = "golden.npz"
_OPTIONAL = ("states", "constants", "score_references", "recipe")  # not mentioned where a model has none


class BundleWriter:
    """Collects what a bundle needs and writes it.

    Args:
        folder: of the bundle; its name is the model's name, and the version becomes a folder in it.
        version: such as ``1.0.0``.
        description: what the scores mean, for people.
        source, licence: of the training data.
        budget_ms: the 99th percentile of one inference must stay within this on a device.
    """

    def __init__(self, folder: Path, version: str, *, description: str, source: str, licence: str, budget_ms: float) -> None:
        self._folder, self._version, self._description, self._budget_ms = folder, version, description, float(budget_ms)
        self._training_data = TrainingData(source=source, licence=licence)
        self._inputs: list[Input] = []
        self._outputs: list[Output] = []
        self._features: list[Feature] = []
        self._models: dict[str, bytes] = {}
        self._expected: dict[str, npt.NDArray[np.float32]] = {}
        self._precisions: dict[str, Literal["float32", "float16", "int8"]] = {}
        self._states: list[State] = []
        self._constants: list[Constant] = []
        self._score_references: list[Reference] = []
        self._recipe: list[dict[str, Any]] = []

    def set_input(self, name: str, meaning: str, shape: Sequence[int] | None = None, dtype: DType = "float32") -> None:
        """The tensor that takes the feature vector; the shape defaults to (1, features)."""
        self._inputs = [Input(name=name, dtype=dtype, shape=[int(size) for size in shape or ()], meaning=meaning)]

    def add_state(self, takes: str, gives: str, shape: Sequence[int], meaning: str, dtype: DType = "float32") -> None:
        """A tensor that the graph gives and takes again with the next vector of the same lane; zeros at first.

        Args:
            takes, gives: names of the graph's input and output.
            shape: fixed.
            meaning: for people.
            dtype: of both.
        """
        self._states.append(State(input=takes, output=gives, dtype=dtype, shape=[int(size) for size in shape], meaning=meaning))

    def add_constant(self, name: str, values: npt.NDArray[Any], meaning: str) -> None:
        """An input that is the same for every vector; its type and shape are those of the array."""
        dtype = cast("DType", str(values.dtype))
        self._constants.append(Constant(name=name, dtype=dtype, shape=list(values.shape), values=values.ravel().tolist(), meaning=meaning))

    def set_score_references(self, scores: npt.NDArray[np.floating[Any]]) -> None:
        """How the preferred variant's scores are distributed over the training data, for telling drift.

        Args:
            scores: (n, labels).
        """
        self._score_references = references_of(scores)

    def set_recipe(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """The ``[[features]]`` entries of a pipeline file that make the vector, so that the bundle can bring them along."""
        self._recipe = [dict(entry) for entry in entries]

    def add_output(
        self, name: str, labels: Sequence[str], meaning: str, shape: Sequence[int] | None = None, dtype: DType = "float32"
    ) -> None:
        """A tensor that the graph computes.

        Args:
            name: of the graph's output.
            labels: names of its values, which are the scores; empty: it is never read.
            meaning: for people.
            shape: (1, labels) unless given.
            dtype: float32 if there are labels.
        """
        sizes = [int(size) for size in ((1, len(labels)) if shape is None else shape)]
        self._outputs.append(Output(name=name, dtype=dtype, shape=sizes, labels=list(labels), meaning=meaning))

    def set_features(self, names: Sequence[str], units: Sequence[str], training: npt.NDArray[np.floating[Any]] | None = None) -> None:
        """The vector, in order.

        Args:
            names, units: of the F features, from the feature plan of the pipeline.
            training: (n, F), the vectors trained on, for the drift reference; None: no reference.
        """
        references = [None] * len(names) if training is None else references_of(training)
        self._features = [Feature(name=n, unit=u, reference=r) for n, u, r in zip(names, units, references, strict=True)]

    def add_variant(
        self,
        name: str,
        model: bytes | Path,
        expected: npt.NDArray[np.floating[Any]],
        precision: Literal["float32", "float16", "int8"] = "float32",
    ) -> None:
        """A graph; the preferred one first.

        Args:
            name: such as ``full``.
            model: an ONNX model, or its path.
            expected: (N, labels), what the trained model says of the golden inputs, computed without the exported graph; with states,
                of one sequence.
            precision: of its weights.
        """
        self._precisions[name] = precision
        self._models[name] = model if isinstance(model, bytes) else model.read_bytes()
        self._expected[name] = np.asarray(expected, np.float32)

    def write(
        self, golden_inputs: npt.NDArray[np.floating[Any]], *, rtol: float = 1e-4, atol: float = 1e-5, overwrite: bool = False
    ) -> Path:
        """Check everything, then write it.

        Args:
            golden_inputs: (N, F), 1 to 256 rows of real vectors.
            rtol, atol: tolerance of the golden outputs; other processors round differently.
            overwrite: replace a version that is already there.

        Returns:
            The version's folder.

        Raises:
            BundleError: the parts contradict each other, or the version is already there.
        """
        home = self._folder / self._version
        labels = [label for output in self._outputs for label in output.labels]
        golden = GoldenVectors(np.asarray(golden_inputs, np.float32), self._expected, labels)
        files = {_file_of(name): model for name, model in self._models.items()} | {GOLDEN: golden.encode()}
        manifest = self._manifest(files, rtol, atol)
        text = to_toml(manifest).encode()
        parse(text, str(home / MANIFEST))
        read_golden(files[GOLDEN], str(home / GOLDEN), len(manifest.features), manifest.labels, list(self._models))
        for name, model in self._models.items():
            check_self_contained(model, str(home / _file_of(name)))
        if (home / MANIFEST).exists() and not overwrite:
            raise BundleError(f"{home}: is already there; choose a new version, or say overwrite=True")
        _publish(home, files, text)
        return home

    def _manifest(self, files: Mapping[str, bytes], rtol: float, atol: float) -> Manifest:
        inputs = [
            tensor if tensor.shape else msgspec.structs.replace(tensor, shape=[1, max(len(self._features), 1)]) for tensor in self._inputs
        ]
        return Manifest(
            format=1,
            name=self._folder.resolve().name,
            version=self._version,
            description=self._description,
            budget_ms=self._budget_ms,
            feature_hash=feature_hash([(feature.name, feature.unit) for feature in self._features]),
            training_data=self._training_data,
            inputs=inputs,
            outputs=self._outputs,
            features=self._features,
            variants=[Variant(name=name, file=_file_of(name), precision=self._precisions[name]) for name in self._models],
            golden=Golden(file=GOLDEN, rtol=float(rtol), atol=float(atol)),
            files={file: hashlib.sha256(data).hexdigest() for file, data in files.items()},
            states=self._states,
            constants=self._constants,
            score_references=self._score_references,
            recipe=self._recipe,
        )


def to_toml(manifest: Manifest) -> str:
    """A manifest as TOML, ``files`` last: a text that was cut off anywhere lacks a hash it needs and is refused."""
    tables = msgspec.to_builtins(manifest)
    files = tables.pop("files")
    tables = {key: value for key, value in tables.items() if value != [] or key not in _OPTIONAL}
    lines = [f"{key} = {_value(value)}" for key, value in tables.items() if not isinstance(value, dict | list)]
    for key, value in tables.items():
        if isinstance(value, list):
            lines += ["", f"{key} = [", *(f"  {_value(item)}," for item in value), "]"]
    for key, value in (*((k, v) for k, v in tables.items() if isinstance(v, dict)), ("files", files)):
        lines += ["", f"[{key}]", *(f"{k if k.isidentifier() else _value(k)} = {_value(v)}" for k, v in value.items())]
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):  # a JSON string is a TOML string, but for DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_value(item)}' for key, item in value.items() if item is not None)} }}"
    return repr(value)


def _file_of(variant: str) -> str:
    return f"{variant}.onnx"


def references_of(training: npt.NDArray[np.floating[Any]]) -> list[Reference]:
    """How each column is distributed.

    Bins are cut at the deciles. Equal deciles are one edge: of a value that never varies there are two bins, one of them empty.

    Args:
        training: (n, columns), finite.
    """
    values = np.asarray(training, np.float64)
    means, stds, deciles = values.mean(0), values.std(0), np.percentile(values, np.arange(0, 101, 10), axis=0).T
    return [
        Reference(mean=_short(mean), std=_short(std), deciles=[_short(value) for value in row], **_bins(column))
        for mean, std, row, column in zip(means, stds, deciles, values.T, strict=True)
    ]


def _bins(column: npt.NDArray[np.float64]) -> dict[str, list[float]]:
    column = column.astype(np.float32).astype(np.float64)  # as the runtime sees them
    edges = np.unique([float(np.float32(edge)) for edge in np.percentile(column, np.arange(10, 100, 10), method="higher")])
    counts = np.bincount(np.searchsorted(edges, column, "right"), minlength=len(edges) + 1)
    return {"edges": [_short(edge) for edge in edges], "shares": [_short(count / len(column)) for count in counts]}


def _short(value: float) -> float:
    return float(f"{value:.9g}")  # as many digits as tell any two float32 apart


def _publish(home: Path, files: Mapping[str, bytes], manifest: bytes) -> None:
    """Without a manifest the version does not exist, so it goes first and comes last."""
    home.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        (home / MANIFEST).unlink()
    for file, data in (*files.items(), (MANIFEST, manifest)):
        _sync(home)
        part = home / f".{file}.part"
        with part.open("wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        part.replace(home / file)
    _sync(home)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
