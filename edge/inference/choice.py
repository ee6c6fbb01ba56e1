"""Which version of a bundle is the active one: what ``registry.json`` says, as far as it can be believed. Reads; never writes.

The file is a hint that must never stop a start: torn, empty, from a newer runtime, or naming a version that is gone, it is passed
over for what the history last said, then for the highest complete version.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

STATE_FILE, HISTORY_FILE = "registry.json", "history.jsonl"
FORMAT = 1
MAX_STATE_FILE_BYTES = 1 << 20
_TAIL_BYTES = 1 << 16  # of the history that is looked at when the state is lost
_GENERATIONS_BEYOND = 1_000_000

Version = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.+-]{0,63})?$")]
_Count = Annotated[int, Meta(ge=0, le=1 << 62)]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A version on trial.

    Args:
        version: its folder.
        mode: ``shadow`` computes beside the active one and is never heard; ``canary`` decides for a share of the lanes.
        share: of the lanes, for a canary, 0 to 1.
    """

    version: Version
    mode: Literal["shadow", "canary"]
    share: Annotated[float, Meta(ge=0, le=1)] = 0.0


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the history.

    Args:
        number: rises by one with every line; the order of the history, whatever the clock did.
        generation: of the state after it.
        what: such as ``install`` or ``rollback``.
        version: that it was about.
        active, last_known_good: after it.
        who, why: as given by the caller.
        when: wall clock, ISO 8601 in UTC, for people.
    """

    number: _Count
    generation: _Count
    what: Annotated[str, Meta(max_length=64)]
    version: Version
    active: Version
    last_known_good: Version
    who: Annotated[str, Meta(max_length=1000)] = ""
    why: Annotated[str, Meta(max_length=10_000)] = ""
    when: Annotated[str, Meta(max_length=64)] = ""


class RegistryState(msgspec.Struct, frozen=True, kw_only=True):
    """What a registry remembers, beside the versions themselves.

    Args:
        format: of the file.
        generation: rises with every write.
        active: the version to run, or "" when there is none yet.
        last_known_good: the version that ran well last, or "".
        earlier_good: versions that ran well before, oldest first.
        rejected: versions that were rolled back from.
        pinned: the version that must stay active, or "".
        candidate: on trial, or None.
        unsettled_starts: starts since the last run that lived long enough or stopped in an orderly way.
        entry: the last line of the history: written with the state, so that a crash between the two files loses no line.
        trouble: why the file could not be believed, or ""; never written.
    """

    format: int = FORMAT
    generation: _Count = 0
    active: Version = ""
    last_known_good: Version = ""
    earlier_good: Annotated[list[Version], Meta(max_length=64)] = []
    rejected: Annotated[list[Version], Meta(max_length=64)] = []
    pinned: Version = ""
    candidate: Candidate | None = None
    unsettled_starts: _Count = 0
    entry: Entry | None = None
    trouble: str = ""


def read_state(folder: Path, complete: list[str]) -> RegistryState:
    """What a registry says, corrected by what is there.

    Args:
        folder: of the bundle.
        complete: its complete versions, lowest first.

    Returns:
        A state whose active version is one of them ("" if there is none), with ``trouble`` saying what had to be corrected.
    """
    state, trouble = _read_file(folder)
    if state is None:
        state = _of_history(folder) if trouble else RegistryState()
    if state.active not in complete and (state.active or complete):
        chosen = next(iter(preferred(state, complete)), "")
        if state.active and not trouble:
            trouble = f"{folder / STATE_FILE}: the active version {state.active!r} is missing or not complete"
        state = msgspec.structs.replace(state, active=chosen)
    if trouble:
        what = f"{state.active!r} is taken" if state.active else "no complete version is there to take"
        state = msgspec.structs.replace(state, trouble=f"{trouble}; {what}")
    return state


def preferred(state: RegistryState, complete: list[str]) -> list[str]:
    """The complete versions in the order in which they are to be tried: active, last known good, earlier good, then from the highest.

    Those on trial and those that were rolled back from come last.
    """
    on_trial = {state.candidate.version} if state.candidate else set()
    doubtful = (on_trial | set(state.rejected)) - {state.active}
    order = [state.active, state.last_known_good, *reversed(state.earlier_good), *reversed(complete)]
    ranked = [version for version in order if version not in doubtful] + [version for version in reversed(complete) if version in doubtful]
    return [version for version in dict.fromkeys(ranked) if version in complete]


def _read_file(folder: Path) -> tuple[RegistryState | None, str]:
    """The file as it is and "", None and "" when there is none, or None and why it cannot be used."""
    path = folder / STATE_FILE
    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_STATE_FILE_BYTES + 1)
    except FileNotFoundError:
        return None, ""
    except OSError as e:
        return None, f"{path}: cannot be read: {e.strerror}"
    if len(data) > MAX_STATE_FILE_BYTES:
        return None, f"{path}: is larger than {MAX_STATE_FILE_BYTES} bytes"
    try:
        tables = msgspec.json.decode(data)
        if isinstance(tables, dict) and tables.get("format") != FORMAT:
            return None, f"{path}: format is {tables.get('format')!r}; this runtime reads format {FORMAT}"
        return msgspec.convert(tables, RegistryState), ""
    except (ValueError, RecursionError) as e:  # ValueError: msgspec's errors, and bytes that are not UTF-8
        return None, f"{path}: is torn or altered ({e})"


def _of_history(folder: Path) -> RegistryState:
    """What the last whole line of the history says."""
    for entry in read_tail(folder / HISTORY_FILE):
        # Starts raise the generation without a line: the new one must be beyond all that watchers have seen.
        beyond = entry.generation + _GENERATIONS_BEYOND
        return RegistryState(generation=beyond, active=entry.active, last_known_good=entry.last_known_good, entry=entry)
    return RegistryState(generation=_GENERATIONS_BEYOND)


def read_tail(path: Path) -> Iterator[Entry]:
    """The last lines of a history that are whole, newest first; lines that cannot be read are passed over."""
    try:
        with path.open("rb") as opened:
            opened.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = opened.read(_TAIL_BYTES).split(b"\n")
    except OSError:
        return
    for line in reversed(lines):
        try:
            yield msgspec.json.decode(line, type=Entry)
        except ValueError:
            continue
