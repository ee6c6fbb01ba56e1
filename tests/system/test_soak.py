"""Half an hour and more of the sensor through the reactor keeps memory flat, and the check finds a leak of 100 bytes a message."""

import json
import subprocess
import sys

import pytest


def soak(*options: str) -> "subprocess.Popen[str]":
    """In a process of its own: the reactor freezes its garbage collector, and memory is that of one process."""
    command = [sys.executable, "-m", "tests.system.soak", "--hours", "0.5", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.timeout(300)
def test_half_an_hour_leaves_memory_as_it_was_and_a_leak_is_found():
    sound, leaky = soak(), soak("--leak", "100")  # one for each core
    try:
        told = [json.loads(one.communicate(timeout=250)[0]) for one in (sound, leaky)]
    finally:
        for one in (sound, leaky):
            one.kill()
            one.communicate()
    assert told[0]["faulty"] == []
    assert sound.returncode == 0
    assert [one.split(" by ")[0] for one in told[1]["faulty"]] == ["memory grows"]
    assert leaky.returncode == 1
