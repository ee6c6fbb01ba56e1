"""The size of the vehicle, and how far it looks ahead. Imports no kernel: configs are checked without compiling anything."""

import math

import msgspec


class Vehicle(msgspec.Struct, frozen=True, kw_only=True):
    """Size of the vehicle and how far to look.

    Args:
        front_m, rear_m: from the origin (on the ground under the rear axle) to the front and to the rear bumper.
        width_m: over all.
        margin_m: added to each side; corridor and footprint are ``width_m + 2 * margin_m`` wide.
        horizon_s: longest time to collision; "none" is reported as this.
        range_m: longest distance ahead; "none" is reported as this.

    Raises:
        ValueError: a size that is not positive and finite.
    """

    front_m: float = 3.8
    rear_m: float = 1.0
    width_m: float = 1.9
    margin_m: float = 0.25
    horizon_s: float = 5.0
    range_m: float = 100.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0.0 or (value == 0.0 and name not in ("rear_m", "margin_m")):
                raise ValueError(f"{name} = {value}; must be finite and greater than 0")
