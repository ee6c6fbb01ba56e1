"""Checks of serial adapters and of the cache of compiled kernels."""

import subprocess
import sys
import time
from pathlib import Path

from edge.cli.doctor.finding import OK, WARN, Finding, Subject

_TIMERS = "bus/usb-serial/devices/*/latency_timer"
COMPILES_S = 12.0  # from the cache all of them come in about one second, without it they take half a minute or more
WAIT_S = 300
_IMPORT = "import edge.kernels.window, edge.kernels.clean, edge.kernels.resample, edge.kernels.admit, edge.kernels.histogram"


def check_serial(subject: Subject, sys_folder: Path = Path("/sys")) -> list[Finding]:
    """How long USB serial adapters hold bytes back."""
    del subject
    found = []
    for path in sorted(sys_folder.glob(_TIMERS)):
        name, timer_ms = path.parent.name, int(path.read_text())
        if timer_ms <= 1:
            found.append(Finding(f"serial {name}", OK, f"latency timer {timer_ms} ms", measured={"latency_timer_ms": timer_ms}))
            continue
        meaning = f"the adapter holds short answers back for up to {timer_ms} ms"
        rule = 'ACTION=="add", SUBSYSTEM=="usb-serial", ATTR{latency_timer}="1"'
        mend = f"echo 1 > {path}; for good: a file in /etc/udev/rules.d with {rule}"
        found.append(Finding(f"serial {name}", WARN, f"latency timer {timer_ms} ms", meaning, mend, {"latency_timer_ms": timer_ms}))
    return found or [Finding("serial latency", OK, "no USB serial adapter with a latency timer")]


def check_cache(subject: Subject) -> list[Finding]:
    """Whether kernels come compiled from the cache at the second start."""
    del subject
    first_s = _import_s()
    again_s = _import_s() if first_s is not None and first_s > COMPILES_S else first_s
    if first_s is None or again_s is None:
        mend = "run `python -c 'import edge.kernels.window'` and see what it says"
        return [Finding("numba cache", WARN, "the kernels cannot be imported", "the daemon will not start", mend)]
    measured = {"first_s": round(first_s, 1), "again_s": round(again_s, 1)}
    if again_s <= COMPILES_S:
        was = " (they were compiled just now)" if again_s < first_s else ""
        return [Finding("numba cache", OK, f"kernels load in {again_s:.1f} s{was}", measured=measured)]
    meaning = "every start of the daemon compiles every kernel, and a restart after a fault takes as long"
    mend = "a folder that this user may write: NUMBA_CACHE_DIR in the unit (the unit of `edge service install` has it)"
    return [Finding("numba cache", WARN, f"kernels take {again_s:.1f} s at every start", meaning, mend, measured)]


def _import_s() -> float | None:
    start = time.monotonic()
    try:
        done = subprocess.run([sys.executable, "-c", _IMPORT], check=False, capture_output=True, timeout=WAIT_S)  # noqa: S603
    except subprocess.TimeoutExpired:
        return float(WAIT_S)
    return time.monotonic() - start if done.returncode == 0 else None
