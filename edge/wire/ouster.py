"""UDP packets of Ouster sensors as scans, given the sensor's metadata.

Points lie in the sensor frame, metres, and are only those with a return; ``intensity`` is the calibrated reflectivity, which all packet
formats carry, ``ring`` the beam from the top. Of two returns the stronger is taken. Proved against the maker's own decoder.
Source: Ouster firmware user manual, "Lidar data packet format" and "Coordinate frames and XYZ calculation".
"""

from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import Reason, Reject
from edge.messages import Scan
from edge.wire.maps import STAMP_MAX
from edge.wire.point_table import shown

FIELDS = ("x", "y", "z", "intensity", "ring")
_MAX_METADATA = 1_000_000  # bytes
_SECTIONS = ("beam_intrinsics", "lidar_intrinsics")  # newer firmware puts there what older has at the top
_Number = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
_Angles = Annotated[list[_Number], msgspec.Meta(min_length=1, max_length=256)]
_Matrix = Annotated[list[_Number], msgspec.Meta(min_length=16, max_length=16)]
_FRAME_IDS = 1 << 16
_LATE_FRAMES = 8  # UDP may swap packets; a frame of longer ago is the first after the sensor has started again


class _Profile(msgspec.Struct, frozen=True):
    """Layout of a packet: bytes of headers and footers, and of a pixel with its range and reflectivity."""

    header: int
    footer: int
    column_header: int
    column_footer: int
    pixel: int
    range_kind: str
    range_mask: int
    range_unit_mm: int
    reflectivity_at: int


_PROFILES = {
    "LEGACY": _Profile(0, 0, 16, 4, 12, "<u4", 0xFFFFF, 1, 4),
    "RNG15_RFL8_NIR8": _Profile(32, 32, 12, 0, 4, "<u2", 0x7FFF, 8, 2),
    "RNG19_RFL8_SIG16_NIR16": _Profile(32, 32, 12, 0, 12, "<u4", 0x7FFFF, 1, 4),
    "RNG19_RFL8_SIG16_NIR16_DUAL": _Profile(32, 32, 12, 0, 16, "<u4", 0x7FFFF, 1, 3),
}


class _Format(msgspec.Struct):
    pixels_per_column: Annotated[int, msgspec.Meta(ge=1, le=256)]
    columns_per_frame: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    columns_per_packet: Annotated[int, msgspec.Meta(ge=1, le=128)]
    udp_profile_lidar: str = "LEGACY"


class _Metadata(msgspec.Struct):
    beam_altitude_angles: _Angles
    beam_azimuth_angles: _Angles
    lidar_to_sensor_transform: _Matrix
    data_format: _Format
    lidar_origin_to_beam_origin_mm: _Number = 0.0
    beam_to_lidar_transform: _Matrix | None = None


class OusterDecoder:
    """Puts the packets of one sensor together to scans.

    Args:
        metadata: JSON that the sensor gives of itself, with ``data_format``.

    Attributes:
        packet_bytes: size of a packet; others are not for this decoder.
        skipped: packets of a frame that had ended already, or with a column that is none.

    Raises:
        Reject: metadata that cannot be used, or a packet format that is not known.
    """

    def __init__(self, metadata: bytes) -> None:
        facts = _read_metadata(metadata)
        layout = facts.data_format
        profile = _PROFILES.get(layout.udp_profile_lidar)
        if profile is None:
            raise Reject(Reason.WRONG_VALUE, f"udp_profile_lidar {shown(layout.udp_profile_lidar)}; {', '.join(_PROFILES)} are known")
        self._profile = profile
        self._rows, self._columns = layout.pixels_per_column, layout.columns_per_frame
        if not self._rows == len(facts.beam_altitude_angles) == len(facts.beam_azimuth_angles):
            raise Reject(Reason.WRONG_SIZE, f"beam angles that are not those of {self._rows} beams")
        self._column = _column_type(profile, self._rows)
        self._in_packet = layout.columns_per_packet
        self.packet_bytes = profile.header + self._in_packet * self._column.itemsize + profile.footer
        self.skipped = 0
        self._direction, self._offset = _rays(facts)
        self._range = np.zeros((self._columns, self._rows), np.uint32)
        self._reflectivity = np.zeros((self._columns, self._rows), np.uint8)
        self._ring = np.broadcast_to(np.arange(self._rows, dtype=np.float32), (self._columns, self._rows))
        self._frame: int | None = None
        self._stamp_ns = 0

    def take(self, packet: bytes) -> Scan | None:
        """The scan that a packet completes, by beginning the next.

        Args:
            packet: UDP payload; those of other sizes, such as of the motion sensor, are passed over.
        """
        if len(packet) != self.packet_bytes:
            return None
        columns = np.frombuffer(packet, self._column, self._in_packet, self._profile.header)
        is_legacy = self._profile.header == 0
        columns = columns[columns["status"] == 0xFFFFFFFF] if is_legacy else columns[columns["status"] & 1 == 1]
        columns = columns[columns["column"] < self._columns]
        if not len(columns):
            self.skipped += 1
            return None
        frame = int(columns["frame"][0]) if is_legacy else int.from_bytes(packet[2:4], "little")
        done = None
        if frame != self._frame:
            if self._frame is not None and (self._frame - frame) % _FRAME_IDS <= _LATE_FRAMES:
                self.skipped += 1
                return None
            done = self.finish()
            self._frame, stamp_ns = frame, int(columns["stamp"][0])
            self._stamp_ns = stamp_ns if stamp_ns <= STAMP_MAX else 0
        at = columns["column"]
        self._range[at] = (columns["range"]["v"] & self._profile.range_mask).astype(np.uint32) * self._profile.range_unit_mm
        self._reflectivity[at] = columns["reflectivity"]["v"]
        return done

    def finish(self) -> Scan | None:
        """The scan in progress, whole or cut off; None when there is none."""
        if self._frame is None:
            return None
        hit = self._range > 0
        points = np.empty((np.count_nonzero(hit), len(FIELDS)), np.float32)
        points[:, :3] = self._range[hit][:, None] * self._direction[hit] + self._offset[hit]
        points[:, 3] = self._reflectivity[hit]
        points[:, 4] = self._ring[hit]
        scan = Scan(points, FIELDS, self._frame, self._stamp_ns, 0)
        self._range[:] = 0
        self._frame = None
        return scan


