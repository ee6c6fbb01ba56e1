"""What `edge service install` looks at before it writes a unit: a name, and what a service's user can reach, with a password of its own."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edge.errors import TransportError

if TYPE_CHECKING:
    from edge.config.types import RuntimeConfig

PRIVATE = ("/tmp", "/var/tmp")  # noqa: S108 - the unit has its own (PrivateTmp=)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")  # that of a pipeline file
_OTHER_USER = re.compile(r"^\s*(User|Group|SupplementaryGroups)\s*=\s*\S", re.MULTILINE)
_OWN = "10-file.conf"  # of `install`


def checked_name(name: str | None) -> str | None:
    """The name of a service, which becomes part of paths and of a unit's name.

    Raises:
        typer.BadParameter: it would be another unit, or another folder.
    """
    if name is not None and not _NAME.fullmatch(name):
        raise typer.BadParameter(f"{name!r}: use up to 64 letters, digits, `_ . -`, beginning with a letter or digit")
    return name


def check_reachable(file: Path) -> None:
    """A service user is nobody's friend: every folder above the file must be open to others, and none one that the unit does not see.

    Raises:
        TransportError: the file, or the interpreter, cannot be reached.
    """
    for path in (file, Path(sys.base_prefix), Path(sys.prefix)):
        if (folder := next((one for one in PRIVATE if path.is_relative_to(one)), None)) is not None:
            raise TransportError(f"{path}: a service has a {folder} of its own and would not find it; move it to /etc/edge or /opt/edge")
        if (closed := _closed(path)) is not None:
            what = "search" if closed.is_dir() else "read"
            raise TransportError(
                f"{closed}: a service user may not {what} it; move {path} to /etc/edge or /opt/edge, or chmod o+rx {closed}"
            )


def check_password(config: "RuntimeConfig", instance: str, units: Path) -> str:
    """Whether the service will have its password.

    Args:
        config: whole.
        instance: of the unit.
        units: where units are written.

    Returns:
        What is still to be done, in one line; "" when nothing is.

    Raises:
        TransportError: it will never have it.
    """
    from edge.config.check_broker import CREDENTIALS, is_credential

    if config.broker.password_file is None:
        return ""
    file, own = Path(config.broker.password_file), CREDENTIALS / f"edge@{instance}.service"
    key, drop_ins = "broker.password_file", _drop_ins(units, "edge", instance)
    if is_credential(str(file)):
        if file.parent != own:
            raise TransportError(f"{key}: {file} is not there in the service edge@{instance}; write {own / file.name}")
        given = re.compile(rf"^\s*(Load|Set)Credential(Encrypted)?\s*=\s*{re.escape(file.name)}(:|\s*$)", re.MULTILINE)
        missing = [unit for unit in ("edge", "edge-safe") if not given.search(_drop_ins(units, unit, instance))]
        folders = " and ".join(f"{units}/{unit}@{instance}.service.d/20-password.conf" for unit in missing)
        line = f"LoadCredential={file.name}:/etc/edge/{file.name}"
        return f"{key}: nothing gives the service {file.name}; put [Service] and {line} (where it is kept) in {folders}" if missing else ""
    if _closed(file) is not None and not _OTHER_USER.search(drop_ins):
        raise TransportError(
            f"{key}: a service user may not read {file}; write {own / file.name}, and LoadCredential={file.name}:{file} in a drop-in "
            f"(docs/running.md), or give the service a User= in one"
        )
    return ""


def _closed(path: Path) -> Path | None:
    """The first of a path and the folders above it that is not open to others."""
    for one in (path, *path.parents):
        if not one.stat().st_mode & (0o001 if one.is_dir() else 0o004):
            return one
    return None


def _drop_ins(units: Path, unit: str, instance: str) -> str:
    """What people wrote for an instance, or for all of them."""
    folders = [units / f"{unit}@{instance}.service.d", units / f"{unit}@.service.d"]
    return "\n".join(_text(path) for folder in folders for path in folder.glob("*.conf") if path.name != _OWN)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as fault:
        raise TransportError(f"{path}: cannot be read: {fault.strerror}; run this as root") from fault
