"""Tracks through simulated scenes: identities, velocities, partly seen objects, and what must hold for any input."""

import math

import numpy as np
import pytest

from edge.lidar.tracks import Tracker, TrackSettings

STEP = 100_000_000
CAR, WALKER = (4.5, 1.8, 1.5), (0.6, 0.6, 1.7)
P_CAR, P_WALKER = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1)


def scan(objects):
    """Arrays from (x, y, size, yaw, probabilities)."""
    boxes = np.zeros((len(objects), 8), np.float32)
    probabilities = np.zeros((len(objects), 3), np.float32)
    for i, (x, y, size, yaw, p) in enumerate(objects):
        boxes[i] = (x, y, size[2] / 2, *size, yaw, math.hypot(x, y))
        probabilities[i] = p
    return boxes, probabilities


class Scene:
    def __init__(self, speed=0.0, turn=0.0, **settings):
        self.tracker = Tracker(2, settings=TrackSettings(**settings))
        self.speed, self.turn, self.i = speed, turn, 0

    def push(self, objects, steps=1):
        self.i += steps
        boxes, probabilities = scan(objects)
        return self.tracker.update(0, boxes, probabilities, len(boxes), self.i * STEP, self.speed, self.turn)


def test_crossing_walkers_keep_their_ids():
    scene, random = Scene(), np.random.default_rng(1)
    for i in range(60):
        t = i * 0.1 - 3.0
        places = [(10 + 1.4 * t, 1.2 * t), (10 + 1.4 * t, -1.2 * t + 0.4)]
        got = scene.push([(*(np.array(p) + random.normal(0, 0.05, 2)), WALKER, 0.0, P_WALKER) for p in places])
        if i == 10:
            first = got.detection_id.tolist()
    assert got.detection_id.tolist() == first
    assert got.n == 2
    assert got.is_confirmed.all()


def test_an_occlusion_of_five_scans_keeps_the_id():
    scene = Scene()
    for i in range(40):
        hidden = 20 <= i < 25
        got = scene.push([] if hidden else [(30 - 0.8 * i, 2.0, CAR, math.pi, P_CAR)])
        if i == 19:
            first = int(got.id[0])
        if hidden:
            assert got.n == 1
            assert got.misses[0] == i - 19
            assert got.box[0, 0] == pytest.approx(30 - 0.8 * i, abs=0.3)
    assert got.id.tolist() == [first]
    assert got.velocity[0] == pytest.approx((-8.0, 0.0), abs=0.3)
    assert abs(got.box[0, 6]) == pytest.approx(math.pi, abs=0.05)


def test_clutter_is_not_confirmed_and_missed_detections_do_no_harm():
    scene, random = Scene(), np.random.default_rng(2)
    ids, false = set(), set()
    for i in range(200):
        objects = [(random.uniform(5, 60), random.uniform(-30, 30), WALKER, 0.0, (0.1, 0.1, 0.8)) for _ in range(5)]
        if random.random() > 0.2:
            objects.append((20 + 0.05 * i, 3.0 + random.normal(0, 0.05), CAR, 0.0, P_CAR))
        got = scene.push(objects)
        is_car = got.probability[:, 0] > 0.5
        ids |= set(got.id[got.is_confirmed & is_car].tolist())
        false |= set(got.id[got.is_confirmed & ~is_car].tolist())
    assert len(ids) == 1
    assert len(false) < 10  # of 1000 detections


def test_velocity_at_10_hz_with_a_tenth_of_a_metre_of_noise():
    random = np.random.default_rng(3)
    scene, errors = Scene(), []
    for i in range(400):
        x, y = -20 + 0.1 * i, 8.0
        got = scene.push([(x + random.normal(0, 0.1), y + random.normal(0, 0.1), WALKER, 0.0, P_WALKER)])
        if i > 30:
            errors.append(got.velocity[0] - (1.0, 0.0))
    rms = np.sqrt(np.mean(np.square(errors), axis=0))
    assert rms.max() < 0.6
    assert np.abs(np.mean(errors, axis=0)).max() < 0.1
    assert rms.max() < 1.5 * got.velocity_sd[0]  # it knows how well it knows


