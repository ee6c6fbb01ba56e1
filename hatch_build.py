"""Build hook: an installed wheel carries what `edge demo` plays. An editable install finds it in the checkout and needs no copy."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("models/activity-watch")
TARGET = "edge/_demo"  # edge/cli/demo/data.py looks there
SCRIPTS = {".py"}


class DemoData(BuildHookInterface):
    """Adds the pipeline file, the recording, the model bundle and their licence to the wheel; not the scripts that made them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling; ``version`` is ``standard`` or ``editable``."""
        if version == "editable":
            return
        for path in sorted((Path(self.root) / SOURCE).rglob("*")):
            relative = path.relative_to(Path(self.root) / SOURCE)
            if path.is_file() and path.suffix not in SCRIPTS and "__pycache__" not in relative.parts:
                build_data["force_include"][str(SOURCE / relative)] = f"{TARGET}/{relative.as_posix()}"
