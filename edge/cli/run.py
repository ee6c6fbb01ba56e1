"""`edge run`: log lines to stderr, then the daemon."""

import logging
from pathlib import Path


def run_daemon(file: Path, broker_url: str | None, log_level: str) -> int:
    """Runs the daemon until it is asked to stop.

    Args:
        file: the pipeline file.
        broker_url: replaces ``broker.url`` of the file.
        log_level: name of the least severe level to log.

    Returns:
        The exit code.

    Raises:
        EdgeError: the file, the bundle or the broker's address is refused.
    """
    from edge.build import run

    set_up_logging(log_level)
    return run(file, broker_url=broker_url)


def set_up_logging(level: str) -> None:
    """Lines with time, level and origin on stderr, which is where systemd's journal takes them from."""
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", force=True)
