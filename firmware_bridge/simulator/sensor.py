"""What a spinning LIDAR is like: where its beams point, how well it measures, what it makes up. Data only."""

import math
from dataclasses import dataclass, replace

import numpy as np

Elevations = tuple[float, ...]


@dataclass(frozen=True)
class Mount:
    """Pose of the sensor in the vehicle frame (x forward, y left, z up, origin on the ground under the rear axle).

    Args:
        x_m, y_m, z_m: position.
        roll_rad, pitch_rad, yaw_rad: turned by yaw, then pitch (nose down is positive), then roll.
    """

    x_m: float = 1.2
    y_m: float = 0.0
    z_m: float = 1.8
    roll_rad: float = 0.0
    pitch_rad: float = 0.0
    yaw_rad: float = 0.0


@dataclass(frozen=True)
class SensorModel:
    """A spinning LIDAR.

    Args:
        name: of the preset.
        elevations_rad: of each beam, increasing; the position is the ring number.
        azimuth_step_rad: between columns.
        rate_hz: turns per second.
        min_range_m, max_range_m: nothing is returned outside.
        azimuth_offsets_rad: of each beam from its column, or empty.
        range_sigma_m, range_sigma_per_m: standard deviation of a range: first + second * range.
        range_step_m: resolution of a range.
        angle_sigma_rad: jitter of a beam's azimuth.
        dropout: probability that a ray is lost whatever it met.
        sensitivity: a return at the longest range from a white surface head-on is kept with probability 1 - exp(-sensitivity).
        incidence_power: how the signal falls with the cosine of incidence (1 = Lambert).
        intensity_scale, intensity_max: intensity of a white surface head-on, and where it saturates.
        intensity_range_power: how intensity still falls with range after the sensor's own correction (0 = not at all).
        intensity_sigma: relative standard deviation of intensity.
        mixed_probability: that a ray next to an edge returns a range between the two surfaces.
        mixed_gap_m: widest gap that is bridged so.
        stray_per_m: returns of rain or dust per metre of ray.
        stray_range_m: beyond it rain and dust are too faint.
    """

    name: str
    elevations_rad: Elevations
    azimuth_step_rad: float
    rate_hz: float = 10.0
    min_range_m: float = 0.5
    max_range_m: float = 100.0
    azimuth_offsets_rad: tuple[float, ...] = ()
    range_sigma_m: float = 0.01
    range_sigma_per_m: float = 0.0002
    range_step_m: float = 0.002
    angle_sigma_rad: float = 0.0003
    dropout: float = 0.01
    sensitivity: float = 6.0
    incidence_power: float = 0.7
    intensity_scale: float = 100.0
    intensity_max: float = 255.0
    intensity_range_power: float = 0.0
    intensity_sigma: float = 0.15
    mixed_probability: float = 0.15
    mixed_gap_m: float = 2.0
    stray_per_m: float = 0.0
    stray_range_m: float = 15.0

    def __post_init__(self) -> None:
        if any(low >= high for low, high in zip(self.elevations_rad, self.elevations_rad[1:], strict=False)):
            raise ValueError("elevations_rad must increase: the position of a beam is its ring number")
        if self.azimuth_offsets_rad and len(self.azimuth_offsets_rad) != len(self.elevations_rad):
            raise ValueError("azimuth_offsets_rad needs one value per beam, or none")
        if not (0.0 < self.azimuth_step_rad < 1.0 and self.rate_hz > 0.0 and 0.0 <= self.min_range_m < self.max_range_m):
            raise ValueError("azimuth_step_rad, rate_hz and the ranges must be positive and in order")

    def perfect(self) -> "SensorModel":
        """The same beams without noise, losses and made-up returns."""
        return replace(
            self, range_sigma_m=0.0, range_sigma_per_m=0.0, range_step_m=0.0, angle_sigma_rad=0.0, dropout=0.0, sensitivity=1e9,
            intensity_sigma=0.0, mixed_probability=0.0, stray_per_m=0.0,
        )  # fmt: skip


def _even(low_deg: float, high_deg: float, beams: int) -> Elevations:
    return tuple(np.radians(np.linspace(low_deg, high_deg, beams)).tolist())


def _uneven(*runs: tuple[float, float, float]) -> Elevations:
    """Beams from runs of (first, last, step), all in degrees."""
    angles = [first + step * i for first, last, step in runs for i in range(round((last - first) / step) + 1)]
    return tuple(np.radians(sorted(set(np.round(angles, 4).tolist()))).tolist())


