"""`edge demo` as a user starts it: on a terminal and without, ended in every way, and nothing left behind."""

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.timeout(300),  # the first start of a daemon on a machine compiles kernels
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to look for processes left behind"),
]
PLAYS = "samples/s"  # of the first line that shows a prediction
MARK = "EDGE_TEST_MARK"


class Demo:
    """A demo process and everything that it starts, recognised by a mark in their environment."""

    def __init__(self, *options: str, terminal: int | None = None) -> None:
        self._mark = uuid.uuid4().hex
        command = [sys.executable, "-m", "edge", "demo", *options]
        environment = os.environ | {MARK: self._mark, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} if terminal is None else {"stdout": terminal, "stderr": terminal}
        self.process = subprocess.Popen(command, env=environment, stdin=terminal or subprocess.DEVNULL, **streams)

    def read_until(self, text: str) -> str:
        assert self.process.stdout is not None
        seen = ""
        for line in self.process.stdout:
            seen += line.decode()
            if text in seen:
                return seen
        raise AssertionError(f"no {text!r} in {seen!r}")

    def others(self) -> dict[int, str]:
        """Processes of this demo beside itself: pid to command line."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != self.process.pid:
                try:
                    if f"{MARK}={self._mark}" in (entry / "environ").read_text(errors="replace"):
                        found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
                except OSError:
                    continue  # it has ended, or is not ours
        return found

    def end(self) -> tuple[str, str]:
        stdout, stderr = self.process.communicate(timeout=60)
        assert self.others() == {}
        return (stdout or b"").decode(), (stderr or b"").decode()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()
        for pid in self.others():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def demos() -> Iterator[list[Demo]]:
    started: list[Demo] = []
    yield started
    for demo in started:
        demo.kill()


def test_without_a_terminal_it_prints_lines_and_a_summary(demos: list[Demo]) -> None:
    demos.append(Demo("--seconds", "6", "--broker", "amqtt"))
    out, err = demos[0].end()
    assert (demos[0].process.returncode, err) == (0, "")
    assert "\x1b" not in out
    assert re.search(r"\d+ samples/s +total p50 \d+ us p99 \d+ us +missed \d+ +subject-\d+: [A-Z]+ \d\.\d\d \(is [A-Z]+\)", out)
    counts = {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", re.search(r"samples +(.*)", out)[1])}
    assert counts["received"] > 100
    assert counts["received"] == sum(count for name, count in counts.items() if name != "received")
    assert re.search(r"predictions +\d+ heard, the first \d+\.\d s after the start", out)


def test_on_a_terminal_it_shows_a_screen_until_ctrl_c(demos: list[Demo], tmp_path: Path) -> None:
    here, there = pty.openpty()
    demos.append(Demo("--svg", str(tmp_path / "demo.svg"), terminal=there))
    os.close(there)
    seen = _read_terminal(here, "imu.")  # the name of a feature: a prediction was heard
    demos[0].process.send_signal(signal.SIGINT)
    seen += _read_terminal(here, "agreement")
    demos[0].end()
    os.close(here)
    assert demos[0].process.returncode == 0
    for part in ("activity-watch", "p99", "budget met, missed", "features", "alerts"):
        assert part in seen
    assert "Traceback" not in seen
    assert "activity-watch" in (tmp_path / "demo.svg").read_text()


def _read_terminal(terminal: int, text: str, seconds: float = 120.0) -> str:
    seen, until = "", time.monotonic() + seconds
    while text not in seen and time.monotonic() < until:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                seen += os.read(terminal, 65_536).decode(errors="replace")
            except OSError:  # the other end is closed
                break
    assert text in seen
    return seen


@pytest.mark.parametrize("when", ["starting", "playing"])
def test_sigterm_ends_it_in_order(when: str, demos: list[Demo]) -> None:
    demos.append(Demo())
    demos[0].read_until("the daemon is starting" if when == "starting" else PLAYS)
    demos[0].process.terminate()
    out, err = demos[0].end()
    assert (demos[0].process.returncode, err) == (0, "")
    assert "stopped before it began" in out if when == "starting" else "budget" in out


@pytest.mark.parametrize(("name", "part"), [("daemon", " run "), ("player", "edge.cli.demo.player"), ("mosquitto broker", "mosquitto")])
def test_a_part_that_dies_is_named_and_the_rest_is_ended(name: str, part: str, demos: list[Demo]) -> None:
    demos.append(Demo("--broker", "mosquitto"))
    demos[0].read_until("the daemon is starting")
    (victim,) = [pid for pid, command in demos[0].others().items() if part in command]
    os.kill(victim, signal.SIGKILL)
    _out, err = demos[0].end()
    assert demos[0].process.returncode == 1
    assert err.startswith(f"edge: the {name} was killed by signal 9")
    assert "Traceback" not in err


def test_a_port_in_use_is_one_line_and_exit_code_4(demos: list[Demo]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        demos.append(Demo("--port", str(taken.getsockname()[1])))
        _out, err = demos[0].end()
    assert demos[0].process.returncode == 4
    assert re.fullmatch(r"edge: port \d+ on 127\.0\.0\.1 cannot be used: .*--port.*\n", err)
