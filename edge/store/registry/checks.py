"""What must hold before a change may be written. Reads versions; writes nothing."""

from pathlib import Path

from edge.errors import BundleError
from edge.inference.bundle import versions
from edge.inference.choice import RegistryState


def must_be(folder: Path, what: str, found: str, expect: str) -> None:
    """Refuse where another version than the expected one is active, or on trial; "" expects none in particular."""
    if expect and found != expect:
        raise BundleError(f"{folder}: {found or 'no version'} is {what} by now, not {expect}; look at it and ask again")


def must_be_there(folder: Path, version: str) -> None:
    """Refuse a version that is missing or not complete."""
    if version not in (found := versions(folder)):
        what = f"it holds {', '.join(found)}" if found else "it holds no complete version"
        raise BundleError(f"{folder}: no version {version!r}; {what}")


def must_not_be_pinned(folder: Path, state: RegistryState, version: str) -> None:
    """Refuse while another version is pinned."""
    if state.pinned and state.pinned != version:
        raise BundleError(f"{folder}: version {state.pinned} is pinned; `edge models unpin` allows other versions")
