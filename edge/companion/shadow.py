"""A candidate beside the active model, in a process of its own: python -m edge.companion.shadow RING NICE.

Becomes as nice as it was told before it imports anything large, and dies with the one who started it. What it does then is in
edge.companion.comparing.
"""

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run until standard input ends."""
    with contextlib.suppress(OSError):
        os.nice(int(sys.argv[2]))
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal's, meant for the daemon
        signal.signal(number, signal.SIG_IGN)
    from edge.companion.comparing import compare

    return compare(int(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
