"""Says that kernels are about to be compiled: half a minute to some minutes without a word look like a daemon that hangs."""

import logging
import os
from typing import Any

from edge.daemon.notify import Notifier

_log = logging.getLogger(__name__)

TEXT = "compiling kernels for this machine, once: half a minute to a few minutes"
_OURS = ("edge.kernels.", "firmware_bridge.")  # functions that a pipeline file brings are compiled at every start, and fast


def say_when_compiling() -> None:
    """From now on the first kernel that is not in the cache is told of, in the log and to the service manager, before it is compiled.

    Imports Numba: call where the kernels are imported next.
    """
    from numba.core import event

    class First(event.Listener):
        is_told = False
        depth = 0  # what is compiled into another function is not told of

        def on_start(self, event: Any) -> None:
            self.depth += 1
            if self.depth == 1 and not self.is_told and event.data["dispatcher"].py_func.__module__.startswith(_OURS):
                self.is_told = True
                _log.info(TEXT)
                Notifier(os.environ.get("NOTIFY_SOCKET", "")).status(TEXT)  # the daemon takes the variable later

        def on_end(self, _event: Any) -> None:
            self.depth -= 1

    event.register("numba:compile", First())  # type: ignore[no-untyped-call]
