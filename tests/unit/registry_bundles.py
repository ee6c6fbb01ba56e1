"""Small bundles for the registry's tests."""

import re
import shutil
from pathlib import Path

NAME = "fan-anomaly"
REAL = Path(__file__).parents[2] / "models" / NAME / "1.0.0"


def bundle(folder: Path, version: str, note: str = "") -> Path:
    """A copy of a real bundle under another version; ``note`` makes its manifest another one."""
    home = folder / version
    shutil.copytree(REAL, home)
    manifest = home / "manifest.toml"
    text = manifest.read_text().replace('version = "1.0.0"', f'version = "{version}"', 1)
    text = re.sub(r"(?m)^budget_ms = .*$", "budget_ms = 1000.0", text)  # a busy machine is not what is tested
    manifest.write_text(text + (f"\n# {note}\n" if note else ""))
    return home


def unproved(folder: Path, version: str, wanted: object) -> None:
    """In the place of the proof, which takes a second: the registry verifies hashes by itself."""
