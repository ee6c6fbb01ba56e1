"""A process beside the daemon: started, heard, started again with growing waits, left alone for a while when it dies too often.

Used from one helper thread; nothing here waits for the process.
"""

import contextlib
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable

_NOT_FOR_IT = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
HOUR_S = 3600.0
STARTS_PER_HOUR = 12
WAIT_S = (0.5, 60.0)  # after a death: first and longest
STABLE_S = 60.0  # who lived so long begins with the shortest wait again
SILENCE_S = 20.0  # who says nothing for so long is ended: it is stopped or hangs
_READ = 65_536
_LONGEST_LINE = 1 << 20


class Sidecar:
    """Supervises one process.

    Args:
        module: run with ``python -m``.
        arguments: of it.
        task: one line for its standard input.
        descriptors: that it inherits.
        on_line: called with every line that it says.
        clock: CLOCK_MONOTONIC in seconds.

    Attributes:
        state: ``running``, ``waiting``, ``silent`` or ``given up``; why, in words, is in ``why``.
        deaths: how often it ended although it should not.
    """

    def __init__(
        self,
        module: str,
        arguments: list[str],
        task: bytes,
        descriptors: tuple[int, ...],
        on_line: Callable[[bytes], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state, self.why, self.deaths = "waiting", "", 0
        self._command = [sys.executable, "-P", "-m", module, *arguments]
        self._task, self._descriptors, self._on_line, self._clock = task, descriptors, on_line, clock
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = b""
        self._heard_s = self._started_s = self._again_s = 0.0
        self._wait_s = WAIT_S[0]
        self._starts: deque[float] = deque()
        self._is_ending = False

    @property
    def pid(self) -> int:
        """Of the process; 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    def poll(self) -> None:
        """Hear what the process said, start it if it is due, end it if it hangs. Call several times a second."""
        now = self._clock()
        process = self._process
        if process is None:
            if not self._is_ending and now >= self._again_s:
                self._start(now)
            return
        self._listen(process)
        if process.poll() is not None:
            code = process.returncode
            self._died(f"ended with code {code}" if code >= 0 else f"was ended by signal {-code}", now)
        elif now - self._heard_s > SILENCE_S:
            self.state, self.why = "silent", f"said nothing for {now - self._heard_s:.0f} s and is ended"
            process.kill()  # also ends one that is stopped; one that waits for a dead disk ends when that answers

    @property
    def silent_s(self) -> float:
        """How long nothing has been heard of it; 0 while there is none."""
        return self._clock() - self._heard_s if self._process is not None else 0.0

    def close(self, within_s: float) -> None:
        """Let it finish: its standard input ends. Who does not end in time is left to it; who was silent before is killed.

        Args:
            within_s: longest wait.
        """
        self._is_ending = True
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        end = self._clock() + within_s
        while process.poll() is None and self._clock() < end:
            self._listen(process)
            time.sleep(0.01)
        self._listen(process)
        if process.poll() is None and self.silent_s > within_s:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
        self._let_go()

    def _start(self, now: float) -> None:
        while self._starts and now - self._starts[0] >= HOUR_S:
            self._starts.popleft()
        if len(self._starts) >= STARTS_PER_HOUR:
            self.state = "given up"
            self._again_s = self._starts[0] + HOUR_S
            self.why = f"{self.why}; {STARTS_PER_HOUR} starts within an hour: the next one in {(self._again_s - now) / 60:.0f} min"
            return
        self._starts.append(now)
        self._heard, self._heard_s, self._started_s = b"", now, now
        env = {key: value for key, value in os.environ.items() if key not in _NOT_FOR_IT}
        env |= _ONE_THREAD | {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)}
        try:
            process = subprocess.Popen(  # noqa: S603
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=self._descriptors,
                cwd="/",
                env=env,
            )
        except OSError as fault:  # no memory, too many processes
            self._died(f"cannot be started: {fault.strerror}", now)
            return
        self._process = process
        self.state = "running"
        with contextlib.suppress(OSError):  # it is gone, which is found at the next look
            if process.stdin is not None:
                process.stdin.write(self._task + b"\n")
                process.stdin.flush()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        stdout = process.stdout
        while stdout is not None and select.select([stdout], [], [], 0)[0]:
            data = os.read(stdout.fileno(), _READ)
            if not data:
                return
            *lines, self._heard = (self._heard + data[:_LONGEST_LINE]).split(b"\n")
            self._heard_s = self._clock()
            for line in lines:
                self._on_line(line)

    def _died(self, how: str, now: float) -> None:
        if self.state != "silent":
            self.why = how
        self._let_go()
        self.deaths += 1
        self.state = "waiting"
        if now - self._started_s >= STABLE_S:
            self._wait_s = WAIT_S[0]
        self._again_s = now + self._wait_s
        self._wait_s = min(self._wait_s * 2, WAIT_S[1])

    def _let_go(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
