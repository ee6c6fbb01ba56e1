"""Admits a bundle in a process that is thrown away, so that a bundle that bombs, hangs or crashes ends that process and nothing else.

The process is started anew and never forked: it shares no memory, no session and no lock with this one. It limits itself (memory,
processor time) before it reads a byte of the bundle; here the clock is watched. Whatever ends it becomes one line. Nothing of what it
loaded is kept: who has a proof loads the bundle again, and compares ``manifest_sha256`` to know that it is the same one. What runs in
the process is edge.inference.proving_child.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Annotated

import msgspec
from msgspec import Meta

from edge.errors import BundleError, TooSlowError
from edge.inference.bundle import Report, quiet

CHILD = "edge.inference.proving_child"
_MOST_SAID = 8 << 20  # bytes; a check of a bundle with very many features may be a long line
_MIB = 1 << 20
_TO_DIE_S = 10.0  # after it has closed its end; a dying process gives back its memory first
_NOT_FOR_IT = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "PYTHONINSPECT", "PYTHONSTARTUP")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}  # each thread reserves address space


class Limits(msgspec.Struct, frozen=True):
    """What a bundle may take while it is proved.

    Args:
        memory_bytes: of address space, above what the process has before it reads the bundle.
        per_bundle_byte: further bytes for each byte of the bundle: it is held, parsed, optimised and packed.
        cpu_s: processor time.
        wall_s: by the clock, for a machine that is busy with other things. Runs that keep within their budget add to both.
        longest_s: whatever the budget, no more is added.
        nice: of the process, 0 to 19; a busy machine gives a nice process less, and then it measures longer times.
    """

    memory_bytes: Annotated[int, Meta(ge=1)] = 1024 * _MIB
    per_bundle_byte: Annotated[int, Meta(ge=0)] = 4
    cpu_s: Annotated[float, Meta(gt=0)] = 60.0
    wall_s: Annotated[float, Meta(gt=0)] = 180.0
    longest_s: Annotated[float, Meta(ge=0)] = 3600.0
    nice: Annotated[int, Meta(ge=0, le=19)] = 0


class Proven(msgspec.Struct, frozen=True):
    """A variant that fits: its name and its 99th percentile, ns."""

    name: str
    p99_ns: int


class Proof(msgspec.Struct, frozen=True):
    """A bundle that was admitted.

    Args:
        name, version: of the bundle.
        manifest_sha256: of the manifest that was read, which lists the hash of every other file.
        variants: that fit, in order of preference.
        excluded: names of those that are too slow on this device.
        resident_bytes: by which the process grew; the bundle's files themselves are in it.
        peak_bytes: by which it had grown at most.
        growth_bytes: of it, while it ran again and again after it was warm; a model that keeps growing leaks.
        took_s: by the clock, with the start of the process.
    """

    name: str
    version: str
    manifest_sha256: str
    variants: list[Proven]
    excluded: list[str]
    resident_bytes: int
    peak_bytes: int
    growth_bytes: int
    took_s: float = 0.0


class Request(msgspec.Struct, frozen=True):
    """What the process is asked."""

    folder: str
    version: str
    feature_names: list[str] | None
    feature_hash: str | None
    budget_ns: int | None
    limits: Limits


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of what the process says: a check that held, more time that it may take, or how it ended."""

    check: str = ""
    detail: str = ""
    more_s: float = 0.0
    error: str = ""
    is_too_slow: bool = False
    proof: Proof | None = None


def prove(
    folder: Path,
    version: str = "latest",
    feature_names: Sequence[str] | None = None,
    feature_hash: str | None = None,
    budget_ns: int | None = None,
    *,
    report: Report = quiet,
    limits: Limits | None = None,
) -> Proof:
    """Verify, load, prove and time a bundle in a process of its own. Blocks until it has ended.

    Args:
        folder: of the bundle, which holds one folder per version.
        version: a version's folder name, or ``latest``.
        feature_names, feature_hash, budget_ns: see edge.inference.admission.admit.
        report: told of each check that held.
        limits: None: see Limits.

    Raises:
        BundleError: the bundle is not admitted, takes more than it may, or brings the process down.
        TooSlowError: it is not fast enough, and all else holds.
    """
    limits = limits or Limits()
    names = None if feature_names is None else list(feature_names)
    request = Request(os.path.abspath(folder), version, names, feature_hash, budget_ns, limits)
    with tempfile.TemporaryFile() as words:
        return _Child(request, words, report).result()


