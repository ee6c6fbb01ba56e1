"""A real Mosquitto for tests: own port, own folder, can be killed and come back."""

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

HINT = "mosquitto is not installed: apt-get install mosquitto mosquitto-clients"
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason=HINT)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """One broker process.

    Args:
        folder: for its configuration and database.
        extra: further configuration lines, before the listener.
        listener: lines that belong to the listener.
    """

    def __init__(self, folder: Path, extra: str = "allow_anonymous true", listener: str = "") -> None:
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._conf = folder / "mosquitto.conf"
        self._log = (folder / "mosquitto.log").open("ab")
        # QoS 1 in flight is left at the broker's default of 20: a client that does not acknowledge everything is found out.
        common = "user root\nset_tcp_nodelay true\npersistence false\nmax_queued_messages 0\n"
        self._conf.write_text(f"{common}{extra}\nlistener {self.port} 127.0.0.1\n{listener}\n")
        self._process: subprocess.Popen | None = None

    def start(self) -> "Mosquitto":
        assert MOSQUITTO is not None, HINT
        self._process = subprocess.Popen([MOSQUITTO, "-c", self._conf], stdout=self._log, stderr=self._log)
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                assert self._process.poll() is None, Path(self._log.name).read_text()
                time.sleep(0.01)
        raise AssertionError("mosquitto did not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
        self.kill()
        self._log.close()


@pytest.fixture
def broker(tmp_path):
    """A broker that anybody may use."""
    broker = Mosquitto(tmp_path).start()
    yield broker
    broker.close()
