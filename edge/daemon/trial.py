"""A shadow process and the daemon's side of it: starts it, hears it, starts it again, gives it up. Used from one helper thread."""

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge.inference.proving import Proof
from edge.inference.shadow import Layout, Report, Threshold
from edge.store.ring import RingWriter

MODULE = "edge.companion.shadow"
RESTARTS = 3
SLOTS = 1024
SILENCE_S = 20.0
_AGAIN_S = 1.0
_RING_BYTES = 8 << 20  # a vector of very many features gets fewer slots
_NOT_FOR_IT = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


class Setting(msgspec.Struct, frozen=True):
    """What is the same for every candidate of a pipeline.

    Args:
        folder: of the bundle.
        labels: of the active model.
        features: of the vector.
        lanes: devices.
        budget_ns: of one inference.
        thresholds: of the rules on scores.
        nice: of the process, 0 to 19.
    """

    folder: Path
    labels: tuple[str, ...]
    features: int
    lanes: int
    budget_ns: int
    thresholds: Sequence[Threshold]
    nice: int = 19


class Trial:
    """One candidate in its own process.

    Args:
        setting: see Setting.
        proof: of the candidate.
        budget_ns: of one run.

    Attributes:
        ring: what the loop writes to.
        report: the latest; None before the first.
        failure: why it was given up; "" while it was not.
        deaths: how often the process died by itself.
    """

    def __init__(self, setting: Setting, proof: Proof, budget_ns: int) -> None:
        self.version, self.proof, self.budget_ns = proof.version, proof, budget_ns
        self.layout = Layout(len(setting.labels), setting.features)
        slots = max(16, min(SLOTS, _RING_BYTES // self.layout.nbytes))
        self.ring = RingWriter(slots, self.layout.nbytes)
        self._nice = setting.nice
        self.report: Report | None = None
        self.failure = ""
        self.deaths = 0
        self._task = msgspec.json.encode(
            {
                "folder": str(setting.folder),
                "proof": proof,
                "labels": setting.labels,
                "features": setting.features,
                "lanes": setting.lanes,
                "budget_ns": budget_ns,
                "thresholds": setting.thresholds,
            }
        )
        self._heard = b""
        self._heard_s = self._again_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start()
        except OSError:  # it is tried again, with memory of its own
            self.ring.close()
            raise

    @property
    def pid(self) -> int:
        """Of the process; 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    def poll(self) -> None:
        """Hear what the process said since the last call, and start it again if it died."""
        now = time.monotonic()
        process = self._process
        if process is None:
            if not self.failure and now >= self._again_s:
                self._start()
            return
        self._listen(process)
        if self.failure:
            self._end()
        elif process.poll() is not None:
            self._died(f"ended with code {process.returncode}" if process.returncode >= 0 else f"was ended by signal {-process.returncode}")
        elif now - self._heard_s > SILENCE_S:
            self._died(f"said nothing for {SILENCE_S:g} s")

    def close(self) -> None:
        """End it. The ring is for the loop to give back, which may be writing to it."""
        self._end()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        stdout = process.stdout
        while stdout is not None and select.select([stdout], [], [], 0)[0]:
            data = os.read(stdout.fileno(), 1 << 16)
            if not data:
                return
            *lines, self._heard = (self._heard + data).split(b"\n")
            for line in lines:
                self._hear(line)

    def _hear(self, line: bytes) -> None:
        self._heard_s = time.monotonic()
        try:
            said = msgspec.json.decode(line)
            if said.get("error"):
                self.failure = str(said["error"])
            else:
                self.report = msgspec.convert(said["report"], Report)
        except (msgspec.DecodeError, KeyError, AttributeError) as fault:
            self.failure = f"its process said what is not understood: {fault}"

    def _died(self, how: str) -> None:
        self._end()
        self.deaths += 1
        self._again_s = time.monotonic() + _AGAIN_S * self.deaths
        if self.deaths > RESTARTS:
            self.failure = f"its process {how}, for the {self.deaths}th time; the last start was the last one"

    def _start(self) -> None:
        self._heard, self._heard_s = b"", time.monotonic()
        env = {key: value for key, value in os.environ.items() if key not in _NOT_FOR_IT}
        env |= _ONE_THREAD | {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)}
        command = [sys.executable, "-P", "-m", MODULE, str(self.ring.descriptor), str(self._nice)]
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(self.ring.descriptor,),
            cwd="/",
            env=env,
        )
        self._process = process
        with contextlib.suppress(BrokenPipeError):  # it is gone, which is found at the next look
            if process.stdin is not None:
                process.stdin.write(self._task + b"\n")
                process.stdin.flush()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if process.poll() is None:
            process.kill()
        process.wait()
