"""Takes messages out of an MCAP file exactly as they were received, and tells what a file holds.

Owns the order of messages and the layout of the ``edge`` metadata (docs/recordings.md); mcap_walk owns what is cut or damaged.
"""

import itertools
import logging
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from pathlib import Path

import msgspec
from mcap.opcode import Opcode
from mcap.records import Channel, ChunkIndex, Header, Message, Metadata, MetadataIndex, Statistics

from edge.messages import RawMessage
from edge.store.mcap_walk import Walk, as_transport_error, stream, unpack

PROFILE = "edge"  # of the header: the order in the file is the order of reception
METADATA = "edge"  # name of the metadata records at both ends of the file
RETAINED = "retained"  # key in the metadata of a channel
_LOG_TIME = attrgetter("log_time")

log = logging.getLogger(__name__)


class RecordingInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording holds.

    Args:
        start_ns, end_ns: ``received_ns`` of the earliest and the latest message; None without messages.
        topics: topic to number of messages.
        offset_ns: Unix time minus CLOCK_MONOTONIC when the recording was made; 0 for files of other programs, whose
            ``received_ns`` therefore are Unix times.
        started_ns, stopped_ns: CLOCK_MONOTONIC when recording began and ended; None when the file does not say.
        is_truncated: the writer was killed, what it had not yet written is missing.
        metadata: the file's ``edge`` metadata as text.
    """

    start_ns: int | None
    end_ns: int | None
    topics: dict[str, int]
    offset_ns: int
    started_ns: int | None
    stopped_ns: int | None
    is_truncated: bool
    metadata: dict[str, str]

    @property
    def messages(self) -> int:
        """Number of messages."""
        return sum(self.topics.values())


class Reading(Iterator[RawMessage]):
    """The messages of a recording, one by one; one chunk is in memory, and as many more as overlap with it in time.

    Attributes:
        metadata: the file's ``edge`` metadata, so far as they have been read.
        is_truncated: the file ends in a cut. Known once all messages have been taken.
    """

    def __init__(self, path: Path, topics: Iterable[str] | None = None) -> None:
        self.metadata: dict[str, str] = {}
        self.is_truncated = False
        self._path = path
        self._topics = None if topics is None else frozenset(topics)
        self._channels: dict[int, Channel] = {}
        self._offset_ns = 0
        self._messages = self._run()

    def __next__(self) -> RawMessage:
        return next(self._messages)

    def _run(self) -> Iterator[RawMessage]:
        with as_transport_error(self._path), self._path.open("rb") as file:
            walk = Walk(file)
            starts = None if _is_ours(walk) else _chunk_starts(walk)
            batches = self._batches(walk)
            for message in itertools.chain.from_iterable(batches) if starts is None else _by_log_time(batches, starts):
                channel = self._channels.get(message.channel_id)
                if channel is None:
                    raise ValueError(f"a message on channel {message.channel_id}, which the file does not describe")
                if self._topics is None or channel.topic in self._topics:
                    yield RawMessage(channel.topic, message.data, message.log_time - self._offset_ns, RETAINED in channel.metadata)
            self.is_truncated = walk.cut_at is not None
            if self.is_truncated:
                log.warning("%s: cut at byte %d of %d, its writer was killed; read up to there", self._path, walk.cut_at, walk.size)

    def _batches(self, walk: Walk) -> Iterator[list[Message]]:
        for opcode, body in walk.records():
            if opcode == Opcode.CHUNK:
                records = unpack(body)
                self._channels.update((record.id, record) for record in records if isinstance(record, Channel))
                yield [record for record in records if isinstance(record, Message)]
            elif opcode == Opcode.MESSAGE:
                yield [Message.read(stream(body), len(body))]
            elif opcode == Opcode.CHANNEL:
                channel = Channel.read(stream(body))
                self._channels[channel.id] = channel
            elif opcode == Opcode.METADATA and (record := Metadata.read(stream(body))).name == METADATA:
                self.metadata |= record.metadata
                self._offset_ns = _offset_ns(self.metadata)


def read(path: Path, topics: Iterable[str] | None = None) -> Reading:
    """The messages of a recording, in the order in which they were received.

    Files of other programs are read in the order of their log times, equal times in file order; those without chunks, and
    those that were never closed, chunk by chunk.

    Args:
        path: MCAP file.
        topics: only these, exactly as recorded; default all.

    Raises:
        TransportError: while iterating: not an MCAP file, damaged, or unreadable. What lies before the damage has been yielded.
    """
    return Reading(path, topics)


def info(path: Path) -> RecordingInfo:
    """What a recording holds. Fast when the file was closed properly, otherwise it is read through.

    Raises:
        TransportError: not an MCAP file, damaged, or unreadable.
    """
    with as_transport_error(path), path.open("rb") as file:
        walk = Walk(file)
        statistics: Statistics | None = None
        channels: list[Channel] = []
        metadata: dict[str, str] = {}
        for opcode, body in list(walk.summary()):
            if opcode == Opcode.STATISTICS:
                statistics = Statistics.read(stream(body))
            elif opcode == Opcode.CHANNEL:
                channels.append(Channel.read(stream(body)))
            elif opcode == Opcode.METADATA_INDEX and (index := MetadataIndex.read(stream(body))).name == METADATA:
                metadata |= Metadata.read(stream(walk.record_at(index.offset)[1])).metadata
        if statistics is None:
            return _scan(path)
        topics = dict.fromkeys((channel.topic for channel in channels), 0)
        for channel in channels:
            topics[channel.topic] += statistics.channel_message_counts.get(channel.id, 0)
        offset_ns = _offset_ns(metadata)
        start_ns, end_ns = statistics.message_start_time - offset_ns, statistics.message_end_time - offset_ns
        return _info((start_ns, end_ns) if statistics.message_count else None, topics, metadata, is_truncated=False)


def _scan(path: Path) -> RecordingInfo:
    reading = Reading(path)
    topics: dict[str, int] = {}
    span: tuple[int, int] | None = None
    for raw in reading:
        topics[raw.topic] = topics.get(raw.topic, 0) + 1
        span = (min(span[0], raw.received_ns), max(span[1], raw.received_ns)) if span else (raw.received_ns, raw.received_ns)
    return _info(span, topics, reading.metadata, is_truncated=reading.is_truncated)


def _info(span: tuple[int, int] | None, topics: dict[str, int], metadata: dict[str, str], *, is_truncated: bool) -> RecordingInfo:
    return RecordingInfo(
        start_ns=span[0] if span else None,
        end_ns=span[1] if span else None,
        topics=topics,
        offset_ns=_offset_ns(metadata),
        started_ns=int(metadata["started_ns"]) if "started_ns" in metadata else None,
        stopped_ns=int(metadata["stopped_ns"]) if "stopped_ns" in metadata else None,
        is_truncated=is_truncated,
        metadata=metadata,
    )


def _offset_ns(metadata: Mapping[str, str]) -> int:
    return int(metadata.get("monotonic_offset_ns", "0"))


def _is_ours(walk: Walk) -> bool:
    opcode, body = walk.first()
    return opcode == Opcode.HEADER and Header.read(stream(body)).profile == PROFILE


def _chunk_starts(walk: Walk) -> list[int]:
    """Earliest log time of each chunk in file order; empty when the file has no summary."""
    indexes = [ChunkIndex.read(stream(body)) for opcode, body in walk.summary() if opcode == Opcode.CHUNK_INDEX]
    indexes.sort(key=attrgetter("chunk_start_offset"))
    # A chunk without messages says 0, and must not hold up the others.
    return [index.message_start_time if index.message_end_time or index.message_index_offsets else 1 << 64 for index in indexes]


def _by_log_time(batches: Iterable[list[Message]], starts: list[int]) -> Iterator[Message]:
    """Messages by log time, equal times in file order; what a later chunk may still precede is held back."""
    later = list(itertools.accumulate(reversed(starts), min))[::-1]  # later[i]: earliest time in chunk i or after it
    waiting: list[Message] = []
    for number, batch in enumerate(batches, start=1):
        waiting.extend(batch)
        waiting.sort(key=_LOG_TIME)  # stable, and linear on runs that are in order already
        ready = bisect_right(waiting, later[number], key=_LOG_TIME) if number < len(later) else len(waiting)
        yield from waiting[:ready]
        del waiting[:ready]
    yield from waiting
