"""What `edge service install` writes, and what it refuses."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.cli import service, service_checks
from edge.cli.main import main
from edge.cli.service import UNITS, doctor_call, drop_in_text, unit_text
from edge.cli.service_checks import check_reachable
from edge.config.link import link_settings
from edge.config.load import load
from edge.errors import ConfigError, TransportError
from tests.system.kills import PIPELINE


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a b%.toml"
    path.write_text(PIPELINE.format(url="mqtt://127.0.0.1:1883", durability="power") + "\n[process]\npriority = 20\n")
    return path


def test_units_and_drop_ins(tmp_path, file, monkeypatch):
    monkeypatch.setattr(service, "check_reachable", lambda _file: None)
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


def test_a_file_that_a_service_user_cannot_reach_is_refused(tmp_path, file, capsys, monkeypatch):
    monkeypatch.setattr(service_checks, "PRIVATE", ())
    tmp_path.chmod(0o700)
    assert main(["service", "install", str(file), "--unit-dir", str(tmp_path / "units"), "--no-start"]) == 4
    assert "a service user may not search it" in capsys.readouterr().err


def test_what_the_unit_would_not_let_the_daemon_write_is_told(tmp_path, file, monkeypatch, capsys):
    monkeypatch.setattr(service, "check_reachable", lambda _file: None)
    assert main(["service", "install", str(file), "--unit-dir", str(tmp_path / "units"), "--no-start"]) == 0
    assert f"outbox.path: the daemon writes to {tmp_path}/alerts.db" in capsys.readouterr().out
    file.write_text(file.read_text().replace('"alerts.db"', '"/var/lib/edge/guard/alerts.db"'))
    assert main(["service", "install", str(file), "--unit-dir", str(tmp_path / "units"), "--no-start"]) == 0
    assert "warning" not in capsys.readouterr().out


@pytest.fixture
def install(tmp_path, file, monkeypatch):
    """`edge service install` of a file with a password; where that is, and more words."""
    monkeypatch.setattr(service, "check_reachable", lambda _file: None)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    def call(password, *words):
        file.write_text(PIPELINE.format(url=f'mqtt://127.0.0.1:1883"\nusername = "u"\npassword_file = "{password}', durability="power"))
        return main(["service", "install", str(file), "--unit-dir", str(tmp_path / "units"), "--no-start", *words])

    return call


OWN = "/run/credentials/edge@guard.service/pass"


def test_a_password_that_the_service_manager_gives_is_taken_and_the_drop_in_that_lacks_is_named(install, tmp_path, capsys):
    units = tmp_path / "units"
    assert install(OWN, "--start") == 4
    assert "LoadCredential=pass:/etc/edge/pass" in capsys.readouterr().err
    assert not units.exists()
    assert install(OWN) == 0
    told = capsys.readouterr().out
    for unit in ("edge", "edge-safe"):
        folder = units / f"{unit}@guard.service.d"
        assert f"{folder}/20-password.conf" in told
        (folder / "20-password.conf").write_text("[Service]\nLoadCredential=pass:/etc/edge/secret\n")
    assert install(OWN) == 0
    assert "Credential" not in capsys.readouterr().out


def test_a_credential_of_another_instance_is_refused_with_the_path_that_is_right(install, tmp_path, capsys):
    for words, instance in (((), "guard"), (("--name", "g-2"), "g-2")):
        assert install("/run/credentials/edge@other.service/pass", *words) == 4
        assert f"write /run/credentials/edge@{instance}.service/pass" in capsys.readouterr().err
    assert install(OWN.replace("/pass", "/a/pass")) == 4
    assert not (tmp_path / "units").exists()


def test_a_password_that_only_its_owner_reads_is_refused_unless_a_drop_in_names_another_user(install, tmp_path, capsys):
    secret, folder = tmp_path / "secret", tmp_path / "units/edge@guard.service.d"
    secret.write_text("word\n")
    secret.chmod(0o600)
    assert install(secret) == 4
    assert f"LoadCredential=secret:{secret}" in capsys.readouterr().err
    folder.mkdir(parents=True)
    (folder / "20-user.conf").write_text("[Service]\nUser=fan\n")
    assert install(secret) == 0


def test_a_password_of_the_service_manager_is_read_where_this_unit_has_it(file, tmp_path, monkeypatch):
    text = PIPELINE.format(url=f'mqtt://127.0.0.1:1883"\nusername = "u"\npassword_file = "{OWN}', durability="power")
    file.write_text(text)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(ConfigError, match="there is no such file"):
        load(file)
    (tmp_path / "pass").write_text("word\n")
    assert link_settings(load(file).broker, "guard", 1000).password == "word"


@pytest.mark.parametrize("place", service_checks.PRIVATE)
def test_what_lies_where_the_unit_has_a_folder_of_its_own_is_refused(place, monkeypatch):
    monkeypatch.setattr(service_checks, "_closed", lambda _path: None)
    for name in ("prefix", "base_prefix"):
        monkeypatch.setattr(service_checks.sys, name, "/usr")
    check_reachable(Path("/etc/edge/p.toml"))
    with pytest.raises(TransportError, match=f"a service has a {place} of its own"):
        check_reachable(Path(place) / "p.toml")
    monkeypatch.setattr(service_checks.sys, "prefix", f"{place}/venv")
    with pytest.raises(TransportError, match=f"{place}/venv: a service has"):
        check_reachable(Path("/etc/edge/p.toml"))


@pytest.mark.parametrize("name", ["a b/../c", "../c", ".c", "-c", "a/b", "", "a\n", "c@d", "x" * 65])
def test_a_name_that_would_be_another_unit_or_folder_is_refused(install, tmp_path, name, capsys):
    assert install(OWN, f"--name={name}") == 2
    assert "letters, digits" in capsys.readouterr().err
    assert not (tmp_path / "units").exists()
    assert main(["service", "status", "--", name]) == 2


def test_the_documented_lines_remove_an_instance_and_no_other_one(install, tmp_path):
    for name in ("fan-guard", "fan-guard-2"):
        assert install(f"/run/credentials/edge@{name}.service/pass", "--name", name) == 0
    document = (Path(__file__).parents[2] / "docs/deploy.md").read_text()
    (lines,) = re.findall(r"## Remove it\n+```bash\n(.*?)```", document, re.DOTALL)
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool, text in (("sudo", 'exec "$@"'), ("systemctl", f'echo "$@" >> {tmp_path}/called')):  # no systemd runs here
        (tools / tool).write_text(f"#!/bin/sh\n{text}\n")
        (tools / tool).chmod(0o755)
    script = lines.replace("/etc/systemd/system", str(tmp_path / "units"))
    env = {"PATH": f"{tools}:/usr/bin:/bin"}
    subprocess.run(["sh", "-e", "-c", script], env=env, check=True, timeout=60)
    assert sorted(path.name for path in (tmp_path / "units").iterdir()) == [
        "edge-safe@.service",
        "edge-safe@fan-guard-2.service.d",
        "edge@.service",
        "edge@fan-guard-2.service.d",
    ]
    assert (tmp_path / "called").read_text().splitlines() == [
        "disable --now edge@fan-guard",
        "stop edge-safe@fan-guard",
        "reset-failed edge*@fan-guard.service",
        "clean --what=state --what=cache edge@fan-guard",
        "daemon-reload",
    ]


@pytest.mark.parametrize("code", [0, 3, 4])
def test_status_ends_with_the_code_of_systemctl(monkeypatch, tmp_path, code):
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\nexit {code}\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setattr(service, "_tool", lambda name: str(tmp_path / name))
    assert main(["service", "status", "guard"]) == code


def test_the_service_and_its_safe_mode_are_never_at_work_together_on_their_folders():
    safe, usual = unit_text("edge-safe@.service").splitlines(), unit_text("edge@.service").splitlines()
    assert {"Conflicts=edge@%i.service", "After=edge@%i.service"} <= set(safe)
    assert "Conflicts=edge-safe@%i.service" in usual
    assert not [line for line in usual if line.startswith("After=") and "edge-safe@" in line], "one order is enough, two are a circle"


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
