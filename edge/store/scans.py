"""Scans out of what LIDAR sensors and tools leave behind: point files, folders of them, packet captures, recordings.

Owns files, their names and their compression; what is in them is for edge.wire.
"""

import contextlib
import gzip
import logging
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from edge.errors import EdgeError, Reason, Reject, TransportError
from edge.messages import Scan
from edge.store.pcap import Datagram, datagrams
from edge.store.reading import read
from edge.wire.point_table import MAX_BYTES, MAX_POINTS

log = logging.getLogger(__name__)

SUFFIXES = (".pcd", ".bin", ".npz", ".pcap", ".mcap")
_MAX_METADATA = 1_000_000
_STAMP = re.compile(r"\d{16,19}")  # ns since 1970: from 1970-04-26 on
_VELODYNE_FIELDS = {"x": 0, "y": 1, "z": 2, "intensity": 3, "ring": 6, "time": 4}
_Decode = Callable[[bytes, int, int], Scan]


def read_scans(path: Path, *, metadata: Path | None = None, max_points: int = MAX_POINTS, max_bytes: int = MAX_BYTES) -> Iterator[Scan]:
    """The scans in a file or folder, one by one.

    ``.pcd``, ``.bin`` (KITTI) and ``.npz`` hold one; their stamp is the file's name when that is a time in ns, or what the file says, or 0.
    ``.pcap`` holds packets of an Ouster sensor when its metadata are there, otherwise of a Velodyne one. ``.mcap`` is a recording;
    messages that are no scans are passed over. Each may be compressed (``.gz``), but recordings. A folder is read in the order of names,
    what has another suffix is passed over.

    Args:
        path: of the file or folder.
        metadata: JSON of an Ouster sensor; default: NAME.json beside NAME.pcap.
        max_points: most points in a scan.
        max_bytes: largest point file, also once unpacked.

    Raises:
        TransportError: while iterating: a file cannot be read or used; the message names it.
        EdgeError: a decoder is not installed.
    """
    if path.is_dir():
        for entry in _entries(path):
            try:
                yield from read_scans(entry, metadata=metadata, max_points=max_points, max_bytes=max_bytes)
            except TransportError as error:
                if not _is_something_else(error):
                    raise
                log.warning("%s: passed over, an npz file of other things", entry)
        return
    suffix = _suffix(path)
    with _refusing(path):
        if suffix == ".mcap":
            yield from _recorded(path, max_points, max_bytes)
        elif suffix == ".pcap":
            yield from _captured(path, metadata, max_points)
        elif suffix in SUFFIXES:
            yield _single(path, _decoder(suffix), max_points, max_bytes)
        else:
            raise TransportError(f"{path}: {', '.join(SUFFIXES)} can be read, and these with .gz")


def _entries(folder: Path) -> list[Path]:
    found = sorted(entry for entry in folder.iterdir() if _suffix(entry) in SUFFIXES and entry.is_file())
    if not found:
        raise TransportError(f"{folder}: no {', '.join(SUFFIXES)} files in this folder")
    return found


def _is_something_else(error: TransportError) -> bool:
    """Whether a file was sound and has no points: npz files hold anything, and one beside scans is no fault of theirs."""
    return isinstance(error.__cause__, Reject) and error.__cause__.reason is Reason.MISSING_FIELD and ".npz: " in str(error)


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Whatever is wrong with a file, in one line that names it."""
    try:
        yield
    except Reject as reject:
        raise TransportError(f"{path}: {reject}") from reject
    except OSError as fault:
        raise TransportError(f"{path}: {fault.strerror or fault}") from fault
    except (EOFError, ValueError, zlib.error) as fault:
        raise TransportError(f"{path}: {fault}") from fault


def _suffix(path: Path) -> str:
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return name.suffix.lower()


def _stem(path: Path) -> str:
    return path.name.removesuffix(path.suffix).rsplit(".", 1)[0] if path.suffix.lower() == ".gz" else path.stem


def _open(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def _decoder(suffix: str) -> _Decode:
    if suffix == ".pcd":
        from edge.wire.pcd import decode_pcd

        return decode_pcd
    if suffix == ".npz":
        from edge.wire.scan_npz import decode_scan_npz

        return decode_scan_npz
    from edge.wire.kitti import decode_kitti

    return decode_kitti


def _single(path: Path, decode: _Decode, max_points: int, max_bytes: int) -> Scan:
    with _open(path) as file:
        content = file.read(max_bytes + 1)  # one more than is allowed, so that the decoder can tell
    scan = decode(content, max_points, max_bytes)
    if _STAMP.fullmatch(_stem(path)):
        scan.stamp_ns = int(_stem(path))
    return scan


def _recorded(path: Path, max_points: int, max_bytes: int) -> Iterator[Scan]:
    from edge.wire.scan import ScanCodec

    codec = ScanCodec(max_points, max_bytes)
    for raw in read(path):
        with contextlib.suppress(Reject):  # telemetry, alerts: a recording holds all there was
            yield codec.decode(raw.payload, raw.received_ns)


def _captured(path: Path, metadata: Path | None, max_points: int) -> Iterator[Scan]:
    beside = metadata or path.with_name(f"{_stem(path)}.json")
    with _open(path) as file:
        packets = datagrams(file)
        found = _ouster(packets, beside) if metadata is not None or beside.exists() else _velodyne(packets)
        none = True
        for scan in found:
            none = False
            if len(scan.points) > max_points:
                raise TransportError(f"{path}: a scan of {len(scan.points)} points; at most {max_points}")
            yield scan
    if none:
        raise TransportError(
            f"{path}: no packets of a Velodyne sensor; an Ouster's need its metadata in {beside.name}"
            if not beside.exists()
            else f"{path}: no packets of the sensor that {beside.name} describes"
        )


def _ouster(packets: Iterator[Datagram], metadata: Path) -> Iterator[Scan]:
    from edge.wire.ouster import OusterDecoder

    with metadata.open("rb") as file:
        decoder = OusterDecoder(file.read(_MAX_METADATA + 1))
    for packet in packets:
        scan = decoder.take(packet.payload)
        if scan is not None:
            yield scan
    scan = decoder.finish()
    if scan is not None:
        yield scan
    if decoder.skipped:
        log.warning("%d packets came out of order or without a valid column", decoder.skipped)


def _velodyne(packets: Iterator[Datagram]) -> Iterator[Scan]:
    decoder = _velodyne_decoder()
    size = decoder.PACKET_SIZE
    stream = decoder.StreamDecoder(decoder.Config())
    try:
        for packet in packets:
            if len(packet.payload) == size:
                done = stream.decode(packet.stamp_ns * 1e-9, packet.payload, False)
                if done is not None:
                    yield _velodyne_scan(*done)
        done = stream.finish(False)
        if done is not None:
            yield _velodyne_scan(*done)
    except RuntimeError as fault:  # the decoder's own, such as a model that it does not know
        raise ValueError(str(fault)) from fault


def _velodyne_scan(stamp: Any, points: Any) -> Scan:
    return Scan(points[:, list(_VELODYNE_FIELDS.values())], tuple(_VELODYNE_FIELDS), -1, round(stamp.host * 1e9), 0)


def _velodyne_decoder() -> Any:
    try:
        import velodyne_decoder
    except ImportError as fault:
        raise EdgeError(
            "without the metadata of an Ouster sensor (NAME.json beside it, or --metadata) packets are taken for a Velodyne sensor's, and "
            "those need velodyne-decoder, which is not installed: pip install 'edge-runtime[lidar]'"
        ) from fault
    return velodyne_decoder
