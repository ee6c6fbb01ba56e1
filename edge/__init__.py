"""Edge inference runtime for vehicles and IoT sensors: the public Python API, names only.

pipeline = edge.load("pipeline.toml")
result = pipeline.push("imu", rows, device="watch-1")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.build import load as load
    from edge.build import load_features as load_features
    from edge.build import run as run
    from edge.errors import BundleError as BundleError
    from edge.errors import ConfigError as ConfigError
    from edge.errors import EdgeError as EdgeError
    from edge.errors import TransportError as TransportError
    from edge.features.functions import feature as feature
    from edge.store.recording import read as read

_HOMES = {
    "load": "edge.build",
    "load_features": "edge.build",
    "run": "edge.build",
    "read": "edge.store.recording",
    "feature": "edge.features.functions",
    "EdgeError": "edge.errors",
    "ConfigError": "edge.errors",
    "BundleError": "edge.errors",
    "TransportError": "edge.errors",
}
__all__ = ["BundleError", "ConfigError", "EdgeError", "TransportError", "feature", "features", "load", "load_features", "read", "run"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``import edge`` costs nothing."""
    import importlib

    if name == "features":
        return importlib.import_module("edge.features")
    if name not in _HOMES:
        raise AttributeError(f"module 'edge' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """What is public, imported or not."""
    return __all__
