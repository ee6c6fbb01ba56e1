"""The state of a pipeline, taken and put back: the same bits follow, nothing is raised twice, and no file can stop a start."""

import os
import time

import msgspec
import numpy as np
import pytest

from edge import build
from edge.config.load import loads
from edge.daemon.keeper import Keeper
from edge.pipeline.checkpoint import put, take
from edge.store.checkpoint import Checkpoint, CheckpointWriter, read, write

TEXT = """
name = "guard"
budget_ms = 1000
lanes = 3

[streams.s]
topic = "d/{device}/s"
channels = { x = "1" }
rate_hz = 100
[streams.s.clean]
lateness_ms = 50
spike = { window = 5, sigmas = 6 }

[streams.w]
topic = "d/{device}/w"
channels = { y = "1" }
rate_hz = 10

[[features]]
stream = "s"
channels = ["x"]
window = "1s"
stats = ["mean", "std", "max"]

[[features]]
stream = "w"
channels = ["y"]
window = 4
stats = ["mean"]

[[rules]]
name = "hot"
score = "s.x.mean.1s"
enter = 0.5
exit = 0.2
hold_ms = 100
emit = "alert"
topic = "d/{device}/alerts"
"""
MS = 1_000_000


@pytest.fixture
def make(tmp_path):
    def made():
        pipeline = build.pipeline_of(loads(TEXT, tmp_path), boot_id="b")
        build.warm_up(pipeline)
        pipeline.run_on(None, 0)
        return pipeline

    return made


def feed(pipeline, first, last, device="a"):
    """Rows by number, every 10 ms, with a level that rises, and a gap in the counter now and then."""
    vectors, alerts = [], []
    for i in range(first, last):
        stamp = (i + 1) * 10 * MS
        if i % 10 == 0:
            found = pipeline.push("w", [[float(i % 7)]], device=device, stamps=[stamp + 5 * MS], seq=i // 10)
            alerts += found.alerts
        if i % 37 == 5:
            continue  # lost: the next one waits for it
        found = pipeline.push("s", [[np.sin(i / 9.0) * 0.1 + min(i / 200, 1.0)]], device=device, stamps=[stamp], seq=i)
        vectors += [prediction.stamp_ns for prediction in found.predictions]
        vectors += [prediction.features.tobytes() for prediction in found.predictions]
        alerts += found.alerts
    return vectors, [(alert.name, alert.state) for alert in alerts]


@pytest.mark.parametrize("cut", [3, 105, 131, 152, 200])
def test_what_follows_has_the_same_bits(make, cut):
    whole, half, rest = make(), make(), make()
    feed(whole, 0, cut)
    feed(half, 0, cut)
    parts = take(half, half.lanes.find("a"))
    assert put(rest, "a", parts, 0, is_same_clock=True) == {}
    rest.decisions.policy.resume(0, {"hot"} if half.decisions.raised > half.decisions.cleared else ())
    expected, got = feed(whole, cut, 300), feed(rest, cut, 300)
    assert got == expected
    assert len(got[0]) > 100


def test_a_rule_that_was_raised_is_not_raised_again_and_one_that_was_not_told_is(make):
    for raised, expected in (({"hot"}, []), (set(), [("hot", "raised")])):
        before, after = make(), make()
        assert feed(before, 0, 250)[1] == [("hot", "raised")]
        put(after, "a", take(before, 0), 0, is_same_clock=True)
        after.decisions.policy.resume(0, raised)
        assert feed(after, 250, 280)[1] == expected


def test_parts_of_another_plan_are_left_out_and_named(make, tmp_path):
    pipeline = make()
    feed(pipeline, 0, 50)
    parts = take(pipeline, 0)
    text = TEXT.replace('"max"]', '"min"]').replace("enter = 0.5", "enter = 0.6").replace("sigmas = 6", "sigmas = 7")
    other = build.pipeline_of(loads(text, tmp_path), boot_id="b")
    build.warm_up(other)
    other.run_on(None, 0)
    refused = put(other, "a", parts, 0, is_same_clock=True)
    assert set(refused) == {"features", "policy", "gate s"}
    feed(other, 50, 100)


def test_damaged_parts_are_left_out(make):
    pipeline = make()
    feed(pipeline, 0, 128)
    parts = take(pipeline, 0)
    random = np.random.default_rng(1)
    for name, state in parts.items():
        for _ in range(20):
            at = int(random.integers(len(state)))
            broken = (
                state[:at] if random.random() < 0.5 else state[:at] + bytes([state[at] ^ (1 << int(random.integers(8)))]) + state[at + 1 :]
            )
            other = make() if _ == 0 else other  # noqa: F821
            other.lanes.__init__(3)
            put(other, "a", parts | {name: broken}, 0, is_same_clock=True)
    assert put(make(), "a", {}, 0, is_same_clock=True).keys() == parts.keys()


def test_after_the_machine_started_anew_gates_start_anew(make):
    pipeline, other = make(), make()
    feed(pipeline, 0, 100)
    assert put(other, "a", take(pipeline, 0), 0, is_same_clock=False) == {}
    assert other.intakes[0].gate.counts.held == 0


def checkpoint():
    return Checkpoint.of("guard", {"a": {"features": b"123", "policy": b""}, "b": {}})


def test_file_round_trip_and_ages(tmp_path):
    write(tmp_path / "c", checkpoint())
    found = read(tmp_path / "c")
    assert found.lanes == checkpoint().lanes
    assert found.is_same_boot
    assert 0 <= found.age_s() < 60
    elsewhere = msgspec.structs.replace(found, kernel="another")
    assert 0 <= elsewhere.age_s() < 60
    assert msgspec.structs.replace(elsewhere, wall_ns=5).age_s() is None
    assert msgspec.structs.replace(elsewhere, wall_ns=1 << 62).age_s() is None
    assert read(tmp_path / "none") is None


def test_cut_and_flipped_files_are_refused(tmp_path):
    write(tmp_path / "c", checkpoint())
    whole = (tmp_path / "c").read_bytes()
    for i in range(len(whole)):
        for data in (whole[:i], whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :], whole + b"x"):
            (tmp_path / "d").write_bytes(data)
            with pytest.raises(ValueError, match=r"checkpoint|version|cut off|damaged"):
                read(tmp_path / "d")


def test_a_disk_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    writer = CheckpointWriter(tmp_path / "c")
    writer.post(checkpoint())
    writer.close()
    before = (tmp_path / "c").read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _file: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    writer = CheckpointWriter(tmp_path / "c")
    writer.post(checkpoint())
    writer.close()
    assert (writer.written, writer.failed) == (0, 1)
    assert (tmp_path / "c").read_bytes() == before


def test_a_round_takes_every_lane_and_a_file_follows(make, tmp_path):
    pipeline = make()
    for device in ("a", "b"):
        feed(pipeline, 0, 50, device)
    keeper = Keeper(pipeline, CheckpointWriter(tmp_path / "c"), 10 * MS)
    for tick in range(4000):
        keeper.look(tick * 20 * MS)
        time.sleep(0.005)
        if keeper.rounds > 2:
            break
    keeper.close()
    assert keeper.rounds > 3
    assert keeper.status()["written"] > 0
    assert set(read(tmp_path / "c").lanes) == {"a", "b"}
