"""`edge run` with a cold kernel cache says that it compiles, before it does; with a warm one it says nothing."""

import os
import socket
import subprocess
import sys

import pytest

from edge.cli.run_compiling import TEXT

# The daemon's own way in, with the one room in the place of edge.build that would compile all kernels for a minute.
RUN = """
import sys, types
from pathlib import Path

def run(*_, **__):
    import numba
    numba.njit(lambda x: x + 1)(1)  # a function of a pipeline file, compiled at every start
    print("starting", file=sys.stderr)
    import edge.kernels.histogram
    print("compiled", file=sys.stderr)
    return 0

sys.modules["edge.build"] = types.SimpleNamespace(run=run)
import edge.cli.run, edge.cli.run_lock, edge.cli.run_compiling
assert "numba" not in sys.modules
sys.exit(edge.cli.run.run_daemon(Path(sys.argv[1]), None, "info"))
"""
PIPELINE = """
name = "compiling-{pid}"
budget_ms = 50

[streams.s]
topic = "d/{{device}}/s"
format = "json"
channels = {{ x = "1" }}
rate_hz = 10

[[features]]
stream = "s"
channels = ["x"]
window = 2
stats = ["mean"]
"""


@pytest.mark.timeout(180)
def test_compiling_is_said_before_it_begins_and_only_then(tmp_path):
    file = tmp_path / "p.toml"
    file.write_text(PIPELINE.format(pid=os.getpid()))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(0.1)
        env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "NOTIFY_SOCKET": str(tmp_path / "notify")}

        def start():
            done = subprocess.run([sys.executable, "-c", RUN, str(file)], env=env, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
            return [line for line in done.stderr.splitlines() if TEXT in line or line in ("starting", "compiled")]

        first, said, last = start()
        assert (first, last) == ("starting", "compiled")
        assert " INFO " in said
        assert manager.recv(1000).decode() == f"STATUS={TEXT}"
        assert start() == ["starting", "compiled"]
        with pytest.raises(TimeoutError):
            manager.recv(1000)
