"""What `edge service install` writes, and what it refuses."""

import shutil
import subprocess

import pytest

from edge.cli import service
from edge.cli.main import main
from edge.cli.service import UNITS, doctor_call, drop_in_text, unit_text
from edge.errors import TransportError
from tests.system.kills import PIPELINE


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a b%.toml"
    path.write_text(PIPELINE.format(url="mqtt://127.0.0.1:1883", durability="power") + "\n[process]\npriority = 20\n")
    return path


def test_units_and_drop_ins(tmp_path, file, monkeypatch):
    monkeypatch.setattr(service, "_check_reachable", lambda _file: None)
    units = tmp_path / "units"
    assert main(["service", "install", str(file), "--unit-dir", str(units), "--no-start"]) == 0
    assert sorted(path.name for path in units.iterdir()) == [
        "edge-safe@.service",
        "edge-safe@guard.service.d",
        "edge@.service",
        "edge@guard.service.d",
    ]
    text = (units / "edge@guard.service.d/10-file.conf").read_text()
    assert f'-m edge run "{tmp_path}/a b%%.toml"' in text
    assert "LimitRTPRIO=20" in text
    assert "run --safe " in (units / "edge-safe@guard.service.d/10-file.conf").read_text()


def test_a_file_that_a_service_user_cannot_reach_is_refused(tmp_path, file, capsys):
    tmp_path.chmod(0o700)
    assert main(["service", "install", str(file), "--unit-dir", str(tmp_path / "units"), "--no-start"]) == 4
    assert "a service user may not search it" in capsys.readouterr().err


def test_what_the_unit_would_not_let_the_daemon_write_is_told(tmp_path, file, monkeypatch, capsys):
    monkeypatch.setattr(service, "_check_reachable", lambda _file: None)
    assert main(["service", "install", str(file), "--unit-dir", str(tmp_path / "units"), "--no-start"]) == 0
    assert f"outbox.path: the daemon writes to {tmp_path}/alerts.db" in capsys.readouterr().out
    file.write_text(file.read_text().replace('"alerts.db"', '"/var/lib/edge/guard/alerts.db"'))
    assert main(["service", "install", str(file), "--unit-dir", str(tmp_path / "units"), "--no-start"]) == 0
    assert "warning" not in capsys.readouterr().out


def test_a_wrong_file_writes_nothing(tmp_path, capsys):
    (tmp_path / "p.toml").write_text("name = 3")
    assert main(["service", "install", str(tmp_path / "p.toml"), "--unit-dir", str(tmp_path / "units")]) == 3
    assert not (tmp_path / "units").exists()


def test_without_systemd_there_is_one_clear_line(monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert main(["service", "status", "guard"]) == 4
    assert "systemd does not run here" in capsys.readouterr().err


def test_home_folders_are_opened_for_reading_only_where_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(service.sys, "executable", "/usr/bin/python3")
    for name in ("prefix", "base_prefix"):
        monkeypatch.setattr(service.sys, name, "/usr")
    assert "ProtectHome" not in drop_in_text(tmp_path / "p.toml", "", None)
    from pathlib import Path

    assert "ProtectHome=read-only" in drop_in_text(Path("/home/u/p.toml"), "", None)


def test_doctor_is_called_with_what_the_unit_says_of_rights_and_nothing_of_its_life(tmp_path):
    text = unit_text("edge@.service") + drop_in_text(tmp_path / "a b%$.toml", "", 77) + "# User=x\n[Install]\nWantedBy=x\n"
    call = doctor_call(text, "pump")
    assert call[call.index("--") + 1 :][1:] == ["-m", "edge", "doctor", f"{tmp_path}/a b%$.toml"]
    said = [word.removeprefix("--property=") for word in call[: call.index("--")]]
    assert {"DynamicUser=yes", "StateDirectory=edge/pump", "ProtectSystem=strict", "CapabilityBoundingSet=", "MemoryMax=1G"} <= set(said)
    assert "Environment=NUMBA_CACHE_DIR=/var/cache/edge/pump PYTHONDONTWRITEBYTECODE=1" in said
    assert [word for word in said if word.startswith(("SystemCallFilter", "LimitRTPRIO"))] == [
        "LimitRTPRIO=50",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged",
        "LimitRTPRIO=77",
        "SystemCallFilter=adjtimex clock_adjtime",
    ]
    assert said.index("ProtectClock=yes") < said.index("ProtectClock=no")
    assert not [word for word in said if word.startswith(("Type", "Exec", "Restart", "Watchdog", "RuntimeDirectory", "User", "WantedBy"))]


def test_an_empty_setting_takes_back_the_earlier_ones_and_another_program_is_refused():
    call = doctor_call(
        "[Service]\nDeviceAllow=a rw\nDeviceAllow=\nDeviceAllow=b \\\n  rw\nExecStart=/x/edge run /etc/edge/%i.toml\n", "pump"
    )
    assert [word for word in call if "Device" in word] == ["--property=DeviceAllow=", "--property=DeviceAllow=b    rw"]
    assert not [word for word in call if "SystemCallFilter" in word], "a unit that filters nothing is given no filter"
    assert call[-3:] == ["/x/edge", "doctor", "/etc/edge/pump.toml"]
    with pytest.raises(TransportError, match="is no `edge run FILE`"):
        doctor_call("[Service]\nExecStart=/bin/true\n", "pump")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing: apt-get install systemd")
@pytest.mark.parametrize("unit", UNITS)
def test_exposure_is_two_at_most(tmp_path, unit):
    (tmp_path / unit).write_text(unit_text(unit))
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(tmp_path / unit)]
    assert subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
