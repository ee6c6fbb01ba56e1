"""A registry that is followed: its state as last seen, which versions were refused by this run, what this run writes down in it.

Used from the models' thread alone. Decides nothing about models. A state that cannot be believed is never followed, and nothing is
written over it: the one before holds.
"""

import os

from edge.daemon.refused import WHO, Refused
from edge.errors import BundleError
from edge.inference.choice import STATE_FILE, RegistryState
from edge.store.registry import Registry

_NEVER = (0, 0, 0)


class Followed:
    """What a run knows of its registry.

    Args:
        registry: of the bundle.
        refused: what the process holds against versions of it.

    Attributes:
        state: as last seen.
        trouble: why what is there now cannot be believed; "" where it can.
    """

    def __init__(self, registry: Registry, refused: Refused | None = None) -> None:
        self.registry = registry
        self.refused = refused or Refused()
        self.state: RegistryState = registry.state()
        self.trouble = self.state.trouble
        self._seen: tuple[int, int, int] = _NEVER
        if not self.trouble:
            self.refused.catch_up(registry.folder, self.state)

    def look(self) -> bool:
        """Whether the registry was written since the last look, and can be believed; if so, ``state`` is new."""
        path = self.registry.folder / STATE_FILE
        try:
            stat = os.stat(path)
        except OSError as fault:
            if self._seen != _NEVER:
                self._seen, self.trouble = _NEVER, f"{path}: {fault.strerror}"
            return False
        seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if seen == self._seen:
            return False
        state = self.registry.state()
        self.trouble = state.trouble
        if state.trouble:  # it is read again at the next look
            return False
        self._seen, self.state = seen, state
        self.refused.catch_up(self.registry.folder, state)
        return True

    def refuse(self, version: str, reason: str) -> None:
        """Leave a version alone until a person asks for it again, and owe it to the registry that it is not active and not on trial."""
        self.refused.refuse(version, reason)
        if self.state.active == version:
            self.refused.bad_active[version] = reason
        elif self.state.candidate is not None and self.state.candidate.version == version:
            self.refused.bad_trial[version] = reason

    def is_refused(self, version: str) -> bool:
        """Whether it was refused, and nobody asked for it again."""
        return bool(self.refused.reason(version))

    def pay(self) -> None:
        """Write down what is owed.

        Raises:
            BundleError: something cannot be written; it stays owed.
        """
        for version, reason in list(self.refused.bad_trial.items()):
            if self.is_refused(version):
                self._must_be_believed()
                self.registry.clear_candidate(WHO, reason, expect=version)
            self.refused.bad_trial.pop(version, None)
        for version, reason in list(self.refused.bad_active.items()):
            if self.is_refused(version) and self.registry.state().active == version:
                try:
                    self._must_be_believed()
                    self.registry.rollback(WHO, reason, expect=version)
                except BundleError as fault:
                    raise BundleError(f"model {version} stays the active one in the registry: {fault}") from fault
            self.refused.bad_active.pop(version, None)

    def settle(self, version: str) -> None:
        """A run of a version lived long enough; "": of none that is known to be good.

        Raises:
            BundleError: it cannot be written.
        """
        self._must_be_believed()
        self.registry.note_settled(version)

    def _must_be_believed(self) -> None:
        if trouble := self.registry.state().trouble:  # writing would make what was guessed the truth: a pin and rejections would be gone
            raise BundleError(trouble)
