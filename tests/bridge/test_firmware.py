"""The firmware on an emulated board: builds without a warning, keeps its log and its boots, obeys and refuses, misbehaves when told."""

import itertools
import time

import pytest

from firmware_bridge.hil.boards import Board, lacks
from firmware_bridge.hil.qemu import BoardError

pytestmark = [pytest.mark.hil, pytest.mark.skipif(lacks("qemu") is not None, reason=str(lacks("qemu"))), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    board = Board("qemu", tmp_path_factory.mktemp("firmware"))
    yield board
    board.close()


def until(condition, timeout_s=60):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, condition
        time.sleep(0.02)


def test_it_streams_a_thousand_rows_a_second_without_a_gap(bench):
    until(lambda: len(bench.recording.rows.get("motor", ())) > 2000)
    times, speeds, unit = bench.recording.series("motor.speed")
    steps = [b - a for a, b in itertools.pairwise(times[:1500])]
    assert sum(step != 1000 for step in steps) <= 2  # by the board's clock; an emulator that stood still for over 200 ms leaves a gap
    assert unit == "rpm"
    assert max(map(abs, speeds)) < 1  # nobody drives it
    assert bench.recording.lost_share() == 0


def test_a_parameter_outside_its_range_is_refused_and_an_unknown_one_is_named(bench):
    with pytest.raises(BoardError, match="refuses load = 5000: range"):
        bench.set("load", 5000)
    with pytest.raises(BoardError, match="no parameter 'lode'; it has host_timeout_ms"):
        bench.set("lode", 1)


def test_sensors_stick_and_read_nan_when_told(bench):
    bench.set("not_a_number", 1)
    until(lambda: bench.recording.rows["motor"][-1][1][0] != bench.recording.rows["motor"][-1][1][0])
    bench.set("not_a_number", 0)
    bench.set("stuck", 1)
    until(lambda: len({row for _, row in bench.recording.rows["motor"][-300:]}) == 1)
    bench.set("stuck", 0)
    until(lambda: len({row for _, row in bench.recording.rows["motor"][-300:]}) > 100)


def test_a_silent_board_says_nothing_to_the_host_and_can_be_told_to_speak(bench):
    bench.set("silent", 1)
    time.sleep(1)  # what is on its way
    before, bench_rows = len(bench.recording.rows["motor"]), len(bench.recording.rows["board"])
    until(lambda: len(bench.recording.rows["board"]) > bench_rows + 10)
    assert len(bench.recording.rows["motor"]) == before
    bench.set("silent", 0)
    until(lambda: len(bench.recording.rows["motor"]) > before)


def test_a_reset_gives_another_boot_id_and_the_log_outlives_it(bench):
    boots = len(bench.recording.timeline.ids)
    bench.reset()
    until(lambda: len(bench.recording.timeline.ids) == boots + 1)
    assert len(set(bench.recording.timeline.ids)) == boots + 1
    until(lambda: bench.recording.series("board.boots")[1][-1] >= 2)  # its own count of boots
    bench.set("tell_log", 1)
    until(lambda: any(text.startswith("boot 1") for _, text in bench.recording.logged[-40:]))


def test_a_hung_board_is_reset_by_its_watchdog(bench):
    boots = len(bench.recording.timeline.ids)
    bench.set("reset", 2)
    until(lambda: len(bench.recording.timeline.ids) == boots + 1)
    until(lambda: any(text == "cause of the reset 2" for _, text in bench.recording.logged[-10:]))
