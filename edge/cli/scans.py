"""`edge scans`: point files, packet captures and recordings to one recording that `edge replay` takes."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from edge.errors import TransportError
from edge.messages import RawMessage, Scan
from edge.store.recording import RecordingWriter
from edge.store.scans import read_scans
from edge.wire.scan import pack_scan

_PERIOD_NS = 100_000_000  # of scans without stamps: 10 Hz, at which most sensors turn


def write_scans(
    paths: Sequence[Path], output: Path, topic: str, rate_hz: float | None, metadata: Path | None, *, overwrite: bool = False
) -> int:
    """Writes every scan that the paths hold, in their order, numbered from 0.

    Args:
        paths: files and folders.
        output: MCAP file to create.
        topic: of the messages.
        rate_hz: scans a second, whatever their stamps say; None: by their stamps.
        metadata: JSON of an Ouster sensor, when it does not lie beside the capture.
        overwrite: replace an existing file.

    Returns:
        The exit code.

    Raises:
        EdgeError: a file cannot be read or used, or ``output`` cannot be written; then there is no ``output``.
        typer.BadParameter: not a topic that a message can be sent to.
    """
    if not topic or {"+", "#", "\0"} & set(topic) or len(topic.encode()) > 65_535:
        raise typer.BadParameter(f"{topic!r} is not an MQTT topic")
    if output.exists() and not overwrite:
        raise TransportError(f"{output}: File exists; --force replaces it")
    working = output.with_name(f"{output.name}.part")
    points = largest = 0
    end_ns = [0]
    try:
        scans = timed(paths, rate_hz, metadata)
        first = next(scans, None)
        if first is None:
            raise TransportError(f"no scans in {', '.join(map(str, paths))}")
        about = {"monotonic_offset_ns": "0", "started_ns": str(first.received_ns)}
        with RecordingWriter(working, about, overwrite=True, clock=lambda: end_ns[0]) as writer:
            for scan in itertools.chain([first], scans):
                end_ns[0] = scan.received_ns
                points += len(scan.points)
                payload = pack_scan(scan)
                largest = max(largest, len(payload))
                writer.write(RawMessage(topic, payload, scan.received_ns))
        working.replace(output)
    except OSError as error:
        raise TransportError(f"{output}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            working.unlink(missing_ok=True)
    typer.echo(f"{writer.messages} scans, {points} points in {output} ({output.stat().st_size} bytes)")
    typer.echo(f"the largest is a message of {largest} bytes: the stream's max_bytes must not be less")
    return 0


def timed(paths: Sequence[Path], rate_hz: float | None, metadata: Path | None) -> Iterator[Scan]:
    """The scans, numbered, and stamped so that a gate takes them: each later than the one before.

    Args:
        paths: files and folders.
        rate_hz: scans a second; None: by their stamps. One without a stamp, or not after the one before, follows it by 0.1 s.
        metadata: of an Ouster sensor.

    Raises:
        EdgeError: a file cannot be read or used.
    """
    period_ns = round(1e9 / rate_hz) if rate_hz is not None else _PERIOD_NS
    last_ns = 0
    seq = 0
    for path in paths:
        for scan in read_scans(path, metadata=metadata):
            is_stamped = rate_hz is None and scan.stamp_ns > last_ns
            first_ns = scan.stamp_ns or _PERIOD_NS
            last_ns = scan.stamp_ns if is_stamped else last_ns + period_ns if seq else first_ns
            scan.seq, scan.stamp_ns, scan.received_ns = seq, last_ns, last_ns
            yield scan
            seq += 1
