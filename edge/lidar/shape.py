"""The names of a cluster's shape, in the order of the kernel; what a classifier of clusters is trained on.

None of them depends on how many beams a sensor has but through what can be seen of the object: points are thinned out to voxels first, and
intensities, which no two sensors mean the same by, are left out.
"""

from edge.kernels.lidar_boxes import BANDS, SHAPE_SIZE

LABELS = ("vehicle", "vulnerable", "other")

NAMES = (
    *(f"shape.{name}" for name in ("length", "width", "height", "bottom", "top", "area", "log_voxels", "distance", "log_density")),
    *(f"shape.{name}" for name in ("linearity", "planarity", "scattering", "uprightness", "height_std", "height_mean")),
    *(f"shape.band_{band}" for band in range(BANDS)),
    *(f"shape.{name}" for name in ("taper", "solidity", "edge_distance")),
)
UNITS = ("m", "m", "m", "m", "m", "m^2", "1", "m", "1", "1", "1", "1", "1", "m", "m", *["1"] * (BANDS + 3))

if not len(NAMES) == len(UNITS) == SHAPE_SIZE:
    raise AssertionError("shape names and kernel columns disagree")
