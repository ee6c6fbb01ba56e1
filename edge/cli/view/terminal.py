"""A scan from above on a terminal, two pixels to a character."""

import numpy as np
import numpy.typing as npt
from rich.color import Color
from rich.style import Style
from rich.text import Text

from edge.cli.view import colours, plan
from edge.kernels.lidar_ground import GROUND, OBSTACLE
from edge.lidar.chain import Scene
from edge.lidar.ego import Ego
from edge.lidar.settings import ScanSettings

_HALF = "▀"  # its colour is the upper pixel, its background the lower one
_BACK, _CORRIDOR, _GROUND, _OBSTACLE, _VEHICLE, _CLASS = range(6)  # of pixels; the higher one is seen, classes last
_SHOWN = (colours.BACK, colours.GRID, (56, 63, 72), (200, 150, 40), colours.VEHICLE, *colours.CLASSES)
_COLOURS = [Color.from_rgb(*colour) for colour in _SHOWN]
_STYLES = {(upper, lower): Style(color=_COLOURS[upper], bgcolor=_COLOURS[lower]) for upper in range(8) for lower in range(8)}
_LINE = 2.0  # points to a pixel of a line


def terminal(
    scene: Scene, settings: ScanSettings, columns: int, rows: int, *, ego: Ego | None = None, reach_m: float | None = None
) -> Text:
    """Draw the vehicle and its path, obstacles, and boxes in the colours of their classes.

    Args:
        scene: before the next scan overwrites it.
        settings: that it was looked at with.
        columns, rows: of the text.
        ego: the vehicle's motion, for its path; default: straight.
        reach_m: how far around the vehicle is shown; default: the whole region. What it takes to fill the shape is added.
    """
    window = _window(settings, columns, 2 * rows, reach_m)
    canvas = np.full((2 * rows, columns), _BACK, np.uint8)
    memory, n = scene.look.memory, scene.look.n
    for kind, pixel in ((GROUND, _GROUND), (OBSTACLE, _OBSTACLE)):
        _put(canvas, window, memory.cropped[:n][memory.kind[:n] == kind], pixel)
    for ahead in np.array_split(plan.corridor(settings.vehicle, ego or Ego(), window.x_m[1]), 2):  # its two sides
        _put(canvas, window, _line(ahead, window.per_m), _CORRIDOR)
    _put(canvas, window, _line(plan.outline(settings.vehicle), window.per_m, closed=True), _VEHICLE)
    for corners, found in zip(plan.corners(scene.boxes), scene.classes.tolist(), strict=True):
        _put(canvas, window, _line(corners, window.per_m, closed=True), _CLASS + found)
    return _text(canvas)


def _window(settings: ScanSettings, width: int, height: int, reach_m: float | None) -> plan.Window:
    """The part of the ground that is shown, around the middle of what was asked for, in the shape of the canvas."""
    (x0, x1), (y0, y1) = plan.span(settings, reach_m)
    per_m = min(width / (y1 - y0), height / (x1 - x0))
    middle, half_x, half_y = (0.5 * (x0 + x1), 0.5 * (y0 + y1)), 0.5 * height / per_m, 0.5 * width / per_m
    return plan.Window((middle[0] - half_x, middle[0] + half_x), (middle[1] - half_y, middle[1] + half_y), per_m)


def _line(points: plan.F64, per_m: float, *, closed: bool = False) -> plan.F64:
    """Points along a line, near enough to each other that no pixel is left out."""
    ends = np.vstack([points[1:], points[:1]]) if closed else points[1:]
    parts = []
    for start, end in zip(points, ends, strict=False):
        share = np.linspace(0, 1, int(np.hypot(*(end - start)) * per_m * _LINE) + 2)[:, None]
        parts.append(start + share * (end - start))
    return np.vstack(parts)


def _put(canvas: npt.NDArray[np.uint8], window: plan.Window, xy: npt.ArrayLike, pixel: int) -> None:
    at = np.floor(window.place(xy)).astype(np.int64)
    height, width = canvas.shape
    at = at[(at[:, 0] >= 0) & (at[:, 0] < width) & (at[:, 1] >= 0) & (at[:, 1] < height)]
    canvas[at[:, 1], at[:, 0]] = np.maximum(canvas[at[:, 1], at[:, 0]], pixel)


def _text(canvas: npt.NDArray[np.uint8]) -> Text:
    text = Text(no_wrap=True, end="")
    for row in range(0, len(canvas), 2):
        pairs = list(zip(canvas[row].tolist(), canvas[row + 1].tolist(), strict=True))
        start = 0
        for i in range(1, len(pairs) + 1):
            if i == len(pairs) or pairs[i] != pairs[start]:
                text.append(_HALF * (i - start), _STYLES[pairs[start]])
                start = i
        if row + 2 < len(canvas):
            text.append("\n")
    return text