class _Child:
    """The process, from its start to its end."""

    def __init__(self, request: Request, words: IO[bytes], report: Report) -> None:
        self._where, self._limits, self._report, self._words = f"{request.folder} {request.version}", request.limits, report, words
        self._began = time.monotonic()
        self._may_take_s = request.limits.wall_s
        self._last = "start"
        self._answer: Said | None = None
        self._end = ""
        self._heard = b""
        self._process = _start(words)
        if request.limits.nice:  # from here: it would have imported everything before it could be told
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, request.limits.nice)
        try:
            self._ask(msgspec.json.encode(request))
            self._end = self._listen()
        finally:
            self._stop()

    def result(self) -> Proof:
        """The proof.

        Raises:
            BundleError: there is none.
        """
        took_s = time.monotonic() - self._began
        if self._answer is not None and self._answer.proof is not None:
            return msgspec.structs.replace(self._answer.proof, took_s=round(took_s, 3))
        if self._answer is not None:
            raise (TooSlowError if self._answer.is_too_slow else BundleError)(self._answer.error)
        how = self._end or self._how_it_died()
        raise BundleError(
            f"{self._where}: while it was proved, its process {how} after {took_s:.1f} s, the last thing done was {self._last}"
        )

    def _ask(self, request: bytes) -> None:
        """The process reads all of its input first, so that this cannot wait for its output."""
        stdin = self._process.stdin
        if stdin is None:  # pragma: no cover
            raise AssertionError("stdin is a pipe")
        with contextlib.suppress(BrokenPipeError):  # it is gone; how it ended says why
            stdin.write(request)
            stdin.close()

    def _listen(self) -> str:
        """Read lines until the process closes its end; what was wrong with that, if anything."""
        stdout = self._process.stdout
        if stdout is None:  # pragma: no cover
            raise AssertionError("stdout is a pipe")
        size = 0
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while self._answer is None:
                left_s = self._began + self._may_take_s - time.monotonic()
                if left_s <= 0:
                    return f"did not end within {self._may_take_s:g} s and was stopped"
                if not selector.select(left_s):
                    continue
                data = os.read(stdout.fileno(), 1 << 16)
                size += len(data)
                if not data:
                    return self._await_end()
                if size > _MOST_SAID or not self._hear(data):
                    return "said what is not understood"
        return ""

    def _await_end(self) -> str:
        try:
            self._process.wait(_TO_DIE_S)
        except subprocess.TimeoutExpired:
            return "said nothing more and did not end"
        return ""

    def _hear(self, data: bytes) -> bool:
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            try:
                said = msgspec.json.decode(line, type=Said)
            except msgspec.DecodeError:
                return False
            if said.error or said.proof is not None:
                self._answer = said
            elif said.check:
                self._last = said.check
                self._report(said.check, said.detail)
            self._may_take_s += min(max(said.more_s, 0.0), self._limits.longest_s)
        return True

    def _stop(self) -> None:
        process = self._process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what could not be written is not wanted any more
                    pipe.close()
        process.wait()

    def _how_it_died(self) -> str:
        code = self._process.returncode
        self._words.seek(0)
        lines = self._words.read(1 << 16).decode("utf-8", "replace").split("\n")
        said = next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
        said = f" ({said})" if said else ""
        if code >= 0:
            return f"ended with code {code} and without an answer{said}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        if name == "SIGXCPU":
            return f"had used the {self._limits.cpu_s:g} s of processor time (and what its budget adds) that it may"
        if name == "SIGKILL":
            return (
                f"was killed (SIGKILL), as a device does that has no memory left; it may take {self._limits.memory_bytes // _MIB} MiB{said}"
            )
        return f"crashed ({name}){said}"


def _start(words: IO[bytes]) -> subprocess.Popen[bytes]:
    env = {key: value for key, value in os.environ.items() if key not in _NOT_FOR_IT}
    # It finds modules where this process does, and not where it happens to stand.
    env |= _ONE_THREAD | {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)}
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-m", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=words,
        cwd="/",
        env=env,
        start_new_session=True,
    )
