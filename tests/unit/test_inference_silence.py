"""Nothing is told to the maker of the runtime: no database of events is begun, no thread that would send them."""

import os
import subprocess
import sys
from pathlib import Path

CODE = """
from pathlib import Path
from edge.inference.admission import admit
from edge.inference.bundle import load_bundle
admit(load_bundle(Path("models/activity-watch")))
"""


def test_the_runtime_tells_nobody(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env=clean | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        timeout=100,
        check=False,
    )
    assert done.returncode == 0
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name.lower()]
