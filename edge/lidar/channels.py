"""The names of the row that a scan becomes. Imports no kernel: configs are checked without compiling anything."""

FIRST = {
    "objects.count": "1",
    "objects.vehicles": "1",
    "objects.vulnerable": "1",
    "objects.nearest": "m",
    "objects.nearest_ahead": "m",
    "objects.closing_speed": "m/s",
    "objects.braking": "m/s^2",
    "objects.min_ttc": "s",
    "objects.first_ttc": "s",
    "objects.min_ttc_vulnerable": "s",
    "ego.is_known": "1",
    "scan.points": "1",
    "scan.ground": "1",
    "scan.obstacles": "1",
}


def channels(sectors: int) -> dict[str, str]:
    """Names and units of the row.

    Args:
        sectors: of free space.
    """
    around = {f"{what}.sector_{i}": "m" for what in ("nearest", "free") for i in range(sectors)}
    return {**FIRST, **around}
