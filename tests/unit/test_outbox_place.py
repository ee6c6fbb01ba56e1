"""What is said of where alerts wait: that they survive something only where it is true."""

import logging
import os
import tempfile
from pathlib import Path

import pytest

from edge.build.outbox import outbox_of
from edge.cli.doctor.disk import check_disk
from edge.cli.doctor.finding import WARN, Subject
from edge.config.load import loads
from edge.store.outbox_disk import in_memory
from edge.store.outbox_file import OutboxFile
from tests.system.kills import PIPELINE


def config_of(folder):
    return loads(PIPELINE.format(url="mqtt://127.0.0.1:1883", durability="power"), folder)


def place_said(folder, caplog):
    with caplog.at_level(logging.INFO):
        outbox_of(config_of(folder)).close()
    return caplog.text


@pytest.fixture
def memory():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def mounts(folder, kind):
    device = os.stat(folder).st_dev
    file = folder / "mounts"
    line = f"36 35 {os.major(device)}:{os.minor(device)} / / rw,noatime - {kind} none rw\n"
    file.write_text(f"1 2 999:1 / /x rw - tmpfs tmpfs rw\n{line}no mount\n")
    return file


def test_a_file_system_in_memory_is_known_by_its_mount(tmp_path, memory):
    assert in_memory(memory) == "tmpfs"
    assert in_memory(tmp_path, mounts(tmp_path, "ext4")) == ""
    assert in_memory(tmp_path, mounts(tmp_path, "ramfs")) == "ramfs"
    assert in_memory(tmp_path / "none") == in_memory(tmp_path, tmp_path / "none") == ""


def test_the_log_does_not_say_of_memory_that_it_survives_loss_of_power(tmp_path, memory, caplog, monkeypatch):
    said = place_said(memory, caplog)
    assert "kill -9, not loss of power, nor any other end of the machine: that is tmpfs, a file system in memory" in said
    caplog.clear()
    monkeypatch.setattr("edge.build.outbox.in_memory", lambda _folder: "")
    assert "they survive loss of power" in place_said(tmp_path, caplog)


def test_nothing_survives_where_the_file_cannot_be_used(tmp_path, caplog):
    holder = OutboxFile(tmp_path / "alerts.db", "process")
    said = place_said(tmp_path, caplog)
    holder.close()
    assert "alerts are kept in memory" in said
    assert "they survive" not in said


def test_doctor_warns_of_a_file_in_memory(memory):
    space, speed = check_disk(Subject(config_of(memory), memory, 0.1))
    assert speed.state == WARN
    assert speed.found == f"{memory} is tmpfs, a file system in memory"
    assert space.name == "disk space"


def test_doctor_warns_of_alerts_in_memory_where_no_file_is_named(tmp_path, monkeypatch):
    text = PIPELINE.format(url="mqtt://127.0.0.1:1883", durability="power").replace('path = "alerts.db"\n', "")
    assert "path" not in text.split("[outbox]")[1].split("[")[0]
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    subject = Subject(loads(text, tmp_path), tmp_path, 0.1)
    found = check_disk(subject)[-1]
    assert (found.name, found.state, found.found) == ("outbox", WARN, "in memory")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert [one.name for one in check_disk(subject)] == ["disk space", "disk sync"]
