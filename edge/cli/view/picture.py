"""A scan from above as a picture."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from edge.cli.view import colours, plan
from edge.cli.view.colours import Colour
from edge.kernels.lidar_ground import GROUND, NOISE, OBSTACLE, OVERHEAD
from edge.lidar.chain import Scene
from edge.lidar.ego import Ego
from edge.lidar.settings import ScanSettings

_FINE = 2  # drawn larger by this and averaged: Pillow draws lines with steps
_TEXT_PX = 13
_ORDER = np.zeros(4, np.uint8)  # what is drawn later lies on top
_ORDER[[OVERHEAD, GROUND, NOISE, OBSTACLE]] = 0, 1, 2, 3
_ARROW_M = 0.9
_SCALE_M = 10.0


class Picture:
    """A canvas over a part of the ground; places are metres in the vehicle frame, widths are pixels.

    Args:
        window: which part.
    """

    def __init__(self, window: plan.Window) -> None:
        self.window = window
        self._image = Image.new("RGB", window.size, colours.BACK)
        self._draw = ImageDraw.Draw(self._image)
        self._font = ImageFont.load_default(_TEXT_PX * _FINE)

    def points(self, xy: npt.NDArray[np.float32], colour: npt.NDArray[np.uint8], size: int) -> None:
        """Squares; later ones lie on top."""
        canvas = np.array(self._image)
        at = np.floor(self.window.place(xy)).astype(np.int64)
        for dx in range(size):
            for dy in range(size):
                column, row = at[:, 0] + dx, at[:, 1] + dy
                seen = (column >= 0) & (column < canvas.shape[1]) & (row >= 0) & (row < canvas.shape[0])
                canvas[row[seen], column[seen]] = colour[seen]
        self._image = Image.fromarray(canvas)
        self._draw = ImageDraw.Draw(self._image)

    def area(self, outline: npt.ArrayLike, colour: Colour) -> None:
        """A filled outline."""
        self._draw.polygon(self._pixels(outline), fill=colour)

    def line(self, points: npt.ArrayLike, colour: Colour, width: int = 1, *, closed: bool = False) -> None:
        """From point to point."""
        pixels = self._pixels(points)
        self._draw.line(pixels + pixels[:2] if closed else pixels, fill=colour, width=width * _FINE, joint="curve")

    def ring(self, radius_m: float, colour: Colour) -> None:
        """A circle around the vehicle's origin."""
        self._draw.ellipse(self._pixels([[radius_m, radius_m], [-radius_m, -radius_m]]), outline=colour, width=_FINE)

    def text(self, at: Sequence[float], words: str, colour: Colour, anchor: str = "mm") -> None:
        """A word at a place."""
        x, y = self._pixels([at])
        self._draw.text((x, y), words, colour, self._font, anchor=anchor, stroke_width=_FINE, stroke_fill=colours.BACK)

    def finish(self, caption: Sequence[str]) -> Image.Image:
        """The picture in its final size, with lines of text above it."""
        seen = self._image.reduce(_FINE)
        line_px = round(1.4 * _TEXT_PX)
        above = line_px * len(caption) + _TEXT_PX // 2 if caption else 0
        whole = Image.new("RGB", (seen.width, seen.height + above), colours.BACK)
        whole.paste(seen, (0, above))
        draw, font = ImageDraw.Draw(whole), ImageFont.load_default(_TEXT_PX)
        for i, words in enumerate(caption):
            draw.text((6, 4 + i * line_px), words, colours.TEXT, font)
        return whole

    def _pixels(self, points: npt.ArrayLike) -> list[float]:
        return [float(number) for number in self.window.place(points).ravel()]


def render(
    scene: Scene,
    settings: ScanSettings,
    *,
    ego: Ego | None = None,
    caption: Sequence[str] = (),
    labels: str = "id",
    reach_m: float | None = None,
    width_px: int = 900,
) -> Image.Image:
    """Draw what a scan was found to be. Marks the noise among its points, see ``Look.owners``.

    Args:
        scene: before the next scan overwrites it.
        settings: that it was looked at with.
        ego: the vehicle's motion, for its path; default: straight.
        caption: lines of text above the picture.
        labels: of boxes: "none", "class" or "id", which is both.
        reach_m: how far around the vehicle is shown; default: the whole region.
        width_px: of the picture.
    """
    x_m, y_m = plan.span(settings, reach_m)
    picture = Picture(plan.Window(x_m, y_m, width_px * _FINE / (y_m[1] - y_m[0])))
    owner = scene.look.owners()
    _draw_path(picture, settings, ego or Ego())
    _draw_grid(picture, settings)
    _draw_points(picture, scene, owner)
    picture.line(plan.free_space(scene, settings), colours.FREE, 2, closed=True)
    _draw_vehicle(picture, scene, settings)
    _draw_objects(picture, scene, labels)
    _draw_scale(picture)
    return picture.finish(caption)