def _staggered(beams: int, spread_deg: float) -> tuple[float, ...]:
    return tuple(math.radians(spread_deg) * ((i % 4) / 1.5 - 1.0) for i in range(beams))


def _presets() -> dict[str, SensorModel]:
    step = math.radians
    pandar = _uneven(
        (-25.0, -19.0, 6.0), (-14.0, -14.0, 1.0), (-13.0, -7.0, 1.0), (-6.0, 2.0, 1.0 / 3.0), (3.0, 3.0, 1.0), (5.0, 15.0, 3.0)
    )
    models = (
        SensorModel("vlp16", _even(-15.0, 15.0, 16), step(0.2)),
        SensorModel("spin32", _even(-30.67, 10.67, 32), step(0.2), max_range_m=100.0, range_sigma_m=0.015),
        SensorModel(
            "spin40", pandar, step(0.2), min_range_m=0.3, max_range_m=200.0, azimuth_offsets_rad=_staggered(len(pandar), 1.0)
        ),
        SensorModel(
            "spin64", _uneven((-24.33, -8.83, 0.5), (-8.33, 2.0, 1.0 / 3.0)), step(0.2), max_range_m=120.0,
            range_sigma_m=0.015, azimuth_offsets_rad=_staggered(64, 0.5), intensity_range_power=0.3,
        ),
        SensorModel("spin128", _uneven((-25.0, -9.0, 0.5), (-8.8, 4.0, 0.16), (4.5, 11.0, 0.5)), step(0.2), max_range_m=200.0),
    )  # fmt: skip
    return {model.name: model for model in models}


PRESETS = _presets()
"""Models alike common sensors: vlp16, spin32 (HDL-32), spin40 (Pandar40), spin64 (HDL-64), spin128."""


def vary(model: SensorModel, rng: np.random.Generator) -> SensorModel:
    """A sensor alike ``model`` but not the same: every number that differs between units and makers is drawn anew."""

    def times(value: float, factor: float) -> float:
        return float(value * factor ** rng.uniform(-1.0, 1.0))

    angles = np.asarray(model.elevations_rad) * rng.uniform(0.85, 1.15) + rng.normal(0.0, 0.01)
    gaps = np.diff(angles, prepend=angles[0] - 1.0)
    angles = angles + rng.normal(0.0, 0.05, len(angles)) * np.minimum(gaps, np.roll(gaps, -1))
    return replace(
        model,
        elevations_rad=tuple(np.sort(angles).tolist()),
        azimuth_step_rad=times(model.azimuth_step_rad, 1.6),
        min_range_m=float(rng.uniform(0.3, 1.0)),
        max_range_m=times(model.max_range_m, 1.2),
        range_sigma_m=times(0.012, 2.5),
        range_sigma_per_m=times(0.0002, 3.0),
        range_step_m=float(rng.choice([0.002, 0.004, 0.01])),
        angle_sigma_rad=times(0.0003, 2.0),
        dropout=float(rng.choice([0.002, 0.01, 0.05, 0.15])),
        sensitivity=times(6.0, 3.0),
        incidence_power=float(rng.uniform(0.4, 1.0)),
        intensity_scale=times(model.intensity_scale, 1.6),
        intensity_range_power=float(rng.choice([0.0, 0.5, 1.0])),
        intensity_sigma=float(rng.uniform(0.05, 0.4)),
        mixed_probability=float(rng.uniform(0.0, 0.4)),
        mixed_gap_m=float(rng.uniform(0.5, 4.0)),
        stray_per_m=float(rng.choice([0.0, 0.0, 0.0, 0.0005, 0.002])),
    )


def vary_mount(rng: np.random.Generator) -> Mount:
    """A mounting as found on cars, vans and low robots, a little out of true."""
    return Mount(
        x_m=float(rng.uniform(0.0, 3.0)),
        y_m=float(rng.normal(0.0, 0.1)),
        z_m=float(rng.uniform(1.3, 2.2)) if rng.random() < 0.9 else float(rng.uniform(0.6, 1.3)),
        roll_rad=float(rng.normal(0.0, 0.01)),
        pitch_rad=float(rng.normal(0.0, 0.02)),
        yaw_rad=float(rng.normal(0.0, 0.02)),
    )
