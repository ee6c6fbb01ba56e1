"""Scans that no sensor at work gives are refused before anything computes with them; scans that are cut off can be completed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.clean.scan_gate import ScanGate
from edge.errors import Reason
from edge.kernels.scan_check import BINS, check_scan
from edge.messages import Scan

MS = 1_000_000
FIELDS = ("x", "y", "z", "ring")


def turn(start=0.0, end=360.0, reach=10.0, ring=0.0, step=0.5):
    degrees = np.arange(start + step / 2, end, step)
    angle = np.radians(degrees)
    return np.stack([reach * np.cos(angle), reach * np.sin(angle), np.zeros_like(angle), np.full_like(angle, ring)], 1).astype(np.float32)


class Feeder:
    def __init__(self, lanes=1, **options):
        self.gate = ScanGate(lanes, **options)
        self.seq = 0

    def __call__(self, points, stamp=None, fields=FIELDS, lane=0):
        self.seq += 1
        scan = Scan(np.array(points, np.float32), fields, self.seq, 100 * MS * self.seq if stamp is None else stamp, 0)
        self.gate.hold()
        is_used = self.gate.admit(scan, lane)
        assert self.gate.counts.is_balanced
        return scan if is_used else None

    @property
    def refused(self):
        return self.gate.counts.invalid


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (np.zeros((0, 4)), Reason.EMPTY),
        (np.full((5, 4), np.nan), Reason.NOT_FINITE),
        ([[1, np.inf, 0, 0], [np.nan, 0, 0, 0]], Reason.NOT_FINITE),
        (np.zeros((5, 4)), Reason.NO_RETURNS),
        ([[0, 0, 0, 1], [-0.0, 0, 0, 2], [np.nan, 1, 1, 3]], Reason.NO_RETURNS),
        ([[1, 2, 3, 1], [1, 2, 3, 2], [1, 2, 3, 3]], Reason.ALL_EQUAL),
        ([[0, 0, 0, 0], [1, 2, 3, 0], [1, 2, 3, 0], [np.nan, 0, 0, 0]], Reason.ALL_EQUAL),
    ],
)
def test_a_degenerate_scan_is_refused_with_its_reason(points, reason):
    feed = Feeder()
    assert feed(points) is None
    assert feed.refused == {reason: 1}
    assert feed(turn(), stamp=1) is not None  # its stamp was not believed either


def test_one_return_is_enough_unless_more_are_asked_for():
    one = [[0, 0, 0, 0], [1, 2, 3, 0], [np.nan, 0, 0, 0]]
    assert Feeder()(one) is not None
    feed = Feeder(min_points=720)
    assert feed(one) is None
    assert feed(turn()[1:]) is None
    assert feed(turn()) is not None
    assert feed.refused == {Reason.TOO_FEW_POINTS: 2}


def test_what_does_not_differ_in_place_is_equal_whatever_else_it_says():
    feed = Feeder()
    assert feed([[1, 2, 3, 0], [1, 2, 3, 1]]) is None
    assert feed([[1, 2, 3, 0], [1, 2, 3.0000005, 0]]) is not None


def test_columns_are_found_by_their_names_and_points_may_lie_anyhow():
    feed = Feeder(min_coverage_deg=350)
    table = turn()[:, [3, 2, 1, 0]]
    assert feed(np.asfortranarray(table), fields=("ring", "z", "y", "x")) is not None
    assert feed(table) is None
    locked = turn()
    locked.flags.writeable = False
    feed.gate.hold()
    assert feed.gate.admit(Scan(locked, FIELDS, 99, 99_000 * MS, 0), 0)


def test_a_scan_that_is_cut_off_is_refused_where_coverage_is_asked_for():
    assert Feeder()(turn(0, 90)) is not None
    feed = Feeder(min_coverage_deg=300)
    assert feed(turn(0, 300)) is not None
    assert feed(turn(0, 299)) is None
    assert feed(np.concatenate([turn(0, 200), np.zeros((500, 4)), [[0, 0, 9, 0]] * 500])) is None  # the axis is no direction
    assert feed(turn(100, 400)) is not None
    assert feed.refused == {Reason.CUT_OFF: 2}


def test_a_scan_that_is_cut_off_is_completed_from_the_last_whole_one():
    feed = Feeder(min_coverage_deg=350, on_cut_off="complete", complete_ms=150)
    assert feed(turn(ring=1)) is not None
    scan = feed(turn(0, 200, ring=2))
    assert np.array_equal(scan.points, np.concatenate([turn(0, 200, ring=2), turn(200, 360, ring=1)]))
    assert (feed.gate.completed, feed.gate.counts.used) == (1, 2)
    assert feed(turn(0, 200, ring=3)) is None  # 200 ms after the whole one: what was completed completes nothing
    assert feed.refused == {Reason.CUT_OFF: 1}
    assert feed(turn(ring=4)) is not None
    assert feed(turn(100, 350, ring=5)) is not None
    assert feed.gate.completed == 2


def test_completing_needs_a_whole_scan_of_the_same_device_and_fields():
    options = {"min_coverage_deg": 350, "on_cut_off": "complete", "complete_ms": 1e6}
    feed = Feeder(2, **options)
    assert feed(turn(0, 200)) is None
    assert feed(turn(), lane=0) is not None
    assert feed(turn(0, 200), lane=1) is None
    assert feed(turn(0, 200), lane=0, fields=("x", "y", "z", "intensity")) is None
    feed.gate.reset(0)
    assert feed(turn(0, 200), lane=0) is None
    assert feed.refused == {Reason.CUT_OFF: 4}
    small = Feeder(max_points=719, **options)
    assert small(turn()) is not None
    assert small(turn(0, 200)) is None
    assert Feeder(max_points=10, **options)(turn(0, 200)) is None
    exact = Feeder(max_points=720, **options)
    assert exact(turn()) is not None
    assert len(exact(turn(0, 200)).points) == 720


def test_points_that_change_after_they_were_admitted_complete_nothing():
    feed = Feeder(min_coverage_deg=350, on_cut_off="complete")
    first = feed(turn(ring=1))
    first.points[:] = 7
    assert set(feed(turn(0, 200, ring=2)).points[400:, 3]) == {1}


values = st.sampled_from([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-38, 3e38]) | st.floats(-100, 100, width=32)


@settings(max_examples=300)
@given(st.lists(st.tuples(values, values, values), max_size=30))
def test_the_check_against_numpy(rows):
    points = np.array(rows, np.float32).reshape(-1, 3)
    bins, found = np.full(BINS, 9, np.uint8), np.zeros(4, np.int64)
    check_scan(points.ctypes.data, len(points), 3, 0, 1, 2, True, bins, found)
    good = points[np.isfinite(points).all(1)]
    hits = good[(good != 0).any(1)]
    assert found[:3].tolist() == [len(good), len(hits), int(len(hits) > 0 and (hits != hits[0]).any())]
    around = hits[(hits[:, :2] != 0).any(1)].astype(np.float64)
    degrees = np.degrees(np.arctan2(around[:, 1], around[:, 0])) % 360
    sure = {int(d) for d in degrees if abs(d - round(d)) > 0.002}
    near = {int(d + e) % 360 for d in degrees for e in (-0.002, 0.002)} | {int(d) for d in degrees}
    assert sure <= set(np.nonzero(bins)[0]) <= near
    assert found[3] == np.count_nonzero(bins)
    assert set(bins) <= {0, 1}


def test_every_direction_has_its_bin():
    degrees = np.arange(0.005, 360, 0.01)
    for degree, reach in zip(degrees, np.geomspace(1e-6, 1e6, len(degrees)), strict=True):
        point = np.array([[reach * np.cos(np.radians(degree)), reach * np.sin(np.radians(degree)), 0]], np.float32)
        bins = np.zeros(BINS, np.uint8)
        check_scan(point.ctypes.data, 1, 3, 0, 1, 2, True, bins, np.zeros(4, np.int64))
        assert np.nonzero(bins)[0].tolist() == [int(degree)]
