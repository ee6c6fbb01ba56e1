"""Scans on the whole line: their numbers in features and rules, the vehicle's motion at their time, and what happens when time is short."""

import msgpack
import numpy as np
import pytest

from edge.build import load, warm_up
from edge.config.load import load as load_config
from edge.errors import BundleError, ConfigError, InferenceFault
from edge.inference.writer import BundleWriter
from edge.lidar import shape
from edge.lidar.ego import Ego
from edge.messages import Block, RawMessage
from edge.pipeline.scans import EgoMotion, ScanWork
from edge.pipeline.status import status
from edge.wire.scan import ScanCodec
from tests.fakes.clock import FakeClock
from tests.unit import inference_models as models

MS = 1_000_000
TEXT = """
name = "guard"
budget_ms = 40
on_overrun = {overrun}
[streams.lidar]
topic = "v/{{device}}/lidar"
kind = "scan"
max_points = 20000
max_bytes = 400000
[streams.lidar.scan]
mount = {{ z_m = 1.8 }}
x_m = [-20, 40]
y_m = [-20, 20]
range_m = [0.5, 60]
{scan}
vehicle = {{ front_m = 2.0, rear_m = 2.0, speed = "car.speed", yaw_rate = "car.yaw_rate", max_age_ms = 300 }}
[streams.car]
topic = "v/{{device}}/car"
channels = {{ speed = "m/s", yaw_rate = "rad/s" }}
rate_hz = 50
[[features]]
stream = "lidar"
channels = ["objects.count", "objects.nearest_ahead", "objects.min_ttc", "objects.closing_speed"]
[[features]]
stream = "lidar"
channels = ["objects.nearest_ahead"]
window = 3
stats = ["min"]
[[rules]]
name = "ahead"
score = "objects.nearest_ahead"
enter = 15.0
exit = 18.0
emit = "alert"
topic = "alerts/{{device}}"
[publish.predictions]
topic = "out/{{device}}"
features = true
"""


@pytest.fixture
def build(tmp_path):
    def make(overrun='["smaller_model", "skip"]', clock=None, scan=""):
        file = tmp_path / "guard.toml"
        file.write_text(TEXT.format(overrun=overrun, scan=scan))
        return load(file, clock=clock, boot_id="test")

    return make


def points(wall_m=None, seed=0):
    """Flat ground around the sensor, and a wall across the way."""
    rng = np.random.default_rng(seed)
    radius, angle = np.sqrt(rng.uniform(9, 900, 6000)), rng.uniform(0, 2 * np.pi, 6000)
    ground = np.c_[radius * np.cos(angle), radius * np.sin(angle), np.full(6000, -1.8)]
    if wall_m is None:
        return ground.astype("<f4")
    ground = ground[~((ground[:, 0] > wall_m) & (abs(ground[:, 1]) < 3))]
    wall = np.c_[np.full(800, wall_m), rng.uniform(-2, 2, 800), rng.uniform(-1.7, 0.2, 800)]
    return np.vstack([ground, wall]).astype("<f4")


def corner(x_m, y_m=3.0):
    """A wall to the left that turns to stand across the way."""
    along = np.arange(-8.0, x_m, 0.05)
    left = np.array([(x, y_m, z) for x in along for z in (-1.2, -0.7, -0.2)])
    end = np.array([(x_m, y, z) for y in np.arange(-4.0, y_m, 0.05) for z in (-1.2, -0.7, -0.2)])
    return np.vstack([points(None), left, end]).astype("<f4")


def scan(cloud, stamp_ns, seq=-1, device="1", received_ns=None):
    message = {"v": 1, "t": stamp_ns, "n": len(cloud), "fields": ["x", "y", "z"], "x": cloud.tobytes()}
    payload = msgpack.packb(message if seq < 0 else message | {"seq": seq})
    return RawMessage(f"v/{device}/lidar", payload, stamp_ns if received_ns is None else received_ns)


