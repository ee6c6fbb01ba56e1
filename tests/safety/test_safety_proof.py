"""The tests of the envelope are tested: they reach every line and branch, and notice every wrong one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def run(arguments: list[str], folder: Path, timeout_s: float) -> str:
    """What a Python process of its own prints; fails with it unless the process ends well."""
    environment = {**os.environ, "COVERAGE_FILE": str(folder / "coverage")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, timeout=timeout_s, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_line_and_branch_of_the_envelope_is_reached(tmp_path: Path) -> None:
    battery = [str(HERE / f"test_safety_{name}.py") for name in ("limits", "envelope", "machine")]
    options = ["--branch", "--include", str(ROOT / "edge" / "safety.py")]
    run(["-m", "coverage", "run", *options, "-m", "pytest", "-q", "-p", "no:cacheprovider", *battery], tmp_path, 100)
    report = run(["-m", "coverage", "report", "-m", "--fail-under=100"], tmp_path, 30)
    assert "safety.py" in report


@pytest.mark.timeout(240)
def test_every_mutant_of_the_envelope_is_noticed(tmp_path: Path) -> None:
    assert "mutants" in run([str(HERE / "mutation.py")], tmp_path, 230)