@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_what_stands_has_no_velocity(turn):
    scene = Scene(speed=10.0, turn=turn)
    world, x, y, heading = np.array([[40.0, 3.0], [35.0, 12.0], [20.0, -6.0]]), 0.0, 0.0, 0.0
    for i in range(15):
        c, s = math.cos(heading), math.sin(heading)
        local = (world - (x, y)) @ np.array([[c, -s], [s, c]])
        got = scene.push([(*p, WALKER, 0.2 - heading, P_WALKER) for p in local])
        if i > 3:
            assert np.abs(got.velocity).max() < 0.05
            expected = np.stack([-10 + turn * local[:, 1], -turn * local[:, 0]], axis=1)
            for k, number in enumerate(got.detection_id):
                np.testing.assert_allclose(got.relative_velocity[got.id == number][0], expected[k], atol=0.1)
        half = heading + turn * 0.05
        chord = 0.1 if not turn else 2 / turn * math.sin(turn * 0.05) * 1.0
        x, y, heading = x + 10 * chord * math.cos(half), y + 10 * chord * math.sin(half), heading + turn * 0.1
    assert got.id.tolist() == [0, 1, 2]


def test_speed_that_goes_and_comes_keeps_ids():
    scene = Scene(speed=10.0)
    for i in range(40):
        scene.speed = math.nan if 15 <= i < 25 else 10.0
        got = scene.push([(60 - 1.0 * i, 3.0, CAR, 0.0, P_CAR)])
        assert got.is_over_ground == (not 15 <= i < 25)
        if i > 8:
            assert got.relative_velocity[0] == pytest.approx((-10.0, 0.0), abs=0.3)
            assert got.velocity[0, 0] == pytest.approx(0.0 if got.is_over_ground else -10.0, abs=0.3)
    assert got.id.tolist() == [0]


def test_a_car_that_comes_into_view_does_not_seem_to_move():
    """Its near end stays; what is seen of it grows away from the sensor, and shrinks again."""
    scene, worst = Scene(), 0.0
    lengths = [1.0 + 0.35 * min(i, 10) if i < 30 else 2.0 for i in range(60)]
    for i, length in enumerate(lengths):
        got = scene.push([(10.0 + length / 2, 2.0, (length, 1.8, 1.5), 0.0, P_CAR)])
        if i > 3:
            worst = max(worst, float(np.abs(got.velocity).max()))
    assert got.id.tolist() == [0]
    assert worst < 0.2
    assert got.box[0, 3] > 2.5  # remembers
    assert got.box[0, 0] - got.box[0, 3] / 2 == pytest.approx(10.0, abs=0.1)


def test_axes_of_a_box_may_swap():
    scene = Scene()
    for i in range(30):
        turned = i % 2 == 1
        got = scene.push([(15.0, 4.0, (1.8, 4.5, 1.5) if turned else CAR, math.pi / 2 if turned else 0.0, P_CAR)])
    assert got.box[0, 3:5] == pytest.approx((4.5, 1.8), abs=0.01)
    assert abs(math.sin(got.box[0, 6])) < 0.01
    assert np.abs(got.velocity).max() < 0.05


def test_a_fragment_is_no_object_unless_it_persists():
    scene, whole = Scene(), (15.0, 4.0, CAR, 0.0, P_CAR)
    for _ in range(10):
        scene.push([whole])
    parts = [(13.5, 4.0, (1.5, 1.8, 1.5), 0.0, P_CAR), (16.5, 4.0, (1.5, 1.8, 1.5), 0.0, P_CAR)]
    for _ in range(6):
        got = scene.push(parts)
        assert got.is_confirmed.sum() == 1
    for _ in range(8):
        got = scene.push(parts)
    assert got.is_confirmed.sum() == 2
    assert got.id[0] == 0


def test_two_that_merge_and_part_keep_one_id():
    scene = Scene()
    apart = [(15.0, 3.0, WALKER, 0.0, P_WALKER), (15.0, 3.9, WALKER, 0.0, P_WALKER)]
    for _ in range(10):
        got = scene.push(apart)
    before = got.detection_id.tolist()
    for _ in range(4):
        scene.push([(15.0, 3.45, (0.6, 1.5, 1.7), 0.0, P_WALKER)])
    for _ in range(3):
        got = scene.push(apart)
    assert set(before) & set(got.detection_id.tolist())
    assert got.n <= 3


