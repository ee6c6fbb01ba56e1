"""Distances on the plane, compiled because placing and driving ask for them at every turn."""

import math

import numpy as np
import numpy.typing as npt

from firmware_bridge.simulator.jit import kernel

Floats = npt.NDArray[np.float64]


@kernel
def gap_m(a: Floats, b: Floats) -> float:
    """Distance between two rectangles given by corners (4, 2), counter-clockwise; 0 when they overlap."""
    is_apart, best = False, math.inf
    for turn in range(2):
        one, other = (a, b) if turn == 0 else (b, a)
        for i in range(4):
            x, y = one[i, 0], one[i, 1]
            sx, sy = one[(i + 1) % 4, 0] - x, one[(i + 1) % 4, 1] - y
            square, is_outside = max(sx * sx + sy * sy, 1e-12), True
            for j in range(4):
                px, py = other[j, 0] - x, other[j, 1] - y
                if sx * py - sy * px >= 0.0:
                    is_outside = False
                along = min(1.0, max(0.0, (px * sx + py * sy) / square))
                dx, dy = px - along * sx, py - along * sy
                best = min(best, dx * dx + dy * dy)
            is_apart = is_apart or is_outside
    return math.sqrt(best) if is_apart else 0.0
