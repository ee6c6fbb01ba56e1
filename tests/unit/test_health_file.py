"""The health as a file: when it is due, that it is whole, and what is read of it."""

import json
import logging
import os
import pwd
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from edge.cli.status import table
from edge.cli.status_file import closed_to_us, told_in_file
from edge.daemon.health_file import HealthFile

S = 10**9


def written(folder, **instead):
    folder.mkdir(parents=True, exist_ok=True)
    told = {"name": "guard", "state": "ok", "pid": os.getpid(), "mono_ns": time.monotonic_ns(), "every_s": 1.0} | instead
    (folder / "health.json").write_text(json.dumps(told))


def test_it_is_due_a_second_after_a_change_and_after_the_status_period_without(tmp_path):
    file = HealthFile(tmp_path)
    assert file.is_due(1, 5.0, 0)
    file.write({"name": "guard"}, 1, 5.0, 0)
    assert not file.is_due(2, 5.0, S - 1)
    assert file.is_due(2, 5.0, S)
    assert not file.is_due(1, 5.0, 5 * S - 1)
    assert file.is_due(1, 5.0, 5 * S)
    assert not file.is_due(1, 0.1, S - 1), "never more than once a second"
    assert json.loads(file.path.read_text()) == {"name": "guard", "pid": os.getpid(), "mono_ns": 0, "every_s": 5.0}
    file.remove()
    file.remove()
    assert list(tmp_path.glob("health*")) == []


def test_what_a_file_tells_is_shown_without_counts_that_it_has_not_and_with_alerts_that_wait(tmp_path):
    stream = {"state": "silent", "since_ns": 10**18, "heard": True}
    HealthFile(tmp_path, lambda: 7).write({"state": "degraded", "streams": {"temp": stream}}, 1, 1.0, 0)
    health = json.loads((tmp_path / "health.json").read_text())
    lines = table("guard", {"availability": "online", "health": health}, 10**18 + 9 * S)
    assert [line.split() for line in lines[1:]] == [["stream", "temp", "silent", "for", "9", "s"], ["7", "alerts", "wait"]]
    status = {"streams": {"temp": {"used": 5, "received": 6}}, "alerts": {"waiting": 2}}
    asked = table("guard", {"availability": "online", "health": health, "status": status}, 10**18 + 9 * S)
    assert asked[1].endswith("5 of 6 used")
    assert "2 wait" in asked[2]


def test_a_directory_that_is_gone_is_told_once_and_does_no_harm(tmp_path, caplog):
    file = HealthFile(tmp_path / "run")
    with caplog.at_level(logging.WARNING):
        for i in range(3):
            file.write({}, 1, 1.0, i)
        assert len(caplog.records) == 1
        (tmp_path / "run").mkdir()
        file.write({}, 1, 1.0, 4)
    assert file.path.exists()


def test_the_environment_names_the_directory_or_none(monkeypatch):
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    assert HealthFile.from_environment() is None
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/edge/fan:/run/other")
    assert str(HealthFile.from_environment().path) == "/run/edge/fan/health.json"


def test_news_is_preferred_to_what_a_dead_instance_left(tmp_path):
    written(tmp_path / "a", pid=2**22 + 1)
    written(tmp_path / "b")
    written(tmp_path / "c", name="other")
    told = told_in_file(tmp_path, "guard")
    assert (told["availability"], told["file"]["path"]) == ("online", str(tmp_path / "b" / "health.json"))
    assert told_in_file(tmp_path, "nobody") is None
    assert told_in_file(tmp_path / "none", "guard") is None


@pytest.mark.parametrize(
    ("instead", "why"),
    [
        (lambda: {"mono_ns": time.monotonic_ns() - 10 * S}, "older than 3 s"),
        (lambda: {"mono_ns": time.monotonic_ns() + 3600 * S}, "before this machine started"),
        (lambda: {"pid": 2**22 + 1}, "is gone"),  # above the kernel's largest
        (lambda: {"pid": -1}, "is gone"),
        (lambda: {"pid": 2**70}, "is gone"),
    ],
)
def test_what_is_old_or_of_nobody_is_no_news(tmp_path, instead, why):
    written(tmp_path / "a", **instead())  # made now: the suite may have run for an hour since it was collected
    told = told_in_file(tmp_path, "guard")
    assert told["availability"] == "no news"
    assert why in told["file"]["text"]


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"name": "guard"}', '{"name": "guard", "pid": "x", "mono_ns": 1, "every_s": 1}', "[" * 9999]
)
def test_what_is_no_health_is_nothing(tmp_path, text):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "health.json").write_text(text)
    assert told_in_file(tmp_path, "guard") is None


@pytest.fixture
def of_a_person(tmp_path):
    """A folder of one who is not root, whom nothing is closed to: root is nobody meanwhile."""
    if os.geteuid() != 0:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory() as folder:
        shutil.chown(folder, "nobody")
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


def test_what_this_user_may_not_read_is_named_and_not_taken_for_absent(of_a_person):
    folder = of_a_person
    written(folder / "a")
    assert closed_to_us(folder) == closed_to_us(folder / "none") == []
    (folder / "a").chmod(0)
    assert closed_to_us(folder) == [folder / "a" / "health.json"]
    (folder / "a").chmod(0o755)
    folder.chmod(0o300)
    assert closed_to_us(folder) == [folder]
    folder.chmod(0o755)
