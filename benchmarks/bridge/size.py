"""Code and RAM of the C side on a Cortex-M3 by GCC: `python -m benchmarks.bridge.size`. Prints the table in docs/bridge.md."""

import subprocess
import tempfile
from pathlib import Path

INCLUDE = Path(__file__).parents[2] / "firmware_bridge" / "include"
FLAGS = ("-std=c99", "-Os", "-mcpu=cortex-m3", "-mthumb", "-ffreestanding", f"-I{INCLUDE}")
SETTINGS = {
    "as it is (payloads of 1024)": (),
    "`EB_AUTH=0`": ("-DEB_AUTH=0",),
    "`EB_MAX_PAYLOAD=256 EB_REMEMBERED=8`": ("-DEB_MAX_PAYLOAD=256", "-DEB_REMEMBERED=8"),
}
MOST_CODE, MOST_RAM = 4096, 2688  # bytes, of the first setting: what docs/bridge.md promises


def size(settings: tuple[str, ...], folder: Path) -> tuple[int, int]:
    """Bytes of code with its constants, and of RAM: of one port and what is static."""
    port = folder / "port.c"
    port.write_text('#include "edge_bridge.h"\neb_port port;\n')
    code, data, zeros = _sections(INCLUDE / "edge_bridge.c", settings, folder)
    _, port_data, port_zeros = _sections(port, settings, folder)
    return code + data, data + zeros + port_data + port_zeros


def _sections(source: Path, settings: tuple[str, ...], folder: Path) -> tuple[int, int, int]:
    target = folder / "part.o"
    subprocess.run(["arm-none-eabi-gcc", *FLAGS, *settings, "-c", source, "-o", target], check=True, timeout=60)
    told = subprocess.run(["arm-none-eabi-size", target], check=True, timeout=60, capture_output=True, text=True).stdout
    text, data, zeros = told.splitlines()[1].split()[:3]
    return int(text), int(data), int(zeros)


def rows() -> list[str]:
    """One line a setting."""
    with tempfile.TemporaryDirectory() as folder:
        found = {name: size(settings, Path(folder)) for name, settings in SETTINGS.items()}
    return [f"| {name} | {code} | {ram} |" for name, (code, ram) in found.items()]


if __name__ == "__main__":
    print("| Setting | Code (bytes) | RAM (bytes) |\n|---|---|---|", *rows(), sep="\n")
