"""One daemon of a name at a broker on this machine: the second would decide and send the same, and overwrite the first one's state.

The lock is the name of a socket that has no file. It goes with its process, however that ends; nothing has to be writable or cleaned up.
"""

import errno
import hashlib
import logging
import socket
import struct
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from edge.config.check_serial import is_serial
from edge.config.link import with_broker
from edge.config.load import load
from edge.config.types import RuntimeConfig
from edge.errors import TransportError

_log = logging.getLogger(__name__)

WAIT_S = 2.5  # for one that is about to end: an orderly stop takes 2 s
_AGAIN_S = 0.05
_SIGKILL_BIT = 1 << 8


def lock(file: Path, broker_url: str | None = None) -> socket.socket | None:
    """The lock of a pipeline; None where this machine knows no such names. Held until it is closed.

    Args:
        file: the pipeline file.
        broker_url: instead of the file's.

    Raises:
        ConfigError: the file or the address is refused.
        TransportError: another process has the lock and does not end.
    """
    if sys.platform != "linux":
        return None
    config = load(file, with_model=False)
    config = config if broker_url is None else with_broker(config, broker_url)
    address = f"\0edge-run-{hashlib.sha256(identity(config).encode()).hexdigest()[:32]}"
    end = time.monotonic() + WAIT_S
    while True:
        held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)  # not for children: it must go with this process
        try:
            held.bind(address)
            held.listen(socket.SOMAXCONN)
        except OSError as fault:
            held.close()
            if fault.errno != errno.EADDRINUSE:
                _log.warning("a second daemon of this name would not be noticed: %s", fault.strerror)
                return None
        else:
            return held
        if time.monotonic() >= end:
            break
        time.sleep(_AGAIN_S)
    pid = _holder(address)
    if _is_ending(pid):
        _log.warning("process %d, which ran %s, was killed and does not end: going on without it", pid, config.name)
        return None
    who = f"process {pid}" if pid else "another process"
    raise TransportError(
        f"{who} runs {config.name} at {_broker(config)} already: two of one name would both decide and send; "
        f"stop it, or give this one another name"
    )


def identity(config: RuntimeConfig) -> str:
    """What two daemons must not have in common: name and broker; where everything comes from serial lines, also those.

    Args:
        config: whole.
    """
    lines = sorted(urlsplit(line.url).path for line in config.serial.values())
    if not all(is_serial(config, stream.topic) for stream in config.streams.values()):
        lines = []
    return "\n".join([config.name, _broker(config), *lines])


def _broker(config: RuntimeConfig) -> str:
    url = urlsplit(config.broker.url)
    host = (url.hostname or "127.0.0.1").replace("localhost", "127.0.0.1")
    return f"{host}:{url.port or (8883 if url.scheme == 'mqtts' else 1883)}"


def _holder(address: str) -> int:
    """The process that has the lock; 0 when it cannot be told."""
    size = struct.calcsize("3i")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.setblocking(False)
        try:
            asker.connect(address)
            return int(struct.unpack("3i", asker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[0])
        except OSError:
            return 0


def _is_ending(pid: int) -> bool:
    """Whether a process was killed and only waits, such as for a disk that hangs: it will decide nothing more."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:  # not there, or not for us to see
        return False
    found = dict(line.split(":", 1) for line in lines if ":" in line)
    pending = int(found.get("SigPnd", "0"), 16) | int(found.get("ShdPnd", "0"), 16)
    return found.get("State", "").strip()[:1] in ("Z", "X") or bool(pending & _SIGKILL_BIT)
