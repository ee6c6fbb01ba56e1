"""Making a new plan beside the running one: in a helper thread, one at a time."""

import threading
from collections.abc import Callable

from edge.daemon.plan import Plan
from edge.errors import EdgeError
from edge.threads import helper


class Rebuilder:
    """Runs ``rebuild`` when asked to.

    Args:
        rebuild: makes a plan from the re-read file; raises EdgeError when the file is not valid.
        wake: called from the thread when an attempt has ended.

    Attributes:
        is_wanted: asked for again since the present attempt began, which may have read the file too early.
    """

    def __init__(self, rebuild: Callable[[], Plan], wake: Callable[[], None]) -> None:
        self.is_wanted = False
        self._rebuild, self._wake = rebuild, wake
        self._thread: threading.Thread | None = None
        self._result: Plan | EdgeError | None = None

    def start(self) -> None:
        """Begin an attempt; while one runs, only remember that another is wanted."""
        self.is_wanted = self._thread is not None
        if not self.is_wanted:
            self._thread = helper("edge-reload", self._run)
            self._thread.start()

    def take(self) -> Plan | EdgeError | None:
        """What came of the attempt, once; None while it runs."""
        result = self._result
        if result is None and self._thread is not None and not self._thread.is_alive():
            result = self._result or EdgeError("the attempt ended in an unexpected fault, see above")
        if result is not None:
            self._result = self._thread = None
        return result

    def _run(self) -> None:
        try:
            self._result = self._rebuild()
        except EdgeError as fault:
            self._result = fault
        self._wake()
