"""The Arduino example as a process: met through a buffer of 63 bytes, it ends a value at its deadline and refuses one out of range."""

import shutil
import subprocess
from pathlib import Path

import pytest

from firmware_bridge.framing import Decoder, encode, header
from firmware_bridge.messages import Command, CommandAck, Heartbeat, Hello, HelloRequest, State, Status, Telemetry, decode
from tests.bridge.c_board import INCLUDE, ROOT, SOURCES

BOOT = 7  # low 32 bits


def line(code: int, seq: int, payload: bytes) -> str:
    return encode(header(code, 2, 0, seq, 0, payload)).hex()


def command(seq: int, number: int, value: float, deadline_us: int, boot: int = BOOT) -> str:
    return line(Command.CODE, seq, Command(deadline_us, boot, 1, number, value, 1, 0).pack())


@pytest.fixture(scope="module", params=["-DEB_MAX_PAYLOAD=1024", "-DEB_MAX_PAYLOAD=128"])
def sketch(request, tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("needs g++: sudo apt-get install g++")
    folder = tmp_path_factory.mktemp("arduino")
    flags = ["-O1", "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}", f"-I{ROOT / 'firmware_bridge' / 'examples'}", request.param]
    subprocess.run(["gcc", "-std=c99", *flags, "-c", SOURCES[0], "-o", folder / "edge_bridge.o"], check=True, timeout=100)
    main = Path(SOURCES[1]).with_name("arduino_main.cpp")
    subprocess.run(["g++", "-std=c++11", *flags, main, folder / "edge_bridge.o", "-o", folder / "sketch"], check=True, timeout=100)
    return folder / "sketch"


def run(sketch: Path, *steps: tuple[int, str]) -> tuple[list[tuple[int, int]], list]:
    """Changes of the pin as (microseconds, value), and what the board said."""
    words = "".join(f"{until_us} {data or '-'}\n" for until_us, data in steps)
    told = subprocess.run([sketch], input=words, capture_output=True, text=True, check=True, timeout=60).stdout.split("\n")
    pins = [(int(at), int(value)) for _, at, value in (entry.split() for entry in told if entry.startswith("pin"))]
    data = bytes.fromhex("".join(entry[4:] for entry in told if entry.startswith("out")))
    return pins, [decode(frame.type, frame.payload) for frame in Decoder().feed(data)]


def test_it_is_met_and_streams_through_a_small_buffer(sketch: Path):
    _, said = run(sketch, (50_000, line(HelloRequest.CODE, 0, HelloRequest(9).pack())), (1_000_000, ""))
    hello = [message for message in said if isinstance(message, Hello)][-1]
    assert (hello.session, hello.boot_id & 0xFFFF_FFFF, hello.text.split(";")[0]) == (9, BOOT, "Narduino")
    numbers = [message.number for message in said if isinstance(message, Telemetry)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 80


def test_a_value_ends_at_its_deadline_and_the_state_says_so(sketch: Path):
    pins, said = run(sketch, (200_000, ""), (1_000_000, command(0, 1, 40.0, 500_000)))
    assert [value for _, value in pins] == [0, 102, 0]
    assert 500_000 <= pins[2][0] <= 500_200
    states = [message.state for message in said if isinstance(message, Heartbeat)]
    assert {states[0], states[-1]} == {State.SAFE}
    assert State.RUNNING in states


def test_what_is_out_of_range_or_for_another_boot_changes_nothing(sketch: Path):
    frames = command(0, 1, 100.5, 900_000) + command(1, 2, -1.0, 900_000) + command(2, 3, 50.0, 900_000, boot=BOOT - 1)
    pins, said = run(sketch, (200_000, ""), (600_000, frames))
    assert pins == [(1000, 0)]
    statuses = [message.status for message in said if isinstance(message, CommandAck)]
    assert statuses == [Status.RANGE, Status.RANGE, Status.WRONG_BOOT]
