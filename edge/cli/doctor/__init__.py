"""`edge doctor`: what of this machine stands between a pipeline and its budget, what it means, and how to mend it."""

import json
import logging
import os
import pwd
from collections.abc import Callable
from pathlib import Path

import msgspec
import typer

from edge.cli.doctor.broker import check_broker
from edge.cli.doctor.disk import check_disk
from edge.cli.doctor.finding import FAIL, Finding, Subject
from edge.cli.doctor.machine import check_clock, check_governor, check_jitter, check_memory_lock, check_real_time
from edge.cli.doctor.parts import check_cache, check_serial
from edge.cli.service import own_command

CHECKS: tuple[Callable[[Subject], list[Finding]], ...] = (
    check_clock,
    check_governor,
    check_real_time,
    check_memory_lock,
    check_disk,
    check_broker,
    check_serial,
    check_cache,
    check_jitter,
)


def examine(file: Path | None, *, as_json: bool, seconds: float) -> int:
    """Run every check and print what it found.

    Args:
        file: pipeline file whose demands are checked against; None: a machine in general, with a broker on it.
        as_json: one JSON object instead of text.
        seconds: how long the jitter is measured.

    Returns:
        1 when something is so wrong that the pipeline cannot work as it says, otherwise 0.

    Raises:
        ConfigError: the file is wrong.
    """
    from edge.config.load import load

    logging.disable(logging.CRITICAL)  # what a check meets is its finding
    subject = Subject(load(file, with_model=False) if file is not None else None, file.resolve().parent if file else Path.cwd(), seconds)
    findings: list[Finding] = []
    for check in CHECKS:
        found = check(subject)
        findings += found
        if not as_json:
            for finding in found:
                typer.echo(as_text(finding))
    judged = judged_as(subject.config.name if subject.config is not None else "NAME")
    failed = [finding.name for finding in findings if finding.state == FAIL]
    if as_json:
        typer.echo(
            json.dumps({"ok": not failed, "judged": judged, "findings": [msgspec.to_builtins(finding) for finding in findings]}, indent=2)
        )
    else:
        typer.echo(f"{len(failed)} of {len(findings)} checks failed{': ' if failed else ''}{', '.join(failed)}")
        typer.echo(judged)
    return 1 if failed else 0


def judged_as(name: str) -> str:
    """Whose rights were judged, and how to have those of a service judged instead.

    Args:
        name: of the service, unless it was given another.
    """
    number = os.geteuid()
    try:
        user = pwd.getpwuid(number).pw_name
    except KeyError:  # a unit's dynamic user, where no nss-systemd is
        user = str(number)
    if "STATE_DIRECTORY" in os.environ:  # what a service manager tells, and nobody else
        return f"judged with the rights of its unit, as its user {user}"
    return f"judged with the rights of {user}; with those of the service: sudo {own_command()} service doctor {name}"


def as_text(finding: Finding) -> str:
    """A finding for people: one line, and two more when there is something to do."""
    line = f"{finding.state:<4}  {finding.name}: {finding.found}"
    return line if not finding.mend else f"{line}\n      means: {finding.meaning}\n      mend:  {finding.mend}"
