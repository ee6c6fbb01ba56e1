"""What every measurement needs: compiled C, a fresh broker, a free port, a process that is watched and ended."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BIN = HERE.parent / "bin"
PROGRAMS = ("meter", "echo", "jitter")
WAIT_S = 20.0  # for a port, a READY, an end

# The same for every peer. Without set_tcp_nodelay, Nagle's algorithm in the broker holds a small answer back until the last one is
# acknowledged, and every peer is measured at 1-2 ms.
_BROKER = """
listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
persistence false
log_type none
"""


def find_mosquitto() -> str:
    """Path of the broker, which Debian keeps in /usr/sbin."""
    return shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin") or ""


def compile_programs() -> None:
    """Compile the C programs that are older than their source.

    Raises:
        SystemExit: something needed is missing; says how to get it.
    """
    missing = [name for name, found in (("mosquitto", find_mosquitto()), ("gcc", shutil.which("gcc"))) if not found]
    BIN.mkdir(exist_ok=True)
    for name in PROGRAMS if not missing else ():
        source, program = HERE / f"{name}.c", BIN / name
        if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
            continue
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(source), "-lmosquitto"]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if "mosquitto.h" in made.stderr or "-lmosquitto" in made.stderr:
            missing.append("libmosquitto-dev")
            break
        if made.returncode:
            raise SystemExit(f"{' '.join(command)}\n{made.stderr}")
    if missing:
        raise SystemExit(f"missing: {', '.join(missing)}. On Debian and Ubuntu: sudo apt-get install gcc mosquitto libmosquitto-dev")


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[int]:
    """A fresh mosquitto; gives its port."""
    port = free_port()
    settings = folder / "mosquitto.conf"
    settings.write_text(_BROKER.format(port=port))
    with process([find_mosquitto(), "-c", str(settings)]):
        give_up = time.monotonic() + WAIT_S
        while time.monotonic() < give_up:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
                break
            time.sleep(0.02)
        else:
            raise SystemExit("mosquitto does not listen")
        yield port


@contextlib.contextmanager
def process(command: list[str], log: Path | None = None, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours; ended by SIGTERM, and by SIGKILL when that does not help."""
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(log.open("ab")) if log else subprocess.DEVNULL
        child = subprocess.Popen(command, stdout=sink, stderr=sink, env=os.environ | environment)
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(5.0)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextlib.contextmanager
def notified(command: list[str], folder: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A process that tells READY=1 to NOTIFY_SOCKET; gives it with the seconds from its start to that."""
    address = folder / "notify"
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(0.2)
        started = time.monotonic()
        with process(command, log, NOTIFY_SOCKET=str(address)) as child:
            while True:
                with contextlib.suppress(TimeoutError):
                    if b"READY=1" in manager.recv(4096).split(b"\n"):
                        break
                if child.poll() is not None or time.monotonic() > started + 6 * WAIT_S:
                    raise SystemExit(f"{' '.join(command)}: not ready, see {log}\n{log.read_text()[-2000:]}")
            yield child, time.monotonic() - started


def memory_mb(pid: int) -> dict[str, float]:
    """Resident memory of a process, now and at its highest, in units of 10^6 bytes."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {key: int(lines[key].split()[0]) * 1024 / 1e6 for key in ("VmRSS", "VmHWM")}


def measure(port: int, pid: int, phases: list[str], *, window: int, rows: int) -> list[dict[str, Any]]:
    """Run the meter against a peer that listens; one result a phase.

    Args:
        port: of the broker.
        pid: of the peer, for its CPU time.
        phases: such as ``"5000:3"``; see meter.c.
        window: messages on their way, flat out.
        rows: samples a message.
    """
    options = ["-w", str(window), "-r", str(rows), "-p", str(pid)]
    done = subprocess.run(
        [str(BIN / "meter"), *options, str(port), TOPIC_IN, TOPIC_OUT, *phases], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"meter: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def jitter(seconds: int) -> dict[str, float]:
    """How late the machine wakes a sleeper, in us."""
    done = subprocess.run([str(BIN / "jitter"), str(seconds)], capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


TOPIC_IN = "bench/one/in"
TOPIC_OUT = "bench/one/out"
