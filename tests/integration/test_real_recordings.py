"""Real recordings of cars, a drone and a fan through cleaning, alignment and features: live and stored alike, against NumPy."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

import edge

DATA = Path(__file__).parents[3] / "shared" / "data"
SECOND = 1_000_000_000


def folder(name):
    path = DATA / name
    if not path.is_dir():
        pytest.skip(f"needs the recordings of {name} in {path.parent}; they are not part of the repository")
    return path


def table(path, columns):
    """Columns of a CSV as float64; an empty field is NaN."""
    with gzip.open(path, "rt", encoding="utf-8", errors="replace", newline="") as file:
        lines = csv.reader(line for line in file if line.strip())
        names = [name.strip().removesuffix(" ()") for name in next(lines)]
        wanted = [names.index(column) for column in columns]
        return np.array([[float(line[i] or "nan") for i in wanted] for line in lines])


def load(tmp_path, text):
    path = tmp_path / "pipeline.toml"
    path.write_text('budget_ms = 50\nname = "real"\n' + text)
    return edge.load(path), edge.load(path)


def both(pipelines, tables):
    """Vectors of the stored road, after the live one gave the same bits: messages of one to forty rows, in the order of their stamps."""
    stored, live = pipelines
    result = edge.features.compute(stored, tables if len(tables) > 1 else next(iter(tables.values())))
    random = np.random.default_rng(7)
    at, got = dict.fromkeys(tables, 0), []
    trigger = live.features.plan.trigger
    while any(at[name] < len(tables[name][0]) for name in tables):
        # The stream that is furthest behind speaks, the trigger last among equals, and not beyond what another one has to say.
        name = min((n for n in tables if at[n] < len(tables[n][0])), key=lambda n: (tables[n][0][at[n]], n == trigger))
        stamps, rows = tables[name]
        others = [tables[n][0][at[n]] for n in tables if n != name and at[n] < len(tables[n][0])]
        most = int(np.searchsorted(stamps, min(others), "left")) - at[name] if others else 40
        stop = at[name] + max(1, min(int(random.integers(1, 41)), most, len(stamps) - at[name]))
        pushed = live.push(name, rows[at[name] : stop], stamps=stamps[at[name] : stop])
        got += [prediction.features for prediction in pushed.predictions]
        at[name] = stop
    assert len(got) == len(result.values)
    assert np.array(got).tobytes() == result.values.tobytes()
    assert all(intake.gate.counts.is_balanced for intake in live.intakes)
    return result, live


def column(result, name):
    return result.values[:, result.names.index(name)].astype(float)


def ns(seconds):
    return np.rint(np.asarray(seconds) * 1e9).astype(np.int64)


def test_a_car_with_an_imu_at_104_hz_gnss_at_10_hz_and_can(tmp_path):
    path = folder("can-comma2k19")
    accelerometer, gyro, gnss, speed = (
        np.load(path / f"{name}.npz") for name in ("IMU_accelerometer", "IMU_gyro", "GNSS_live_gnss_ublox", "CAN_speed")
    )
    imu = (ns(accelerometer["t"]), np.hstack([accelerometer["value"], gyro["value"]]).astype(np.float32))
    fix = (ns(gnss["t"]), gnss["value"][:, [2]].astype(np.float32))
    # Two CAN frames can bear the same microsecond: the second one is late and is counted.
    can = (ns(speed["t"]), speed["value"].astype(np.float32))
    pipelines = load(
        tmp_path,
        """
        [streams.imu]
        topic = "imu"
        rate_hz = 104
        channels = { fwd = "m/s^2", right = "m/s^2", down = "m/s^2", p = "rad/s", q = "rad/s", r = "rad/s" }
        [streams.imu.clean]
        range = { fwd = [-80, 80], right = [-80, 80], down = [-80, 80] }
        spike = { window = 11, sigmas = 8, floor = { fwd = 0.2, right = 0.2, down = 0.2, p = 0.05, q = 0.05, r = 0.05 } }
        derive = { a = ["fwd", "right", "down"] }
        max_gap_ms = 100
        [streams.gnss]
        topic = "gnss"
        rate_hz = 10
        channels = { speed = "m/s" }
        asof_max_ms = 300
        [streams.can]
        topic = "can"
        rate_hz = 83
        channels = { speed = "m/s" }
        asof_max_ms = 100
        [[features]]
        stream = "imu"
        channels = ["fwd", "a"]
        window = "2s"
        hop = "100ms"
        stats = ["mean", "std", "jerk", "band_energy(1-10)", "dominant_frequency", "corr(r)"]
        [[features]]
        stream = "gnss"
        channels = ["speed"]
        window = 5
        stats = ["last", "slope", "age"]
        [[features]]
        stream = "can"
        channels = ["speed"]
        window = "1s"
        stats = ["last", "median", "age"]
        """,
    )
    result, live = both(pipelines, {"imu": imu, "gnss": fix, "can": can})
    assert 550 < len(result.values) < 600  # a minute, ten vectors a second
    ages = column(result, "gnss.speed.age.5")
    assert (ages >= 0).all()
    assert ages.max() <= 0.3
    by_stamp = {stamp: i for i, stamp in enumerate(imu[0])}
    for i in range(0, len(result.values), 37):
        stamp = result.stamps[i]
        assert stamp in by_stamp
        # As of the trigger's stamp: the newest fix and the newest speed that are not newer.
        newest = np.searchsorted(fix[0], stamp, "right") - 1
        assert result.values[i, result.names.index("gnss.speed.last.5")] == fix[1][newest, 0]
        assert ages[i] == pytest.approx((stamp - fix[0][newest]) * 1e-9, abs=1e-6)
        w = imu[1][(imu[0] > stamp - 2 * SECOND) & (imu[0] <= stamp), :3].astype(float)
        assert column(result, "imu.a.mean.2s")[i] == pytest.approx(np.linalg.norm(w, axis=1).mean(), rel=2e-3)
    # Two instruments that know nothing of each other agree on how fast the car is.
    error = column(result, "gnss.speed.last.5") - column(result, "can.speed.last.1s")
    assert np.abs(error).mean() < 0.5
    assert live.features.gaps(live.features.plan.stream_index["imu"]) == 0


def test_a_drone_at_250_hz(tmp_path):
    names = ["timestamp", *(f"{kind}[{i}]" for kind in ("gyro_rad", "accelerometer_m_s2") for i in range(3))]
    data = table(folder("px4-ulog") / "sample_appended_multiple.sensor_combined.csv.gz", names)
    stamps, rows = (data[:, 0] * 1000).astype(np.int64), data[:, 1:].astype(np.float32)
    pipelines = load(
        tmp_path,
        """
        [streams.imu]
        topic = "imu"
        rate_hz = 250
        channels = { p = "rad/s", q = "rad/s", r = "rad/s", ax = "m/s^2", ay = "m/s^2", az = "m/s^2" }
        [streams.imu.clean]
        max_gap_ms = 100
        convert = { p = "deg/s", q = "deg/s", r = "deg/s" }
        resample = { rate_hz = 100, method = "linear" }
        [[features]]
        stream = "imu"
        channels = ["p", "az", "quality"]
        window = "500ms"
        hop = "100ms"
        stats = ["mean", "rms", "iqr", "rate", "missing_ratio"]
        """,
    )
    result, _ = both(pipelines, {"imu": (stamps, rows)})
    assert len(result.values) > 50
    assert result.units[0] == "deg/s"
    # On the grid of 100 Hz, whatever the sensor did: linear interpolation is what NumPy says it is.
    for i in range(0, len(result.values), 7):
        grid = np.arange(result.stamps[i] - SECOND // 2 + SECOND // 100, result.stamps[i] + 1, SECOND // 100)
        want = np.interp(grid, stamps, np.rad2deg(rows[:, 0].astype(float)))
        assert column(result, "imu.p.mean.500ms")[i] == pytest.approx(want.mean(), rel=1e-3, abs=1e-3)
    assert column(result, "imu.p.rate.500ms") == pytest.approx(100, rel=1e-6)
    assert ((column(result, "imu.quality.mean.500ms") > 0) & (column(result, "imu.quality.mean.500ms") <= 1)).all()


def test_a_car_whose_attitude_is_impossible_and_whose_fixes_repeat(tmp_path):
    path = folder("imu-gps-car") / "2014-02-14-002-Data.csv.gz"
    data = table(path, ["millis", "ax", "ay", "az", "yawrate", "roll", "speed"])
    stamps, rows = ns(data[:, 0] / 1e3), data[:, 1:].astype(np.float32)
    pipelines = load(
        tmp_path,
        """
        [streams.car]
        topic = "car"
        rate_hz = 50
        channels = { ax = "m/s^2", ay = "m/s^2", az = "m/s^2", yaw = "deg/s", roll = "deg", speed = "km/h" }
        [streams.car.clean]
        convert = { yaw = "rad/s", speed = "m/s" }
        range = { roll = [-50, 50] }
        missing = { policy = "hold", max_age_ms = 60000 }
        max_gap_ms = 1000
        [[features]]
        stream = "car"
        channels = ["roll", "speed", "yaw"]
        window = "1s"
        hop = "200ms"
        stats = ["min", "max", "mean", "missing_ratio"]
        """,
    )
    result, live = both(pipelines, {"car": (stamps, rows)})
    impossible = np.abs(rows[:, 4]) > 50
    assert 0 < impossible.sum() <= 94
    assert live.intakes[0].gate.cleaner.summary()["range"]["roll"] == impossible.sum()
    assert np.abs(column(result, "car.roll.max.1s")).max() <= 50
    assert column(result, "car.roll.missing_ratio.1s").max() > 0.5
    assert column(result, "car.speed.max.1s").max() == pytest.approx(np.float32(rows[:, 5].max() / 3.6), rel=1e-6)


def test_a_fan_in_seconds_that_do_not_follow_each_other(tmp_path):
    x = np.load(folder("esp32-fan") / "fan_0_low_0_weight.npz")["x"][:60]
    seconds, n, _ = x.shape
    stamps = (np.arange(seconds)[:, None] * 10 * SECOND + np.arange(n) * SECOND // 200 + SECOND).ravel()
    pipelines = load(
        tmp_path,
        """
        [streams.fan]
        topic = "fan"
        rate_hz = 200
        channels = { x = "g", y = "g", z = "g" }
        [streams.fan.clean]
        max_gap_ms = 100
        convert = { x = "m/s^2", y = "m/s^2", z = "m/s^2" }
        [[features]]
        stream = "fan"
        channels = ["x", "y", "z"]
        window = 200
        hop = 200
        stats = ["mad", "kurtosis", "crest", "zero_crossings", "spectral_entropy"]
        """,
    )
    result, live = both(pipelines, {"fan": (stamps, x.reshape(-1, 3))})
    assert len(result.values) == seconds
    assert live.features.gaps(0) == seconds - 1
    scaled = x.astype(float) * 9.80665
    want = np.median(np.abs(scaled - np.median(scaled, axis=1, keepdims=True)), axis=1)
    got = np.stack([column(result, f"fan.{axis}.mad.200") for axis in "xyz"], axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_slow_car_over_obd(tmp_path):
    data = table(folder("obd-carobd") / "live1.csv.gz", ["ENGINE_RPM", "VEHICLE_SPEED", "COOLANT_TEMPERATURE", "THROTTLE"])
    stamps = (np.arange(len(data)) + 1) * SECOND
    pipelines = load(
        tmp_path,
        """
        [streams.obd]
        topic = "obd"
        rate_hz = 1
        channels = { rpm = "rpm", speed = "km/h", coolant = "degC", throttle = "%" }
        [streams.obd.clean]
        convert = { speed = "m/s", coolant = "K" }
        range = { coolant = [240, 400] }
        max_rate = { coolant = 5 }
        stuck = { ms = 600000, channels = ["rpm"] }
        [[features]]
        stream = "obd"
        channels = ["speed", "coolant", "rpm"]
        window = "1min"
        hop = "10s"
        stats = ["mean", "slope", "autocorr(5)", "time_since(<=0)", "histogram(4)", "entropy(4)", "ewma"]
        """,
    )
    result, _ = both(pipelines, {"obd": (stamps, data.astype(np.float32))})
    assert len(result.values) > 50
    assert result.units[result.names.index("obd.coolant.mean.1min")] == "K"
    shares = np.stack([column(result, f"obd.speed.histogram(4)[{b}].1min") for b in range(4)])
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-6)
    i = len(result.values) // 2
    w = data[(stamps > result.stamps[i] - 60 * SECOND) & (stamps <= result.stamps[i]), 1] / 3.6
    assert column(result, "obd.speed.mean.1min")[i] == pytest.approx(w.mean(), rel=1e-5)
    standing = data[: int(result.stamps[i] // SECOND), 1] <= 0
    since = (len(standing) - 1 - np.flatnonzero(standing)[-1]) if standing.any() else len(standing) - 1
    assert column(result, "obd.speed.time_since(<=0).1min")[i] == pytest.approx(since)
