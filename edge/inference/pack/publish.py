"""Writes the bundle that was made: measured on this machine first, put in its place last, whole or not at all."""

import contextlib
import math
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy.typing as npt

from edge.errors import BundleError
from edge.inference.bundle import Report, load_bundle
from edge.inference.manifest import MANIFEST, DType, feature_hash
from edge.inference.pack.order import Order
from edge.inference.pack.rewrite import Rewritten
from edge.inference.pack.roles import Roles
from edge.inference.pack.truth import Truth
from edge.inference.proving import prove
from edge.inference.writer import BundleWriter

# The budget of a bundle over the 99th percentile measured here. It must only tell a model that went wrong: a pipeline has a budget of its
# own, and the smaller one holds. With three times and 0.5 ms, a busy device refused a model of 0.06 ms that had 5 ms.
MARGIN = 10.0
LEAST_BUDGET_MS = 5.0
MOST_REFERENCES = 4096  # features or labels; more would make the manifest larger than the model
_ANY_BUDGET_MS = 60_000.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")


class Form(msgspec.Struct, frozen=True):
    """One variant: its graph, and what it must say of the golden rows, float32 (n, labels)."""

    name: str
    model: bytes
    precision: str
    expected: npt.NDArray[Any]


class Contents(msgspec.Struct, frozen=True):
    """What a bundle says beside its graphs.

    Args:
        order: what was asked for.
        labels: names of the scores.
        roles, rewritten, truth: of the first model.
        reference: float32 (n, F), samples in the vector's order.
    """

    order: Order
    labels: list[str]
    roles: Roles
    rewritten: Rewritten
    truth: Truth
    reference: npt.NDArray[Any]


def check_target(out: Path, version: str) -> None:
    """Whether a bundle can be written there.

    Raises:
        BundleError: a name that no bundle can have, or a version that is there already.
    """
    for what, name in (("--out: the folder's name", out.resolve().name), ("--version:", version)):
        if not _NAME.fullmatch(name):
            raise BundleError(
                f"{what} {name!r} cannot be that of a bundle; letters, digits and _ . + - are right, such as models/fan and 1.0.0"
            )
    if (out / version).exists():
        raise BundleError(f"{out / version}: is already there; give another --version, or remove it first")
    if out.exists() and not out.is_dir():
        raise BundleError(f"{out}: is a file; a folder that holds one folder per version is right")


def publish(contents: Contents, forms: Sequence[Form], report: Report) -> Path:
    """Write a bundle, measured.

    Returns:
        The version's folder.

    Raises:
        BundleError: it cannot be written, is not admitted on this machine, or is slower than its budget.
    """
    order = contents.order
    try:
        order.out.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{order.out.name}-", dir=order.out.parent))
        try:
            return _publish(contents, forms, stage / order.out.name, report)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    except OSError as e:
        raise BundleError(
            f"{order.out}: cannot be written: {e.strerror or e}; give a folder with enough room that this user may write"
        ) from e


def _publish(contents: Contents, forms: Sequence[Form], folder: Path, report: Report) -> Path:
    order = contents.order
    _write(contents, forms, folder, _ANY_BUDGET_MS)
    proof = prove(folder, order.version, order.names, feature_hash(list(zip(order.names, order.units, strict=True))))
    measured = {variant.name: variant.p99_ns / 1e6 for variant in proof.variants}
    report("measured", ", ".join(f"{name}: p99 {p99_ms:.3f} ms" for name, p99_ms in measured.items()))
    _set_budget(folder / order.version / MANIFEST, _budget(order, measured, report))
    bundle = load_bundle(folder, order.version)
    order.out.mkdir(parents=True, exist_ok=True)
    home = order.out / order.version
    with contextlib.suppress(FileExistsError):
        (folder / order.version).rename(home)
    if not (home / MANIFEST).is_file():
        raise BundleError(f"{home}: was made by another one meanwhile; give another --version")
    report("written", f"{home}: {len(bundle.files) + 1} files, {sum(map(len, bundle.files.values()))} bytes")
    return home


def _set_budget(manifest: Path, budget_ms: float) -> None:
    """The one line that could not be known before it ran."""
    text, count = re.subn(r"(?m)^budget_ms = .*$", f"budget_ms = {budget_ms!r}", manifest.read_text(encoding="utf-8"), count=1)
    assert count == 1  # noqa: S101 - the writer wrote it
    with manifest.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _budget(order: Order, measured: dict[str, float], report: Report) -> float:
    fastest = min(measured.values())
    if order.budget_ms is not None:
        if fastest > order.budget_ms:
            raise BundleError(
                f"{order.model}: the 99th percentile is {fastest:.3f} ms here, --budget-ms {order.budget_ms:g}; give more, a smaller model "
                "with --smaller, or none to have it measured"
            )
        return order.budget_ms
    preferred = next(iter(measured.values()))
    budget_ms = max(_rounded_up(preferred * MARGIN), LEAST_BUDGET_MS)
    report("budget", f"{budget_ms:g} ms: {MARGIN:g} times the 99th percentile measured here, at least {LEAST_BUDGET_MS:g} ms")
    return budget_ms


def _rounded_up(value: float) -> float:
    """To two digits."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return round(math.ceil(value / step) * step, 9)


def _write(contents: Contents, forms: Sequence[Form], folder: Path, budget_ms: float) -> None:
    order, rewritten, roles = contents.order, contents.rewritten, contents.roles
    writer = BundleWriter(
        folder, order.version, description=_description(contents), source=order.source, licence=order.licence, budget_ms=budget_ms
    )
    has_reference = len(order.names) <= MOST_REFERENCES
    writer.set_features(order.names, order.units, training=contents.reference if has_reference else None)
    writer.set_recipe(order.recipe)
    writer.set_input(rewritten.input, "the feature vector", rewritten.shape, cast("DType", rewritten.dtype))
    for state in roles.states:
        writer.add_state(state.input, state.output, state.shape, "carried from one vector to the next", cast("DType", state.dtype))
    for name, values in roles.constants.items():
        writer.add_constant(name, values, "the same for every vector")
    at = 0
    for name in roles.scores:
        dtype, shape = rewritten.outputs[name]
        count = math.prod(shape)
        writer.add_output(name, contents.labels[at : at + count], "scores", shape, cast("DType", dtype))
        at += count
    if len(contents.labels) <= MOST_REFERENCES:
        writer.set_score_references(contents.truth.scores)
    for form in forms:
        writer.add_variant(form.name, form.model, form.expected, cast("Any", form.precision))
    writer.write(contents.truth.golden_rows, rtol=order.rtol, atol=order.atol, overwrite=True)


def _description(contents: Contents) -> str:
    order = contents.order
    return order.description or f"packed from {order.model.name}"
