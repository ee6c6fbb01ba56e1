"""The versions of one model on one device: installing, choosing, going back. Owns ``registry.json``, its lock and its history.

Every change is one replacement of the state file, under the lock, by a version that is there and verified. What needs long (copying,
proving) happens before the lock is taken. Automatic callers and people use the same methods; only people may ``force``.
"""

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from edge.errors import BundleError
from edge.inference.bundle import load_bundle, manifest_bytes, versions
from edge.inference.choice import STATE_FILE, Candidate, Entry, RegistryState, preferred, read_state
from edge.inference.manifest import Manifest
from edge.store.registry import changes, history
from edge.store.registry.checks import must_be, must_be_there, must_not_be_pinned
from edge.store.registry.files import discard, explained, replace_file, staging, sweep, sync_folder
from edge.store.registry.lock import locked
from edge.store.registry.proof import Prove, Wanted, prove, prove_content
from edge.store.registry.source import holds, must_be_called, stage

LOCK_WAIT_S = 10.0
_LONGEST = 1000  # characters of who, and of why


class Registry:
    """A bundle folder with state.

    Args:
        folder: of the bundle, ``<root>/<name>``; made by the first install.
        wanted: what the pipeline asks of a version before it may be active.
        proof: replaces how versions are proved.
        wait_s: longest wait for another writer.
    """

    def __init__(self, folder: Path, wanted: Wanted | None = None, proof: Prove = prove, wait_s: float = LOCK_WAIT_S) -> None:
        self.folder = folder
        self._wanted = wanted or Wanted()
        self._proof = proof
        self._wait_s = wait_s

    # -- reading -------------------------------------------------------------------------------------------------------------

    def state(self) -> RegistryState:
        """What holds now, corrected by which versions are there. Never fails; ``trouble`` says what had to be corrected."""
        return read_state(self.folder, versions(self.folder))

    def versions(self) -> list[str]:
        """The complete versions, lowest first."""
        return versions(self.folder)

    def history(self) -> list[Entry]:
        """What was done, oldest first."""
        return history.read(self.folder)

    # -- by people -----------------------------------------------------------------------------------------------------------

    def install(self, source: Path, who: str, why: str = "") -> str:
        """Take in a version from a folder or an archive. It becomes active only if it is the first one.

        Returns:
            The version.

        Raises:
            BundleError: refused, or no room; nothing was changed.
        """
        with explained(self.folder):
            os.makedirs(self.folder, 0o755, exist_ok=True)
            with staging(self.folder) as home:
                manifest = stage(source, home)
                prove_content(self._proof, home / "new", manifest.version)
                with self._writing() as state:
                    self._publish(home / "new", manifest, state, who, why)
        return manifest.version

    def activate(self, version: str, who: str, why: str = "") -> None:
        """Make a version the one to run, after it was proved on this device.

        Raises:
            BundleError: not there, does not hold, or another one is pinned.
        """
        self._choose("activate", version, who, why)

    def pin(self, version: str | None, who: str = "", why: str = "") -> None:
        """Make a version active and keep it so: nothing but a person's ``force`` changes it. None: no longer.

        Raises:
            BundleError: see ``activate``.
        """
        if version is not None and version != self.state().active:
            self._prove(version)
        with explained(self.folder), self._writing() as state:
            if version is None:
                self._write(msgspec.structs.replace(state, pinned=""), "unpin", state.pinned, who, why)
                return
            self._verify(version)
            chosen = state if version == state.active else changes.activated(state, version)
            self._write(msgspec.structs.replace(chosen, pinned=version), "pin", version, who, why)

    def rollback(self, who: str, why: str = "", *, force: bool = False, expect: str = "") -> str:
        """Go back to the version that ran well last; the present one counts as rejected until it is activated again.

        Args:
            who, why: for the history.
            force: also away from a pinned version, which is then no longer pinned. For people only.
            expect: the version to leave; another one may have been made active since the caller looked. "": whichever is active.

        Returns:
            The version that is active now.

        Raises:
            BundleError: there is none to go back to, the present one is pinned, or it is not the expected one.
        """
        with explained(self.folder), self._writing() as state:
            must_be(self.folder, "active", state.active, expect)
            if state.pinned and not force:
                raise BundleError(f"{self.folder}: version {state.pinned} is pinned; unpin it, or roll back with --force")
            reasons: list[str] = []
            for version in changes.rollback_targets(state, versions(self.folder)):
                try:
                    self._verify(version)
                except BundleError as e:
                    reasons.append(str(e))
                    continue
                self._write(changes.rolled_back(state, version), "rollback", version, who, why)
                return version
        raise BundleError("\n".join(reasons) or f"{self.folder}: no version but {state.active or 'none'} is known to be good; activate one")

    def remove(self, version: str, who: str = "", why: str = "") -> None:
        """Delete a version.

        Raises:
            BundleError: it is not there, or it is active, last known good, pinned or on trial.
        """
        with explained(self.folder), self._writing() as state:
            must_be_there(self.folder, version)
            if use := changes.use(state, version):
                raise BundleError(f"{self.folder / version}: is {use}; make another one that first")
            discard(self.folder, version)
            self._write(changes.removed(state, version), "remove", version, who, why)

    # -- trials --------------------------------------------------------------------------------------------------------------

    def set_candidate(self, version: str, mode: Literal["shadow", "canary"], share: float = 0.0, who: str = "", why: str = "") -> None:
        """Put a version on trial beside the active one, in the place of any other.

        Args:
            version: proved on this device first.
            mode, share: see Candidate.
            who, why: for the history.

        Raises:
            BundleError: not there, does not hold, is the active one, or the share is none.
        """
        if mode == "canary" and not 0 < share <= 1:
            raise BundleError(f"share is {share}; a canary decides for more than 0 and at most all (1) of the lanes")
        self._prove(version)
        with explained(self.folder), self._writing() as state:
            self._verify(version)
            if version == state.active:
                raise BundleError(f"{self.folder / version}: is active; a trial is for another version")
            candidate = Candidate(version=version, mode=mode, share=share if mode == "canary" else 0.0)
            self._write(msgspec.structs.replace(state, candidate=candidate), mode, version, who, why)

    def clear_candidate(self, who: str = "", why: str = "", *, expect: str = "") -> None:
        """End a trial; nothing happens without one, or where another version than the expected one is on trial by now."""
        with explained(self.folder), self._writing() as state:
            if state.candidate is not None and expect in ("", state.candidate.version):
                self._write(msgspec.structs.replace(state, candidate=None), "end_trial", state.candidate.version, who, why)

    def promote(self, who: str, why: str = "", *, expect: str = "") -> str:
        """Make the version on trial active, beside the version that is active now.

        Args:
            who, why: for the history.
            expect: the version to promote; another one may have been put on trial since the caller looked. "": whichever is on trial.

        Returns:
            That version.

        Raises:
            BundleError: none is on trial, it does not hold, another one is pinned, or another one was chosen while it was proved.
        """
        before = self.state()
        if before.candidate is None:
            raise BundleError(f"{self.folder}: no version is on trial; `edge models shadow VERSION` begins one")
        version = before.candidate.version
        must_be(self.folder, "on trial", version, expect)
        self._choose("promote", version, who, why, before)
        return version

    # -- by the daemon -------------------------------------------------------------------------------------------------------

    def note_start(self) -> RegistryState:
        """A daemon starts with this registry: counts one more start that has not settled.

        Returns:
            The state afterwards; ``unsettled_starts`` counts this one.

        Raises:
            BundleError: the registry cannot be written.
        """
        with explained(self.folder), self._writing() as state:
            return self._store(msgspec.structs.replace(state, unsettled_starts=state.unsettled_starts + 1))

    def note_settled(self, version: str | None = None) -> None:
        """The run lived long enough: it is no crash any more, and its version is known to be good.

        Args:
            version: that ran; None: the active one. If another one is active by now, only the starts are settled.

        Raises:
            BundleError: the registry cannot be written.
        """
        with explained(self.folder), self._writing() as state:
            settled = msgspec.structs.replace(state, unsettled_starts=0)
            if state.active and version in (None, state.active) and state.last_known_good != state.active:
                self._write(changes.known_good(settled), "good", state.active, "daemon", "ran long enough, or stopped in an orderly way")
            elif state.unsettled_starts:
                self._store(settled)

    note_stopped = note_settled  # in an orderly way

    # -- inside --------------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _writing(self) -> Iterator[RegistryState]:
        if not self.folder.is_dir():
            raise BundleError(f"{self.folder}: there is no such folder; `edge models install` makes it")
        with locked(self.folder, self._wait_s):
            sweep(self.folder)
            state = self.state()
            if state.entry is not None:
                history.append(self.folder, state.entry)  # the line that a crash between the two files would have cost
            yield state

    def _choose(self, what: str, version: str, who: str, why: str, seen: RegistryState | None = None) -> None:
        must_not_be_pinned(self.folder, self.state(), version)
        self._prove(version)
        with explained(self.folder), self._writing() as state:
            if seen is not None:  # proving takes long: what was true before need not be true now
                must_be(self.folder, "on trial", state.candidate.version if state.candidate else "", version)
                must_be(self.folder, "active", state.active, seen.active)
            must_not_be_pinned(self.folder, state, version)
            self._verify(version)
            self._write(changes.activated(state, version), what, version, who, why)

    def _prove(self, version: str) -> None:
        must_be_there(self.folder, version)
        self._proof(self.folder, version, self._wanted)

    def _verify(self, version: str) -> None:
        """Under the lock: what was proved before may have been removed or altered since."""
        must_be_there(self.folder, version)
        load_bundle(self.folder, version)

    def _publish(self, new: Path, manifest: Manifest, state: RegistryState, who: str, why: str) -> None:
        version = manifest.version
        must_be_called(self.folder, manifest.name, preferred(state, versions(self.folder)))
        if state.active and not (self.folder / STATE_FILE).is_file():
            state = self._store(state)  # else the new version would be the active one for being the highest
        if (self.folder / version).exists():
            if holds(self.folder, version, manifest_bytes(new / version)):
                return
            discard(self.folder, version)
        os.rename(new / version, self.folder / version)
        sync_folder(self.folder)
        chosen = state if state.active else msgspec.structs.replace(state, active=version)
        self._write(chosen, "install", version, who, why)

    def _write(self, state: RegistryState, what: str, version: str, who: str, why: str) -> RegistryState:
        """Replace the state, then add its line to the history."""
        entry = Entry(
            number=state.entry.number + 1 if state.entry else 1,
            generation=state.generation + 1,
            what=what,
            version=version,
            active=state.active,
            last_known_good=state.last_known_good,
            who=_plain(who),
            why=_plain(why),
            when=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        stored = self._store(msgspec.structs.replace(state, entry=entry))
        history.append(self.folder, entry)
        return stored

    def _store(self, state: RegistryState) -> RegistryState:
        stored = msgspec.structs.replace(state, generation=state.generation + 1, trouble="")
        replace_file(self.folder / STATE_FILE, msgspec.json.format(msgspec.json.encode(stored)) + b"\n")
        return stored


def _plain(text: str) -> str:
    return text[:_LONGEST].encode("utf-8", "replace").decode()
