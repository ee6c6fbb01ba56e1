"""Damaged input to both receivers: the fuzzers' corpus and seeded changes of it through the C code, streams through the host's kernel."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from cobs import cobs
from crc32c import crc32c

from firmware_bridge.framing import Decoder, Frame, encode, header
from firmware_bridge.protocol import HEADER_BYTES, MAX_FRAME, MAX_PAYLOAD
from tests.bridge.c_board import SOURCES, WARNINGS

FOLDER = Path(SOURCES[1]).parent
ROUNDS = 400  # of each file


def test_the_c_code_survives_the_corpus_and_changes_of_it(tmp_path: Path):
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc: sudo apt-get install gcc")
    target = tmp_path / "fuzz"
    flags = [*WARNINGS, "-g", "-O1", "-DEB_FUZZ_STDIN", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run(["gcc", *flags, SOURCES[0], FOLDER / "fuzz.c", "-o", target], check=True, timeout=100)
    files = sorted((FOLDER / "corpus").iterdir())
    assert len(files) > 50
    done = subprocess.run([target, str(ROUNDS), *files], timeout=100, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]  # the last name before the sanitizer's words is the file


def reference(line: bytes) -> list[Frame]:
    """The same by well-kept packages, slowly."""
    found = []
    for part in line.split(b"\0")[:-1]:
        try:
            raw = cobs.decode(part)
        except cobs.DecodeError:
            continue
        size = HEADER_BYTES + int.from_bytes(raw[6:8], "little") + 4
        if len(raw) == size <= MAX_FRAME and raw[0] == 1 and crc32c(raw[:-4]) == int.from_bytes(raw[-4:], "little"):
            numbers = raw[1], raw[2], raw[3], int.from_bytes(raw[4:6], "little"), int.from_bytes(raw[8:16], "little")
            found.append(Frame(*numbers, raw[HEADER_BYTES:-4]))
    return found


def payload(draw: random.Random) -> bytes:
    size = draw.choice((0, 1, 7, 8, 9, 30, 253, 254, 255, 256, 600, MAX_PAYLOAD))
    kind = draw.randrange(3)  # noise, runs without a zero of every length, zeros
    return bytes(draw.randrange(256) if kind == 0 else (draw.randrange(40) > 0) * 7 if kind == 1 else 0 for _ in range(size))


def test_the_kernel_finds_what_the_packages_find_in_damaged_streams_cut_anywhere():
    draw = random.Random(5)
    whole = 0
    for _ in range(60):
        kinds = range(draw.randrange(1, 12))
        line = bytearray(
            b"".join(encode(header(k, 0, 3, draw.randrange(65_536), draw.randrange(2**64), payload(draw))) for k in kinds) + b"\0"
        )
        for _ in range(draw.randrange(4)):
            line[draw.randrange(len(line) - 1)] = draw.choice((0, 1, 2, 255, draw.randrange(256)))
        decoder, found, at = Decoder(), [], 0
        while at < len(line):
            step = draw.choice((1, 2, 9, 10, 100, 5000))
            found += decoder.feed(bytes(line[at : at + step]))
            at += step
        assert found == reference(bytes(line))
        assert decoder.received == len(found) + decoder.refused.sum()
        whole += len(found)
    assert whole > 150