def motion(speed, stamp_ns, yaw_rate=0.0):
    payload = msgpack.packb({"v": 1, "t": stamp_ns, "x": np.array([speed, yaw_rate], "<f4").tobytes()})
    return RawMessage("v/1/car", payload, stamp_ns)


def look(pipeline, raw):
    pipeline.step(raw)
    out = pipeline.flush_scans()
    for counts in pipeline.counts().values():
        assert counts.is_balanced
    return out


def features(out):
    return dict(zip(NAMES, next(o.message for o in out if o.kind == "prediction").features.tolist(), strict=True))


NAMES = ("count", "ahead", "ttc", "closing", "least")


def test_the_numbers_of_a_scan_are_features_and_rules_act_on_them(build):
    pipeline = build()
    out = [look(pipeline, scan(points(wall_m), (i + 1) * 100 * MS)) for i, wall_m in enumerate((None, 25.0, 14.0, 12.0))]
    found = [features(one) for one in out if any(o.kind == "prediction" for o in one)]
    assert [round(float(one["ahead"])) for one in found[-2:]] == [12, 10]  # from the bumper, 2 m ahead of the origin
    assert [round(float(one["least"])) for one in found[-2:]] == [12, 10]
    assert [o.kind for o in out[2]] == ["alert", "prediction"]
    assert pipeline.decisions.raised == 1


def test_nothing_there_is_a_number_as_well(build):
    pipeline = build()
    for i in range(3):
        out = look(pipeline, scan(points(None), (i + 1) * 100 * MS))
    assert [float(value) for value in features(out).values()] == [0, 60, 5, 0, 60]


def test_speed_is_the_one_at_the_time_of_the_scan(build):
    """A wall comes nearer at 10 m/s; what arrived about the vehicle after the scan must not be used for it."""
    pipeline = build()
    for i in range(8):
        now = (i + 1) * 100 * MS
        pipeline.step(motion(10.0, now - 5 * MS))
        pipeline.step(scan(points(30.0 - i, seed=i), now))
        pipeline.step(motion(0.0, now + 1 * MS))
        out = pipeline.flush_scans()
    found = features(out)
    assert abs(found["closing"] - 10.0) < 1.0
    assert abs(found["ttc"] - found["ahead"] / 10.0) < 0.3


def test_an_old_speed_is_not_known():
    ego = EgoMotion({"speed": (0, 1)}, 1, 300 * MS)
    block = Block(2, 100)
    block.n = 100
    block.stamps[:] = np.arange(100) * 10 * MS
    block.rows[:, 1] = np.arange(100)
    ego.note(0, 0, block)
    assert ego.at(0, 991 * MS).speed_mps == 99
    assert ego.at(0, 500 * MS).speed_mps == 50
    assert ego.at(0, 509 * MS).speed_mps == 50
    assert np.isnan(ego.at(0, 1300 * MS).speed_mps)
    assert ego.at(0, 100 * MS).speed_mps == 10
    block.n, block.stamps[0], block.rows[0, 1] = 1, 5 * MS, 7.0
    ego.note(0, 0, block)  # the sender's clock began anew
    assert ego.at(0, 20 * MS).speed_mps == 7
    assert np.isnan(ego.at(0, 991 * MS).speed_mps)
    assert ego.at(0, 991 * MS).yaw_rate_radps == 0
    ego.reset(0)
    assert np.isnan(ego.at(0, 991 * MS).speed_mps)


def test_what_time_is_left_decides_how_closely_a_scan_is_looked_at(build):
    clock = FakeClock()
    pipeline = build(clock=clock)
    work = pipeline.intakes[0].work
    assert isinstance(work, ScanWork)
    clock.now_ns = 100 * MS
    out = look(pipeline, scan(points(20.0), 100 * MS))
    assert work.looks == {"full": 1, "reduced": 0}
    full, reduced = work._efforts.variants
    full.p99_ns, reduced.p99_ns = 30 * MS, 10 * MS
    full.best_ns, reduced.best_ns = 30 * MS, 10 * MS
    clock.now_ns = 220 * MS  # 20 ms after the receipt: 20 of 40 ms are left
    look(pipeline, scan(points(20.0), 200 * MS))
    assert work.looks == {"full": 1, "reduced": 1}
    reduced.p99_ns = reduced.best_ns = 10 * MS
    clock.now_ns = 335 * MS
    out = look(pipeline, scan(points(20.0), 300 * MS))
    assert work.looks == {"full": 1, "reduced": 1}
    assert not out
    assert pipeline.decisions.skipped == {"overrun": 1}
    found = status(pipeline, 0)["streams"]["lidar"]
    assert found["dropped"] == {"overrun": 1}
    assert found["looks"] == {"full": 1, "reduced": 1, "completed": 0, "objects_dropped": 0}


