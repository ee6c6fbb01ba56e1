"""The service under a real systemd, booted in a container: start, watchdog, crash, start limit, safe mode, sandbox, reboot.

Not part of the normal run: ``make test-system``. Needs root, debootstrap, systemd-container and a Debian mirror.
"""

import json
import os
import shutil
import subprocess

import pytest

from edge.cli.service import UNITS
from tests.system.booted_root import REPO, ROOT, boot, build_root, build_wheels, furnish

MISSING = [tool for tool in ("debootstrap", "systemd-nspawn") if shutil.which(tool) is None]
MOST_EXPOSURE = 2.0
FIELDS = {
    "EDGE_PIPELINE": "fan-guard",
    "EDGE_STREAM": "vibration",
    "_SYSTEMD_UNIT": "edge@fan-guard.service",
    "PRIORITY": "4",
}

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sudo make test-system"),
    pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} missing: apt-get install debootstrap systemd-container"),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def first(results):
    build_root()
    build_wheels()
    furnish()
    seen = boot(1, results)
    print(json.dumps({name: value for name, value in seen.items() if name not in ("journal", "later")}, indent=1))  # noqa: T201
    assert "fault" not in seen, seen["fault"]
    return seen


@pytest.fixture(scope="module")
def second(first, results):
    seen = boot(2, results)
    assert "fault" not in seen, seen["fault"]
    return seen


def test_the_documented_lines_install_it_and_it_works(first):
    venv, install = first["install"]
    assert venv["code"] == 0, venv
    assert install["code"] == 0, install
    assert "edge@fan-guard is started, now and at every boot: /opt/edge/bin/edge service status fan-guard" in install["out"]
    assert "warning" not in install["out"]
    assert first["state"] == "active"
    assert first["alert"] == "hot"
    assert first["outbox"]["kept"].startswith("in /var/lib/")
    assert "fan-guard.outbox" in first["files"]


def test_what_is_documented_for_later_does_what_it_says(first):
    status, logs, doctor, health, journal = first["later"]
    assert (status["code"], "active (running)" in status["out"]) == (0, True), status
    assert "vibration" in logs["out"], logs
    assert "stream vibration: refused" in logs["out"]
    assert "fan-guard runs" not in logs["out"], "lines of no stream"
    assert "judged with the rights of its unit" in doctor["out"], doctor
    assert (health["code"], "daemon fan-guard" in health["out"]) == (0, True), health
    assert "vibration" in journal["out"], journal


def test_log_lines_have_fields(first):
    refused = [one for one in first["journal"] if one.get("EDGE_STREAM") == "vibration" and "refused" in one["MESSAGE"]]  # among others
    assert refused, first["journal"]
    assert {key: refused[-1].get(key) for key in FIELDS} == FIELDS
    for line in (one for one in first["journal"] if one.get("SYSLOG_IDENTIFIER") == "edge"):
        assert line["EDGE_PIPELINE"] == "fan-guard"
        assert line["LOGGER"].startswith("edge")
        assert line["CODE_FILE"].endswith(".py")
        assert int(line["CODE_LINE"]) > 0
    assert "actuator fan of a" in first["stuck"]["of_device"]


def test_doctor_judges_the_rights_of_whom_it_names(first):
    found = first["doctor"]
    said = {who: json.loads(found[who]["out"]) for who in ("person", "unit")}
    assert (
        said["person"]["judged"]
        == "judged with the rights of ada; with those of the service: sudo /opt/edge/bin/edge service doctor fan-guard"
    )
    assert said["unit"]["judged"].startswith("judged with the rights of its unit")
    found_by = {who: {one["name"]: one["found"] for one in said[who]["findings"]} for who in said}
    assert "/etc/edge: Permission denied" in found_by["person"]["disk sync"]
    assert found_by["unit"]["disk sync"].endswith(" for 4 kB at /var/lib/edge/fan-guard")
    assert found_by["unit"]["numba cache"].startswith("kernels load in ")
    assert "synchronised" in found_by["unit"]["clock"], "whether or not: the unit's protection of the clock is not in the way"
    not_started = json.loads(first["not_started"]["out"])
    assert not_started["judged"].startswith("judged with the rights of its unit")
    assert next(one["found"] for one in not_started["findings"] if one["name"] == "disk sync").endswith(" at /var/lib/edge/stuck")
    assert "`systemctl reload edge@fan-guard`" in (REPO / "docs/deploy.md").read_text()
    assert found["reload"]["code"] == 0, found["reload"]
    assert found["reloaded_s"] is not None
    assert (found["same_pid"], found["owner"], found["health"], found["alert"]) == (True, 1, True, "hot"), "the daemon was not disturbed"


