"""Trouble on the host: a busy processor, a paused or killed process, a full disk, a broker that dies. Ends only what it started."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from firmware_bridge.hil import guardian

BROKER_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin"
BROKER_HINT = "mosquitto not found: apt-get install mosquitto"


def free_port() -> int:
    """A TCP port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def missing_broker() -> str | None:
    """What a broker lacks on this machine and how to get it, or None."""
    return None if shutil.which("mosquitto", path=BROKER_PATH) else BROKER_HINT


def prefer_this_thread() -> None:
    """The same for a thread of the harness: they share one lock, and each waits for the slowest. What it starts is not preferred."""
    prefer(threading.get_native_id())
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def do_not_prefer_this_thread() -> None:
    """As it was."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_OTHER, os.sched_param(0))
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 0)


def prefer_board(process: int) -> None:
    """A board shares its processor with nobody: before the wire and the host, which would make its ticks late by up to 0.2 s."""
    prefer(process, 2)


def prefer(thread: int, priority: int = 1) -> None:
    """A board does not wait for a busy machine; where permitted, neither does what stands for one, nor what it is wired to.

    Args:
        thread: or process id; threads that it makes later inherit it.
        priority: of the real-time policy.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, -15)
    with contextlib.suppress(OSError, AttributeError):  # of many busy processes, nice alone lets a byte of an emulated port wait for 1 ms
        os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(priority))


class Process:
    """A process of the harness, with its output in a file.

    Args:
        command: program and arguments.
        log: file for what it says; appended to.
        environment: added to the own one.
    """

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = guardian.start(command, output, environment)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether it runs (paused counts)."""
        return self._process.poll() is None

    def said(self) -> str:
        """Its output so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, words: str, timeout_s: float = 60.0) -> None:
        """Waits until its output has these words.

        Raises:
            TimeoutError: it ended, or said nothing of the kind in time.
        """
        end = time.monotonic() + timeout_s
        while words not in self.said():
            if not self.is_alive() or time.monotonic() > end:
                raise TimeoutError(f"waited for {words!r}; the process said:\n{self.said()[-3000:]}")
            time.sleep(0.02)

    def pause(self) -> None:
        """Stops it where it is."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Ends it at once, without a chance to say goodbye; what it started as well."""
        guardian.end(self._process)

    def stop(self, timeout_s: float = 10.0) -> int:
        """Asks it to end, and insists after a while; returns its exit code."""
        if self.is_alive():
            self.resume()
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        code = self._process.poll()
        self.kill()  # of the group, whatever is left
        if code is not None:
            return code
        return int(self._process.returncode)

    def fill_disk(self, room_bytes: int = 0) -> None:
        """No file of the process can grow by more than this from now on (Linux).

        Raises:
            OSError: not permitted.
        """
        import resource

        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (room_bytes, room_bytes))


class Broker:
    """A Mosquitto of the harness on a free port of loopback.

    Args:
        folder: for its configuration and log.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: Process | None = None
        self.start()

    def start(self) -> None:
        """Starts it (again), on the same port."""
        program = shutil.which("mosquitto", path=BROKER_PATH)
        if program is None:
            raise FileNotFoundError(BROKER_HINT)
        conf = self._folder / "mosquitto.conf"
        conf.write_text(
            f"set_tcp_nodelay true\npersistence false\nallow_anonymous true\nmax_queued_messages 0\nlistener {self.port} 127.0.0.1\n"
        )
        self._process = Process([program, "-c", str(conf)], self._folder / "mosquitto.log")
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if not self._process.is_alive() or time.monotonic() > end:
                    raise TimeoutError(f"mosquitto did not start: {self._process.said()[-500:]}") from None
                time.sleep(0.01)

    def kill(self) -> None:
        """Ends it without a goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    close = kill


class Stalls:
    """Notes for how long a thread that wants to run every 5 ms had to wait: what this machine costs, whatever it is that is tested."""

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stalls", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._ended.set()
        self._thread.join(5)

    def _watch(self) -> None:
        prefer_this_thread()
        last = time.monotonic()
        while not self._ended.wait(0.005):
            now = time.monotonic()
            self.longest_ms = max(self.longest_ms, (now - last) * 1000 - 5)
            last = now


@contextlib.contextmanager
def busy(cores: int = 1) -> Iterator[None]:
    """Keeps that many cores busy."""
    burners = [guardian.start([sys.executable, "-c", "while True: pass"], subprocess.DEVNULL) for _ in range(cores)]
    try:
        yield
    finally:
        for burner in burners:
            guardian.end(burner)
