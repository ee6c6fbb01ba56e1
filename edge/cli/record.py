"""`edge record`: what arrives on some topics of a broker, byte for byte, into an MCAP file that is always complete.

Owns one link and one file. Sees payloads as bytes: nothing is decoded, checked or dropped.
"""

import contextlib
import secrets
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import msgspec
import typer

from edge.cli.run import set_up_logging
from edge.config.check_broker import check_broker
from edge.config.findings import Findings
from edge.config.types import Broker, RuntimeConfig
from edge.errors import TransportError
from edge.messages import RawMessage
from edge.store.recording import RecordingWriter
from edge.topics import TopicTemplate
from edge.transport.dial import Address
from edge.transport.link import Handlers, Settings
from edge.transport.mqtt import MqttTransport

MAX_PACKET = 64_000_000 + 65_536  # the largest payload that a pipeline file can allow, and its topic
FLUSH_S = 2.0  # what SIGKILL may cost, also when messages stop coming
_POLL_S = 0.2
_SHOWN = 20  # topics in the summary
_QOS = 1  # of --topic: takes messages as they were published
_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Filter = tuple[str, int]  # topic filter and QoS


class Recorder:
    """Takes what comes over one link into one file until it is told to stop.

    Args:
        settings: of the link.
        filters: what to subscribe to.
        writer: the file; closed by the caller.

    Attributes:
        counts: topic to number of messages.
        skipped: messages that were too large.
    """

    def __init__(self, settings: Settings, filters: Sequence[Filter], writer: RecordingWriter) -> None:
        self.counts: dict[str, int] = {}
        self.skipped = 0
        self._writer = writer
        self._fault: TransportError | None = None
        self._is_stopping = False
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ, lambda _mask: self._wake_out.recv(4096))
        handlers = Handlers(on_message=self._take, on_oversized=self._skip)
        self.transport = MqttTransport(settings, filters, handlers, self._selector, self._wake)

    def run(self, seconds: float | None) -> None:
        """Record.

        Args:
            seconds: for so long; None: until ``stop``.

        Raises:
            TransportError: the file cannot be written any longer.
        """
        now_s = time.monotonic()
        until_s = now_s + seconds if seconds is not None else float("inf")
        flush_s = now_s + FLUSH_S
        while not self._is_stopping and now_s < until_s:
            self.transport.poll(time.monotonic_ns())
            for key, mask in self._selector.select(min(_POLL_S, until_s - now_s)):
                key.data(mask)
            self.transport.flush()
            if self._fault is not None:
                raise self._fault
            now_s = time.monotonic()
            if now_s >= flush_s:
                self._writer.flush()
                flush_s = now_s + FLUSH_S
                self._show()

    def stop(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """End ``run``; may be a signal handler."""
        self._is_stopping = True
        self._wake()

    def close(self) -> None:
        """Leave the broker."""
        self.transport.close()
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    def _take(self, raw: RawMessage) -> None:
        try:
            self._writer.write(raw)
            self.counts[raw.topic] = self.counts.get(raw.topic, 0) + 1
        except TransportError as fault:  # not for the transport, which would take it for a fault of the link
            self._fault = fault

    def _skip(self, _topic: str) -> None:
        self.skipped += 1

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: the loop wakes anyway; closed: nobody is left to wake
            self._wake_in.send(b"\0")

    def _show(self) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{self._writer.messages} messages, {self.transport.state}\x1b[K")
            sys.stderr.flush()


def record_topics(
    output: Path,
    topics: Sequence[str],
    pipeline: Path | None,
    *,
    everything: bool,
    url: str | None,
    insecure: bool,
    seconds: float | None,
    overwrite: bool,
) -> int:
    """Records until SIGINT, SIGTERM or the end of the time.

    Args:
        output: MCAP file to create.
        topics: topic filters.
        pipeline: pipeline file whose broker and input topics are used, or None.
        everything: also what the pipeline sends.
        url: broker to use instead of the pipeline file's.
        insecure: allow plaintext to a ``url`` that is another machine.
        seconds: how long, or None.
        overwrite: replace an existing file.

    Returns:
        The exit code.

    Raises:
        ConfigError: the pipeline file is wrong.
        TransportError: the file cannot be written, or the broker was never reached.
        typer.BadParameter: nothing to record, or a filter or URL that is none.
    """
    config = _load(pipeline)
    filters = _filters(topics, config, everything=everything)
    settings = _settings(config, url, insecure=insecure)
    set_up_logging("info")
    if output.exists() and not overwrite:
        raise TransportError(f"{output}: File exists; --force replaces it")
    metadata = {"broker": str(settings.address), "filters": " ".join(name for name, _ in filters)}
    with RecordingWriter(output, metadata, overwrite=overwrite, flush_s=FLUSH_S) as writer:
        recorder = Recorder(settings, filters, writer)
        with contextlib.closing(recorder), _handling_signals(recorder):
            recorder.run(seconds)
    if not recorder.transport.connects:
        output.unlink(missing_ok=True)
        raise TransportError(f"nothing was recorded: {recorder.transport.state}")
    typer.echo("\n".join(_summary(recorder, output)))
    return 0


@contextlib.contextmanager
def _handling_signals(recorder: Recorder) -> Iterator[None]:
    before = [signal.signal(number, recorder.stop) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)


def _load(pipeline: Path | None) -> RuntimeConfig | None:
    if pipeline is None:
        return None
    from edge.config.load import load

    return load(pipeline)


def _filters(topics: Sequence[str], config: RuntimeConfig | None, *, everything: bool) -> list[Filter]:
    """What to subscribe to, each filter once.

    Raises:
        typer.BadParameter: nothing, or not a topic filter.
    """
    filters: dict[str, int] = {}
    if config is not None:
        filters = {TopicTemplate(stream.topic).subscription: stream.qos for stream in config.streams.values()}
        predictions = [config.publish.predictions.topic] if config.publish.predictions is not None else []
        sent = (
            [rule.topic for rule in config.rules if rule.topic] + [actuator.topic for actuator in config.actuators.values()] + predictions
        )
        filters |= {TopicTemplate(topic).subscription: _QOS for topic in sent} if everything else {}
    elif everything:
        raise typer.BadParameter("--all needs --pipeline")
    for topic in topics:
        if not is_filter(topic):
            raise typer.BadParameter(f"{topic!r} is not an MQTT topic filter")
        filters.setdefault(topic, _QOS)
    if not filters:
        raise typer.BadParameter("give --topic FILTER, or --pipeline FILE")
    return list(filters.items())


def is_filter(text: str) -> bool:
    """Whether this is an MQTT topic filter: ``+`` and ``#`` stand for whole levels, ``#`` for the last one."""
    levels = text.split("/")
    wild = all(level in ("+", "#") or not {"+", "#"} & set(level) for level in levels)
    return 0 < len(text.encode()) < 65_536 and "\0" not in text and wild and "#" not in levels[:-1]


def _settings(config: RuntimeConfig | None, url: str | None, *, insecure: bool) -> Settings:
    """The link of a recorder: it has a name of its own and announces nothing.

    Raises:
        ConfigError: the password file cannot be read.
        typer.BadParameter: not a broker's URL, or plaintext to another machine.
    """
    client_id = f"edge-record-{secrets.token_hex(4)}"
    broker = config.broker if config is not None else Broker()
    if url is not None:
        broker = msgspec.structs.replace(broker, url=url, insecure=insecure or broker.insecure)
        found = Findings()
        check_broker(broker, found)
        if found.problems:
            raise typer.BadParameter(f"{url!r}: {found.problems[0].reason}")
    if config is None:  # without the rooms behind a pipeline file: 50 MB of memory instead of 150
        parts = urlsplit(broker.url)
        is_tls = parts.scheme == "mqtts"
        return Settings(Address(parts.hostname or "", parts.port or (8883 if is_tls else 1883), is_tls), client_id, max_packet=MAX_PACKET)
    from edge.config.link import link_settings

    return msgspec.structs.replace(link_settings(broker, "record", MAX_PACKET), client_id=client_id, availability_topic="")


def _summary(recorder: Recorder, output: Path) -> list[str]:
    counts = sorted(recorder.counts.items(), key=lambda entry: (-entry[1], entry[0]))
    lines = [f"{sum(recorder.counts.values())} messages in {output} ({output.stat().st_size} bytes)"]
    lines += [f"  {topic}: {count}" for topic, count in counts[:_SHOWN]]
    if len(counts) > _SHOWN:
        lines.append(f"  and {len(counts) - _SHOWN} more topics")
    if recorder.skipped:
        lines.append(f"{recorder.skipped} messages were larger than {MAX_PACKET} bytes and skipped")
    if recorder.transport.connects > 1:
        lines.append(f"the link came up {recorder.transport.connects} times; what was sent in between is missing")
    return lines