def random_scans(seed, n=40, steps=25):
    random = np.random.default_rng(seed)
    place, velocity = random.uniform(-40, 40, (n, 2)), random.normal(0, 3, (n, 2))
    for i in range(steps):
        kept = random.random(n) > 0.1
        noisy = place + velocity * 0.1 * i + random.normal(0, 0.05, (n, 2))
        yield i, [(*noisy[k], CAR if k % 2 else WALKER, 0.1 * k, P_CAR if k % 2 else P_WALKER) for k in np.flatnonzero(kept)]


def test_order_means_nothing_and_the_same_gives_the_same():
    random = np.random.default_rng(7)
    scenes = [Scene(speed=5.0, turn=0.05) for _ in range(3)]
    for _, objects in random_scans(1):
        order = random.permutation(len(objects))
        first = scenes[0].push(objects)
        shown = [first.id.copy(), first.box.copy(), first.velocity.copy(), first.ttc_s.copy()]
        ids = first.detection_id.copy()
        same = scenes[1].push(objects)
        shuffled = scenes[2].push([objects[k] for k in order])
        for got in (same, shuffled):
            for a, b in zip(shown, (got.id, got.box, got.velocity, got.ttc_s), strict=True):
                np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(ids[order], shuffled.detection_id)


def test_saved_and_restored_lanes_go_on_with_the_same_bits():
    scene, other = Scene(speed=5.0), Scene(speed=5.0)
    for i, objects in random_scans(2):
        a = scene.push(objects)
        if i == 12:
            other.tracker.restore(0, scene.tracker.save(0))
            other.i = scene.i
        elif i > 12:
            shown = [part.copy() for part in (a.id, a.box, a.velocity)]
            b = other.push(objects)
            for x, y in zip(shown, (b.id, b.box, b.velocity), strict=True):
                np.testing.assert_array_equal(x, y)
    state = scene.tracker.save(0)
    with pytest.raises(ValueError, match="settings"):
        Scene(noise_m=0.2).tracker.restore(0, state)
    with pytest.raises(ValueError, match="bytes"):
        scene.tracker.restore(0, state[:-1])
    with pytest.raises(ValueError, match="damaged"):
        scene.tracker.restore(0, state[:-1] + bytes([state[-1] ^ 1]))


def test_ids_never_repeat_and_time_resets():
    scene = Scene()
    for _ in range(5):
        got = scene.push([(15.0, 4.0, CAR, 0.0, P_CAR)])
    assert got.id.tolist() == [0]
    got = scene.push([(15.0, 4.0, CAR, 0.0, P_CAR)], steps=11)
    assert (got.id.tolist(), got.hits.tolist()) == ([1], [1])
    got = scene.push([(15.0, 4.0, CAR, 0.0, P_CAR)], steps=-1)
    assert got.id.tolist() == [2]
    scene.tracker.reset(0)
    assert scene.push([(15.0, 4.0, CAR, 0.0, P_CAR)]).id.tolist() == [3]


def test_lanes_do_not_know_each_other():
    tracker = Tracker(2)
    boxes, probabilities = scan([(15.0, 4.0, CAR, 0.0, P_CAR)])
    for i in range(5):
        tracker.update(0, boxes, probabilities, 1, i * STEP, 0.0, 0.0)
    got = tracker.update(1, boxes, probabilities, 1, 10 * STEP, 0.0, 0.0)
    assert (got.id.tolist(), got.hits.tolist()) == ([0], [1])


@pytest.mark.parametrize("speed", [0.0, math.nan, math.inf, -3.0, 1e5])
def test_nothing_unusable_comes_out(speed):
    random = np.random.default_rng(9)
    tracker = Tracker(1)
    odd = np.array([0, np.nan, np.inf, -np.inf, 1e30, -1e30, 1e-30, -1, 3, 20], np.float32)
    for i in range(60):
        boxes, probabilities = random.choice(odd, (256, 8)), random.choice(odd, (256, 3))
        boxes[:128, :2] = random.normal(0, 20, (128, 2))
        got = tracker.update(0, boxes, probabilities, 256, i * STEP, speed, random.choice([0, np.nan, 0.5, 1e4]))
        for part in (got.box, got.velocity, got.relative_velocity, got.velocity_sd, got.probability, got.ttc_s, got.age_s, got.ahead_m):
            assert np.isfinite(part).all()
        assert (got.box[:, 3:6] > 0).all()
        assert np.isfinite((got.path.min_ttc_s, got.path.nearest_ahead_m, got.path.deceleration_mps2)).all()


