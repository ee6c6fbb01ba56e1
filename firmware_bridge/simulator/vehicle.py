"""The ego vehicle: a path to follow, a cruise control, and a brake that acts with a lag and only while its command is alive."""

import math
from dataclasses import dataclass

from firmware_bridge.simulator.cast import EgoPose
from firmware_bridge.simulator.ground import Ground

GRAVITY_MPS2 = 9.81
_THROTTLE_OFF = 0.01  # no drive while the brake does more than this


@dataclass(frozen=True)
class Path:
    """A line of constant curvature, from the origin along x.

    Args:
        curvature_per_m: 0 is straight, positive turns left.
    """

    curvature_per_m: float = 0.0

    def pose(self, way_m: float) -> tuple[float, float, float]:
        """Position x, y in metres and yaw in radians after a way."""
        k = self.curvature_per_m
        if abs(k) < 1e-9:
            return way_m, 0.0, 0.0
        return math.sin(k * way_m) / k, (1.0 - math.cos(k * way_m)) / k, k * way_m


@dataclass(frozen=True)
class VehicleModel:
    """A passenger car.

    Args:
        length_m, width_m, rear_overhang_m, wheelbase_m: size; the origin is under the rear axle.
        brake_max_mps2: deceleration at brake 1.
        brake_lag_s: time constant with which the brake follows its command.
        throttle_max_mps2, drag_mps2: what cruise control may add, and what slows the car when coasting.
        cruise_gain_per_s: acceleration per difference of speed.
    """

    length_m: float = 4.4
    width_m: float = 1.85
    rear_overhang_m: float = 0.8
    wheelbase_m: float = 2.7
    brake_max_mps2: float = 8.0
    brake_lag_s: float = 0.15
    throttle_max_mps2: float = 2.0
    drag_mps2: float = 0.25
    cruise_gain_per_s: float = 0.8

    @property
    def footprint_m(self) -> tuple[float, float, float, float]:
        """Centre x and y, half length, half width in the vehicle frame."""
        return self.length_m / 2 - self.rear_overhang_m, 0.0, self.length_m / 2, self.width_m / 2


class Vehicle:
    """A vehicle on a path.

    Args:
        path: what it follows exactly.
        ground: gives the grade, which pulls at it.
        speed_mps: speed at the start.
        cruise_mps: speed that it drives to without a brake command, or None to coast.
        model: size and abilities.

    Attributes:
        way_m, speed_mps, brake: way along the path, speed, and what the brake does now, 0 to 1.
    """

    def __init__(
        self, path: Path, ground: Ground, speed_mps: float, cruise_mps: float | None = None, model: VehicleModel | None = None
    ) -> None:
        if not (math.isfinite(speed_mps) and speed_mps >= 0.0):
            raise ValueError("speed_mps must be finite and not negative")
        self.path, self.ground, self.model = path, ground, model or VehicleModel()
        self.way_m, self.speed_mps, self.cruise_mps = 0.0, speed_mps, cruise_mps
        self.brake = 0.0
        self._asked = 0.0
        self._expires_s = -math.inf

    def command_brake(self, value: float, now_s: float, ttl_s: float) -> None:
        """Ask for the brake, 0 to 1; it replaces the last command and acts until ``now_s + ttl_s`` unless it is renewed.

        Raises:
            ValueError: for a value outside 0..1 or a life that is not positive and finite.
        """
        if not 0.0 <= value <= 1.0:  # also refuses NaN
            raise ValueError("a brake command is between 0 and 1")
        if not 0.0 < ttl_s < math.inf:
            raise ValueError("a brake command needs a life in seconds")
        self._asked, self._expires_s = value, now_s + ttl_s

    def step(self, now_s: float, dt_s: float) -> None:
        """Advance from ``now_s`` by ``dt_s``, at most some hundredths of a second."""
        model = self.model
        target = self._asked if now_s < self._expires_s else 0.0
        self.brake += (target - self.brake) * (1.0 - math.exp(-dt_s / model.brake_lag_s))
        accel = -model.brake_max_mps2 * self.brake
        pull = -GRAVITY_MPS2 * math.sin(self._grade_rad())
        if self.brake < _THROTTLE_OFF and target == 0.0:
            accel += self._drive_mps2(pull)
        else:
            accel += pull - model.drag_mps2
        before = self.speed_mps
        self.speed_mps = max(0.0, before + accel * dt_s)
        self.way_m += 0.5 * (before + self.speed_mps) * dt_s

    def _drive_mps2(self, pull: float) -> float:
        """Acceleration by cruise control, which makes up for the grade, or by coasting."""
        if self.cruise_mps is None:
            return pull - self.model.drag_mps2
        wanted = self.model.cruise_gain_per_s * (self.cruise_mps - self.speed_mps)
        return min(max(wanted, -1.0), self.model.throttle_max_mps2)

    def _grade_rad(self) -> float:
        return -self.tilt_rad()[0]

    def tilt_rad(self) -> tuple[float, float]:
        """Pitch (nose down is positive) and roll, from the ground under the wheels."""
        x, y, yaw = self.path.pose(self.way_m)
        half = self.model.wheelbase_m / 2
        middle = (x + half * math.cos(yaw), y + half * math.sin(yaw))
        return self.ground.tilt_rad(*middle, yaw, self.model.wheelbase_m, 0.85 * self.model.width_m)

    def ego_pose(self) -> EgoPose:
        """Pose and motion in the world."""
        x, y, yaw = self.path.pose(self.way_m)
        pitch, roll = self.tilt_rad()
        rate = self.path.curvature_per_m * self.speed_mps
        return EgoPose(x, y, self.ground.height_m(x, y), roll, pitch, yaw, self.speed_mps, rate)
