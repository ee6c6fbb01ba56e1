"""The suite's own --fail-on-skip option."""

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"


def _run(folder: Path, body: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "test_it.py").write_text(f"import pytest\n\n{body}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder), "--rootdir", str(folder), *options]
    environment = os.environ | {"PYTHONPATH": str(CONFTEST.parents[1])}  # the conftest names plugins of this suite
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_skip_fails_only_when_asked(tmp_path: Path) -> None:
    body = "def test_a():\n    pytest.skip('no board')\n"
    assert _run(tmp_path, body).returncode == 0
    strict = _run(tmp_path, body, "--fail-on-skip")
    assert strict.returncode == 1
    assert "1 skipped, and --fail-on-skip was given" in strict.stdout


def test_without_skips_nothing_changes(tmp_path: Path) -> None:
    assert _run(tmp_path, "def test_a():\n    pass\n", "--fail-on-skip").returncode == 0


def test_a_module_that_is_skipped_counts(tmp_path: Path) -> None:
    body = "pytest.importorskip('nothing_of_this_name')\n"
    assert _run(tmp_path, body, "--fail-on-skip").returncode != 0
