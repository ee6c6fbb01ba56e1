"""`edge demo collision` as a user starts it: a real broker, the daemon, the car, and an exit code that says how it ended."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.broker import Mosquitto, needs_mosquitto

pytestmark = [pytest.mark.timeout(600), needs_mosquitto]  # the first start of a daemon on a machine compiles kernels


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge", "demo", "collision", "--sensor", "vlp16", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=550, check=False)


def test_the_runtime_stops_the_car_over_mqtt(tmp_path: Path) -> None:
    pytest.importorskip("PIL", reason="the picture needs Pillow")
    done = run("--scenario", "cut_in", "--picture", str(tmp_path / "last.png"))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    for text in ("simulated time runs at", "critical collision", "first brake", "expected     hits nothing: yes"):
        assert text in done.stdout
    assert (tmp_path / "last.png").read_bytes().startswith(b"\x89PNG")


def test_without_the_runtime_it_hits_at_a_broker_that_runs_already(broker: Mosquitto) -> None:
    done = run("--scenario", "cut_in", "--without-runtime", "--url", broker.url)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "hit at 14.0 m/s" in done.stdout
    assert "brake 100%" not in done.stdout


def test_a_drive_that_is_cut_short_proves_nothing() -> None:
    done = run("--scenario", "empty_road", "--seconds", "1", "--without-runtime")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "not decided in the time given" in done.stdout
