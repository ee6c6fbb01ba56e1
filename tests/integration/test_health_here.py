"""What a daemon says where no broker carries it: a file on this machine, from real daemons whose broker died, hangs or says no."""

import itertools
import json
import signal
import subprocess
import sys
import time

import pytest

from tests.broker import Mosquitto, needs_mosquitto
from tests.integration.test_daemon import Edge, until

pytestmark = [needs_mosquitto, pytest.mark.timeout(180)]

PIPELINE = """
name = "watched"
budget_ms = 150
tick_ms = 10

[broker]
url = "{url}"
keepalive_s = 5
retry_min_s = 0.1
retry_max_s = 0.2
connect_timeout_s = 1.0

[streams.temp]
topic = "plant/{{device}}/temp"
format = "json"
channels = {{ celsius = "degC" }}

[[features]]
stream = "temp"
channels = ["celsius"]
window = 4
stats = ["mean"]
"""


class Here:
    """A daemon with a directory as a service manager gives it."""

    def __init__(self, folder, broker, monkeypatch):
        self.run_dir = folder / "run"
        mine = self.run_dir / "fan-2"  # an instance may be called otherwise than its daemon
        mine.mkdir(parents=True)
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(mine))
        self.path = mine / "health.json"
        self.edge = Edge(folder, broker, PIPELINE.format(url=broker.url))

    def told(self):
        return json.loads(self.path.read_text())

    def status(self, *arguments):
        """Of the file without more; whose exit code, table and complaints."""
        whom = arguments or (str(self.edge.file),)
        command = [sys.executable, "-m", "edge", "status", *whom, "--run-dir", str(self.run_dir), "--seconds", "1"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def here(tmp_path, broker, monkeypatch):
    here = Here(tmp_path, broker, monkeypatch)
    until(here.path.exists)
    yield here
    here.edge.close()


def rows(shown):
    return {" ".join(line.split()[:2]) for line in shown.stdout.splitlines()}


def test_a_broker_that_dies_is_told_in_the_file_with_its_age_and_by_name_too(broker, here):
    until(lambda: here.told()["link"]["state"] == "up")
    assert here.path.stat().st_mode & 0o777 == 0o644
    broker.kill()
    until(lambda: here.told()["link"]["state"] == "unreachable")
    for whom in ((), ("--name", "watched", "--url", broker.url)):
        shown = here.status(*whom)
        assert shown.returncode == 1
        assert {"daemon watched", "link unreachable"} <= rows(shown), shown.stdout + shown.stderr
        assert "the broker cannot be reached" in shown.stderr
        assert f"said in {here.path}, " in shown.stderr
        assert " s old" in shown.stderr
        assert shown.stdout.splitlines()[-1] == "0 alerts wait"
    stranger = here.status("--name", "another", "--url", broker.url)
    assert stranger.returncode == 4
    assert f"nothing of another in {here.run_dir}/*/health.json" in stranger.stderr
    assert "--run-dir" in stranger.stderr
    assert not stranger.stdout
    broker.start()
    until(lambda: here.told()["link"]["state"] == "up")
    assert here.told()["link"]["connects"] == 2
    asked = until(lambda: (one := here.status()) and "link up" in rows(one) and one)
    assert str(here.path) not in asked.stdout + asked.stderr, "a broker that knows is asked first"
    stranger = here.status("--name", "another", "--url", broker.url)
    assert stranger.returncode == 1
    assert f"nor in {here.run_dir}/*/health.json" in stranger.stderr


def test_a_broker_that_hangs_is_told_as_silent(broker, here):
    until(lambda: here.told()["link"]["state"] == "up")
    broker.pause()
    try:
        until(lambda: here.told()["link"]["state"] == "silent", "half-open TCP", 60)
        shown = here.status()
        assert "the broker cannot be reached" in shown.stderr
        assert shown.returncode == 1
        assert "daemon watched" in rows(shown)
        assert "link up" not in rows(shown)
    finally:
        broker.resume()


def test_a_broker_that_says_no_is_told_as_refused(tmp_path, monkeypatch):
    broker = Mosquitto(tmp_path, "allow_anonymous false").start()
    here = Here(tmp_path, broker, monkeypatch)
    try:
        until(lambda: here.path.exists() and here.told()["link"]["state"] == "refused")
        shown = here.status()
        assert "link refused" in rows(shown), shown.stdout + shown.stderr
        assert shown.returncode == 1
    finally:
        here.edge.close()
        broker.close()


def test_a_file_of_a_process_that_stands_still_or_is_gone_is_no_news(broker, here):
    broker.kill()
    process = here.edge.process
    process.send_signal(signal.SIGSTOP)
    try:
        shown = until(lambda: (one := here.status()) and "older than 3 s" in one.stderr and one)
    finally:
        process.send_signal(signal.SIGCONT)
    assert shown.stdout.split()[:4] == ["daemon", "watched", "no", "news"]
    assert "what follows is what it said last" in shown.stdout
    until(lambda: "older than" not in here.status().stderr, "it goes on")
    process.kill()
    process.wait(10)
    found = json.loads(here.status("--name", "watched", "--url", broker.url, "--json").stdout)["watched"]
    assert found["availability"] == "no news"
    assert f"its process {process.pid} is gone" in found["file"]["text"]
    assert here.status().returncode == 1


def test_a_daemon_that_ends_leaves_no_word(here):
    assert here.edge.stop() == 0
    assert not here.path.exists()


def test_the_file_is_written_at_most_once_a_second_and_again_while_nothing_changes(here):
    seen, end = set(), time.monotonic() + 4
    while time.monotonic() < end:
        seen.add(here.told()["mono_ns"])
        time.sleep(0.02)
    stamps = sorted(seen)
    assert len(stamps) >= 2
    assert all(after - before >= 10**9 for before, after in itertools.pairwise(stamps))
