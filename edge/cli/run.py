"""`edge run`: log lines to stderr, then the daemon."""

import contextlib
import logging
from pathlib import Path


def run_daemon(file: Path, broker_url: str | None, log_level: str, *, is_safe: bool = False) -> int:
    """Runs the daemon until it is asked to stop.

    Args:
        file: the pipeline file.
        broker_url: replaces ``broker.url`` of the file.
        log_level: name of the least severe level to log.
        is_safe: the link alone; see edge.build.

    Returns:
        The exit code.

    Raises:
        EdgeError: the file, the bundle or the broker's address is refused, or another process runs the pipeline.
    """
    from edge.cli.run_compiling import say_when_compiling
    from edge.cli.run_lock import lock

    set_up_logging(log_level, file.stem)
    with lock(file, broker_url) or contextlib.nullcontext():  # before anything is counted, read or written for this start
        say_when_compiling()
        from edge.build import run

        return run(file, broker_url=broker_url, is_safe=is_safe)


def set_up_logging(level: str, pipeline: str = "") -> None:
    """Lines with time, level and origin on stderr; where that is systemd's journal, lines with fields instead.

    Args:
        level: least severe to log.
        pipeline: goes into the journal with every line.
    """
    from edge.daemon.journal import log_to_journal

    if log_to_journal(level, pipeline):
        return
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", force=True)