def test_without_smaller_model_a_scan_is_looked_at_closely_or_not_at_all(build):
    clock = FakeClock()
    pipeline = build(overrun='["skip"]', clock=clock)
    work = pipeline.intakes[0].work
    for effort in work._efforts.variants:
        effort.p99_ns = effort.best_ns = 30 * MS
    clock.now_ns = 120 * MS
    look(pipeline, scan(points(20.0), 100 * MS))
    assert work.looks == {"full": 0, "reduced": 0}
    assert pipeline.decisions.skipped == {"overrun": 1}


def test_the_first_scan_tells_how_long_one_takes(build):
    clock = FakeClock()
    pipeline = build(clock=clock)
    clock.now_ns, clock.step_ns = 100 * MS, 2 * MS
    look(pipeline, scan(points(20.0), 100 * MS))
    full, reduced = pipeline.intakes[0].work._efforts.variants
    assert full.p99_ns >= 2 * MS
    assert reduced.p99_ns == 0


def test_of_scans_that_come_too_fast_the_newest_is_taken(build):
    pipeline = build()
    for i in range(5):
        pipeline.step(scan(points(20.0 - i), (i + 1) * MS, seq=i))
    out = pipeline.flush_scans()
    counts = pipeline.counts()["lidar"]
    assert (counts.received, counts.used, counts.dropped) == (5, 1, {"superseded": 4})
    assert pipeline.flush_scans() == []
    assert counts.is_balanced
    assert out is not None


@pytest.mark.parametrize(
    ("cloud", "reason"),
    [
        (np.zeros((0, 3), "<f4"), "empty"),
        (np.full((50, 3), np.nan, "<f4"), "not_finite"),
        (np.zeros((50, 3), "<f4"), "no_returns"),
        (np.ones((50, 3), "<f4"), "all_equal"),
    ],
)
def test_a_scan_that_no_sensor_at_work_gives_is_counted_and_decides_nothing(build, cloud, reason):
    pipeline = build()
    assert look(pipeline, scan(cloud, 100 * MS)) == []
    assert pipeline.counts()["lidar"].invalid == {reason: 1}


def test_a_scan_that_is_cut_off_is_refused_or_completed(build):
    whole, half = points(20.0), points(20.0)
    half = half[half[:, 1] > 0]
    pipeline = build(scan="coverage_min_deg = 300")
    look(pipeline, scan(whole, 100 * MS))
    assert look(pipeline, scan(half, 200 * MS)) == []
    assert pipeline.counts()["lidar"].invalid == {"cut_off": 1}
    pipeline = build(scan='coverage_min_deg = 300\non_cut_off = "complete"')
    look(pipeline, scan(whole, 100 * MS))
    look(pipeline, scan(half, 200 * MS))
    assert pipeline.counts()["lidar"].used == 2
    assert status(pipeline, 0)["streams"]["lidar"]["looks"]["completed"] == 1


