"""Build hook: an installed wheel carries what `edge demo` shows. An editable install finds it in the checkout and needs no copy."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = {  # in the checkout, to in the package: edge/cli/demo/data.py and edge/cli/demo/collision/files.py look there
    Path("models/activity-watch"): "edge/_demo",
    Path("models/lidar-objects"): "edge/_collision",
}
SCRIPTS = {".py"}


class DemoData(BuildHookInterface):
    """Adds pipeline files, recordings, model bundles and their licences to the wheel; not the scripts that made them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling; ``version`` is ``standard`` or ``editable``."""
        if version == "editable":
            return
        for source, target in FOLDERS.items():
            for path in sorted((Path(self.root) / source).rglob("*")):
                relative = path.relative_to(Path(self.root) / source)
                if path.is_file() and path.suffix not in SCRIPTS and "__pycache__" not in relative.parts:
                    build_data["force_include"][str(source / relative)] = f"{target}/{relative.as_posix()}"
