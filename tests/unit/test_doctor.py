"""What `edge doctor` says of machines that are not as they should be."""

import json
import os
import pwd

import pytest
from typer.testing import CliRunner

from edge.cli.doctor import as_text, disk, judged_as
from edge.cli.doctor.broker import check_broker
from edge.cli.doctor.disk import check_disk
from edge.cli.doctor.finding import FAIL, OK, WARN, Finding, Subject, judge
from edge.cli.doctor.machine import check_clock, check_governor, check_jitter, check_memory_lock, check_real_time
from edge.cli.doctor.parts import check_cache, check_serial
from edge.cli.main import app
from edge.config.load import loads
from tests.broker import Mosquitto, free_port, needs_mosquitto
from tests.system.kills import PIPELINE


def subject(tmp_path, url="mqtt://127.0.0.1:1883", extra=""):
    return Subject(loads(PIPELINE.format(url=url, durability="power") + extra, tmp_path), tmp_path, 0.1)


def test_governor(tmp_path):
    assert check_governor(None, tmp_path)[0].state == OK
    for cpu, name in enumerate(["performance", "powersave"]):
        path = tmp_path / f"devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"
        path.parent.mkdir(parents=True)
        path.write_text(f"{name}\n")
    finding = check_governor(None, tmp_path)[0]
    assert (finding.state, finding.found) == (WARN, "powersave")
    assert finding.mend


def test_latency_timer(tmp_path):
    assert check_serial(None, tmp_path)[0].state == OK
    for name, timer in (("ttyUSB0", 16), ("ttyUSB1", 1)):
        path = tmp_path / f"bus/usb-serial/devices/{name}/latency_timer"
        path.parent.mkdir(parents=True)
        path.write_text(f"{timer}\n")
    assert [finding.state for finding in check_serial(None, tmp_path)] == [WARN, OK]


@pytest.mark.parametrize(("value", "state"), [(0.9, OK), (1.0, WARN), (2.0, FAIL)])
def test_limits(value, state):
    assert judge(value, 1, 2) == state


def test_clock_matters_more_where_a_stream_depends_on_it(tmp_path, monkeypatch):
    monkeypatch.setattr("edge.cli.doctor.machine.clock_state", lambda: (False, "not synchronised"))
    assert check_clock(subject(tmp_path))[0].state == WARN
    text = PIPELINE.format(url="mqtt://127.0.0.1:1883", durability="power").replace("rate_hz = 1000", 'rate_hz = 1000\nclock = "synced"')
    assert check_clock(Subject(loads(text, tmp_path), tmp_path, 0.1))[0].state == FAIL


def test_disk_room_speed_and_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    space, speed = check_disk(subject(tmp_path))
    assert space.measured["free_mb"] > 0
    assert speed.measured["max_ms"] >= speed.measured["median_ms"] > 0
    monkeypatch.setattr(disk, "sync_ms", lambda _folder: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert check_disk(subject(tmp_path))[1].state == FAIL
    assert check_disk(subject(tmp_path, extra=""))[0].name == "disk space"


def test_rights_cache_and_jitter_are_judged(tmp_path):
    for check in (check_real_time, check_memory_lock, check_cache, check_jitter):
        (finding,) = check(subject(tmp_path))
        assert finding.state in (OK, WARN, FAIL)
        assert bool(finding.mend) == bool(finding.meaning) == (finding.state != OK)


def test_a_broker_that_is_not_there(tmp_path):
    (finding,) = check_broker(subject(tmp_path, url=f"mqtt://127.0.0.1:{free_port()}"))
    assert finding.state == FAIL
    assert "refused" in finding.found.lower()


@needs_mosquitto
def test_a_broker_that_holds_small_messages_back_is_found_out(tmp_path):
    ratios = {}
    for name in ("quick", "held"):
        folder = tmp_path / name
        folder.mkdir()
        broker = Mosquitto(folder)
        if name == "held":
            broker._conf.write_text(broker._conf.read_text().replace("set_tcp_nodelay true\n", ""))
        broker.start()
        try:
            reach, latency = check_broker(subject(tmp_path, url=broker.url))
        finally:
            broker.close()
        assert reach.state == OK
        ratios[name] = latency.measured["stream_us"] / latency.measured["single_us"]
    assert ratios["held"] > ratios["quick"]


def test_json_and_exit_code(tmp_path, monkeypatch):
    findings = [Finding("one", OK, "fine"), Finding("two", FAIL, "bad", "it breaks", "mend it", {"n": 1.0})]
    monkeypatch.setattr("edge.cli.doctor.CHECKS", (lambda _subject: findings,))
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["ok"] is False
    assert report["findings"][1] == {
        "name": "two",
        "state": "FAIL",
        "found": "bad",
        "meaning": "it breaks",
        "mend": "mend it",
        "measured": {"n": 1.0},
    }
    assert "1 of 2 checks failed: two" in CliRunner().invoke(app, ["doctor"]).stdout
    assert as_text(findings[1]).splitlines()[2].endswith("mend it")


def test_it_says_whose_rights_it_judged(monkeypatch):
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setattr("sys.executable", "/opt/nothing/bin/python")
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert judged_as("pump") == f"judged with the rights of {user}; with those of the service: sudo edge service doctor pump"
    monkeypatch.setattr("os.geteuid", lambda: 2**31 - 7)
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edge/pump")
    assert judged_as("pump") == "judged with the rights of its unit, as its user 2147483641"


@pytest.fixture(autouse=True)
def _logging():
    import logging

    yield
    logging.disable(logging.NOTSET)
