"""The firmware in QEMU and as a process: builds without a warning, keeps its log and its boots, obeys and refuses, misbehaves when told."""

import itertools
import os
import signal
import time

import pytest

from firmware_bridge.hil.boards import EMULATED, Board, lacks
from firmware_bridge.hil.emulator import BoardError

pytestmark = [pytest.mark.hil, pytest.mark.timeout(180)]


def made(kind, images, tmp_path_factory):
    if lacks(kind):
        pytest.skip(lacks(kind))
    return Board(kind, tmp_path_factory.mktemp("board"), images=images)


@pytest.fixture(scope="module", params=EMULATED)
def bench(request, hil_images, tmp_path_factory):
    board = made(request.param, hil_images, tmp_path_factory)
    yield board
    board.close()


@pytest.fixture(scope="module")
def simulator(hil_images, tmp_path_factory):
    board = made("simulator", hil_images, tmp_path_factory)
    yield board
    board.close()


def until(condition, timeout_s=60):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, condition
        time.sleep(0.02)


def fresh_rows(board):
    """What the board says of itself, when it has said something since."""
    rows = board.recording.rows.setdefault("board", [])
    known = len(rows)
    until(lambda: len(rows) > known + 1)
    return rows


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


def test_the_clock_runs_fast_when_told_and_goes_on_from_there(bench):
    bench.set("drift_ppm", 200_000)
    rows = fresh_rows(bench)
    began, first = time.monotonic(), rows[-1][0]

    def is_a_fifth_fast():
        passed = time.monotonic() - began
        return passed > 2 and 1.15 < (rows[-1][0] - first) / 1e6 / passed < 1.25

    until(is_a_fifth_fast)
    bench.set("drift_ppm", 0)
    times = [at for at, _ in rows]
    assert times == sorted(times)


def test_a_paused_board_knows_nothing_of_the_time_that_passed(bench):
    rows = fresh_rows(bench)
    bench.pause()
    time.sleep(0.5)  # what is on its way
    last, n = rows[-1][0], len(rows)
    time.sleep(2)
    assert len(rows) == n
    bench.resume()
    until(lambda: len(rows) > n + 3)
    assert rows[n][0] - last < 1_000_000  # by the board's clock
    ticks = bench.recording.series("board.tick_ms")[1][n:]
    assert max(ticks) < 1000


def test_the_simulators_line_carries_what_921600_baud_carry(simulator):
    simulator.set("babble", 1)
    rows, wire = fresh_rows(simulator), simulator.wire
    carried, first = wire.carried["to_host"] + wire.lost["to_host"], rows[-1][0]
    until(lambda: rows[-1][0] - first > 4_000_000)
    carried, seconds = wire.carried["to_host"] + wire.lost["to_host"] - carried, (rows[-1][0] - first) / 1e6
    simulator.set("babble", 0)
    kept_before = 80_000  # that the line had carried already and the host had not taken
    assert 0.1 * 92_160 * seconds < carried < 92_160 * seconds + kept_before


def test_a_simulator_that_crashes_resets_and_says_why(simulator):
    boots = len(simulator.recording.timeline.ids)
    os.kill(simulator.emulator.pid, signal.SIGSEGV)
    until(lambda: len(simulator.recording.timeline.ids) == boots + 1)
    until(lambda: any(text == "cause of the reset 3" for _, text in simulator.recording.logged[-10:]))


def test_a_key_is_built_into_the_simulator(hil_images, tmp_path):
    if lacks("simulator"):
        pytest.skip(lacks("simulator"))
    board = Board("simulator", tmp_path, key="6f" * 32, images=hil_images)
    board.close()
    assert bytes([0x6F] * 32) in (hil_images / "simulator-key" / "simulator").read_bytes()
