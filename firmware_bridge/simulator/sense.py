"""From what the rays met to what the sensor reports: losses, noise, mixed and stray returns, intensity."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from firmware_bridge.simulator.cast import GROUND, NOTHING, EgoPose, Parts, Rays, cast
from firmware_bridge.simulator.ground import Ground
from firmware_bridge.simulator.hits import MISS, normal, uniform
from firmware_bridge.simulator.jit import kernel
from firmware_bridge.simulator.sensor import Mount, SensorModel

LABEL_GROUND, LABEL_VEHICLE, LABEL_VULNERABLE, LABEL_OTHER = 0, 1, 2, 3
INSTANCE_GROUND, INSTANCE_STRAY = 0, -1


class Turn(NamedTuple):
    """One simulated turn, in firing order, with its truth.

    Args:
        points: float32 (n, 4): x, y, z in metres in the sensor frame as it was when each point was measured, intensity.
        ring: uint16 (n,): beam, 0 is the lowest.
        instance: int32 (n,): identity of the thing; INSTANCE_GROUND or INSTANCE_STRAY.
        label: uint8 (n,): LABEL_GROUND, LABEL_VEHICLE, LABEL_VULNERABLE or LABEL_OTHER (strays are other).
        t_s: float32 (n,): time of the point before the end of the turn, in seconds, not positive.
    """

    points: npt.NDArray[np.float32]
    ring: npt.NDArray[np.uint16]
    instance: npt.NDArray[np.int32]
    label: npt.NDArray[np.uint8]
    t_s: npt.NDArray[np.float32]


def scan(sensor: SensorModel, mount: Mount, ego: EgoPose, ground: Ground, parts: Parts, seed: int) -> Turn:
    """Measure one turn that ends now. The same arguments give the same turn, to the last bit."""
    return measure(sensor, cast(sensor, mount, ego, ground, parts, seed), ground, parts, seed)


def measure(sensor: SensorModel, rays: Rays, ground: Ground, parts: Parts, seed: int) -> Turn:
    """Report rays as the sensor would."""
    size = rays.ranges.size
    turn = Turn(
        np.empty((size, 4), np.float32),
        np.empty(size, np.uint16),
        np.empty(size, np.int32),
        np.empty(size, np.uint8),
        np.empty(size, np.float32),
    )
    elevations = np.asarray(sensor.elevations_rad)
    offsets = np.asarray(sensor.azimuth_offsets_rad) if sensor.azimuth_offsets_rad else np.zeros(len(elevations))
    numbers = np.array([
        sensor.min_range_m, sensor.max_range_m, sensor.range_sigma_m, sensor.range_sigma_per_m, sensor.range_step_m,
        sensor.angle_sigma_rad, sensor.dropout, sensor.sensitivity, sensor.incidence_power, sensor.intensity_scale,
        sensor.intensity_max, sensor.intensity_range_power, sensor.intensity_sigma, sensor.mixed_probability, sensor.mixed_gap_m,
        sensor.stray_per_m, sensor.stray_range_m,
    ])  # fmt: skip
    n = _measure(
        numbers, elevations, offsets, rays.azimuths, rays.times, rays.ranges, rays.parts, rays.cosines, ground.reflectivity,
        parts.surfaces, parts.labels, parts.instances, seed, *turn,
    )  # fmt: skip
    return Turn(turn.points[:n].copy(), turn.ring[:n].copy(), turn.instance[:n].copy(), turn.label[:n].copy(), turn.t_s[:n].copy())


@kernel
def _measure(  # noqa: C901, PLR0913 - one bare loop over many arrays
    numbers: npt.NDArray[np.float64], elevations: npt.NDArray[np.float64], offsets: npt.NDArray[np.float64],
    azimuths: npt.NDArray[np.float64], times: npt.NDArray[np.float64], ranges: npt.NDArray[np.float32],
    found: npt.NDArray[np.int32], cosines: npt.NDArray[np.float32], ground_reflectivity: float,
    surfaces: npt.NDArray[np.float64], labels: npt.NDArray[np.uint8], instances: npt.NDArray[np.int32], seed: int,
    points: npt.NDArray[np.float32], ring: npt.NDArray[np.uint16], instance: npt.NDArray[np.int32],
    label: npt.NDArray[np.uint8], t_s: npt.NDArray[np.float32],
) -> int:  # fmt: skip
    min_range, max_range, sigma, sigma_per_m, range_step, angle_sigma, dropout, sensitivity, power = (
        numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6], numbers[7], numbers[8],
    )  # fmt: skip
    scale, top, range_power, intensity_sigma, mixed, gap, stray, stray_range = (
        numbers[9], numbers[10], numbers[11], numbers[12], numbers[13], numbers[14], numbers[15], numbers[16],
    )  # fmt: skip
    columns, beams = ranges.shape
    n = 0
    for c in range(columns):
        for b in range(beams):
            ray = c * beams + b
            r, which = float(ranges[c, b]), found[c, b]
            drop = MISS if stray <= 0.0 else -math.log(uniform(seed, ray, 0)) / stray
            if drop < min(r, stray_range) and drop > min_range:
                r, tag, who, signal = drop, LABEL_OTHER, INSTANCE_STRAY, 0.02 + 0.05 * uniform(seed, ray, 1)
            else:
                if which == NOTHING or r < min_range or uniform(seed, ray, 2) < dropout:
                    continue
                tag, who, reflectivity = LABEL_GROUND, INSTANCE_GROUND, ground_reflectivity
                if which != GROUND:
                    tag, who, reflectivity = labels[which], instances[which], surfaces[which, 2]
                signal = reflectivity * max(float(cosines[c, b]), 0.01) ** power
                if uniform(seed, ray, 3) > 1.0 - math.exp(-sensitivity * signal * (max_range / r) ** 2):
                    continue
                if mixed > 0.0 and uniform(seed, ray, 4) < mixed:
                    other = ranges[(c + 1) % columns, b]
                    if not r + 0.2 < other < r + gap and b + 1 < beams:
                        other = ranges[c, b + 1]
                    if r + 0.2 < other < r + gap:
                        r += (other - r) * uniform(seed, ray, 5)
                r += (sigma + sigma_per_m * r) * normal(seed, ray, 6)
                if range_step > 0.0:
                    r = range_step * math.floor(r / range_step + 0.5)
                if r < min_range or r > max_range:
                    continue
            azimuth = azimuths[c] + offsets[b] + angle_sigma * normal(seed, ray, 10)
            flat = r * math.cos(elevations[b])
            points[n, 0], points[n, 1], points[n, 2] = flat * math.cos(azimuth), flat * math.sin(azimuth), r * math.sin(elevations[b])
            value = scale * signal * (10.0 / max(r, 2.0)) ** range_power * (1.0 + intensity_sigma * normal(seed, ray, 12))
            points[n, 3] = min(max(value, 0.0), top)
            ring[n], instance[n], label[n], t_s[n] = b, who, tag, times[c]
            n += 1
    return n
