"""The example of docs/firmware.md: a firmware of one's own, built outside the checkout, in QEMU, with a scenario of its own."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from firmware_bridge.hil.qemu import QEMU, missing_tools
from firmware_bridge.hil.run import run_scenario
from firmware_bridge.hil.scenario import load_scenario

ROOT = Path(__file__).resolve().parents[2] / "firmware_bridge"
DOC = ROOT.parent / "docs" / "firmware.md"

pytestmark = [pytest.mark.hil, pytest.mark.timeout(240)]


def test_a_firmware_of_ones_own_is_built_from_copies_and_closes_its_loop(tmp_path):
    if lack := missing_tools():
        pytest.skip(lack)
    (copied,) = re.findall(r"cp ((?:firmware_bridge/\S+ )+)my-firmware/", DOC.read_text())
    assert len(copied.split()) == 5
    for name in copied.split():
        for file in ROOT.parent.glob(name):
            shutil.copy(file, tmp_path)
    (sources,) = re.findall(r"SOURCES='([^']+)'", DOC.read_text())
    subprocess.run(
        ["make", "-s", f"INCLUDE={ROOT / 'include'}", f"SOURCES={sources}", "build/firmware.elf"], cwd=tmp_path, check=True, timeout=100
    )
    command = [QEMU, "-M", "mps2-an385", "-kernel", "build/firmware.elf", "-display", "none", "-monitor", "none"]
    for port in ("host", "bench"):
        command += ["-chardev", f"pty,id={port}", "-serial", f"chardev:{port}"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as board:
        try:
            terminal = board.stdout.readline().split()[4]
            result = run_scenario(*load_scenario(tmp_path / "fan.toml"), f"pty:{terminal}", tmp_path)
        finally:
            board.kill()
    assert result.passed, (result.error, result.checks)
