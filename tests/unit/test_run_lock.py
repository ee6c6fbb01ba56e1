"""One daemon of a name at a broker: who is refused, who is not, and that the lock goes with its process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge.cli import main as cli
from edge.cli import run_lock
from edge.errors import TransportError

TEXT = """
name = "{name}"
budget_ms = 50

[broker]
url = "{url}"

[streams.s]
topic = "{topic}"
format = "json"
channels = {{ x = "1" }}
rate_hz = 10

[[features]]
stream = "s"
channels = ["x"]
window = 2
stats = ["mean"]
"""
SERIAL = '\n[serial.a]\nurl = "serial:///dev/{port}?baud=115200"\n'
HOLD = """
import sys, time
from pathlib import Path
from edge.cli.run_lock import lock
held = lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(100)
"""
LEADER_ENDS = """
import ctypes, os, platform, sys, threading, time
from pathlib import Path
from edge.cli.run_lock import lock
held = lock(Path(sys.argv[1]))
threading.Thread(target=time.sleep, args=(100,)).start()
print("held", flush=True)
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)  # exit of this thread alone
"""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "WAIT_S", 0.2)
    name = f"lock-{os.getpid()}"  # tests of other processes have other names

    def write(suffix="", url="mqtt://127.0.0.1:18830", topic="d/{device}/s", port=""):
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.toml"
        file.write_text(TEXT.format(name=name + suffix, url=url, topic=topic) + (SERIAL.format(port=port) if port else ""))
        return file

    return write


@pytest.fixture
def hold():
    running = []

    def start(file, script=HOLD):
        process = subprocess.Popen([sys.executable, "-c", script, str(file)], stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.wait(10)
        process.stdout.close()


def test_the_second_is_refused_by_the_pid_of_the_first_until_that_is_gone(make, hold, monkeypatch):
    first = hold(make())
    for signal_before in (None, signal.SIGSTOP):
        if signal_before:
            first.send_signal(signal_before)
        with pytest.raises(TransportError, match=f"process {first.pid} runs lock-.* at 127.0.0.1:18830 already"):
            run_lock.lock(make(url="mqtt://localhost:18830"))
    first.kill()
    monkeypatch.setattr(run_lock, "WAIT_S", 30)  # whom nobody waited for needs a moment to go
    with run_lock.lock(make()) as held:
        assert not held.get_inheritable()


def test_edge_run_and_safe_mode_end_with_one_line_and_exit_code_4(make, hold, capsys):
    first = hold(make())
    for options in ([], ["--safe"]):
        assert cli.main(["run", str(make()), *options]) == 4
        said = capsys.readouterr().err
        assert said.startswith(f"edge: process {first.pid} runs")
        assert said.count("\n") == 1


def test_other_names_brokers_and_serial_lines_are_others(make):
    serial = {"topic": "serial/{device}/s"}
    files = [
        make(),
        make("-b"),
        make(url="mqtt://127.0.0.1:18831"),
        make(url="mqtt://127.0.0.2:18830", port="ttyS1"),
        make(port="ttyS1", **serial),
        make(port="ttyS2", **serial),
    ]
    held = [run_lock.lock(file) for file in files]
    for file in files:
        with pytest.raises(TransportError, match=f"process {os.getpid()} runs"):
            run_lock.lock(file)
    with pytest.raises(TransportError, match="runs"):  # what comes from the broker is the same, whatever the line
        run_lock.lock(make(port="ttyS3"))
    for one in held:
        one.close()


def test_one_that_is_dying_does_not_keep_the_next_from_starting(make, hold, caplog):
    """A killed process whose disk hangs keeps the lock; systemd starts another one nevertheless."""
    file = make()
    first = hold(file, LEADER_ENDS)
    end = time.monotonic() + 30
    while "State:\tZ" not in Path(f"/proc/{first.pid}/status").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert run_lock.lock(file) is None
    assert f"process {first.pid}, which ran lock-" in caplog.text
