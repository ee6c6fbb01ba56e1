"""What the hot process hands to its recording companion, and how it lies in the ring: one message in one slot, or in several.

A first slot begins with a head (what it is, lengths, CLOCK_MONOTONIC, number), then the topic and the payload; further slots begin with
eight bytes that say so. Numbers count everything that was noted, so that the companion sees what found no room.
"""

import struct

import msgspec

from edge.store.ring import RingReader, RingWriter

SENT, RETAINED, _MORE = 1, 2, 0xFF
_HEAD = struct.Struct("<BxHIqQ")
_pack = _HEAD.pack
_MORE_HEAD = bytes((_MORE,)) + bytes(7)
_TOPICS = 4096  # topics whose bytes and choice are remembered


class Noted(msgspec.Struct, frozen=True, gc=False):
    """One message of the ring.

    Args:
        number: counts from 1; a step of more than one is what was dropped.
        at_ns: CLOCK_MONOTONIC of its receipt, or of its sending.
        is_sent, is_retained: it went out; the broker had stored it.
    """

    number: int
    topic: str
    payload: bytes
    at_ns: int
    is_sent: bool = False
    is_retained: bool = False


class Task(msgspec.Struct, frozen=True):
    """What a recorder is asked to do; see RecordingTable.

    Args:
        folder, name: where files go and what their names begin with.
        file_bytes, file_ns: a file that is larger or older is closed.
        keep_bytes, free_bytes: of all files; that the disk must have left.
        compression: of the files.
    """

    folder: str
    name: str
    file_bytes: int
    file_ns: int
    keep_bytes: int
    free_bytes: int
    compression: str


class Report(msgspec.Struct, frozen=True):
    """What a recorder says of itself.

    Args:
        is_recording: otherwise ``why`` says what it waits for.
        recorded: messages that are in files, with the operating system.
        missed: of the numbers it saw, how many were left out.
        number: of the last message that is in a file.
        file: being written.
        nbytes, files: of the folder, when it was last looked at.
        began: files begun by this process.
    """

    is_recording: bool = False
    why: str = ""
    recorded: int = 0
    missed: int = 0
    number: int = 0
    file: str = ""
    nbytes: int = 0
    files: int = 0
    began: int = 0


class TapeWriter:
    """The hot side. Never waits: what finds no room is dropped and counted.

    Args:
        ring: to write to; this is its only writer.
        filters: MQTT filters of what is wanted; empty: everything.

    Attributes:
        noted, dropped: messages that were wanted; of them, those that found no room.
    """

    def __init__(self, ring: RingWriter, filters: tuple[str, ...] = ()) -> None:
        self.ring = ring
        self.noted = self.dropped = 0
        self._filters = filters
        self._write, self._room = ring.write, ring.slot_bytes - _HEAD.size
        self._names: dict[str, bytes] = {}  # b"": not wanted

    def note(self, flags: int, at_ns: int, topic: str, payload: bytes) -> None:
        """Hand one message over.

        Args:
            flags: SENT, RETAINED or 0.
            at_ns: CLOCK_MONOTONIC.
            topic, payload: of it.
        """
        name = self._names.get(topic)
        if name is None:
            name = self._learn(topic)
        if not name:
            return
        self.noted = number = self.noted + 1
        head = _pack(flags, len(name), len(payload), at_ns, number)
        if len(name) + len(payload) > self._room:
            self._note_large(head + name, payload)
        elif not self._write(head + name + payload):
            self.dropped += 1

    def _note_large(self, head: bytes, payload: bytes) -> None:
        ring = self.ring
        first = max(0, ring.slot_bytes - len(head))
        step = ring.slot_bytes - len(_MORE_HEAD)
        if len(head) > ring.slot_bytes or ring.free < 1 + -(-(len(payload) - first) // step):
            self.dropped += 1
            return
        ring.write(head + payload[:first])
        for start in range(first, len(payload), step):
            ring.write(_MORE_HEAD + payload[start : start + step])

    def _learn(self, topic: str) -> bytes:
        if len(self._names) >= _TOPICS:
            self._names.clear()
        is_wanted = not self._filters or any(matches(one, topic) for one in self._filters)
        name = self._names[topic] = topic.encode()[:65_535] if is_wanted else b""
        return name


class TapeReader:
    """The companion's side. What was taken stays in the ring until ``release``: the next reader begins with it.

    Args:
        ring: made with ``keeps``.

    Attributes:
        missed: messages that were noted and did not come.
    """

    def __init__(self, ring: RingReader) -> None:
        self.missed = 0
        self._ring = ring
        self._number = self._released = 0
        self._parts: list[bytes] = []
        self._lacks = 0

    def take(self) -> Noted | None:
        """The next whole message; None when there is none (yet)."""
        while (part := self._ring.take()) is not None:
            if part[0] == _MORE:
                if not self._lacks:
                    continue  # the rest of a message whose beginning went with an earlier reader
                self._parts.append(part[len(_MORE_HEAD) :])
                self._lacks -= len(part) - len(_MORE_HEAD)
            else:
                _, topic_bytes, payload_bytes, _, _ = _HEAD.unpack_from(part)
                self._parts = [part]
                self._lacks = _HEAD.size + topic_bytes + payload_bytes - len(part)
            if self._lacks <= 0:
                self._lacks = 0
                return self._noted(self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))
        return None

    def release(self) -> None:
        """What was taken is safe: its room may be used again. Between whole messages only."""
        if not self._lacks:
            self._released = self._number
            self._ring.release()

    def rewind(self) -> None:
        """What was taken since the last release comes again."""
        self._lacks, self._number = 0, self._released
        self._ring.rewind()

    @property
    def held(self) -> int:
        """Slots that were taken and not released."""
        return self._ring.held

    def _noted(self, message: bytes) -> Noted:
        flags, topic_bytes, payload_bytes, at_ns, number = _HEAD.unpack_from(message)
        if self._number:
            self.missed += number - self._number - 1
        self._number = number
        start = _HEAD.size + topic_bytes
        topic = message[_HEAD.size : start].decode(errors="replace")
        return Noted(number, topic, message[start : start + payload_bytes], at_ns, bool(flags & SENT), bool(flags & RETAINED))


def matches(wanted: str, topic: str) -> bool:
    """Whether a topic belongs to an MQTT filter."""
    levels, others = wanted.split("/"), topic.split("/")
    for i, level in enumerate(levels):
        if level == "#":
            return True
        if i >= len(others) or level not in ("+", others[i]):
            return False
    return len(levels) == len(others)
