"""Every shipped scenario, on an emulated board or, with ``--hil-board serial:/dev/...``, on a real one."""

import pytest

from firmware_bridge.hil.scenario import shipped

pytestmark = [pytest.mark.hil, pytest.mark.timeout(180)]


@pytest.mark.parametrize("name", shipped())
def test_scenario(name, hil_run):
    hil_run(name)
