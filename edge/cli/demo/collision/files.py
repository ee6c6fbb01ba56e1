"""Where the pipeline of the collision demo is: beside the package in a checkout, inside it in an installed wheel."""

import re
from pathlib import Path

from edge.errors import EdgeError

_PACKAGE = Path(__file__).resolve().parents[3]
SLOWEST = 20  # times slower than its own time a simulated world may run
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


def stretched(pipeline: Path, folder: Path) -> Path:
    """A copy of the pipeline file for a world whose time stands still while a scan is cast.

    The daemon's clock does not stand still: on a machine that needs 0.4 s for a turn of 0.1 s it would take the car for silent between two
    scans, latch the brake and open it. So ``stale_ms`` is as many times longer as the slowest machine is slower.

    Args:
        pipeline: file.
        folder: for the copy.
    """
    text = pipeline.read_text(encoding="utf-8")
    text = re.sub(r"^stale_ms = (\d+)", lambda found: f"stale_ms = {int(found[1]) * SLOWEST}", text, flags=re.MULTILINE)
    copy = folder / pipeline.name
    copy.write_text(text.replace('classifier = "."', f"classifier = {str(pipeline.parent)!r}"), encoding="utf-8")
    return copy
