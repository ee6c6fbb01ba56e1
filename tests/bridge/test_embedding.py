"""What a firmware engineer takes: the examples compile without a warning, the C code stays as small as the page says."""

import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.bridge.size import MOST_CODE, MOST_RAM, size
from tests.bridge.c_board import INCLUDE, ROOT

EXAMPLES = ROOT / "firmware_bridge" / "examples"
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{INCLUDE}")
CORTEX = ("-Os", "-mcpu=cortex-m3", "-mthumb", "-ffreestanding")


def needs(tool: str, package: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"needs {tool}: sudo apt-get install {package}")


@pytest.mark.parametrize(
    ("compiler", "package", "name", "flags"),
    [
        ("gcc", "gcc", "bare_metal.c", ("-std=c99", "-O2")),
        ("arm-none-eabi-gcc", "gcc-arm-none-eabi", "bare_metal.c", ("-std=c99", *CORTEX)),
        ("arm-none-eabi-g++", "gcc-arm-none-eabi", "arduino_style.cpp", ("-std=c++11", *CORTEX)),
    ],
)
def test_an_example_compiles_without_a_warning(tmp_path: Path, compiler: str, package: str, name: str, flags: tuple[str, ...]):
    needs(compiler, package)
    subprocess.run([compiler, *WARNINGS, *flags, "-c", EXAMPLES / name, "-o", tmp_path / "example.o"], check=True, timeout=60)


def test_every_example_is_compiled_above():
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix in (".c", ".cpp", ".ino")} == {"bare_metal.c", "arduino_style.cpp"}


def test_code_and_ram_stay_under_the_bound_that_the_page_states(tmp_path: Path):
    needs("arm-none-eabi-size", "gcc-arm-none-eabi")
    code, ram = size((), tmp_path)
    assert code <= MOST_CODE
    assert ram <= MOST_RAM
    page = (ROOT / "docs" / "bridge.md").read_text()
    assert f"at most {MOST_CODE} bytes of code and {MOST_RAM} of RAM" in page
