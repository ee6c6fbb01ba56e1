"""The Kalman filter against full matrices, and the assignment against SciPy's optimum."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from edge.kernels import tracks as k
from edge.kernels.assign import assign
from edge.lidar.tracks import TrackSettings

UPPER = ((k.AXX, 0, 0), (k.AXY, 0, 1), (k.AYY, 1, 1), (k.BXX, 0, 2), (k.BXY, 0, 3), (k.BYX, 1, 2), (k.BYY, 1, 3), (k.CXX, 2, 2))
UPPER = (*UPPER, (k.CXY, 2, 3), (k.CYY, 3, 3))


def covariance(row):
    full = np.zeros((4, 4))
    for column, i, j in UPPER:
        full[i, j] = full[j, i] = row[column]
    return full


def box(x, y, length=0.5, width=0.5, yaw=0.0):
    return [x, y, 0.8, length, width, 1.5, yaw, np.hypot(x, y), 0.2, 0.5, 0.3]


class Oracle:
    """Textbook filter with 4 x 4 matrices; ego motion as a rotation and a shift."""

    def __init__(self, x, p):
        self.x, self.p = x.copy(), p.copy()

    def predict(self, dt, q, speed, turn):
        eye = np.eye(2)
        f = np.block([[eye, dt * eye], [0 * eye, eye]])
        noise = q * np.block([[dt**3 / 3 * eye, dt**2 / 2 * eye], [dt**2 / 2 * eye, dt * eye]])
        self.x, self.p = f @ self.x, f @ self.p @ f.T + noise
        angle = turn * dt
        shift = speed / turn * np.array([np.sin(angle), 1 - np.cos(angle)]) if turn else np.array([speed * dt, 0])
        r = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        self.x[:2] -= shift
        g = np.block([[r, 0 * eye], [0 * eye, r]])
        self.x, self.p = g @ self.x, g @ self.p @ g.T

    def correct(self, z, r):
        h = np.eye(2, 4)
        gain = self.p @ h.T @ np.linalg.inv(h @ self.p @ h.T + r)
        self.x = self.x + gain @ (z - h @ self.x)
        self.p = (np.eye(4) - gain @ h) @ self.p


@pytest.mark.parametrize(("speed", "turn"), [(0.0, 0.0), (12.0, 0.0), (12.0, 0.3), (5.0, -0.6)])
def test_the_filter_is_the_textbook_one(speed, turn):
    random = np.random.default_rng(4)
    rules = TrackSettings().rules
    tracks, ints = np.zeros((2, k.N_FLOATS)), np.zeros((2, k.N_INTS), np.int64)
    head, motion, measured = np.zeros(k.N_HEAD, np.int64), np.zeros(2), np.zeros(k.MEASURES)
    start = random.normal(size=(4, 4))
    start = start @ start.T
    for column, i, j in UPPER:
        tracks[0, column] = start[i, j]
    tracks[0, : k.VY + 1] = 10.0, 3.0, 1.0, -2.0
    tracks[0, [k.L, k.W, k.H]] = 0.5, 0.5, 1.5
    oracle = Oracle(tracks[0, :4], start)
    k.predict(tracks, head, motion, 0, speed, turn, rules)
    tracks[0, k.VX] = 1.0  # the first scan has no motion to take out; the lane had no speed before it
    head[k.N] = 1
    for i in range(1, 60):
        dt = k.predict(tracks, head, motion, i * 100_000_000, speed, turn, rules)
        assert dt == pytest.approx(0.1)
        oracle.predict(dt, rules[k.R_AGILITY], speed, turn)
        np.testing.assert_allclose(tracks[0, :4], oracle.x, rtol=1e-3, atol=1e-3)  # sin(a) / a by two terms
        oracle.x = tracks[0, :4].copy()
        np.testing.assert_allclose(covariance(tracks[0]), oracle.p, rtol=1e-9, atol=1e-12)
        z = tracks[0, :2] + random.normal(0, 0.1, 2)
        seen = np.array([box(*z, yaw=tracks[0, k.YAW])])
        sigma = rules[k.R_NOISE] + rules[k.R_NOISE_PER_M] * np.hypot(*z)
        k.correct(tracks, ints, 1, seen, np.zeros(1, np.int64), i * 100_000_000, dt, rules, measured)
        oracle.correct(z, sigma**2 * np.eye(2))
        np.testing.assert_allclose(tracks[0, :4], oracle.x, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(covariance(tracks[0]), oracle.p, rtol=1e-8, atol=1e-12)
        assert np.linalg.eigvalsh(covariance(tracks[0])).min() > 0


def pairs(costs, gate=16.0):
    rows, columns = costs.shape
    most = max(rows, columns, 1)
    column_of, row_of = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
    assign(np.ascontiguousarray(costs), rows, columns, gate, np.zeros((3, most)), np.zeros((3, most), np.int64), column_of, row_of)
    for i, j in enumerate(column_of):
        assert j < 0 or row_of[j] == i
    assert (row_of >= 0).sum() == (column_of >= 0).sum()
    return column_of


def price(costs, column_of, gate=16.0):
    return sum(gate if j < 0 else costs[i, j] for i, j in enumerate(column_of))


@pytest.mark.parametrize("seed", range(60))
def test_the_assignment_is_the_cheapest(seed):
    random = np.random.default_rng(seed)
    rows, columns = random.integers(1, 40, 2)
    costs = random.uniform(0, 40, (rows, columns))
    if seed % 3 == 0:
        costs = np.round(costs / 4) * 4  # ties
    costs[costs > 16] = np.inf
    costs[random.random(costs.shape) < random.random()] = np.inf
    full = np.full((rows, columns + rows), 1e6)
    full[:, :columns] = np.where(np.isfinite(costs), costs, 1e6)
    full[:, columns:] = 16.0
    i, j = linear_sum_assignment(full)
    assert price(costs, pairs(costs)) == pytest.approx(full[i, j].sum(), abs=1e-9)


def test_no_rows_or_no_columns():
    assert pairs(np.zeros((0, 3))).tolist() == []
    assert pairs(np.zeros((3, 0))).tolist() == [-1, -1, -1]


def test_256_detections_of_256_tracks():
    costs = np.multiply.outer(np.arange(1, 257), np.arange(1, 257)) / 4096.0  # every search has to look at everything
    i, j = linear_sum_assignment(costs)
    assert price(costs, pairs(costs)) == pytest.approx(costs[i, j].sum())
