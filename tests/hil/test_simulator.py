"""Scenarios on the board that needs no emulator: some of the shipped ones, and every fault of the harness that these leave out."""

from pathlib import Path

import pytest

from firmware_bridge.hil.boards import lacks
from firmware_bridge.hil.host import missing_broker
from firmware_bridge.hil.run import run_scenario
from firmware_bridge.hil.scenario import load_scenario

FAULTS = Path(__file__).with_name("faults")
pytestmark = [pytest.mark.hil, pytest.mark.skipif(lacks("simulator") is not None, reason=str(lacks("simulator"))), pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    "name",
    ["emergency-stop", "forged-command", "lost-host", *(str(file) for file in sorted(FAULTS.glob("*.toml")))],
    ids=lambda name: Path(name).stem,
)
def test_scenario_on_the_simulator(name, hil_images, tmp_path):
    scenario, file = load_scenario(name)
    if scenario.broker and missing_broker():
        pytest.skip(missing_broker())
    result = run_scenario(scenario, file, "simulator", tmp_path, hil_images)
    lines = [f"{'ok  ' if check.holds else 'FAIL'} {check.what}: {check.found}" for check in result.checks]
    assert result.passed, "\n".join([result.error, *lines, *result.log, str(result.figures)])
