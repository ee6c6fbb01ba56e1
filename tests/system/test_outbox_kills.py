"""Kill -9 at random instants: no alert that was accepted is lost, and what is sent twice is bounded."""

import pytest

from edge.store.outbox_journal import BATCH
from tests.broker import needs_mosquitto
from tests.system.kills import run

pytestmark = [needs_mosquitto]
IN_FLIGHT = 20


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("durability", ["process", "power"])
def test_no_accepted_alert_is_lost(tmp_path, pytestconfig, durability):
    kills = pytestconfig.getoption("--kills") // 2
    seen = run(tmp_path, kills, seed=kills, durability=durability)
    assert not seen.lost, f"{len(seen.lost)} of {seen.alerts} alerts"
    assert not seen.foreign
    assert seen.alerts > 20 * kills, "hardly anything was sent"
    assert not seen.damaged
    assert seen.most_duplicates <= IN_FLIGHT + BATCH
