"""What `edge service install` writes, and what it refuses."""

import shutil
import subprocess

import pytest

from edge.cli import service
from edge.cli.main import main
from edge.cli.service import UNITS, drop_in_text, unit_text
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


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing: apt-get install systemd")
@pytest.mark.parametrize("unit", UNITS)
def test_exposure_is_two_at_most(tmp_path, unit):
    (tmp_path / unit).write_text(unit_text(unit))
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(tmp_path / unit)]
    assert subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
