"""Where a report's facts come from: a registry's folder, a saved status, a daemon's topics. Reads only; waits for a bounded time."""

import os
import time
from pathlib import Path
from typing import Any

import msgspec

from edge.cli.models.post import Post
from edge.cli.models.report.facts import Step, Version, Versions
from edge.errors import BundleError, TransportError
from edge.inference.bundle import read_manifest
from edge.inference.choice import Entry
from edge.messages import RawMessage
from edge.store.registry import Registry, RegistryState
from edge.store.registry.changes import use
from edge.transport.link import Settings

MOST_STATUS_BYTES = 16 << 20
_MOST_NAMES = 64
_KNOWN_PARTS = {"models", "decisions", "monitoring", "boot_id"}


def of_registry(registry: Registry) -> Versions:
    """Everything that a registry says.

    Raises:
        BundleError: there is none, or it cannot be read.
    """
    folder = registry.folder
    if not folder.is_dir():
        raise BundleError(f"{folder}: there is no such folder; the folder of the versions of one model is right, such as models/fan")
    try:
        os.listdir(folder)
        found = registry.versions()
    except OSError as e:
        raise BundleError(f"{folder}: cannot be read: {e.strerror}") from None
    state, history = registry.state(), registry.history()
    if not found and not history:
        raise BundleError(f"{folder}: holds no complete version; `edge models install` brings one")
    trial = state.candidate
    share = f" {trial.share:.0%}" if trial is not None and trial.mode == "canary" else ""
    return Versions(
        folder=str(folder),
        active=state.active,
        since=since(history, state.active),
        last_known_good=state.last_known_good,
        pinned=state.pinned,
        candidate=f"{trial.version} ({trial.mode}{share})" if trial is not None else "",
        unsettled_starts=state.unsettled_starts,
        rejected=[rejection(history, version) for version in state.rejected],
        versions=[_version(registry.folder, version, state) for version in reversed(found)],
        history=history,
        trouble=state.trouble,
    )


def since(history: list[Entry], active: str) -> Step | None:
    """The step of a history, oldest first, with which the active version became active."""
    found: Entry | None = None
    before = ""
    for entry in history:
        if entry.active == active and before != active:
            found = entry
        before = entry.active
    return _step(found, active) if found is not None and before == active else None


def rejection(history: list[Entry], version: str) -> Step:
    """The last step of a history with which a version was rolled back from."""
    for before, entry in zip(reversed(history[:-1]), reversed(history[1:]), strict=True):
        if entry.what == "rollback" and before.active == version:
            return _step(entry, version)
    return Step(version)


def _step(entry: Entry, version: str) -> Step:
    return Step(version, entry.what, entry.who, entry.why, entry.when)


def _version(folder: Path, version: str, state: RegistryState) -> Version:
    trial = state.candidate
    roles = [use(state, version).replace("on trial", f"on trial ({trial.mode})" if trial else "on trial")]
    roles += ["rolled back from"] if version in state.rejected else []
    said = ", ".join(role for role in roles if role)
    try:
        manifest = read_manifest(folder, version)
    except BundleError as e:
        return Version(version, said, error=str(e))
    return Version(
        version,
        said,
        manifest.description,
        manifest.budget_ms,
        len(manifest.features),
        manifest.feature_hash,
        list(manifest.labels),
        [f"{variant.name} ({variant.precision})" for variant in manifest.variants],
        manifest.training_data.source,
        manifest.training_data.licence,
    )


def read_saved(path: Path) -> dict[str, Any]:
    """A status that was saved, such as with ``mosquitto_sub -C 1``; several, one a line: the last one of each kind.

    Raises:
        TransportError: not there, too large, or not a status.
    """
    try:
        with path.open("rb") as opened:
            data = opened.read(MOST_STATUS_BYTES + 1)
    except OSError as e:
        raise TransportError(f"{path}: cannot be read: {e.strerror}") from None
    if len(data) > MOST_STATUS_BYTES:
        raise TransportError(f"{path}: is larger than {MOST_STATUS_BYTES} bytes; one status as JSON is right")
    try:
        found = [msgspec.json.decode(data)]
    except (ValueError, RecursionError):
        found = _lines(path, data)
    saved: dict[str, Any] = {}
    for one in found:
        if isinstance(one, dict):
            saved |= one
    if not _KNOWN_PARTS & saved.keys():
        raise TransportError(f"{path}: is JSON, but no status; what `edge/<name>/status` carries is right")
    return saved


def _lines(path: Path, data: bytes) -> list[Any]:
    try:
        return [msgspec.json.decode(line) for line in data.splitlines() if line.strip()]
    except (ValueError, RecursionError) as e:
        raise TransportError(f"{path}: is not JSON ({e}); what `edge/<name>/status` carries is right") from None


def listen(settings: Settings, name: str | None, status_topic: str, seconds: float) -> dict[str, Any]:
    """The first status of a daemon, with what it reports slowly in it.

    Args:
        settings: of the link.
        name: of the pipeline; None: whichever sends, if only one does.
        status_topic: "" for the usual one.
        seconds: longest wait; without a name all of it is waited, to see who else is there.

    Raises:
        TransportError: no broker, no status, or several pipelines and no name.
    """
    # A name is a level of a topic: "+" stands for any.
    status = status_topic or f"edge/{name or '+'}/status"
    heard: dict[str, dict[str, Any]] = {}
    slow: dict[str, dict[str, Any]] = {}

    def take(raw: RawMessage) -> None:
        is_slow = raw.topic.endswith("/models/report")
        if raw.is_retained and not is_slow:
            return  # of unknown age
        try:
            said = msgspec.json.decode(raw.payload)
        except (ValueError, RecursionError):
            return
        where = name or raw.topic.split("/")[1]
        into = slow if is_slow else heard
        if isinstance(said, dict) and (len(into) < _MOST_NAMES or where in into):
            into[where] = said

    post = Post(settings, [status, f"edge/{name or '+'}/models/report"], take)
    until_s, was_up = time.monotonic() + seconds, False
    with post.open():
        while not post.is_stopping and time.monotonic() < until_s and not (heard and name):
            post.turn()
            was_up = was_up or post.transport.is_up
        if post.is_stopping:
            raise KeyboardInterrupt
    where = f"mqtt{'s' if settings.address.is_tls else ''}://{settings.address.host}:{settings.address.port}"
    if not was_up:
        raise TransportError(f"{where}: no broker answers ({post.transport.state}); check --url")
    if not heard:
        raise TransportError(
            f"{where}: no status on {status} within {seconds:g} s; is `edge run` running, and is this its broker and name?"
        )
    if len(heard) > 1:
        raise TransportError(f"{where}: several pipelines report: {', '.join(sorted(heard))}; choose one with --name")
    (found,) = heard
    full = slow.get(found, {})
    is_same_run = full.get("boot_id") == heard[found].get("boot_id")  # what the broker keeps may be of an earlier run
    return heard[found] | ({"monitoring": full["monitoring"]} if is_same_run and "monitoring" in full else {})
