"""`edge replay`: a recording through a pipeline, as fast as it goes, with the same output each time.

Processing takes no time in a replay: the pipeline's clock stands still between messages, so that nothing depends on the machine.
"""

import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from edge.errors import TransportError
from edge.messages import Alert, Command, Outgoing, Prediction, RawMessage
from edge.store.recording import RecordingInfo, info, read

if TYPE_CHECKING:
    from edge.pipeline.recipe import Pipeline

BOOT_ID = "replay"
_PROGRESS_EVERY = 1000  # messages
_UNJOINED = {
    "unjoined": "a table has no row of the device",
    "unaligned": "another stream was silent, or older than its asof_max_ms",
}
_TOLERANCE = 0.1  # of rate_hz; senders are off by less
_HOUR_NS = 3_600_000_000_000
_LEAP_HOURS = 168  # a recording may well hold a silent week; a longer step is another clock, of which the pipeline walks an hour


def replay_file(recording: Path, file: Path, out: Path | None, *, as_json: bool) -> int:
    """Replays a recording and prints what became of it.

    Args:
        recording: MCAP file.
        file: pipeline file.
        out: where every message the pipeline sends is written, one a line; ``-``: standard output; None: nowhere.
        as_json: the summary as JSON.

    Returns:
        The exit code.

    Raises:
        EdgeError: the recording, the file or the bundle is refused, or ``out`` cannot be written.
    """
    from edge.build import load
    from edge.pipeline.status import status

    held = info(recording)
    pipeline = load(file, boot_id=BOOT_ID, clock=None, wall_offset_ns=held.offset_ns)
    end_ns, origin_ns = max(held.stopped_ns or 0, held.end_ns or 0), origin(held)
    started_s = time.perf_counter()
    with _writer(out, origin_ns) as write, _progress(read(recording), held.messages) as messages:
        run(pipeline, messages, end_ns, write)
    took_s = time.perf_counter() - started_s
    report = {"recording": facts(recording, held, end_ns - origin_ns, took_s), **status(pipeline, end_ns - origin_ns)}
    text = (
        msgspec.json.format(msgspec.json.encode(report), indent=2).decode()
        if as_json
        else "\n".join(summary(report, {intake.name: getattr(intake, "rate_hz", None) for intake in pipeline.intakes}))
    )
    typer.echo(text, err=str(out) == "-")
    return 0


def run(pipeline: "Pipeline", messages: Iterable[RawMessage], end_ns: int, write: Callable[[int, list[Outgoing]], None]) -> None:
    """Feed every message to a pipeline, then let the time pass that the recording still had, and stop.

    Args:
        pipeline: fresh.
        messages: in the order of reception.
        end_ns: CLOCK_MONOTONIC of the recording's end.
        write: called with the time and what the pipeline sends.
    """
    now_ns: int | None = None
    for raw in messages:
        # Bytes that were read in one go have one time. The daemon takes the newest scan of each such batch.
        if now_ns is not None and raw.received_ns != now_ns:
            if out := pipeline.flush_scans():
                write(now_ns, out)
            _wait(pipeline, now_ns, raw.received_ns, write)
        now_ns = raw.received_ns
        if out := pipeline.step(raw):
            write(now_ns, out)
    if now_ns is not None:
        write(now_ns, pipeline.flush_scans())
        _wait(pipeline, now_ns, end_ns, write)
    for out in (pipeline.tick(end_ns), pipeline.stop(end_ns)):
        write(end_ns, out)


def _wait(pipeline: "Pipeline", from_ns: int, to_ns: int, write: Callable[[int, list[Outgoing]], None]) -> None:
    """Let a long silence pass hour by hour, as it did live: at once, the pipeline would take it for a leap of the clock."""
    hours = (to_ns - from_ns - 1) // _HOUR_NS
    for hour in range(1, hours + 1 if hours <= _LEAP_HOURS else 1):
        at_ns = from_ns + hour * _HOUR_NS
        write(at_ns, pipeline.tick(at_ns))


def origin(held: RecordingInfo) -> int:
    """Time zero of a recording: its start, or its first message where the file does not say."""
    known = [at_ns for at_ns in (held.started_ns, held.start_ns) if at_ns is not None]
    return min(known, default=0)


