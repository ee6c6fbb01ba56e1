"""What is said at the end of the alerts that nobody acknowledged: what becomes of them, and nothing where there is none."""

import logging
import time

import pytest

from edge.daemon.outbox_watch import OutboxWatch
from edge.store import outbox_journal
from edge.store.outbox import Outbox
from edge.store.outbox_file import OutboxFile
from edge.store.outbox_journal import Journal
from tests.unit.test_store_outbox import make


@pytest.fixture
def said_of(tmp_path, caplog):
    def end(path, held, fault=""):
        box = Outbox(100, 20, Journal(tmp_path / path, "process") if path else None)
        for number in range(held):
            box.add(make(number))
        end_s = time.monotonic() + 20
        while box.journal and box.journal.backlog:
            assert time.monotonic() < end_s
            time.sleep(0.002)
        if fault:
            box.journal.fault = fault
        caplog.clear()
        with caplog.at_level(logging.INFO):
            OutboxWatch(box).close()
        return [one.getMessage() for one in caplog.records]

    return end


def test_what_is_stored_waits_for_the_next_start(tmp_path, said_of):
    assert said_of("o", 3) == [f"3 alerts were not acknowledged and wait in {tmp_path}/o for the next start"]
    box = Outbox(100, 20, Journal(tmp_path / "o", "process"))
    assert len(box) == 3
    box.close()


def test_of_nothing_nothing_is_said(said_of):
    assert said_of("", 0) == said_of("o", 0) == said_of("o", 0, "the disk is full") == []


def test_what_was_in_memory_is_given_up(said_of):
    assert said_of("", 2) == ["2 alerts were not acknowledged and are given up: they were in memory"]


def test_of_a_file_that_failed_it_is_not_said_that_all_is_lost(tmp_path, said_of):
    expected = f"2 alerts were not acknowledged; the next start sends as many of them as {tmp_path}/o holds: the disk is full"
    assert said_of("o", 2, "the disk is full") == [expected]


def test_what_is_committed_is_kept_though_closing_the_file_takes_long(said_of, monkeypatch):
    close = OutboxFile.close
    monkeypatch.setattr(outbox_journal, "CLOSE_S", 0.3)
    monkeypatch.setattr(OutboxFile, "close", lambda file: (time.sleep(1), close(file)))
    (said,) = said_of("o", 2)
    assert said.endswith("for the next start")