def test_full_of_tracks_the_near_ones_count():
    tracker = Tracker(1, max_objects=256, max_tracks=64)
    far = scan([(30.0 + k % 16 * 4, -30.0 + k // 16 * 4, WALKER, 0.0, P_WALKER) for k in range(256)])
    for i in range(5):
        got = tracker.update(0, *far, 256, i * STEP, 0.0, 0.0)
    assert got.n == 64
    assert tracker.dropped(0) > 0
    near = scan([(8.0, 0.0, CAR, 0.0, P_CAR)])
    got = tracker.update(0, *near, 1, 5 * STEP, 5.0, 0.0)
    assert got.n == 64
    assert got.detection_id[0] == got.id[-1]
    assert got.path.nearest_ahead_m == pytest.approx(8.0 - 2.25 - 3.8, abs=0.01)
    assert got.path.min_ttc_s == pytest.approx(1.95 / 5, abs=0.01)


def test_256_objects_are_followed():
    tracker = Tracker(1)
    objects = [(k % 16 * 6.0 - 40, k // 16 * 6.0 - 40, CAR, 0.0, P_CAR) for k in range(256)]
    for i in range(10):
        boxes, probabilities = scan([(x + 0.5 * i, *rest) for x, *rest in objects])
        got = tracker.update(0, boxes, probabilities, 256, i * STEP, 0.0, 0.0)
    assert got.n == 256
    assert got.is_confirmed.all()
    assert sorted(got.id.tolist()) == list(range(256))
    np.testing.assert_allclose(got.velocity, np.tile((5.0, 0.0), (256, 1)), atol=0.3)


def test_a_car_that_brakes_ahead_is_met_in_time():
    scene = Scene(speed=15.0)
    for i in range(20):
        got = scene.push([(40.0 - 1.0 * i, 0.0, CAR, 0.0, P_CAR)])
    gap = 40.0 - 19.0 - 2.25 - 3.8
    assert got.path.closing_mps == pytest.approx(10.0, abs=0.3)
    assert got.path.confirmed_ttc_s == pytest.approx(gap / 10, rel=0.05)
    assert got.ttc_s[0] == pytest.approx(got.path.min_ttc_s)


def test_wrong_shapes_are_refused():
    tracker = Tracker(1, max_objects=4)
    boxes, probabilities = np.zeros((5, 8), np.float32), np.zeros((5, 3), np.float32)
    with pytest.raises(ValueError, match="at most"):
        tracker.update(0, boxes, probabilities, 5, 0, 0.0, 0.0)
    with pytest.raises(ValueError, match="probabilities"):
        tracker.update(0, boxes, probabilities[:, :2], 2, 0, 0.0, 0.0)
    with pytest.raises(TypeError):
        tracker.update(0, boxes.astype(float), probabilities, 2, 0, 0.0, 0.0)
    for wrong in ({"gate": 0.0}, {"noise_m": math.nan}, {"birth_speeds_mps": (0.0, 1.0, 1.0)}, {"noise_per_m": -1.0}):
        with pytest.raises(ValueError, match="must be"):
            TrackSettings(**wrong)
    with pytest.raises(ValueError, match="at least 1"):
        Tracker(0)


def test_one_scan_asks_for_no_deceleration_and_the_second_does():
    """Chance puts a drop of rain ahead in one scan, not the same one in two."""
    tracker = Tracker(1)
    boxes = np.array([[20.0, 0.0, 1.0, 0.5, 0.5, 1.5, 0.0, 16.0]], np.float32)
    probabilities = np.array([[0.0, 0.0, 1.0]], np.float32)
    for i in range(2):
        boxes[0, 0] = 20.0 - i
        path = tracker.update(0, boxes, probabilities, 1, (i + 1) * 100_000_000, 10.0, 0.0).path
        assert path.nearest_ahead_m < 17
        assert path.min_ttc_s < 2
        assert (path.deceleration_mps2 > 2) == (i == 1)
