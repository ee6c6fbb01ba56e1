"""The features that a bundle was packed with, in the place of the file's, where the file says so."""

from pathlib import Path

import msgspec

from edge.config.findings import Findings
from edge.config.types import Features, RuntimeConfig
from edge.errors import BundleError
from edge.inference.bundle import read_manifest


def with_bundle_features(config: RuntimeConfig, found: Findings) -> RuntimeConfig:
    """The config whose ``features`` are those of the model's bundle, with ``model.features = "bundle"``; otherwise as it is.

    Args:
        config: typed, with absolute paths.
        found: takes the problems.
    """
    model = config.model
    if model is None or model.features != "bundle" or not found.is_sound("model"):
        return config
    try:
        manifest = read_manifest(Path(model.bundle), model.version)
        if not manifest.recipe:
            raise ValueError(f"{manifest.name} {manifest.version} does not say how its features are made: it has no recipe; pack it again")
        features = msgspec.convert(manifest.recipe, list[Features])
    except BundleError:
        return config  # which is noted when the manifest is checked
    except ValueError as fault:  # msgspec's errors as well
        found.add("model.features", str(fault))
        return config
    return msgspec.structs.replace(config, features=features)
