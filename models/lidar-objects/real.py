"""What the runtime finds in real, labelled scans: four sweeps of SUSTechPOINTS (GPL-3.0: they test, and are no part of this project)."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _common import Array

from edge.config.lidar import Lidar, LidarMount, LidarVehicle, scan_settings
from edge.lidar.look import Look, Points
from edge.lidar.shape import LABELS
from edge.messages import Scan
from edge.store.scans import read_scans

CLASSES = {"Car": 0, "Bus": 0, "Truck": 0, "Motor": 1, "Rider": 1, "Pedestrian": 1}
RANGES_M = ((0, 15), (15, 30), (30, 50))
HEIGHT_M = 1.8  # of the sensor, as read off the ground beside it
LEAST_POINTS = 20
LANE_M = 8.0  # before and behind a labelled vehicle the ground is drivable, if anything is
_GROWN_M = 0.3


def evaluate(folder: Path, predict: Callable[[Array], Array]) -> dict[str, object]:
    """Recall and precision.

    Args:
        folder: of the data set, with ``lidar`` and ``label``.
        predict: shapes (n, F) to probabilities (n, 3).

    Returns:
        Found: boxes of which one cluster holds half of the points, while 70 % of that cluster lie in the box grown by 0.3 m. Classified:
        the found ones by what they were taken for. False: clusters that were taken for a class and touch no box, by sweep. Cars that
        nobody labelled are among them.
    """
    settings = scan_settings(
        Lidar(mount=LidarMount(z_m=HEIGHT_M), vehicle=LidarVehicle(front_m=2.0, rear_m=2.0), x_m=(-60.0, 60.0), y_m=(-60.0, 60.0)), 150_000
    )
    look = Look(settings, Points(settings.max_points))
    boxes: list[dict[str, object]] = []
    claims: list[dict[str, object]] = []
    for file in sorted((folder / "lidar").glob("*.pcd.gz")):
        labels = json.loads((folder / "label" / f"{file.name.split('.')[0]}.json").read_text())
        scan = next(iter(read_scans(file)))
        scan = Scan(np.ascontiguousarray(scan.points[:, :4]), scan.fields[:4], 0, 1, 0)
        n = look.take(scan)
        owner = look.owners()
        kept = scan.points[look.memory.source[: look.n], :3]
        said = predict(look.shapes[:n])
        touched = np.zeros(n, bool)
        for label in labels:
            is_in, is_near = _inside(kept, label, 0.0), _inside(kept, label, _GROWN_M)
            touched[owner[is_near & (owner >= 0)]] = True
            boxes.append(_judge(label, scan.points, is_in, is_near, owner, said))
        lanes = [label for label in labels if CLASSES[label["obj_type"]] == 0]
        for i in np.flatnonzero(~touched):
            x, y = look.boxes[i, :2].astype(float)
            is_on_lane = any(_is_in_lane(x, y, label) for label in lanes)
            claims.append({"class": int(said[i].argmax()), "distance": float(np.hypot(x, y)), "is_on_lane": is_on_lane})
    return {"boxes": boxes, "unlabelled": claims, "sweeps": 4}


def _judge(label: dict, points: Array, is_in: Array, is_near: Array, owner: Array, said: Array) -> dict[str, object]:
    count = int(_inside(points[:, :3], label, 0.0).sum())
    owners = owner[is_in]
    owners = owners[owners >= 0]
    share = purity = 0.0
    taken_for = -1
    if len(owners):
        one = int(np.bincount(owners).argmax())
        share = float((owners == one).sum()) / max(count, 1)
        purity = float(is_near[owner == one].mean())
        taken_for = int(said[one].argmax())
    place = label["psr"]["position"]
    return {
        "type": label["obj_type"],
        "class": CLASSES[label["obj_type"]],
        "distance": math.hypot(place["x"], place["y"]),
        "points": count,
        "found": share >= 0.5 and purity >= 0.7,
        "taken_for": taken_for,
    }


def _is_in_lane(x: float, y: float, label: dict) -> bool:
    """Whether a place is where a labelled vehicle has just been or will be: as wide as it is, and so far before and behind it."""
    psr = label["psr"]
    along, across = x - psr["position"]["x"], y - psr["position"]["y"]
    cos, sin = math.cos(psr["rotation"]["z"]), math.sin(psr["rotation"]["z"])
    return abs(cos * along + sin * across) <= psr["scale"]["x"] / 2 + LANE_M and abs(cos * across - sin * along) <= psr["scale"]["y"] / 2


def _inside(points: Array, label: dict, grown_m: float) -> Array:
    centre, size, angles = (np.array([label["psr"][key][axis] for axis in "xyz"]) for key in ("position", "scale", "rotation"))
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    turn = (
        np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    )
    return (np.abs((points - centre) @ turn) <= size / 2 + grown_m).all(axis=1)


def tables(found: dict) -> list[tuple[str, list[str], list[list[object]]]]:
    """The figures as tables: title, head, rows."""
    boxes = [box for box in found["boxes"] if box["points"] >= LEAST_POINTS]
    recall, confusion = [], []
    for low, high in RANGES_M:
        for c, name in enumerate(LABELS[:2]):
            here = [box for box in boxes if box["class"] == c and low <= box["distance"] < high]
            right = sum(box["found"] and box["taken_for"] == c for box in here)
            recall.append([f"{name}, {low} to {high} m", len(here), sum(box["found"] for box in here), right])
    for c, name in enumerate(LABELS):
        hits = sum(box["found"] and box["taken_for"] == c == box["class"] for box in boxes)
        other = sum(box["found"] and box["taken_for"] == c != box["class"] for box in boxes)
        loose = sum(claim["class"] == c and claim["distance"] < RANGES_M[-1][1] for claim in found["unlabelled"])
        confusion.append([name, hits, other, round(loose / found["sweeps"], 1)])
    lane = [claim for claim in found["unlabelled"] if claim["is_on_lane"]]
    near = sum(claim["distance"] < 30 for claim in lane)
    false = [["within 30 m", near, near / found["sweeps"]], ["at any distance", len(lane), len(lane) / found["sweeps"]]]
    return [
        ("false", ["objects without a label on drivable ground: 8 m before and behind labelled vehicles", "four sweeps", "a sweep"], false),
        ("recall", ["labelled, with 20 points or more", "boxes", "found", "found and classified"], recall),
        ("precision", ["taken for", "right", "a labelled one of the other class", "not labelled at all, a sweep"], confusion),
    ]
