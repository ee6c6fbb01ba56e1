"""Silence at the start: nobody can be heard through a broker that was not reached yet."""

import pytest

from edge.daemon.sources import SourceTerms
from tests.unit.test_health import MS, Rig


def alerts(out):
    return [one.message.state for one in out if one.kind == "alert"]


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    rig.link.is_up, rig.link.connects = False, 0
    return rig


def test_silence_before_the_broker_is_reached_is_a_state_and_no_alert(rig):
    for _ in range(30):
        assert alerts(rig.look(100)) == []
    assert rig.state() == ("silent", 3000 * MS)
    rig.link.is_up, rig.link.connects = True, 1
    assert alerts(rig.look(10)) == [], "silent_ms begins with the link"
    rig.send()
    assert alerts(rig.look(10)) == []
    assert rig.state()[0] == "ok"


def test_a_stream_that_never_speaks_is_an_alert_once_the_link_has_been_up_for_long_enough(rig):
    rig.look(3000)
    rig.link.is_up, rig.link.connects = True, 1
    assert alerts(rig.look(900)) == []
    assert alerts(rig.look(200)) == ["raised"]
    rig.link.is_up = False
    rig.send()
    rig.look(10)
    assert alerts(rig.look(1100)) == ["raised"], "a link that was up and is lost hides no silence"


def test_a_serial_stream_waits_for_no_broker(rig):
    source = rig.health._sources.sources["temp"]
    source.terms = SourceTerms("temp", source.terms.silent_ns, has_alert=True, is_serial=True)
    assert alerts(rig.look(1100)) == ["raised"]
