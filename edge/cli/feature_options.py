"""What the command line of `edge features` says, as jobs."""

from pathlib import Path
from typing import Any

import typer

from edge.cli.feature_jobs import Job
from edge.cli.features import Request, write_features
from edge.features.rows import Columns


def compute_features(file: Path, inputs: list[Path], out: Path, columns: list[str], processes: int | None, options: dict[str, Any]) -> int:
    """Run `edge features`.

    Args:
        file: pipeline file.
        inputs: recordings and tables.
        out: Parquet file.
        columns: ``CHANNEL=COLUMN`` each.
        processes: at most so many.
        options: stream, device, stamps, stamp_unit, rate_hz.

    Returns:
        The exit code.

    Raises:
        EdgeError: see write_features.
    """
    names = Columns(mapping(columns), options["stamps"], options["stamp_unit"])
    jobs = [Job(path, options["stream"], options["device"], names, options["rate_hz"]) for path in inputs]
    return write_features(Request(file, jobs, out, processes))


def mapping(columns: list[str]) -> dict[str, str]:
    """Channel to column.

    Raises:
        BadParameter: not of the form CHANNEL=COLUMN, or a channel twice.
    """
    found: dict[str, str] = {}
    for text in columns:
        channel, is_there, column = text.partition("=")
        if not (is_there and channel and column) or channel in found:
            raise typer.BadParameter(f"{text!r}: write CHANNEL=COLUMN, each channel once", param_hint="--map")
        found[channel] = column
    return found
