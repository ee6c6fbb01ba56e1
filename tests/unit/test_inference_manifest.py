"""A manifest is complete, typed and agrees with itself, or it is refused with the key and what would be right."""

import json
import math
import tomllib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from inference_models import FEATURES, LABELS, NAMES, UNITS, write_bundle

from edge.errors import BundleError
from edge.features.plan import feature_hash as plan_hash
from edge.inference.manifest import Manifest, feature_hash
from edge.inference.manifest_check import is_inside, parse
from edge.inference.writer import to_toml


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return (write_bundle(tmp_path_factory.mktemp("m") / "watch") / "manifest.toml").read_bytes()


def changed(text: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The manifest as written, with one thing changed by hand."""
    tables = tomllib.loads(text.decode())
    change(tables)
    return dump(tables).encode()


def dump(tables: dict[str, Any]) -> str:
    return "\n".join(f"{key} = {value(item)}" for key, item in tables.items())


def value(item: Any) -> str:
    if isinstance(item, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {value(inner)}" for key, inner in item.items()) + "}"
    if isinstance(item, list):
        return "[" + ", ".join(map(value, item)) + "]"
    if isinstance(item, bool):
        return str(item).lower()
    return json.dumps(item) if isinstance(item, str) else repr(item)


def test_what_the_writer_writes_is_read_back(text: bytes) -> None:
    manifest = parse(text, "m")
    assert (manifest.name, manifest.version, manifest.labels, manifest.budget_ns) == ("watch", "1.0.0", LABELS, 1_000_000_000)
    assert [(f.name, f.unit) for f in manifest.features] == list(zip(NAMES, UNITS, strict=True))
    assert manifest.feature_hash == plan_hash(NAMES, UNITS)  # the same number on both sides of the line
    assert manifest.inputs[0].shape == [1, FEATURES]
    assert all(f.reference is not None and f.reference.deciles == sorted(f.reference.deciles) for f in manifest.features)
    assert parse(to_toml(manifest).encode(), "m") == manifest


def test_cut_anywhere_it_is_refused(text: bytes) -> None:
    for size in range(len(text) - 1):  # the last byte is a line end
        with pytest.raises(BundleError, match=r"^m\.toml: "):
            parse(text[:size], "m.toml")


def put(key: str, item: Any) -> Callable[[dict[str, Any]], object]:
    """Set a dotted key, or delete it with ``...``."""

    def change(tables: dict[str, Any]) -> None:
        *path, last = [int(part) if part.isdigit() else part for part in key.split("/")]
        at: Any = tables
        for part in path:
            at = at[part]
        if item is ...:
            del at[last]
        else:
            at[last] = item

    return change


WRONG = [
    ("budget", 5, r"unknown field `budget`.*did you mean 'budget_ms'"),
    ("golden/rtoll", 0.1, r"unknown field `rtoll`.*\$\.golden.*did you mean 'rtol'"),
    ("features/0/units", "m", r"unknown field `units`.*\$\.features\[0\].*did you mean 'unit'"),
    ("name", ..., "missing required field `name`"),
    ("feature_hash", ..., "missing required field `feature_hash`"),
    ("training_data", ..., "missing required field `training_data`"),
    ("training_data/licence", ..., "missing required field `licence`"),
    ("golden", ..., "missing required field `golden`"),
    ("format", ..., "missing required field `format`"),
    ("format", 2, "format is 2; this runtime reads format 1"),
    ("name", "../x", "matching regex"),
    ("version", "1/0", "matching regex"),
    ("description", "", "length >= 1"),
    ("budget_ms", 0, "> 0"),
    ("budget_ms", math.nan, "budget_ms"),
    ("budget_ms", math.inf, "budget_ms"),
    ("budget_ms", "5", "Expected `float`, got `str`"),
    ("feature_hash", "0" * 64, r"feature_hash is 0{64}; the features listed have [0-9a-f]{64}"),
    ("feature_hash", "beef", "matching regex"),
    ("inputs", [], "inputs: there are 0; exactly one"),
    ("inputs/0/dtype", "string", "dtype is string; features are numbers"),
    ("inputs/0/dtype", "float", "Invalid enum value"),
    ("inputs/0/shape", [1, FEATURES + 1], rf"shape \[1, 7\] holds 7 values; {FEATURES} are needed"),
    ("inputs/0/shape", [1, -1], ">= 1"),
    ("inputs/0/shape", ["N", FEATURES], "Expected `int`"),
    ("outputs/0/shape", [1, 3], "holds 3 values for 2 labels"),
    ("outputs/0/labels", ["a", "a"], "labels: a is there more than once"),
    ("outputs/0/labels", [], "none has labels"),
    ("outputs/0/dtype", "string", "an output with labels holds numbers"),
    ("outputs", [], "length >= 1"),
    ("features/0/name", NAMES[1], "is there more than once"),
    ("features/0/unit", "g", "feature_hash is"),
    ("features/0/reference", ..., "5 of 6 have a reference"),
    ("features/0/reference/deciles", [0.0] * 10, "length >= 11"),
    ("features/0/reference/deciles", [float(-i) for i in range(11)], "deciles fall"),
    ("features/0/reference/mean", math.nan, "holds NaN or infinity"),
    ("features/0/reference/deciles/3", math.inf, "holds NaN or infinity"),
    ("features/0/reference/std", -1.0, ">= 0"),
    ("variants", [], "length >= 1"),
    ("variants/0/file", "other.onnx", r"variants\.full\.file is 'other\.onnx', which is not listed under files"),
    ("golden/file", "other.npz", r"golden\.file is 'other\.npz', which is not listed"),
    ("golden/rtol", math.nan, "golden"),
    ("golden/atol", -1.0, ">= 0"),
    ("golden/atol", 2.0, "<= 1"),
    ("files/full.onnx", "00", "matching regex"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "item", "message"), WRONG)
def test_each_fault_is_named_with_what_would_be_right(text: bytes, key: str, item: Any, message: str) -> None:
    with pytest.raises(BundleError, match=rf"(?m)^m\.toml: .*{message}"):
        parse(changed(text, put(key, item)), "m.toml")


def test_every_fault_is_listed(text: bytes) -> None:
    def change(tables: dict[str, Any]) -> None:
        tables["inputs"][0]["dtype"] = "string"
        tables["golden"]["file"] = "x"
        tables["feature_hash"] = "0" * 64

    with pytest.raises(BundleError) as raised:
        parse(changed(text, change), "m")
    assert len(str(raised.value).splitlines()) == 3


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "/etc/passwd",
        "a/../../x",
        "a/..",
        "..",
        ".",
        "",
        "a//b",
        "./a",
        "a/",
        "C:\\x",
        "c:x",
        "a\\b",
        "a\nb",
        "a\0b",
        "manifest.toml",
    ],
)
def test_paths_that_could_leave_the_bundle_are_refused(text: bytes, path: str) -> None:
    assert not is_inside(path)
    tables = tomllib.loads(text.decode())
    tables["files"][path] = "0" * 64
    with pytest.raises(BundleError, match="is not a plain path inside the bundle"):
        parse(dump(tables).encode(), "m")


@pytest.mark.parametrize("path", ["model.onnx", "sub/model.onnx", "a b", "...", "ä.onnx", ".hidden"])
def test_plain_paths_are_taken(path: str) -> None:
    assert is_inside(path)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"\0", b"=", b"[[[[", b"a = " + b"[" * 100_000, b"a = 1979-05-27", b"a = " + b"9" * 5000, b"[files]\n" * 2]
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"^m: "):
        parse(data, "m")


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(texts, texts, texts, st.floats(1e-9, 60_000))
@example('quote " and \\ and \x7f and \U0001f600 and \r\n\t\x01', "a", "b", 1e-7)
def test_any_text_and_number_survives_toml(description: str, unit: str, label: str, budget_ms: float) -> None:
    pairs = [("f", unit)]
    tables = {
        "format": 1, "name": "m", "version": "1", "description": description, "budget_ms": budget_ms, "feature_hash": feature_hash(pairs),
        "training_data": {"source": description, "licence": unit},
        "inputs": [{"name": label, "dtype": "float32", "shape": [1, 1], "meaning": unit}],
        "outputs": [{"name": label, "dtype": "float32", "shape": [1], "labels": [label], "meaning": unit}],
        "features": [{"name": "f", "unit": unit}], "variants": [{"name": "v", "file": "v.onnx"}],
        "golden": {"file": "g", "rtol": 0.0, "atol": 1.0}, "files": {"v.onnx": "0" * 64, "g": "1" * 64},
    }  # fmt: skip
    manifest = msgspec.convert(tables, Manifest)
    assert parse(to_toml(manifest).encode(), "m") == manifest


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"^m: "):
        parse(data, "m")
