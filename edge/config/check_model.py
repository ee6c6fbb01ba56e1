"""The model's manifest against the features of the file. Reads the manifest only: hashes and graphs are for admission."""

from pathlib import Path

import msgspec

from edge.config.check_features import Vector
from edge.config.findings import Findings, near
from edge.config.models import Model
from edge.config.types import RuntimeConfig
from edge.errors import BundleError
from edge.inference.bundle import read_manifest
from edge.inference.manifest import Manifest

_LISTED = 8  # names in a message


class Target(msgspec.Struct, frozen=True):
    """What a rule may act on.

    Args:
        labels: scores of the model; None when its manifest could not be read.
        vector: the features.
    """

    labels: tuple[str, ...] | None
    vector: Vector


def check_model(config: RuntimeConfig, vector: Vector, found: Findings) -> tuple[str, ...] | None:
    """Note what is wrong with ``model``, and how ``features`` differ from what it was trained on.

    Returns:
        The labels, () without a model, None when they are not known.
    """
    if not found.is_sound("model"):
        return None
    if config.model is None:
        return ()
    try:
        manifest = read_manifest(Path(config.model.bundle), config.model.version)
    except BundleError as fault:
        is_named = config.model.version not in ("latest", "active")
        is_version = Path(config.model.bundle).is_dir() and is_named and "version" in str(fault)
        found.add("model.version" if is_version else "model.bundle", str(fault))
        return None
    except (OSError, ValueError) as fault:
        found.add("model.bundle", f"{config.model.bundle!r} cannot be read: {fault}")
        return None
    _check_cascade(config.model, manifest, found)
    if vector.is_complete and found.is_sound("streams") and (difference := _difference(manifest, vector)):
        reason = f"are not those that {manifest.name} {manifest.version} was trained on: {difference}"
        found.add("features", reason)
    return manifest.labels


def _check_cascade(model: Model, manifest: Manifest, found: Findings) -> None:
    cascade = model.cascade
    if cascade is None:
        return
    variants = [variant.name for variant in manifest.variants]
    for key, name in (("first", cascade.first), ("then", cascade.then)):
        if name not in variants:
            found.add(
                f"model.cascade.{key}", f"{name!r} is no variant of {manifest.name}; it has {', '.join(variants)}", near(name, variants)
            )
    if cascade.first == cascade.then:
        found.add("model.cascade.then", "must be another variant than `first`")
    if cascade.score not in manifest.labels:
        reason = f"{cascade.score!r} is no label; there are {_some(list(manifest.labels))}"
        found.add("model.cascade.score", reason, near(cascade.score, manifest.labels))
    if not cascade.unsure[0] < cascade.unsure[1]:
        found.add("model.cascade.unsure", f"must be [lo, hi] with lo < hi, not {list(cascade.unsure)}")
    if manifest.states:
        found.add(
            "model.cascade", f"{manifest.name} carries states from vector to vector: it must see every one once, so no cascade is possible"
        )


def _difference(manifest: Manifest, vector: Vector) -> str:
    wanted, given = [feature.name for feature in manifest.features], vector.names
    missing = [name for name in wanted if name not in set(given)]
    extra = [name for name in given if name not in set(wanted)]
    parts = [f"{what} {_some(names)}" for what, names in (("missing", missing), ("not expected", extra)) if names]
    if parts:
        return "; ".join(parts)
    if given != wanted:
        places = [f"{b} at {i} where {a} is expected" for i, (a, b) in enumerate(zip(wanted, given, strict=False)) if a != b]
        return f"in another order: {_some(places)}"
    units = [(f.name, f.unit, unit) for f, unit in zip(manifest.features, vector.units, strict=True) if f.unit != unit]
    return _some([f"{name} is in {unit} where {trained} is expected" for name, trained, unit in units])


def _some(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
