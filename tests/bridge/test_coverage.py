"""Line coverage of the C code by the tests beside this one, measured by gcov."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bridge.c_board import ROOT, SOURCES, WARNINGS


@pytest.mark.skipif(shutil.which("gcov") is None, reason="needs gcov: sudo apt-get install gcc")
def test_the_tests_run_nearly_every_line_of_the_c_code(tmp_path: Path):
    library = tmp_path / "shim.so"
    flags = [*WARNINGS, "-O1", "--coverage", "-fPIC", "-shared"]
    subprocess.run(["gcc", *flags, *SOURCES, "-o", library], check=True, timeout=60, cwd=tmp_path)
    environment = {**os.environ, "EDGE_BRIDGE_SHIM": str(library)}
    run = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/bridge/test_board.py",
        "tests/bridge/test_board_commands.py",
    ]
    subprocess.run(run, check=True, timeout=100, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    data = next(tmp_path.glob("*edge_bridge.gcda"))
    told = subprocess.run(["gcov", "-n", data], check=True, capture_output=True, text=True, timeout=60, cwd=tmp_path).stdout
    covered = float(re.search(r"edge_bridge\.c'\nLines executed:([\d.]+)%", told)[1])
    assert covered >= 95.0, told
