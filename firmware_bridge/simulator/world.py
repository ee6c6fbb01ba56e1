"""A driving world with its own clock: time moves only in ``step``, and the same seed gives the same scans."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from firmware_bridge.simulator.obstacles import Obstacles
from firmware_bridge.simulator.scene import Scene, rectangle
from firmware_bridge.simulator.sense import Turn, scan
from firmware_bridge.simulator.sensor import PRESETS, Mount, SensorModel
from firmware_bridge.simulator.vehicle import Path, Vehicle, VehicleModel

Expectation = Literal["must_stop", "must_not_brake"]
_STEP_NS = 5_000_000


@dataclass(frozen=True, eq=False)
class Scenario:
    """A situation with a known right answer.

    Args:
        name: as in ``SCENARIOS``.
        scene: ground and things, which move by themselves.
        speed_mps: speed at the start, which cruise control keeps.
        duration_s: after it everything is over.
        expectation: ``must_stop`` (collides when nothing is done) or ``must_not_brake``.
        path: of the ego vehicle.
        stray_per_m: returns of rain or dust per metre of ray, instead of the sensor's own.
    """

    name: str
    scene: Scene
    speed_mps: float
    duration_s: float
    expectation: Expectation
    path: Path = field(default_factory=Path)
    stray_per_m: float | None = None


class World:
    """One run of a scenario.

    Args:
        scenario: what happens.
        sensor: model of the LIDAR.
        mount: where it sits on the ego vehicle.
        seed: of everything random; the scan at a time depends on seed and time only.
        vehicle_model: the ego vehicle's size and abilities.

    Attributes:
        vehicle: the ego vehicle.
        now_ns: virtual time since the start.
        collided: whether the ego vehicle has touched anything; then it stands.
        min_gap_m: smallest distance to any obstacle so far (to the side as well), inf when none came near.
        impact_mps: speed of the ego vehicle when it collided.
    """

    def __init__(
        self, scenario: Scenario, sensor: SensorModel | None = None, mount: Mount | None = None, seed: int = 0,
        vehicle_model: VehicleModel | None = None,
    ) -> None:  # fmt: skip
        sensor = sensor or PRESETS["spin40"]
        if scenario.stray_per_m is not None:
            sensor = replace(sensor, stray_per_m=scenario.stray_per_m)
        self.scenario, self.sensor, self.mount, self.seed = scenario, sensor, mount or Mount(), seed
        self.vehicle = Vehicle(scenario.path, scenario.scene.ground, scenario.speed_mps, scenario.speed_mps, vehicle_model)
        self.now_ns = 0
        self.collided = False
        self.min_gap_m = math.inf
        self.impact_mps = 0.0
        self._obstacles = Obstacles(scenario.scene.things)
        self._note_gap()

    @property
    def now_s(self) -> float:
        """Virtual time since the start, in seconds."""
        return self.now_ns * 1e-9

    @property
    def is_over(self) -> bool:
        """Whether the scenario has run its time or ended in a collision."""
        return self.collided or self.now_s >= self.scenario.duration_s

    def command_brake(self, value: float, ttl_s: float = 0.5) -> None:
        """Ask the ego vehicle for the brake, 0 to 1, from now on for ``ttl_s``."""
        self.vehicle.command_brake(value, self.now_s, ttl_s)

    def step(self, dt_s: float) -> None:
        """Advance time, in whole nanoseconds; inside it moves by 5 ms at a time."""
        end_ns = self.now_ns + round(dt_s * 1e9)
        if end_ns <= self.now_ns:
            raise ValueError("dt_s must be positive")
        while self.now_ns < end_ns:
            step_ns = min(_STEP_NS, end_ns - self.now_ns)
            if not self.collided:
                self.vehicle.step(self.now_s, step_ns * 1e-9)
            self.now_ns += step_ns
            self._note_gap()

    def scan(self) -> Turn:
        """The turn that ends now, in the sensor frame."""
        ego, scene = self.vehicle.ego_pose(), self.scenario.scene
        seed = (self.seed * 1_000_003 + self.now_ns) & 0x7FFF_FFFF_FFFF_FFFF
        return scan(self.sensor, self.mount, ego, scene.ground, scene.parts(self.now_s), seed)

    def gap_m(self, after_s: float = 0.0, limit_m: float = math.inf) -> float:
        """Distance to the nearest obstacle, now or after a time in which everybody keeps speed and heading; at most the limit."""
        vehicle = self.vehicle
        x, y, yaw = vehicle.path.pose(vehicle.way_m + vehicle.speed_mps * after_s)
        return self._obstacles.gap_m(rectangle(x, y, yaw, vehicle.model.footprint_m), self.now_s, after_s, limit_m)

    def time_to_collision_s(self, horizon_s: float = 4.0, step_s: float = 0.05) -> float:
        """Truth for judges: time until the ego vehicle touches something when everybody keeps speed and heading, or inf."""
        for i in range(round(horizon_s / step_s) + 1):
            if self.gap_m(i * step_s, limit_m=0.1) <= 0.0:
                return i * step_s
        return math.inf

    def _note_gap(self) -> None:
        self.min_gap_m = self.gap_m(limit_m=self.min_gap_m)
        if self.min_gap_m <= 0.0 and not self.collided:
            self.collided, self.impact_mps, self.vehicle.speed_mps = True, self.vehicle.speed_mps, 0.0