def test_devices_have_their_own_tracks_and_give_them_up_with_their_lane(build):
    pipeline = build()
    for i in range(4):
        for device, wall_m in (("a", 20.0), ("b", 10.0)):
            look(pipeline, scan(points(wall_m), (i + 1) * 100 * MS, device=device))
    work = pipeline.intakes[0].work
    again = look(pipeline, scan(points(10.0), 500 * MS, device="b"))
    assert round(float(features(again)["ahead"])) == 8
    pipeline.intakes[0].forget(1, "b")
    work.chain.run(ScanCodec(20_000, 400_000).decode(scan(points(10.0), 600 * MS).payload, 0), 1, Ego())
    assert not work.scene.tracks.is_confirmed.any()  # tracks of b began anew
    work.chain.run(ScanCodec(20_000, 400_000).decode(scan(points(20.0), 600 * MS).payload, 0), 0, Ego())
    assert work.scene.tracks.is_confirmed.any()  # those of a did not


def test_the_same_input_gives_the_same_output(build):
    def play():
        pipeline, out = build(), []
        for i in range(6):
            pipeline.step(motion(8.0, (i + 1) * 100 * MS - MS))
            out += look(pipeline, scan(points(25.0 - 0.8 * i, seed=i), (i + 1) * 100 * MS))
        return [(o.topic, o.payload) for o in out]

    assert play() == play()


def classifier(folder, labels=shape.LABELS, fixed=False):
    """A bundle that calls everything tall a vehicle."""
    weights, bias = np.zeros((len(shape.NAMES), len(labels)), np.float32), np.zeros(len(labels), np.float32)
    weights[2, 0] = 4.0
    writer = BundleWriter(folder, "1.0.0", description="d", source="s", licence="Apache-2.0", budget_ms=50)
    writer.set_input("features", "shape")
    writer.add_output("scores", labels, "scores")
    writer.set_features(shape.NAMES, shape.UNITS)
    golden = np.abs(np.random.default_rng(0).normal(size=(7, len(shape.NAMES)))).astype(np.float32)
    graph = models.linear(1 if fixed else "rows", weights=weights, bias=bias)
    writer.add_variant("one", graph.SerializeToString(), models.linear_expected(golden, weights, bias))
    writer.write(golden)
    return folder


def test_a_classifier_tells_objects_apart(build, tmp_path):
    classifier(tmp_path / "objects")
    pipeline = build(scan='classifier = "objects"')
    work = pipeline.intakes[0].work
    look(pipeline, scan(points(20.0), 100 * MS))
    assert work.scene.classes.tolist() == [0]
    assert work.scene.probabilities.shape == (1, 3)


def test_a_classifier_that_cannot_be_used_is_a_clear_error(build, tmp_path):
    with pytest.raises((BundleError, ConfigError), match="nowhere"):
        build(scan='classifier = "nowhere"')
    classifier(tmp_path / "others", labels=("a", "b", "c"))
    with pytest.raises(BundleError, match="labels are a, b, c; a classifier of objects has vehicle"):
        build(scan='classifier = "others"')
    classifier(tmp_path / "single", fixed=True)
    with pytest.raises(BundleError, match="must be left open"):
        build(scan='classifier = "single"')


def test_a_classifier_that_fails_costs_the_scan_and_nothing_else(build, monkeypatch):
    pipeline = build()
    work = pipeline.intakes[0].work

    def fail(*_):
        raise InferenceFault("x")

    monkeypatch.setattr(work, "look", fail)
    assert look(pipeline, scan(points(20.0), 100 * MS)) == []
    assert pipeline.decisions.failed == {"classifier": 1}


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ("x_m = [5, -5]", "streams.lidar.scan.x_m", "a lower and a higher number"),
        ("cell_m = 0.02", "streams.lidar.scan.gap_m", "cells"),
        ("cell_m = 0.03\ngap_m = 0.1\ngap_per_m = 0.0\nx_m = [-60, 60]", "streams.lidar.scan", "4000000"),
        ("range_m = [-5, 100]", "streams.lidar.scan.range_m", "0 to 1000"),
        ("x_m = [-5, 1.5]", "streams.lidar.scan.x_m", "beyond the front"),
        ("object_m = 0.1", "streams.lidar.scan.obstacle_m", "must rise"),
        ("sectors = 0", "streams.lidar.scan.sectors", "1"),
        ("voxel = 0.1", "streams.lidar.scan.voxel", "unknown key"),
        ('speed = "car.speed"', "streams.lidar.scan.speed", "unknown key"),
    ],
)
def test_what_is_wrong_with_the_table_is_said_by_key(tmp_path, change, path, said):
    text = TEXT.format(overrun='["skip"]', scan=change)
    for key, line in (("x_m", "x_m = [-20, 40]\n"), ("range_m", "range_m = [0.5, 60]\n")):
        text = text.replace(line, "") if f"\n{key}" in f"\n{change}" else text
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "p.toml")
    problems = {problem.path: str(problem) for problem in caught.value.problems}
    assert list(problems) == [path]
    assert said in problems[path]


