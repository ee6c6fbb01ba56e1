"""The process in which a bundle is proved, asked and answering in JSON. Owns its own limits; edge.inference.proving starts it.

Whatever a library prints goes nowhere; the answers leave through a copy of standard output that only this module has.
"""

import contextlib
import ctypes
import math
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge.errors import BundleError, TooSlowError
from edge.inference.bundle import MAX_FILE_BYTES, Bundle, find_version, load_bundle
from edge.inference.golden import MAX_ROWS
from edge.inference.proving import Limits, Proof, Proven, Request, Said

_MOST_BUNDLE_BYTES = 4 * MAX_FILE_BYTES  # that count for the limit of memory
_MOST_WRITTEN = 1 << 20  # into any one file, which is what it has to say for itself
_PR_SET_PDEATHSIG = 1
_MIB = 1 << 20
# What C++, onnxruntime, numpy and Python say when there is no more memory.
_NO_MEMORY = ("bad_alloc", "bad allocation", "failed to allocate memory", "unable to allocate", "memoryerror", "cannot allocate memory")


def main() -> int:
    """Answer one request; 0 if the bundle is admitted, otherwise 1."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    answers = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)

    def say(said: Said) -> None:
        os.write(answers, msgspec.json.encode(said) + b"\n")

    _die_with_the_parent()
    try:
        proof = _prove(request, say)
    except BundleError as e:
        say(Said(error=_with_memory(str(e), request.limits), is_too_slow=isinstance(e, TooSlowError)))
        return 1
    except MemoryError:
        say(Said(error=_with_memory(f"{request.folder} {request.version}: MemoryError", request.limits)))
        return 1
    except Exception as e:  # noqa: BLE001  # the one who asked must get a line, whatever it is
        what = " ".join(f"{type(e).__name__}: {e}".split())[:500]
        say(Said(error=_with_memory(f"{request.folder} {request.version}: cannot be proved: {what}", request.limits)))
        return 1
    say(Said(proof=proof))
    return 0


def _prove(request: Request, say: Callable[[Said], None]) -> Proof:
    from edge.inference.admission import admit  # what it imports counts as the process's own size

    limits, folder = request.limits, Path(request.folder)
    home = find_version(folder, request.version)
    _confine(limits, _size_of(home))
    before = _resident()
    bundle = load_bundle(folder, request.version, report=lambda check, detail: say(Said(check, detail)))
    more_s = _time_in_budget(bundle, request.budget_ns)
    _limit_cpu(limits.cpu_s + min(more_s, limits.longest_s))
    say(Said(more_s=more_s))
    warm = 0

    def report(check: str, detail: str) -> None:
        nonlocal warm
        if check == "golden":
            warm = _resident()
        say(Said(check, detail))

    model = admit(bundle, request.feature_names, request.feature_hash, request.budget_ns, report)
    fitting = [Proven(variant.name, variant.p99_ns) for variant in model.variants]
    names = {variant.name for variant in fitting}
    excluded = [variant.name for variant in bundle.manifest.variants if variant.name not in names]
    after, peak = _resident(), _peak()
    return Proof(
        model.name,
        model.version,
        bundle.manifest_sha256,
        fitting,
        excluded,
        max(after - before, 0),
        max(peak - before, after - before, 0),
        max(after - warm, 0),
    )


def _time_in_budget(bundle: Bundle, budget_ns: int | None) -> float:
    """How long every run of an admission takes, if each keeps within the budget, s."""
    from edge.inference.admission import LEAST_RUNS

    within_ns = bundle.manifest.budget_ns if budget_ns is None else min(bundle.manifest.budget_ns, budget_ns)
    return len(bundle.manifest.variants) * (MAX_ROWS + 4 * LEAST_RUNS) * within_ns / 1e9


def _size_of(home: Path) -> int:
    """Bytes of the files of a version, as far as they are read at all."""
    size = 0
    for root, _, files in os.walk(home):
        for file in files[:1024]:
            with contextlib.suppress(OSError):
                size += min(os.stat(os.path.join(root, file)).st_size, MAX_FILE_BYTES)
    return min(size, _MOST_BUNDLE_BYTES)


def _confine(limits: Limits, bundle_bytes: int) -> None:
    """No more memory, processor time and disk than allowed; no core dump; and the first to go when a device runs out of memory."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    statm = Path("/proc/self/statm")
    if statm.exists():  # without it, nobody knows what the process had before
        own = int(statm.read_text().split()[0]) * resource.getpagesize()
        _limit(resource.RLIMIT_AS, own + limits.memory_bytes + limits.per_bundle_byte * bundle_bytes)
    _limit(resource.RLIMIT_FSIZE, _MOST_WRITTEN)
    _limit(resource.RLIMIT_CORE, 0)
    _limit_cpu(limits.cpu_s)


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _limit_cpu(seconds: float) -> None:
    most = math.ceil(seconds)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _die_with_the_parent() -> None:
    """A proof that nobody waits for must not go on; where the system has no such thing, the limits end it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _peak() -> int:
    """Not ru_maxrss, which starts with that of the process this one was started by."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _with_memory(error: str, limits: Limits) -> str:
    if not any(word in error.lower() for word in _NO_MEMORY):
        return error
    allowed = f"more than the {limits.memory_bytes // _MIB} MiB that are allowed beside those for its files"
    return f"{error} (its process held {_peak() // _MIB} MiB and asked for {allowed})"


if __name__ == "__main__":
    sys.exit(main())
