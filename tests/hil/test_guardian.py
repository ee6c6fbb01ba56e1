"""Nothing that the harness starts outlives it, even when it is killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.timeout(60)

HARNESS = """
import subprocess, time
from firmware_bridge.hil import guardian
child = guardian.start(["sleep", "300"], subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(300)
"""


def is_running(pid: int) -> bool:
    """Whether it is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc: run it on Linux")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_with_the_harness_that_was_killed(how):
    with subprocess.Popen([sys.executable, "-c", HARNESS], stdout=subprocess.PIPE, text=True) as harness:
        child = int(harness.stdout.readline())
        assert is_running(child)
        harness.send_signal(how)
        harness.wait(20)
        end = time.monotonic() + 20
        while is_running(child):
            assert time.monotonic() < end
            time.sleep(0.02)
