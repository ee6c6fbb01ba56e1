"""No command is obeyed after its life, however the line delays it and whatever a board says of its clock; what a slow one carries."""

import math
from pathlib import Path

import pytest

from firmware_bridge.clock import BoardClock
from firmware_bridge.framing import encode, header
from firmware_bridge.messages import TimeResponse
from tests.bridge.delayed import DelayedRig


@pytest.mark.parametrize(("to_board_us", "to_host_us"), [(300_000, 0), (0, 300_000), (120_000, 20_000), (40_000, 5_000)])
@pytest.mark.parametrize("ttl_us", [60_000, 100_000, 200_000, 400_000])
def test_no_command_is_obeyed_after_its_life_when_the_line_is_slow_one_way(shim: Path, to_board_us: int, to_host_us: int, ttl_us: int):
    rig = DelayedRig(shim, to_board_us=to_board_us, to_host_us=to_host_us).run(4000)
    assert rig.session.is_ready
    rig.command(33.0, ttl_us)
    took_us = rig.obeyed_after_us(33.0, 900)
    assert took_us is None or took_us <= ttl_us


def test_a_line_that_becomes_slow_makes_no_command_late(shim: Path):
    rig = DelayedRig(shim).run(3000)
    rig.to_board_us = 300_000
    for _ in range(12):
        rig.run(500)
        rig.command(33.0, 200_000)
        assert rig.obeyed_after_us(33.0, 300) is None


@pytest.mark.parametrize("answers_us", [10_000, 20_000, 30_000])
def test_a_healthy_line_carries_commands_of_100_ms(shim: Path, answers_us: int):
    rig = DelayedRig(shim, to_board_us=answers_us // 2, to_host_us=answers_us // 2).run(3000)
    assert rig.session.clock.error_us <= answers_us // 2 + 1500
    assert rig.command(33.0, 100_000) is not None
    assert rig.obeyed_after_us(33.0, 100) == pytest.approx(answers_us // 2, abs=2000)


def test_a_life_shorter_than_the_clock_is_known_is_refused_at_once(shim: Path):
    rig = DelayedRig(shim, to_board_us=150_000, to_host_us=150_000).run(4000)
    assert rig.command(33.0, 100_000) is None
    assert rig.command(33.0, 400_000) is not None


def test_a_clock_that_stood_still_makes_no_command_late(shim: Path):
    rig = DelayedRig(shim, to_board_us=1000, to_host_us=1000).run(3000)
    for _ in range(800):  # a debugger, or an emulator that was stopped, for less than the host takes as a loss
        rig.stopped_us += 1000
        rig.step()
    rig.to_board_us = 3000  # no answer is as quick as those before
    rig.run(700)
    rig.to_board_us = 250_000
    rig.command(33.0, 200_000)
    assert rig.obeyed_after_us(33.0, 900) is None


def test_an_old_answer_is_trusted_less():
    clock = BoardClock()
    clock.learn(TimeResponse(0, 5_000_500, 5_000_500), 1000)
    assert (clock.error_us, clock.board_us(1000)) == (500, 5_001_000)
    assert clock.error_at(3_600_001_000) == 500 + 720_000


@pytest.mark.parametrize("moment_us", [2**64 - 1, 2**63])
def test_a_mad_clock_is_not_believed(shim: Path, moment_us: int):
    rig = DelayedRig(shim).run(1000)
    for i in range(9):
        answer = TimeResponse(rig.now_us, moment_us, moment_us)
        rig.session.feed(encode(header(TimeResponse.CODE, 0, 0, 1000 + i, 0, answer.pack())), rig.now_us)
    assert rig.command(40.0, 500_000) is not None
    assert rig.obeyed_after_us(40.0, 500) is not None


@pytest.mark.parametrize("value", [1e39, -1e39, math.inf, math.nan])
def test_a_value_that_is_no_float32_is_not_sent(shim: Path, value: float):
    rig = DelayedRig(shim).run(1000)
    assert rig.command(value, 500_000) is None
    assert rig.command(1.0, 10**25) is None  # nor a life that ends after the board's clock
