import shutil
import subprocess
from pathlib import Path
from struct import calcsize

import pytest

from firmware_bridge import messages, printing, protocol
from tests.bridge.c_board import INCLUDE, SOURCES, WARNINGS


def test_the_files_are_what_the_table_says():
    for path, text in printing.outputs().items():
        assert path.read_text() == text, f"{path.name} is old: run `python -m firmware_bridge.protocol --write`"


def test_the_table_is_sound():
    assert len({message.code for message in protocol.MESSAGES}) == len(protocol.MESSAGES)
    assert calcsize(protocol.HEADER_FORMAT) == protocol.HEADER_BYTES
    for message in protocol.MESSAGES:
        assert calcsize(message.format) == message.size <= 64
    assert protocol.MAX_BOARD_PAYLOAD <= protocol.MAX_PAYLOAD < 65_536


def test_messages_survive_the_way():
    for message in protocol.MESSAGES:
        kind = messages.TYPES[message.code]
        rest = {"": [], "bytes": [b"\0\1"], "text": ["a line"]}[message.rest]
        value = kind(*(3 for _ in message.fields), *rest)
        assert messages.decode(message.code, value.pack()) == value
        with pytest.raises(ValueError, match="are no"):
            messages.decode(message.code, b"\1" * (message.size - 1))
    with pytest.raises(ValueError, match="no message has type 0xee"):
        messages.decode(0xEE, b"")


COMPILERS = [
    ("gcc", ["-O2", "-Wconversion"], "gcc"),
    ("gcc", ["-O2", "-fanalyzer"], "gcc"),
    ("gcc", ["-O2", "-DEB_AUTH=0", "-DEB_MAX_PAYLOAD=128", "-DEB_REMEMBERED=4"], "gcc"),
    ("gcc", ["-O2", "-DEB_CRC_FAST=1"], "gcc"),
    ("arm-none-eabi-gcc", ["-Os", "-mcpu=cortex-m3", "-mthumb", "-ffreestanding"], "gcc-arm-none-eabi"),
    ("arm-none-eabi-gcc", ["-Os", "-mcpu=cortex-m0", "-mthumb", "-ffreestanding"], "gcc-arm-none-eabi"),
    *([("clang", ["-O2", "-Wconversion"], "clang")] if shutil.which("clang") else []),  # one more where it is; not asked for
]


@pytest.mark.parametrize(("compiler", "flags", "package"), COMPILERS, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_the_c_code_compiles_without_a_warning(tmp_path: Path, compiler: str, flags: list[str], package: str):
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}: sudo apt-get install {package}")
    subprocess.run([compiler, *WARNINGS, *flags, "-c", SOURCES[0], "-o", tmp_path / "out.o"], check=True, timeout=100)


def test_the_c_code_needs_memcpy_and_memset_only(tmp_path: Path):
    if shutil.which("arm-none-eabi-nm") is None:
        pytest.skip("needs arm-none-eabi-gcc: sudo apt-get install gcc-arm-none-eabi")
    target = tmp_path / "out.o"
    flags = ["-Os", "-mcpu=cortex-m3", "-mthumb", "-ffreestanding", f"-I{INCLUDE}"]
    subprocess.run(["arm-none-eabi-gcc", *flags, "-c", SOURCES[0], "-o", target], check=True, timeout=60)
    names = subprocess.run(["arm-none-eabi-nm", "-u", target], check=True, capture_output=True, text=True, timeout=60).stdout.split()
    assert set(names) - {"U"} <= {"memcpy", "memset"}
