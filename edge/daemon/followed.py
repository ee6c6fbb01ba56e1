"""A registry that is followed: its state as last seen, which versions were refused by this run, what this run writes down in it.

Used from the models' thread alone. Decides nothing about models.
"""

import os

from edge.errors import BundleError
from edge.inference.choice import STATE_FILE, RegistryState
from edge.store.registry import Registry

WHO = "daemon"


class Followed:
    """What a run knows of its registry.

    Args:
        registry: of the bundle.

    Attributes:
        state: as last seen.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.state: RegistryState = registry.state()
        self._seen: tuple[int, int, int] = (0, 0, 0)
        self._refused: set[tuple[str, int]] = set()  # version and number of the history's line: a person may try again

    def look(self) -> bool:
        """Whether the registry was written since the last look; if so, ``state`` is new."""
        try:
            stat = os.stat(self.registry.folder / STATE_FILE)
        except OSError:
            return False
        seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if seen == self._seen:
            return False
        self._seen = seen
        self.state = self.registry.state()
        return True

    def refuse(self, version: str) -> None:
        """Leave a version alone until somebody changes the registry."""
        self._refused.add((version, self._line))

    def is_refused(self, version: str) -> bool:
        """Whether it was refused, and nobody asked for it again."""
        return (version, self._line) in self._refused

    def roll_back(self, version: str, reason: str) -> str:
        """Write down that a version must not be active.

        Returns:
            Why it stays the active one in the registry all the same; "" where it does not.
        """
        self.refuse(version)
        if self.registry.state().active != version:
            return ""
        try:
            self.registry.rollback(WHO, reason)
        except BundleError as fault:
            return str(fault)
        return ""

    def end_trial(self, reason: str) -> None:
        """No version is on trial any more."""
        self.registry.clear_candidate(WHO, reason)

    @property
    def _line(self) -> int:
        return self.state.entry.number if self.state.entry is not None else 0
