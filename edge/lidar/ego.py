"""The vehicle's own motion. Imports no kernel: a pipeline without a LIDAR must not pay for one."""

import math

import msgspec


class Ego(msgspec.Struct, frozen=True, gc=False):
    """The vehicle's motion at the time of a scan.

    Args:
        speed_mps: negative in reverse; NaN where it is not known.
        yaw_rate_radps: to the left; 0 where it is not known.
    """

    speed_mps: float = math.nan
    yaw_rate_radps: float = 0.0
