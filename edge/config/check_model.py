"""The model's manifest against the features of the file. Reads the manifest only: hashes and graphs are for admission."""

from pathlib import Path

import msgspec

from edge.config.check_features import Vector
from edge.config.findings import Findings
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
        is_version = Path(config.model.bundle).is_dir() and config.model.version != "latest" and "version" in str(fault)
        found.add("model.version" if is_version else "model.bundle", str(fault))
        return None
    except (OSError, ValueError) as fault:
        found.add("model.bundle", f"{config.model.bundle!r} cannot be read: {fault}")
        return None
    if vector.is_complete and found.is_sound("streams") and (difference := _difference(manifest, vector)):
        reason = f"are not those that {manifest.name} {manifest.version} was trained on: {difference}"
        found.add("features", reason)
    return manifest.labels


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
