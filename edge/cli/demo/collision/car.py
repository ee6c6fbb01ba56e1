"""The simulated car as a device: what it publishes, and how it obeys. Owns no clock and no socket: the world's time moves in its steps."""

import json
import math
from collections.abc import Iterator

import msgpack
import msgspec
import numpy as np

from edge.messages import Scan
from edge.wire.scan import pack_scan
from firmware_bridge.simulator import Turn, World

DEVICE = "car"
STEP_S = 0.01
_MOTION_NS = 20_000_000
_SCAN_NS = 100_000_000
_FIELDS = ("x", "y", "z", "intensity")
_DECIDED_S = 1.0  # a vehicle that has stood so long stands
_STANDS_MPS = 0.1
_FALSE_BRAKE = 0.05  # less is not felt


class Topics(msgspec.Struct, frozen=True):
    """Where the car publishes, and where it listens."""

    lidar: str = f"vehicle/{DEVICE}/lidar"
    motion: str = f"vehicle/{DEVICE}/motion"
    brake: str = f"vehicle/{DEVICE}/cmd/brake"


TOPICS = Topics()


class Record(msgspec.Struct):
    """What became of a drive.

    Attributes:
        name, seed, sensor: of the drive.
        expectation: "must_stop" or "must_not_brake".
        collided, impact_mps: whether and how fast it hit something.
        stopped_m: how far from the nearest thing it stands; NaN: it drives.
        min_gap_m: nearest that anything came, to the side as well.
        first_brake_s: when the first brake command was obeyed; NaN: never.
        first_speed_mps, first_ttc_s: true speed and time to collision then.
        most_brake: hardest brake obeyed.
        peak_mps2: hardest deceleration.
        obeyed, refused: commands.
    """

    name: str
    seed: int
    sensor: str
    expectation: str
    collided: bool = False
    impact_mps: float = 0.0
    stopped_m: float = math.nan
    min_gap_m: float = math.inf
    first_brake_s: float = math.nan
    first_speed_mps: float = math.nan
    first_ttc_s: float = math.nan
    most_brake: float = 0.0
    peak_mps2: float = 0.0
    obeyed: int = 0
    refused: int = 0

    @property
    def is_as_expected(self) -> bool:
        """Nothing was hit, and what must not brake did not."""
        return not self.collided and (self.expectation == "must_stop" or not self.has_braked)

    @property
    def has_braked(self) -> bool:
        """Harder than nobody notices."""
        return self.most_brake > _FALSE_BRAKE

    @property
    def outcome(self) -> str:
        """For people."""
        if self.collided:
            return f"hit at {self.impact_mps:.1f} m/s"
        if math.isfinite(self.stopped_m):
            return f"stopped {self.stopped_m:.1f} m before it"
        return f"braked, never nearer than {self.min_gap_m:.1f} m" if self.has_braked else "drove on, brake untouched"


class Car:
    """A device in its world.

    Args:
        world: what it drives in.

    Attributes:
        record: what became of it so far.
        brake: last command obeyed, 0 after its life.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        scenario = world.scenario
        self.record = Record(scenario.name, world.seed, world.sensor.name, scenario.expectation)
        self.turn: Turn | None = None
        self.brake = 0.0
        self._until_ns = 0
        self._motions = self._scans = 0
        self._boot_id, self._seq = "", -1
        self._left: list[str] = []
        self._stands_since_s = math.inf

    @property
    def is_decided(self) -> bool:
        """Nothing new can happen: it hit something, has stood for a while, or the scenario is over."""
        return self.world.is_over or self.world.now_s - self._stands_since_s >= _DECIDED_S

    @property
    def scan_is_due(self) -> bool:
        """The next ``messages`` will take time: they hold a scan."""
        return self.world.now_ns >= self._scans * _SCAN_NS

    def messages(self) -> Iterator[tuple[str, bytes]]:
        """Topic and payload of all that is due now: speed and yaw rate at 50 Hz, a scan at 10 Hz."""
        world = self.world
        now_ns = world.now_ns
        if now_ns >= self._motions * _MOTION_NS:
            pose = world.vehicle.ego_pose()
            row = np.array([pose.speed_mps, pose.yaw_rate_radps], "<f4")
            yield TOPICS.motion, msgpack.packb({"v": 1, "seq": self._motions, "t": now_ns, "x": row.tobytes()})
            self._motions += 1
        if self.scan_is_due:
            self.turn = world.scan()
            yield TOPICS.lidar, pack_scan(Scan(self.turn.points, _FIELDS, self._scans, now_ns, now_ns))
            self._scans += 1

    def obey(self, payload: bytes, clock_ns: int) -> bool:
        """Take a command as a brake controller has to, see docs/safety.md: its life, its run, its number and its range are checked.

        Args:
            payload: JSON, as on the wire.
            clock_ns: the time now, on the clock of ``issued_ns`` and ``expires_ns``.

        Returns:
            Whether it is obeyed.
        """
        record, world = self.record, self.world
        life_ns = self._life_ns(payload, clock_ns)
        if life_ns <= 0:
            record.refused += 1
            return False
        record.obeyed += 1
        if self.brake > _FALSE_BRAKE and math.isnan(record.first_brake_s):
            record.first_brake_s, record.first_speed_mps = world.now_s, world.vehicle.speed_mps
            record.first_ttc_s = world.time_to_collision_s()
        record.most_brake = max(record.most_brake, self.brake)
        self._until_ns = world.now_ns + life_ns
        world.command_brake(self.brake, life_ns * 1e-9)
        return True

    def _life_ns(self, payload: bytes, clock_ns: int) -> int:
        """What is left of a command's life; 0 or less: it is void."""
        try:
            command = json.loads(payload)
            boot_id, seq, value, expires_ns = command["boot_id"], int(command["seq"]), float(command["value"]), int(command["expires_ns"])
        except (ValueError, KeyError, TypeError):
            return 0
        if boot_id in self._left or not 0.0 <= value <= 1.0:
            return 0
        if boot_id != self._boot_id:
            self._left.append(self._boot_id)
            self._boot_id, self._seq = boot_id, -1
        if seq <= self._seq or expires_ns <= clock_ns:
            return 0
        self._seq, self.brake = seq, value
        return expires_ns - clock_ns

    def step(self, dt_s: float = STEP_S) -> None:
        """Advance the world."""
        world, record = self.world, self.record
        before_mps = world.vehicle.speed_mps
        world.step(dt_s)
        if world.now_ns >= self._until_ns:
            self.brake = 0.0
        if not world.collided:
            record.peak_mps2 = max(record.peak_mps2, (before_mps - world.vehicle.speed_mps) / dt_s)
        record.collided, record.impact_mps, record.min_gap_m = world.collided, world.impact_mps, world.min_gap_m
        if world.collided or world.vehicle.speed_mps > _STANDS_MPS:
            self._stands_since_s, record.stopped_m = math.inf, math.nan
        elif not math.isfinite(self._stands_since_s):
            self._stands_since_s, record.stopped_m = world.now_s, world.gap_m()
