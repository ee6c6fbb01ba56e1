"""Where the demo's pipeline and recording are: beside the package in a checkout, inside it in an installed wheel."""

from pathlib import Path

import msgspec

from edge.errors import EdgeError

_PACKAGE = Path(__file__).resolve().parents[2]
_PLACES = (_PACKAGE.parent / "models" / "activity-watch", _PACKAGE / "_demo")


class DemoFiles(msgspec.Struct, frozen=True):
    """What the demo plays and runs.

    Args:
        pipeline: the pipeline file.
        recording: held-out recording of the devices. Where its metadata have a ``truth_topic``, messages there say what a device is doing.
    """

    pipeline: Path
    recording: Path


def find_demo_files() -> DemoFiles:
    """The demo's files.

    Raises:
        EdgeError: they were not installed.
    """
    for folder in _PLACES:
        recordings = sorted(folder.glob("*.mcap"))
        pipeline = folder / "pipeline.toml"
        if recordings and pipeline.is_file():
            return DemoFiles(pipeline, recordings[0])
    raise EdgeError(f"the demo's recording is not there; looked in {' and '.join(str(folder) for folder in _PLACES)}")
