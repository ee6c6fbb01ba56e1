"""Where the pipeline of the collision demo is: beside the package in a checkout, inside it in an installed wheel."""

from pathlib import Path

from edge.errors import EdgeError

_PACKAGE = Path(__file__).resolve().parents[3]
_PLACES = (_PACKAGE.parent / "models" / "lidar-objects", _PACKAGE / "_collision")


def find_pipeline() -> Path:
    """The pipeline file.

    Raises:
        EdgeError: it was not installed.
    """
    for folder in _PLACES:
        if (folder / "pipeline.toml").is_file():
            return folder / "pipeline.toml"
    raise EdgeError(f"the demo's pipeline is not there; looked in {' and '.join(str(folder) for folder in _PLACES)}")
