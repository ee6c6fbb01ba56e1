"""A board of one's own: no stream that is called board, no parameter of the bench; only what every board sends."""

import time
from pathlib import Path

import pytest

from firmware_bridge.hil.run import run_scenario
from firmware_bridge.hil.scenario import load_scenario
from tests.bridge.c_board import CBoard, compile_shim
from tests.bridge.pty_board import PtyBoard
from tests.bridge.test_daemon import FILE

SCENARIO = """
name = "own"
title = "own"
pipeline = "own.toml"
duration_s = 2.0
[[step]]
at_s = 0.5
do = "unplug"
[[step]]
at_s = 1.0
do = "plug"
[[expect]]
what = "it shakes"
channel = "imu.ax"
of = "last"
above = 0
[[expect]]
what = "it is commanded"
measure = "acks"
status = "ok"
above = 0
[[expect]]
what = "the loop is quick"
measure = "loop_p99_ms"
below = 1000
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory) -> Path:
    return compile_shim(tmp_path_factory.mktemp("shim"), "-O1")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("rules", [True, False], ids=["commands", "commands nothing"])
def test_a_board_without_a_stream_of_that_name_closes_the_loop(rules, shim, tmp_path):
    """It was waited for during two minutes, in silence."""
    text = FILE if rules else FILE[: FILE.index("[[rules]]")]
    (tmp_path / "own.toml").write_text(text.format(url="mqtt://127.0.0.1:1883", path="/dev/ttyACM0"))
    (tmp_path / "own.scenario.toml").write_text(SCENARIO)
    board = PtyBoard(CBoard(shim, schema="Nown;T1 imu 500 ax=g;A1 brake % 0 100 100"), period_s=0.01)
    began = time.monotonic()
    try:
        result = run_scenario(*load_scenario(tmp_path / "own.scenario.toml"), f"pty:{board.path}", tmp_path)
    finally:
        board.unplug()
    assert not result.error
    assert time.monotonic() - began < 90, "the loop was closed by what every board says, not by time"
    shakes, commanded, loop = result.checks
    assert shakes.holds, shakes
    assert commanded.holds is rules, commanded
    assert "the board has no channel board.loops; it has imu.ax" in loop.found
