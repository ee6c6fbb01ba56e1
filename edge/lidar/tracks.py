"""Boxes of one scan after another to objects that keep their number, have a velocity and a time to collision.

Measured on two slow shared cores, path included, median: 0.3 ms for 60 detections of 60 tracks, 2.4 to 2.9 ms for 256 of 256 within
120 m, 7 to 10 ms for 256 within 6 m; costs made to be hard to assign (256 of 256) add up to 70 ms.

A track lives in the vehicle's axes, and its velocity is over ground: the vehicle's own motion is taken out between scans, so that what
stands has velocity 0 while the vehicle brakes or turns, and the filter need not tell the one from the other. Without a speed,
velocities are relative to the vehicle until it is known again.
"""

import hashlib
import math
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt

from edge.kernels import tracks as k
from edge.kernels.assign import assign
from edge.kernels.collision import GHOST, KNOWN, NEW
from edge.kernels.tracks_life import N_SEEN, put_in_order, renew, show
from edge.lidar.path import Path
from edge.lidar.vehicle import Vehicle

_HIDDEN = 2  # scans in which an object may be unseen and still be met
_STATE_VERSION = b"edge-tracks-1\n"


class TrackSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How objects are followed.

    Args:
        noise_m, noise_per_m: standard deviation of a box's near faces: at the sensor, and what each metre of distance adds.
        agility: power density of accelerations, m^2/s^3; 1: after 1 s without a scan a velocity is known to 1 m/s less.
        gate: highest cost of a pair; 16: squared Mahalanobis distance that one in 3000 exceeds.
        birth_hits: scans until a track is confirmed; four times as many inside the box of another object.
        coast_s: a confirmed track lives this long without being seen, in its first ``3 * birth_hits`` scans a share of it; others for
            one scan.
        max_gap_s: after a longer gap between scans everything is forgotten.
        sensor_x_m, sensor_y_m: from where the scans are taken: it decides which faces of a box are near.
        birth_speeds_mps: spread of the speeds of new vehicles, vulnerable road users and others.

    Raises:
        ValueError: a number that is not finite, or not positive where it must be.
    """

    noise_m: float = 0.1
    noise_per_m: float = 0.002
    agility: float = 1.0
    gate: float = 16.0
    birth_hits: int = 3
    coast_s: float = 0.8
    max_gap_s: float = 1.0
    sensor_x_m: float = 0.0
    sensor_y_m: float = 0.0
    birth_speeds_mps: tuple[float, float, float] = (12.0, 3.0, 6.0)

    def __post_init__(self) -> None:
        positive = {name: getattr(self, name) for name in ("noise_m", "agility", "gate", "birth_hits", "coast_s", "max_gap_s")}
        for name, value in positive.items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} = {value}; must be finite and greater than 0")
        others = (self.noise_per_m, self.sensor_x_m, self.sensor_y_m, *self.birth_speeds_mps)
        if not all(map(math.isfinite, others)) or self.noise_per_m < 0 or min(self.birth_speeds_mps) <= 0:
            raise ValueError("noise_per_m, sensor_x_m, sensor_y_m and birth_speeds_mps must be finite, birth speeds greater than 0")

    @property
    def rules(self) -> npt.NDArray[np.float64]:
        """The settings in the order in which the kernels read them."""
        hits, coast = float(self.birth_hits), (self.coast_s, self.max_gap_s)
        first = (self.noise_m, self.noise_per_m, self.agility, self.gate, hits, *coast, self.sensor_x_m, self.sensor_y_m)
        return np.array([*first, *self.birth_speeds_mps], np.float64)


class Tracks:
    """The objects of one lane after an update; views of arrays that the next update overwrites. Rows are in the order of birth.

    Attributes:
        n: tracks.
        id: int64 (n,): never used twice in a lane.
        box: float32 (n, 8): x, y, z, length, width, height, yaw, distance; the remembered extent, length >= width, yaw where it goes.
        velocity: float32 (n, 2): m/s over ground, vehicle axes; when ``is_over_ground`` is false, relative to the vehicle.
        relative_velocity: float32 (n, 2): m/s, change of place in the vehicle's axes.
        velocity_sd: float32 (n,): m/s, standard deviation, in the worse direction.
        probability: float32 (n, 3): vehicle, vulnerable, other; smoothed.
        age_s: float32 (n,): since the first detection.
        hits, misses: int64 (n,): scans in which it was seen; scans since.
        is_confirmed: bool (n,).
        ttc_s, ahead_m: float32 (n,): see ``Path``.
        detection_id: int64 (m,): id of each detection of the scan, in its order; -1: unusable, or no place.
        path: what lies ahead of the vehicle.
        is_over_ground: the vehicle's speed was known.
    """

    def __init__(self, max_objects: int, max_tracks: int, path: Path) -> None:
        self.path = path
        self.ids: npt.NDArray[np.int64] = np.full(max_objects, -1, np.int64)
        self.counts: npt.NDArray[np.int64] = np.zeros((3, max_tracks), np.int64)
        self.boxes: npt.NDArray[np.float32] = np.zeros((max_tracks, 8), np.float32)
        self.velocities: npt.NDArray[np.float32] = np.zeros((2, max_tracks, 2), np.float32)
        self.numbers: npt.NDArray[np.float32] = np.zeros((2, max_tracks), np.float32)
        self.probabilities: npt.NDArray[np.float32] = np.zeros((max_tracks, 3), np.float32)
        self.confirmed: npt.NDArray[np.bool_] = np.zeros(max_tracks, np.bool_)
        self.cut(0, 0, is_over_ground=False)

    def cut(self, n: int, m: int, *, is_over_ground: bool) -> None:
        """Point the views at the first n tracks and m detections."""
        self.n, self.is_over_ground = n, is_over_ground
        self.id, self.hits, self.misses = self.counts[0, :n], self.counts[1, :n], self.counts[2, :n]
        self.box, self.probability, self.is_confirmed = self.boxes[:n], self.probabilities[:n], self.confirmed[:n]
        self.velocity, self.relative_velocity = self.velocities[0, :n], self.velocities[1, :n]
        self.age_s, self.velocity_sd = self.numbers[0, :n], self.numbers[1, :n]
        self.ttc_s, self.ahead_m = self.path.ttc_s[:n], self.path.ahead_m[:n]
        self.detection_id = self.ids[:m]


class Tracker:
    """Objects of every lane; nothing is allocated per scan but views.

    Args:
        lanes: devices whose state is kept.
        max_objects: detections in a scan.
        max_tracks: tracks in a lane; when all are taken, a nearer object takes the place of the farthest one.
        settings: how objects are followed.
        vehicle: whose path is watched.
    """

    def __init__(
        self,
        lanes: int,
        max_objects: int = 256,
        max_tracks: int = 256,
        settings: TrackSettings | None = None,
        vehicle: Vehicle | None = None,
    ) -> None:
        if min(lanes, max_objects, max_tracks) < 1:
            raise ValueError("lanes, max_objects and max_tracks must be at least 1")
        self.settings = settings or TrackSettings()
        self.vehicle = vehicle or Vehicle()
        self._rules = self.settings.rules
        self._floats = np.zeros((lanes, max_tracks, k.N_FLOATS))
        self._ints = np.zeros((lanes, max_tracks, k.N_INTS), np.int64)
        self._heads = np.zeros((lanes, k.N_HEAD), np.int64)
        self._motions = np.zeros((lanes, 2))
        self._lanes = [(self._floats[i], self._ints[i], self._heads[i], self._motions[i]) for i in range(lanes)]
        most = max(max_objects, max_tracks)
        self._max_objects = max_objects
        self._loose, self._seen = np.zeros((max_objects, N_SEEN)), np.zeros((max_objects, N_SEEN))
        self._places, self._order = np.zeros(max_objects, np.int64), np.zeros(max_objects, np.int64)
        self._costs = np.zeros((max_objects, max_tracks))
        self._prices, self._marks = np.zeros((3, most)), np.zeros((3, most), np.int64)
        self._column_of, self._row_of = np.zeros(max_objects, np.int64), np.zeros(max_tracks, np.int64)
        self._measured = np.zeros(k.MEASURES)
        self._tracks = Tracks(max_objects, max_tracks, Path(self.vehicle, max_tracks))
        words = repr((self.settings, self.vehicle, max_tracks, k.N_FLOATS, k.N_INTS, k.N_HEAD))
        self._header = _STATE_VERSION + hashlib.sha256(words.encode()).digest()[:16]

    @property
    def lane_bytes(self) -> int:
        """Memory of one lane."""
        return sum(part.nbytes for part in self._lanes[0])

    def dropped(self, lane: int) -> int:
        """New objects that found all tracks taken, since the lane was reset."""
        return int(self._heads[lane, k.DROPPED])

    def update(
        self,
        lane: int,
        boxes: npt.NDArray[np.float32],
        probabilities: npt.NDArray[np.float32],
        n: int,
        stamp_ns: int,
        speed_mps: float,
        yaw_rate_radps: float,
    ) -> Tracks:
        """Take the objects of a scan; their order means nothing.

        Args:
            lane: whose.
            boxes: float32 (>= n, 8): x, y, z, length, width, height, yaw, distance; vehicle frame: x forward, y to the left, z up.
            probabilities: float32 (>= n, 3): vehicle, vulnerable, other.
            n: objects. One without a finite place is left out, other numbers that are not finite are replaced.
            stamp_ns: of the scan. A step back or a gap of more than ``max_gap_s`` forgets all tracks.
            speed_mps: of the vehicle; NaN: not known.
            yaw_rate_radps: to the left; NaN counts as 0.

        Returns:
            Always the same object, overwritten by the next update of any lane.

        Raises:
            ValueError: more objects than ``max_objects``, or fewer rows than objects.
        """
        if not (0 <= n <= self._max_objects and len(boxes) >= n and len(probabilities) >= n and boxes.shape[1] == 8):
            raise ValueError(f"{n} objects in boxes of shape {boxes.shape}; at most ({self._max_objects}, 8) are possible")
        if probabilities.shape[1] != 3:
            raise ValueError(f"probabilities of shape {probabilities.shape}; expected (n, 3)")
        floats, ints, head, motion = self._lanes[lane]
        rules, shown, seen, order = self._rules, self._tracks, self._seen, self._order
        is_known = math.isfinite(speed_mps)
        speed = speed_mps if is_known else math.nan
        turn = yaw_rate_radps if math.isfinite(yaw_rate_radps) else 0.0
        dt = k.predict(floats, head, motion, stamp_ns, speed, turn, rules)
        m = put_in_order(boxes, probabilities, n, self._loose, self._places, seen, order)
        before = int(head[k.N])
        k.compare(floats, ints, before, seen, m, rules, self._measured, self._costs)
        assign(self._costs, m, before, self.settings.gate, self._prices, self._marks, self._column_of, self._row_of)
        k.correct(floats, ints, before, seen, self._row_of, stamp_ns, dt, rules, self._measured)
        shown.ids[:n] = -1
        renew(floats, ints, head, seen, m, self._column_of, order, stamp_ns, rules, shown.ids)
        after = int(head[k.N])
        arrays = (shown.counts, shown.boxes, shown.velocities, shown.numbers, shown.probabilities, shown.confirmed)
        show(floats, ints, after, stamp_ns, speed if is_known else 0.0, turn, *arrays)
        # A chance pair of detections makes a track for some scans, with any velocity: it counts only while it is seen. One that is known
        # for long may hide for two scans; longer, its place is a guess.
        hits, misses = shown.counts[1], shown.counts[2]
        ghosts = (misses > _HIDDEN) | (misses > 0) & (~shown.confirmed | (hits < 3 * self.settings.birth_hits))
        trust = np.where(ghosts, GHOST, np.where(hits > 1, KNOWN, NEW)).astype(np.uint8)
        # The first scans of an object still show more of it each time, which looks like a drift and is in no standard deviation.
        doubts = shown.numbers[1] * np.where(hits < 2 * self.settings.birth_hits, np.float32(2.0), np.float32(1.0))
        shown.path.update(shown.boxes, shown.velocities[0], shown.confirmed, after, speed, turn, trust, doubts)
        shown.cut(after, n, is_over_ground=is_known)
        return shown

    def reset(self, lane: int) -> None:
        """Forget the tracks of a lane; their ids stay used."""
        following = self._heads[lane, k.NEXT_ID]
        for state in self._lanes[lane]:
            state[:] = 0
        self._heads[lane, k.NEXT_ID] = following

    def save(self, lane: int) -> bytes:
        """The state of a lane: a version, the digest of the settings, a checksum, four arrays."""
        state = b"".join(part.tobytes() for part in self._lanes[lane])
        return self._header + crc32(state).to_bytes(4, "little") + state

    def restore(self, lane: int, state: bytes) -> None:
        """Put back what ``save`` gave, into any lane; what follows has the same bits as if nothing had happened.

        Raises:
            ValueError: another version, other settings, or damaged.
        """
        if not state.startswith(self._header):
            raise ValueError("these tracks belong to other settings or another version")
        at = len(self._header) + 4
        if len(state) != at + self.lane_bytes:
            raise ValueError(f"these tracks have {len(state)} bytes; expected {at + self.lane_bytes}")
        if crc32(state[at:]) != int.from_bytes(state[at - 4 : at], "little"):
            raise ValueError("these tracks are damaged")
        for part in self._lanes[lane]:
            part[...] = np.frombuffer(state, part.dtype, part.size, at).reshape(part.shape)
            at += part.nbytes
