"""Log lines as the journal gets them."""

import logging
import socket
import struct

import pytest

from edge.daemon.journal import JournalHandler, field, is_journal, priority


@pytest.fixture
def journal(tmp_path):
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind(str(tmp_path / "journal"))
    ear.settimeout(5)
    handler = JournalHandler("guard", str(tmp_path / "journal"))
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("edge.test.journal")
    log.addHandler(handler)
    log.propagate = False
    yield log, ear, handler
    log.removeHandler(handler)
    handler.close()
    ear.close()


def parsed(data: bytes) -> dict[str, str]:
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
        else:
            name, length = line, struct.unpack("<Q", data[:8])[0]
            value, data = data[8 : 8 + length], data[9 + length :]
        fields[name.decode()] = value.decode()
    return fields


def test_fields_of_a_line(journal):
    log, ear, _handler = journal
    log.warning("stream %s: %d not used", "s", 3, extra={"stream": "s"})
    fields = parsed(ear.recv(100_000))
    assert fields["MESSAGE"] == "stream s: 3 not used"
    assert (fields["PRIORITY"], fields["EDGE_PIPELINE"], fields["EDGE_STREAM"]) == ("4", "guard", "s")
    assert fields["LOGGER"] == "edge.test.journal"
    assert "EDGE_DEVICE" not in fields


def test_a_text_of_several_lines_cannot_pass_for_a_field(journal):
    log, ear, _handler = journal
    log.error("first\nPRIORITY=7\nsecond")
    fields = parsed(ear.recv(100_000))
    assert fields["MESSAGE"] == "first\nPRIORITY=7\nsecond"
    assert fields["PRIORITY"] == "3"


def test_a_journal_that_does_not_read_costs_nothing(journal):
    log, _ear, handler = journal
    for _ in range(10_000):
        log.error("x" * 1000)
        if handler.lost:
            break
    assert handler.lost


def test_a_long_text_is_cut_and_surrogates_are_sent():
    assert len(field("A", "x" * 1_000_000)) < 65_536
    assert field("A", "\udc80") == b"A=\\udc80\n"


@pytest.mark.parametrize(("level", "number"), [(10, 7), (20, 6), (30, 4), (40, 3), (50, 2), (45, 3)])
def test_priorities(level, number):
    assert priority(level) == number


def test_the_journal_is_known_by_the_number_of_standard_error(tmp_path, monkeypatch):
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    assert not is_journal()
    with (tmp_path / "x").open("w") as file:
        about = (tmp_path / "x").stat()
        monkeypatch.setenv("JOURNAL_STREAM", f"{about.st_dev}:{about.st_ino}")
        assert is_journal(file.fileno())
        assert not is_journal(10_000)
