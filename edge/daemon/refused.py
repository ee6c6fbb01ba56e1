"""What a run of the daemon holds against versions, whatever the registry says and however often the file is read again.

Plain memory, one for each registry, which outlives a reload. Only a person who chooses a version takes something from it.
"""

from pathlib import Path

from edge.inference.choice import HISTORY_FILE, Entry, RegistryState, read_tail

WHO = "daemon"
_ASKS = ("activate", "pin", "shadow", "canary")  # never written by the daemon
_CHOOSES = ("activate", "pin", "promote", "rollback")


class Refused:
    """Of one registry.

    Attributes:
        safe_mode: why no model may act until a person chooses one; "" while one may.
        at_work: version that acts.
        bad_active: reasons by version: what must be rolled back from in the registry, and is not yet.
        bad_trial: reasons by version: whose trial must end in the registry, and has not yet.
    """

    def __init__(self) -> None:
        self.safe_mode = self.at_work = ""
        self.bad_active: dict[str, str] = {}
        self.bad_trial: dict[str, str] = {}
        self._reasons: dict[str, str] = {}
        self._number = -1  # of the last line of the history that was looked at

    def refuse(self, version: str, reason: str) -> None:
        """Leave a version alone until a person asks for it again."""
        self._reasons[version] = self._reasons.get(version) or reason or "was refused"

    def reason(self, version: str) -> str:
        """Why it was refused; "" for one that was not."""
        return self._reasons.get(version, "")

    def catch_up(self, folder: Path, state: RegistryState) -> None:
        """See what people asked for since the last call; an install, a removal, a start or a trial of another version is no wish.

        Args:
            folder: of the registry.
            state: as it can be read now.
        """
        number = state.entry.number if state.entry is not None else 0
        before, self._number = self._number, number
        if before < 0 or state.entry is None or number == before:
            return
        lines = [state.entry]
        if number > before:
            for line in read_tail(folder / HISTORY_FILE):
                if line.number <= before:
                    break
                lines.append(line)
        for line in lines:
            if _is_by_hand(line):
                self._reasons.pop(line.version, None)
                if line.what in _CHOOSES:
                    self.safe_mode = ""


class Memory:
    """Of a process: what is held against versions, by registry."""

    def __init__(self) -> None:
        self._of: dict[Path, Refused] = {}

    def of(self, folder: Path) -> Refused:
        """Of one registry."""
        return self._of.setdefault(folder.resolve(), Refused())


def _is_by_hand(line: Entry) -> bool:
    return line.what in _ASKS or (line.what in _CHOOSES and line.who != WHO)
