"""`edge bridge`: a board on a serial line, carried to MQTT topics and back."""

from pathlib import Path

from edge.cli.run import set_up_logging
from edge.errors import TransportError


def run_bridge(port: str, broker: str, name: str, key_file: Path | None, log_level: str) -> int:
    """Carries until it is asked to stop.

    Args:
        port: ``/dev/ttyUSB0`` or ``serial:///dev/ttyUSB0?baud=921600``.
        broker: ``mqtt://host:port``.
        name: the board's level in topics.
        key_file: for signing, or None.
        log_level: name of the least severe level to log.

    Returns:
        The exit code.

    Raises:
        TransportError: an address, the name or the key cannot be used.
    """
    from firmware_bridge import gateway
    from firmware_bridge.errors import LinkError

    set_up_logging(log_level)
    try:
        return gateway.run(port, broker, name, key_file)
    except LinkError as fault:
        raise TransportError(str(fault)) from None
