"""Range images and bird's-eye grids from NumPy arrays: simple expectations, and errors that name the argument."""

import math

import numpy as np
import pytest

from edge.lidar.grids import bird_eye, range_image

GROUND, OBSTACLE, OVERHEAD, NOISE = range(4)


def test_a_range_image_has_the_nearest_point_of_each_direction() -> None:
    points = [[5, 5, 0], [3, 3, 0], [-4, 4, 0], [-6, -6, 0], [7, -7, 0], [2, 2, 2], [math.nan, 0, 0], [0, 0, 0]]
    image = range_image(points, 2, 4, (-45, 45))
    assert image.dtype == np.float32
    root = math.sqrt(2)
    np.testing.assert_allclose(image[1], [3 * root, 4 * root, 6 * root, 7 * root], rtol=1e-6)  # elevation 0 is its upper edge
    np.testing.assert_allclose(image[0], [2 * math.sqrt(3), 0, 0, 0], rtol=1e-6)


def test_columns_are_found_by_their_names_and_order_of_memory_does_not_matter() -> None:
    points = np.random.default_rng(0).normal(0, 5, (500, 3)).astype(np.float32)
    mixed = np.asfortranarray(np.column_stack([points[:, 2], np.zeros(500), points[:, 0], points[:, 1]]))
    wanted = range_image(points, 16, 90, (-30, 30))
    assert (range_image(mixed, 16, 90, (-30, 30), ("z", "ring", "x", "y")) == wanted).all()
    points.flags.writeable = False
    assert (range_image(points, 16, 90, (-30, 30)) == wanted).all()


def test_a_bird_s_eye_counts_obstacles_and_keeps_the_top() -> None:
    points = [[0.5, 0.5, 0], [0.6, 0.4, 1], [0.7, 0.4, 2], [1.5, 0.5, 3], [1.5, 1.5, 4], [9, 9, 9]]
    seen = bird_eye(points, [0.0, 0.8, 0.5, 3.1, 1.0, 1.0], [GROUND, OBSTACLE, OBSTACLE, OVERHEAD, NOISE, OBSTACLE], (0, 2), (0, 2), 1)
    assert seen.occupancy.tolist() == [[2, -1], [0, -1]]
    np.testing.assert_allclose(seen.top, [[0.8, np.nan], [3.1, np.nan]], rtol=1e-6)


def test_cells_are_as_many_as_the_span_needs() -> None:
    assert bird_eye(np.empty((0, 3)), [], [], (-1, 1), (0, 0.95), 0.1).occupancy.shape == (20, 10)


P = np.zeros((3, 3))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((P[0], 4, 4, (-1, 1)), r"points has shape \(3,\)"),
        ((P[:, :2], 4, 4, (-1, 1)), r"points has shape \(3, 2\); expected \(n, 3\)"),
        ((P, 0, 4, (-1, 1)), "rows are 0"),
        ((P, 4, -1, (-1, 1)), "columns are -1"),
        ((P, 100_000, 100_000, (-1, 1)), "rows times columns"),
        ((P, 4, 4, (1, -1)), "elevation_deg is"),
        ((P, 4, 4, (-91, 1)), "elevation_deg is"),
        ((P, 4, 4, (math.nan, 1)), "elevation_deg is"),
        ((P, 4, 4, (-1, 1), ("x", "y", "w")), "z must be there once"),
        ((P, 4, 4, (-1, 1), ("x", "x", "y")), "x must be there once"),
    ],
)
def test_errors_of_range_images_name_the_argument(arguments, words) -> None:
    with pytest.raises(ValueError, match=words):
        range_image(*arguments)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"points": P[:, :2]}, "points has shape"),
        ({"height": np.zeros(2)}, "height has shape"),
        ({"kind": np.zeros((3, 1), int)}, "kind has shape"),
        ({"kind": [0, 1, 4]}, "kind must be"),
        ({"kind": [0, 1, -1]}, "kind must be"),
        ({"kind": [0.0, 1, 1]}, "kind must be"),
        ({"x_m": (1, 1)}, "x_m is"),
        ({"y_m": (0, math.inf)}, "y_m is"),
        ({"y_m": (0, 1, 2)}, "y_m is"),
        ({"cell_m": 0}, "cell_m is"),
        ({"cell_m": math.nan}, "cell_m is"),
        ({"cell_m": 1e-5}, "cells along x_m times cells along y_m is"),
        ({"cell_m": 1e-9}, "cells along x_m are"),
    ],
)
def test_errors_of_bird_s_eyes_name_the_argument(changes, words) -> None:
    arguments = {"points": P, "height": np.zeros(3), "kind": np.zeros(3, int), "x_m": (0, 1), "y_m": (0, 1), "cell_m": 0.1}
    with pytest.raises(ValueError, match=words):
        bird_eye(**(arguments | changes))