def _read_metadata(text: bytes) -> _Metadata:
    if len(text) > _MAX_METADATA:
        raise Reject(Reason.TOO_LARGE, f"{len(text)} bytes of metadata; at most {_MAX_METADATA}")
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
        for section in _SECTIONS:
            found |= found.get(section) or {}
        found["data_format"] = found.get("lidar_data_format") or found.get("data_format")
        facts = msgspec.convert(found, _Metadata)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as fault:
        raise Reject(Reason.MALFORMED, f"metadata: {shown(str(fault))}") from None
    return facts


def _column_type(profile: _Profile, rows: int) -> np.dtype[np.void]:
    pixel_bytes = rows * profile.pixel
    status_at = profile.column_header + pixel_bytes if profile.column_footer else 10
    fields: dict[str, tuple[Any, int]] = {
        "stamp": ("<u8", 0),
        "column": ("<u2", 8),
        "frame": ("<u2", 10),
        "status": ("<u4" if profile.column_footer else "<u2", status_at),
    }
    for name, kind, at in (("range", profile.range_kind, 0), ("reflectivity", "u1", profile.reflectivity_at)):
        pixel = np.dtype({"names": ["v"], "formats": [kind], "offsets": [at], "itemsize": profile.pixel})
        fields[name] = ((pixel, (rows,)), profile.column_header)
    size = profile.column_header + pixel_bytes + profile.column_footer
    names = list(fields)
    return np.dtype({"names": names, "formats": [fields[n][0] for n in names], "offsets": [fields[n][1] for n in names], "itemsize": size})


def _rays(facts: _Metadata) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Metres along x, y and z for each mm of range, and where the rays begin: float32 (columns, rows, 3) each."""
    columns = facts.data_format.columns_per_frame
    origin = facts.lidar_origin_to_beam_origin_mm
    beam = np.array(facts.beam_to_lidar_transform or [1, 0, 0, origin, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], np.float64).reshape(4, 4)
    encoder = 2 * np.pi * (1 - np.arange(columns) / columns)[:, None]
    azimuth = encoder - np.radians(facts.beam_azimuth_angles)
    altitude = np.radians(facts.beam_altitude_angles)
    lateral, vertical = beam[0, 3], beam[2, 3]
    direction = np.stack(np.broadcast_arrays(np.cos(azimuth) * np.cos(altitude), np.sin(azimuth) * np.cos(altitude), np.sin(altitude)), -1)
    begin = np.stack(np.broadcast_arrays(lateral * np.cos(encoder), lateral * np.sin(encoder), np.full_like(encoder, vertical)), -1)
    offset = begin - np.hypot(lateral, vertical) * direction
    to_sensor = np.array(facts.lidar_to_sensor_transform, np.float64).reshape(4, 4)
    turned = direction @ to_sensor[:3, :3].T * 1e-3
    moved = (offset @ to_sensor[:3, :3].T + to_sensor[:3, 3]) * 1e-3
    return turned.astype(np.float32), moved.astype(np.float32)