def test_without_a_broker_the_daemon_tells_of_itself(first):
    found = first["alone"]
    assert found["before"]["name"] == "fan-guard"
    assert found["before"]["link"]["state"] == "up"
    assert found["mode"] == "0o644"
    assert found["lost_s"] is not None
    for told in found["told"]:
        assert told["code"] == 1, told
        assert "said in /run/edge/fan-guard/health.json" in told["out"], told
        assert "the broker cannot be reached" in told["err"], told
        assert "no news" not in told["out"], told
    assert "this user may not read /run/edge/fan-guard/health.json" in found["closed"]["err"], found["closed"]
    assert found["up_s"] is not None
    assert found["alert"] == "hot"


def test_a_daemon_that_hangs_is_restarted_by_the_watchdog(first):
    assert first["hang_seen_s"] is not None
    assert first["hang_back_s"] is not None
    assert first["hang_restarts"] == 1
    assert first["hang_reason"]
    assert first["hang_alert"] == "hot"


def test_a_model_that_never_comes_back_is_ended_by_the_watchdog_and_no_command_outlives_its_time(first):
    stuck = first["stuck"]
    assert stuck["start"] == 0
    before, after = stuck["before"], stuck["after"]
    assert before[-1]["value"] == 0.8, "the output was live"
    assert stuck["seen_s"] is not None
    assert stuck["restarts"] == 1
    assert stuck["reason"]
    assert stuck["back_s"] is not None
    assert stuck["heard_while_stuck"] == [], "what was said last is not kept for those who come later"
    assert all(one["expires_ns"] - one["issued_ns"] <= 1_000_000_000 for one in before)
    assert before[-1]["expires_ns"] < stuck["gone_ns"], "an actuator that obeys the time was at its safe value before the daemon was ended"
    assert {one["boot_id"] for one in before}.isdisjoint({one["boot_id"] for one in after})
    assert min(one["issued_ns"] for one in after) > stuck["fed_again_ns"], "a new run commands nothing before it has heard its sensor"
    assert after[-1]["value"] == 0.8


def test_a_daemon_that_dies_comes_back(first):
    assert first["crash_back_s"] is not None
    assert first["crash_alert"] == "hot"


def test_a_service_that_fails_again_and_again_ends_in_safe_mode(first):
    assert first["storm_s"] is not None
    assert first["storm_state"] == "failed" or first["storm_state"] == "inactive"
    assert int(first["storm_restarts"]) == 5
    assert first["safe_state"] == "safe mode"


def test_what_the_sandbox_lets_through_and_what_not(first):
    probe = first["probe"]
    assert probe["serial"] == "ping"
    assert probe["numba"] == "42"
    assert probe["uid"]
    assert probe["write_etc"] == probe["write_usr"] == "EROFS"
    assert probe["write_state"] == "0"
    assert probe["raw_socket"] == "EPERM"
    assert probe["packet_socket"] in ("EAFNOSUPPORT", "EPERM")


def test_exposure(first):
    exposure = first["security"].split(":")[1].split()[0]
    assert float(exposure) <= MOST_EXPOSURE
    assert f"says {exposure} (" in (REPO / "docs/deploy.md").read_text()
    for unit in UNITS:
        path = ROOT / "etc/systemd/system" / unit
        command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSURE * 10:g}", str(path)]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_it_comes_back_after_a_reboot(second):
    assert second["back_s"] is not None
    assert second["alert"] == "hot"
    assert "fan-guard.outbox" in second["state_files"]