def line(outgoing: Outgoing, now_ns: int, origin_ns: int) -> bytes:
    """One message as one line of JSON.

    ``t`` is ns since the recording's start: when an alert or command was issued, or when the frame of a prediction was received.
    The payload is embedded as it is when it is JSON, otherwise as base64.
    """
    message = outgoing.message
    if isinstance(message, Alert | Command):
        now_ns = message.issued_ns
    elif isinstance(message, Prediction):
        now_ns = message.received_ns
    try:
        msgspec.json.decode(outgoing.payload)
        payload: object = msgspec.Raw(outgoing.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        payload = b64encode(outgoing.payload).decode()
    fields = {"t": now_ns - origin_ns, "kind": outgoing.kind, "topic": outgoing.topic, "payload": payload}
    return msgspec.json.encode(fields).replace(b"\n", b" ") + b"\n"


@contextmanager
def _writer(out: Path | None, origin_ns: int) -> Iterator[Callable[[int, list[Outgoing]], None]]:
    if out is None:
        yield lambda _now_ns, _messages: None
        return
    try:
        with nullcontext(sys.stdout.buffer) if str(out) == "-" else out.open("wb") as file:
            yield lambda now_ns, messages: file.writelines(line(outgoing, now_ns, origin_ns) for outgoing in messages)
            file.flush()
    except OSError as error:  # of the file: the recording's are TransportErrors already
        raise TransportError(f"{out}: {error.strerror}") from error


@contextmanager
def _progress(messages: Iterable[RawMessage], total: int) -> Iterator[Iterable[RawMessage]]:
    if not sys.stderr.isatty():
        yield messages
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("replay", total=total)

        def counted() -> Iterator[RawMessage]:
            for number, raw in enumerate(messages, start=1):
                if number % _PROGRESS_EVERY == 0:
                    bar.update(task, completed=number)
                yield raw

        yield counted()


def facts(recording: Path, held: RecordingInfo, span_ns: int, took_s: float) -> dict[str, Any]:
    """What the summary says of the recording and the speed.

    Args:
        recording: file.
        held: what is in it.
        span_ns: how long it is.
        took_s: how long the replay took.
    """
    return {
        "file": str(recording),
        "messages": held.messages,
        "seconds": span_ns / 1e9,
        "is_truncated": held.is_truncated,
        "replay_seconds": round(took_s, 3),
        "times_real_time": round(span_ns / 1e9 / took_s, 1),
    }


def summary(report: dict[str, Any], rates_hz: dict[str, float | None]) -> list[str]:
    """The report as lines for people.

    Args:
        report: recording and status.
        rates_hz: what the file says of each stream.
    """
    held, decisions, alerts, commands = (report[name] for name in ("recording", "decisions", "alerts", "commands"))
    cut = ", cut: its writer was killed" if held["is_truncated"] else ""
    received = sum(stream["received"] for stream in report["streams"].values())
    lines = [
        f"recording   {held['file']}: {held['messages']} messages in {held['seconds']:.1f} s{cut}",
        f"pipeline    {report['name']}" + (f", model {report['model']}" if report["model"] else ""),
        f"speed       {held['replay_seconds']:.2f} s, {held['times_real_time']:g} x real time; {received} samples",
    ]
    for name, stream in report["streams"].items():
        parts = [f"{stream[part]} {part}" for part in ("used", "held", "late", "duplicate")]
        parts += [f"{sum(stream[part].values())} {part}{_reasons(stream[part])}" for part in ("invalid", "dropped")]
        lines.append(f"stream      {name}: {stream['received']} received = " + " + ".join(parts))
        if oddities := _oddities(stream, rates_hz.get(name)):
            lines.append(f"            {name}: {oddities}")
    if report["unrouted"]:
        lines.append(f"unrouted    {report['unrouted']} messages on topics of no stream")
    lines += [
        f"decisions   {decisions['made']} made, "
        + ", ".join(f"{sum(decisions[part].values())} {part}{_reasons(decisions[part])}" for part in ("skipped", "failed")),
        *(f"no vector   {n} times: {_UNJOINED[why]}" for why, n in report["no_vector"].items() if n),
        f"alerts      {alerts['raised']} raised, {alerts['cleared']} cleared",
        f"commands    {commands['sent']} sent, {sum(commands['blocked'].values())} blocked{_reasons(commands['blocked'])}",
    ]
    return lines


def _oddities(stream: dict[str, Any], rate_hz: float | None) -> str:
    """Gaps, samples that came too fast for their windows, and a rate that is not the declared one."""
    parts = [f"{stream['gaps']} gaps"] if stream["gaps"] else []
    if stream["overflows"]:
        parts.append(f"{stream['overflows']} overflows (samples that left their windows early)")
    measured = stream["rate_hz"]
    if measured and rate_hz and abs(measured / rate_hz - 1) > _TOLERANCE:
        parts.append(f"measured {measured:g} Hz, rate_hz = {rate_hz:g}")
    return ", ".join(parts)


def _reasons(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{name} {count}' for name, count in counts.items())})" if counts else ""
