"""UDP payloads out of packet captures (pcap): Ethernet, Linux cooked, loopback and raw IP; IPv4 and IPv6, fragments of IPv4 put together.

What is no UDP is passed over. A capture that is cut off gives what is whole.
"""

import logging
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

log = logging.getLogger(__name__)

_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_MAX_PACKET = 262_144  # bytes, what tcpdump takes at most
_MAX_PENDING = 64  # datagrams of which fragments are missing
_LOOPBACK, _ETHERNET, _RAW, _COOKED, _COOKED2 = 0, 1, 101, 113, 276
_IPV4, _IPV6, _VLANS = 0x0800, 0x86DD, (0x8100, 0x88A8)
_UDP = 17


class Datagram(NamedTuple):
    """A UDP payload.

    Args:
        stamp_ns: Unix time when it was captured.
        port: UDP port it was sent to.
        payload: the bytes.
    """

    stamp_ns: int
    port: int
    payload: bytes


def datagrams(file: BinaryIO) -> Iterator[Datagram]:
    """The UDP payloads of a capture, in file order; one packet and incomplete datagrams are in memory.

    Args:
        file: from its beginning.

    Raises:
        ValueError: not a pcap file, or damaged.
    """
    head = file.read(24)
    if head[:4] == _PCAPNG:
        raise ValueError("a pcapng file; `editcap -F pcap OLD NEW` makes it a pcap file")
    if len(head) < 24 or head[:4] not in _MAGICS:
        raise ValueError("not a pcap file")
    order, tick_ns = _MAGICS[head[:4]]
    link = struct.unpack(order + "I", head[20:24])[0] & 0xFFFF
    pieces = _Pieces()
    while record := file.read(16):
        if len(record) < 16:
            break
        seconds, ticks, size, _ = struct.unpack(order + "4I", record)
        if size > _MAX_PACKET:
            raise ValueError(f"a packet of {size} bytes at byte {file.tell()}: damaged")
        packet = file.read(size)
        if len(packet) < size:
            break
        segment = _segment(packet, link, pieces)
        if segment is not None and len(segment) >= 8:
            _, port, length = struct.unpack(">3H", segment[:6])
            yield Datagram(seconds * 1_000_000_000 + ticks * tick_ns, port, segment[8 : max(length, 8)])
    else:
        return
    log.warning("the capture is cut off in its last packet; read up to there")


class _Pieces:
    """Fragments that wait for the others of their datagram; when too many wait, the oldest are given up."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, dict[int, tuple[bytes, bool]]] = {}

    def add(self, key: bytes, offset: int, data: bytes, *, is_last: bool) -> bytes | None:
        """The datagram that a fragment completes."""
        waiting = self._waiting.setdefault(key, {})
        waiting[offset] = data, is_last
        whole, at = [], 0
        while at in waiting:
            piece, ends = waiting[at]
            whole.append(piece)
            if ends:
                del self._waiting[key]
                return b"".join(whole)
            if not piece:
                break
            at += len(piece)
        if len(self._waiting) > _MAX_PENDING:
            del self._waiting[next(iter(self._waiting))]
        return None


def _segment(packet: bytes, link: int, pieces: _Pieces) -> bytes | None:
    """The UDP header and payload in a packet; None when there are none, or not yet."""
    if link == _ETHERNET:
        at = 14
        kind = int.from_bytes(packet[12:14])
        while kind in _VLANS and at + 4 <= len(packet):
            kind, at = int.from_bytes(packet[at + 2 : at + 4]), at + 4
    elif link in (_COOKED, _COOKED2):
        kind, at = (int.from_bytes(packet[14:16]), 16) if link == _COOKED else (int.from_bytes(packet[0:2]), 20)
    elif link in (_RAW, _LOOPBACK):
        at = 4 if link == _LOOPBACK else 0
        kind = {4: _IPV4, 6: _IPV6}.get(packet[at] >> 4 if len(packet) > at else 0, 0)
    else:
        raise ValueError(f"packets of link type {link}, which is not known")
    if kind == _IPV4:
        return _ipv4(packet[at:], pieces)
    if kind == _IPV6 and packet[at + 6 : at + 7] == bytes([_UDP]):
        return packet[at + 40 :]
    return None


def _ipv4(packet: bytes, pieces: _Pieces) -> bytes | None:
    if len(packet) < 20 or packet[9] != _UDP:
        return None
    head = (packet[0] & 15) * 4
    length = int.from_bytes(packet[2:4]) or len(packet)  # 0: the network card was to cut it
    flags = int.from_bytes(packet[6:8])
    data = packet[head:length]
    if not flags & 0x3FFF:
        return data
    return pieces.add(packet[4:6] + packet[12:20], (flags & 0x1FFF) * 8, data, is_last=not flags & 0x2000)
