"""The broker's address and credentials: well formed, complete, readable, and not in the clear over a network."""

import ipaddress
import os
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from edge.config.findings import Findings, near
from edge.config.types import Broker

_SCHEMES = ("mqtt", "mqtts")
_MAX_TEXT = 65_535  # bytes of a string in MQTT
CREDENTIALS = Path("/run/credentials")  # where the service manager puts them: a folder for each unit, only while that runs
_OWN = "CREDENTIALS_DIRECTORY"


def check_broker(broker: Broker, found: Findings) -> None:
    """Note what is wrong with the table ``broker``."""
    url = _check_url(broker, found)
    _check_files(broker, url, found)
    _check_credentials(broker, found)
    for key in ("client_id", "username"):
        text = getattr(broker, key)
        if text is not None and (not text or "\0" in text or len(text.encode()) > _MAX_TEXT):
            found.add(f"broker.{key}", f"must hold 1 to {_MAX_TEXT} bytes and no NUL")
    if broker.retry_min_s > broker.retry_max_s:
        reason = f"must be at most retry_max_s ({broker.retry_max_s:g}), not {broker.retry_min_s:g}"
        found.add("broker.retry_min_s", reason, needs=["broker.retry_max_s"])


def _check_url(broker: Broker, found: Findings) -> SplitResult | None:
    """The address, when it can be understood."""
    path = "broker.url"
    try:
        url = urlsplit(broker.url)
        port = url.port
    except ValueError as fault:
        found.add(path, f"is not an address: {fault}; write mqtt://host:port")
        return None
    if url.scheme not in _SCHEMES:
        found.add(
            path,
            f"must begin with mqtt:// or mqtts://, not {url.scheme + '://' if url.scheme else 'without a scheme'}",
            near(url.scheme, _SCHEMES),
        )
    elif "@" in url.netloc:
        found.add(path, "must not hold credentials; write broker.username and broker.password_file")
    elif not url.hostname or any(c.isspace() or c == "\0" for c in broker.url):
        found.add(path, "names no host; write mqtt://host:port")
    elif port == 0:
        found.add(path, "port must be 1 to 65535, not 0")
    elif url.path not in ("", "/") or url.query or url.fragment:
        found.add(path, "must end after the port; MQTT addresses have no path")
    elif url.scheme == "mqtt" and not broker.insecure and not is_loopback(url.hostname):
        reason = f"{url.hostname} is not this machine, and mqtt:// sends everything in the clear; write mqtts://, or insecure = true"
        found.add(path, reason, needs=["broker.insecure"])
    return url if found.is_sound(path) else None


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def is_credential(file: str) -> bool:
    """Whether a file is one that the service manager gives to a unit."""
    return Path(file).is_relative_to(CREDENTIALS)


def own_credential(file: str) -> str:
    """The same credential where this process has it: safe mode and `edge service doctor` are units of their own.

    Args:
        file: absolute; any other one is returned as it is.
    """
    own = os.environ.get(_OWN)
    return str(Path(own) / Path(file).name) if own and is_credential(file) else file


def _is_given_later(file: str) -> bool:
    return is_credential(file) and _OWN not in os.environ


def _check_files(broker: Broker, url: SplitResult | None, found: Findings) -> None:
    for key in ("ca_file", "cert_file", "key_file"):
        file = getattr(broker, key)
        if file is None:
            continue
        if url is not None and url.scheme != "mqtts":
            found.add(f"broker.{key}", "is for mqtts:// only; broker.url is mqtt://", needs=["broker.url"])
        elif problem := _unreadable(file):
            found.add(f"broker.{key}", problem)
    for one, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if getattr(broker, one) is not None and getattr(broker, other) is None:
            found.add(f"broker.{one}", f"needs broker.{other} as well", needs=[f"broker.{other}"])


def _check_credentials(broker: Broker, found: Findings) -> None:
    has_password = broker.password is not None or broker.password_file is not None
    both = ["broker.password", "broker.password_file"]
    if broker.password is not None and broker.password_file is not None:
        found.add("broker.password", "is given beside password_file; keep one of the two", needs=both)
    if broker.username is not None and not has_password:
        found.add("broker.username", "needs broker.password_file (or password) as well", needs=both)
    if broker.username is None and has_password:
        key = "broker.password" if broker.password is not None else "broker.password_file"
        found.add(key, "needs broker.username as well", needs=["broker.username"])
    file = broker.password_file
    if file is not None and not _is_given_later(file) and (problem := _unreadable(file) or _no_password(file)):
        found.add("broker.password_file", problem)


def _unreadable(file: str) -> str:
    try:
        if not Path(file).exists():
            return f"{file}: there is no such file"
        if not Path(file).is_file():
            return f"{file} is not a file"
        with Path(file).open("rb"):
            return ""
    except (OSError, ValueError) as fault:
        return f"{file!r} cannot be read: {getattr(fault, 'strerror', None) or fault}"


def _no_password(file: str) -> str:
    try:
        return "" if Path(file).read_text(encoding="utf-8").splitlines()[:1] not in ([], [""]) else f"{file}: its first line is empty"
    except (OSError, ValueError):
        return f"{file} is not UTF-8 text"