def _draw_path(picture: Picture, settings: ScanSettings, ego: Ego) -> None:
    (x0, x1), (y0, y1) = picture.window.x_m, picture.window.y_m
    ahead = plan.corridor(settings.vehicle, ego, min(settings.vehicle.range_m, math.hypot(x1 - x0, y1 - y0)))
    picture.area(ahead, colours.CORRIDOR)
    picture.line(ahead, colours.EDGE, closed=True)


def _draw_grid(picture: Picture, settings: ScanSettings) -> None:
    window = picture.window
    farthest = math.hypot(max(map(abs, window.x_m)), max(map(abs, window.y_m)))
    for radius in np.arange(_SCALE_M, farthest, _SCALE_M).tolist():
        picture.ring(radius, colours.GRID)
        if radius < window.x_m[1]:
            picture.text((radius * math.cos(0.5), radius * math.sin(0.5)), f"{radius:g}", colours.EDGE)
    picture.line(plan.rectangle(settings.x_m, settings.y_m), colours.EDGE, closed=True)


def _draw_points(picture: Picture, scene: Scene, owner: npt.NDArray[np.int32]) -> None:
    memory, n = scene.look.memory, scene.look.n
    kind, points = memory.kind[:n], memory.cropped[:n]
    colour = colours.KINDS[kind]
    held = owner >= 0
    # The number of a track keeps its colour from scan to scan.
    number = np.maximum(scene.tracks.detection_id, 0)[owner[held]]
    colour[held] = colours.OBJECTS[number % len(colours.OBJECTS)]
    order = np.argsort(_ORDER[kind], kind="stable")
    picture.points(points[order], colour[order], _FINE)


def _draw_vehicle(picture: Picture, scene: Scene, settings: ScanSettings) -> None:
    vehicle, path = settings.vehicle, scene.tracks.path
    picture.line(plan.outline(vehicle), colours.VEHICLE, 2, closed=True)
    picture.line([[0.75 * vehicle.front_m, 0], [vehicle.front_m, 0]], colours.VEHICLE, 2)
    if path.nearest_row >= 0:
        picture.line(plan.corners(scene.tracks.box[path.nearest_row : path.nearest_row + 1])[0], colours.ALARM, 3, closed=True)


def _draw_objects(picture: Picture, scene: Scene, labels: str) -> None:
    tracks = scene.tracks
    for i, corners in enumerate(plan.corners(scene.boxes)):
        picture.line(corners, colours.CLASSES[scene.classes[i]], 1, closed=True)
    for row in plan.moving(scene).tolist():
        _draw_arrow(picture, tracks.box[row, :2], tracks.velocity[row])
    if labels == "none":
        return
    for i, box in enumerate(scene.boxes):
        number = int(tracks.detection_id[i])
        words = colours.LETTERS[scene.classes[i]] + (f"{number}" if labels == "id" and number >= 0 else "")
        picture.text(box[:2].tolist(), words, colours.CLASSES[scene.classes[i]])


def _draw_arrow(picture: Picture, start: npt.NDArray[np.float32], velocity: npt.NDArray[np.float32]) -> None:
    """Where it will be in a second."""
    end = start + velocity
    along = velocity / np.hypot(*velocity)
    across = np.array([-along[1], along[0]])
    back = end - _ARROW_M * along
    picture.line([start, end], colours.ALARM, 2)
    picture.line([back + 0.5 * _ARROW_M * across, end, back - 0.5 * _ARROW_M * across], colours.ALARM, 2)


def _draw_scale(picture: Picture) -> None:
    window = picture.window
    inch = 12 * _FINE / window.per_m
    x, y = window.x_m[0] + inch, window.y_m[1] - inch
    picture.line([[x, y], [x, y - _SCALE_M]], colours.TEXT, 2)
    picture.text((x + inch, y - 0.5 * _SCALE_M), f"{_SCALE_M:g} m", colours.TEXT)
