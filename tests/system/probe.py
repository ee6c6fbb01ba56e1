"""What a service may do inside the sandbox of its unit: prints one line of JSON."""

import errno
import json
import os
import resource
import socket
import threading
from pathlib import Path


def attempt(action) -> str:  # type: ignore[no-untyped-def]
    try:
        return str(action())
    except (OSError, ValueError) as fault:
        return errno.errorcode.get(fault.errno, str(fault)) if isinstance(fault, OSError) and fault.errno else str(fault)


def serial_echo() -> str:
    import serial

    master, slave = os.openpty()
    with serial.Serial(os.ttyname(slave), 115200, timeout=2, write_timeout=2, exclusive=True) as port:
        port.write(b"ping")
        echo = threading.Thread(target=lambda: os.write(master, os.read(master, 10)))
        echo.start()
        got = port.read(4)
        echo.join()
    return got.decode()


def compile_kernel() -> str:
    import numba

    return str(numba.njit("int64(int64)")(lambda x: x + 1)(41))


print(  # noqa: T201
    json.dumps(
        {
            "serial": attempt(serial_echo),
            "numba": attempt(compile_kernel),
            "fifo": attempt(lambda: os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(10))),
            "memlock": resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
            "write_etc": attempt(lambda: Path("/etc/x").write_text("")),
            "write_usr": attempt(lambda: Path("/usr/x").write_text("")),
            "write_state": attempt(lambda: Path(os.environ["STATE_DIRECTORY"], "x").write_text("")),
            "raw_socket": attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
            "packet_socket": attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
            "namespace": attempt(lambda: os.unshare(0x20000) if hasattr(os, "unshare") else "EPERM"),
            "uid": os.getuid() != 0,
        }
    )
)
