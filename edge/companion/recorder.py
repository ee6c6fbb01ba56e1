"""The recording companion: python -m edge.companion.recorder RING NICE.

Becomes as nice as it was told before it imports anything large. What it does then is in edge.companion.recording. When the one who started
it is gone, however it went, it writes what is still in the ring, closes its file and ends.
"""

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run until standard input ends."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):  # meant for the daemon, which tells when it is over
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until there is something to close; standard input ends all the same
    with contextlib.suppress(OSError):
        os.nice(int(sys.argv[2]))
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1, 0, 0, 0)
    from edge.companion.recording import record

    return record(int(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
