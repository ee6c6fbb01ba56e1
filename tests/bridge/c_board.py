"""The C code as a board in this process: compiled with gcc for the host, driven through ctypes."""

import ctypes
import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.protocol import REASONS

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "firmware_bridge" / "include"
SOURCES = [str(INCLUDE / "edge_bridge.c"), str(ROOT / "tests" / "bridge_c" / "shim.c")]
WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{INCLUDE}"]
_NAMES = ("received", "used", *(name for name, _ in REASONS), "lost", "late", "sent", "dropped", "obeyed", "repeated_commands", "denied")
BOOT = 0x1122_3344_5566_7788


def compile_shim(folder: Path, *flags: str) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc: sudo apt-get install gcc")
    target = folder / "shim.so"
    subprocess.run(["gcc", *WARNINGS, *flags, "-shared", "-fPIC", *SOURCES, "-o", target], check=True, timeout=120, cwd=folder)
    return target


@cache
def _library(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.shim_size.restype = ctypes.c_size_t
    library.shim_host_age.restype = ctypes.c_uint64
    library.eb_crc32c.restype = ctypes.c_uint32
    return library


class CBoard:
    """A board with its own clock in microseconds."""

    def __init__(
        self, path: Path, *, key: bytes | None = None, boot_id: int = BOOT, schema: str = "T1 imu 1000 ax=g", is_bare: bool = False
    ):
        self.library = _library(path)
        self._memory = ctypes.create_string_buffer(self.library.shim_size() + 16)
        self._at = ctypes.c_void_p(ctypes.addressof(self._memory))
        self._settings = (key, schema, is_bare)
        self.now_us = 0
        self.start(boot_id)

    def start(self, boot_id: int) -> None:
        key, schema, is_bare = self._settings
        text = schema.encode() if schema else None
        self.fits = int(self.library.shim_start(self._at, ctypes.c_uint64(boot_id), key, text, int(is_bare)))

    def receive(self, data: bytes) -> None:
        self.library.shim_receive(self._at, ctypes.c_uint64(self.now_us), data, len(data))

    def poll(self) -> None:
        self.library.shim_poll(self._at, ctypes.c_uint64(self.now_us))

    def host_age(self) -> int:
        return int(self.library.shim_host_age(self._at, ctypes.c_uint64(self.now_us)))

    def stall(self, is_stalled: bool) -> None:
        self.library.shim_stall(self._at, int(is_stalled))

    def take(self) -> bytes:
        out = ctypes.create_string_buffer(65_536)
        n = self.library.shim_take(self._at, out)
        return out.raw[:n]

    def telemetry(self, rows: np.ndarray, number: int = 0, stamp_us: int = 0, stream: int = 1) -> int:
        data = np.ascontiguousarray(rows, np.float32)
        stamp = ctypes.c_uint64(stamp_us)
        at = data.ctypes.data_as(ctypes.c_void_p)
        return int(self.library.shim_telemetry(self._at, stream, stamp, number, data.shape[0], data.shape[1], at))

    def scan(self, points: np.ndarray, number: int, total: int, first: int) -> int:
        data = np.ascontiguousarray(points, np.float32)
        at = data.ctypes.data_as(ctypes.c_void_p)
        return int(self.library.shim_scan(self._at, number, total, first, data.shape[1], at, len(data)))

    def words(self, text: str) -> int:
        return int(self.library.shim_words(self._at, text.encode()))

    def counters(self) -> dict[str, int]:
        return dict(zip(_NAMES, self._read()[0], strict=True))

    def actuators(self) -> list[float]:
        return list(self._read()[1])

    def _read(self) -> tuple[list[int], list[float]]:
        numbers, values = (ctypes.c_uint32 * len(_NAMES))(), (ctypes.c_float * 4)()
        self.library.shim_read(self._at, numbers, values)
        return list(numbers), list(values)
