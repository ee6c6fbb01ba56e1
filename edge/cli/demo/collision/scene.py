"""What the scans show, for the eyes: the view hears the same messages as the daemon and looks at them with the same pipeline."""

import time
from pathlib import Path

from rich.console import RenderableType

from edge.build import load
from edge.errors import EdgeError, TransportError
from edge.messages import RawMessage
from edge.pipeline.intake import ScanIntake


class Scenery:
    """The newest scan as the pipeline sees it. What it decides is not sent anywhere.

    Args:
        pipeline: file.

    Raises:
        ConfigError: the file is wrong, or has no scans.
    """

    def __init__(self, pipeline: Path) -> None:
        self._pipeline = load(pipeline)
        self._work = next(intake.work for intake in self._pipeline.intakes if isinstance(intake, ScanIntake) and intake.work is not None)

    def take(self, topic: str, payload: bytes) -> None:
        """Look at a message of the car."""
        self._pipeline.step(RawMessage(topic, payload, time.monotonic_ns()))
        self._pipeline.flush_scans()

    def terminal(self, columns: int, rows: int, reach_m: float) -> RenderableType | None:
        """The scene from above as text; None before the first scan."""
        scene = self._work.scene
        if scene is None:
            return None
        from edge.cli.view.terminal import terminal

        return terminal(scene, self._work.chain.settings, columns, rows, reach_m=reach_m)

    def save(self, path: Path, caption: list[str]) -> None:
        """Write the newest scene as a picture.

        Raises:
            EdgeError: no scan was seen, or it cannot be written.
        """
        from edge.cli.view.picture import render

        scene = self._work.scene
        if scene is None:
            raise EdgeError(f"{path}: no scan was seen, there is nothing to draw")
        try:
            render(scene, self._work.chain.settings, caption=caption).save(path)
        except (OSError, ValueError) as error:  # ValueError: an ending that Pillow does not know
            raise TransportError(f"{path} cannot be written: {error}") from error


def check_picture(path: Path) -> None:
    """Refuse a picture before the drive rather than after it.

    Raises:
        EdgeError: Pillow is missing, or there is no such folder.
    """
    import importlib.util

    if importlib.util.find_spec("PIL") is None:
        raise EdgeError("--picture needs Pillow: pip install pillow")
    if not path.parent.is_dir():
        raise TransportError(f"{path} cannot be written: there is no folder {path.parent}")