@pytest.mark.parametrize(
    ("old", "new", "path", "said"),
    [
        ('speed = "car.speed"', 'speed = "car.sped"', "streams.lidar.scan.vehicle.speed", "car.speed"),
        ('speed = "car.speed"', 'speed = "car.yaw_rate"', "streams.lidar.scan.vehicle.speed", "m/s is due"),
        ('"objects.count"', '"objects.cuont"', "features[0].channels[0]", "objects.count"),
        ("window = 3\n", "", "features[1].window", "is missing"),
        ('kind = "scan"', 'channels = { a = "1" }', "streams.lidar.scan", "is for kind"),
    ],
)
def test_what_a_scan_stream_refers_to_must_exist(tmp_path, old, new, path, said):
    (tmp_path / "p.toml").write_text(TEXT.format(overrun='["skip"]', scan="").replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "p.toml")
    problems = {problem.path: str(problem) for problem in caught.value.problems}
    assert path in problems
    assert said in problems[path]


def test_warming_up_leaves_no_trace(build):
    cold, warm = build(), build()
    warm_up(warm)
    for i in range(3):
        raw = scan(points(20.0, seed=i), (i + 1) * 100 * MS)
        assert [o.payload for o in look(cold, raw)] == [o.payload for o in look(warm, raw)]


@pytest.mark.parametrize("cloud_at", [corner, points], ids=["wall that turns", "wall"])
def test_a_wall_is_met_however_it_goes_on_beside_the_vehicle(build, cloud_at):
    """The box of the one that turns holds the vehicle: it must neither hide its end nor make a collision out of its side."""
    pipeline = build()
    for i in range(8):
        now = (i + 1) * 100 * MS
        pipeline.step(motion(8.0, now - 5 * MS))
        out = look(pipeline, scan(cloud_at(24.0 - 0.8 * i), now))
    found = features(out)
    assert abs(found["ahead"] - (24.0 - 0.8 * 7 - 2.0)) < 0.3
    assert abs(found["closing"] - 8.0) < 0.5
    assert abs(found["ttc"] - found["ahead"] / 8.0) < 0.2


def test_a_slow_first_look_does_not_put_an_end_to_looking(build):
    """One stall of the machine at the first scan: within some turns it is tried again, and stays."""
    clock = FakeClock()
    pipeline = build(clock=clock)
    work = pipeline.intakes[0].work
    full, reduced = work._efforts.variants
    for effort in (full, reduced):
        work.observe(effort, 90 * MS)
    cloud = points(20.0)
    for i in range(80):
        clock.now_ns = (i + 1) * 100 * MS
        look(pipeline, scan(cloud, (i + 1) * 100 * MS))
    assert work.looks["full"] > 0
    assert work.looks["full"] + work.looks["reduced"] > 30


def test_a_sensor_that_begins_anew_is_heard_again(build):
    pipeline = build()
    for stamp_s in (5, 4_000_000_000):
        look(pipeline, scan(points(20.0), stamp_s * 1000 * MS, received_ns=stamp_s))
    counts = pipeline.counts()["lidar"]
    assert counts.invalid == {"stamp_future": 1}
    for i in range(12):
        look(pipeline, scan(points(20.0), (i + 1) * 100 * MS, received_ns=4_000_000_000 + i))
    assert (counts.late, counts.resyncs) == (7, 1)
    assert counts.used == 1 + 5
