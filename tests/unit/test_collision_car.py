"""The collision demo's car: what it sends, what it obeys, and how its drive is told."""

import json
import math

import msgpack
import numpy as np
import pytest
from rich.console import Console

from edge.cli.demo.collision.car import TOPICS, Car, Record
from edge.cli.demo.collision.command import CollisionOptions, holds, run_collision
from edge.cli.demo.collision.heard import Drive
from edge.cli.demo.collision.screen import About, Screen, screen, summary
from edge.cli.demo.collision.vehicle import truth
from edge.cli.main import main
from edge.errors import EdgeError, TransportError
from edge.wire.scan import ScanCodec
from firmware_bridge.simulator import Ground, Scenario, Scene, SensorModel, World

FEW = SensorModel("few", (-0.2, -0.1), 0.05)
MS = 1_000_000


def car(speed_mps: float = 10.0, duration_s: float = 5.0) -> Car:
    return Car(World(Scenario("nowhere", Scene(Ground(), []), speed_mps, duration_s, "must_not_brake"), FEW))


def command(value: float = 1.0, seq: int = 1, expires_ms: int = 300, boot_id: str = "a") -> bytes:
    return json.dumps({"boot_id": boot_id, "seq": seq, "value": value, "issued_ns": 0, "expires_ns": expires_ms * MS}).encode()


def test_it_sends_its_motion_fifty_times_a_second_and_ten_scans() -> None:
    one, sent = car(), []
    for _ in range(100):
        sent += one.messages()
        one.step(0.01)
    assert [topic for topic, _ in sent].count(TOPICS.motion) == 50
    scans = [ScanCodec(10_000, 1_000_000).decode(payload, 0) for topic, payload in sent if topic == TOPICS.lidar]
    assert [scan.seq for scan in scans] == list(range(10))
    assert [scan.stamp_ns for scan in scans] == [i * 100 * MS for i in range(10)]
    motion = msgpack.unpackb(next(payload for topic, payload in sent if topic == TOPICS.motion))
    assert np.frombuffer(motion["x"], "<f4").tolist() == [10.0, 0.0]


def test_a_command_acts_for_what_is_left_of_its_life() -> None:
    one = car()
    assert one.obey(command(), 200 * MS)
    for _ in range(10):
        one.step(0.01)
    assert one.brake == 0.0
    assert one.world.vehicle.brake > 0.3
    assert one.record.most_brake == 1.0
    assert one.record.first_speed_mps == 10.0


@pytest.mark.parametrize(
    "refused",
    [
        command(expires_ms=99),
        command(seq=5),
        command(seq=4),
        command(value=1.5, seq=6),
        command(value=math.nan, seq=6),
        b"{}",
        b"\xff\xff",
        b"[]",
    ],
)
def test_a_command_that_is_void_is_refused(refused: bytes) -> None:
    one = car()
    assert one.obey(command(0.0, seq=5), 0)
    assert not one.obey(refused, 100 * MS)
    assert (one.record.obeyed, one.record.refused, one.record.most_brake) == (1, 1, 0.0)


def test_a_new_run_of_the_daemon_is_obeyed_and_the_old_one_is_not_any_more() -> None:
    one = car()
    assert one.obey(command(0.0, seq=9), 0)
    assert one.obey(command(0.0, seq=1, boot_id="b"), 0)
    assert not one.obey(command(0.0, seq=10), 0)


def record(**changes: object) -> Record:
    return Record(**({"name": "x", "seed": 1, "sensor": "few", "expectation": "must_stop"} | changes))


@pytest.mark.parametrize(
    ("one", "outcome", "good"),
    [
        (record(collided=True, impact_mps=9.14), "hit at 9.1 m/s", False),
        (record(stopped_m=3.21, most_brake=1.0), "stopped 3.2 m before it", True),
        (record(min_gap_m=2.0, most_brake=1.0), "braked, never nearer than 2.0 m", True),
        (record(expectation="must_not_brake"), "drove on, brake untouched", True),
        (record(expectation="must_not_brake", min_gap_m=1.0, most_brake=0.1), "braked, never nearer than 1.0 m", False),
    ],
)
def test_the_outcome_in_words(one: Record, outcome: str, good: bool) -> None:
    assert (one.outcome, one.is_as_expected) == (outcome, good)


def test_without_the_runtime_a_hit_is_what_was_expected() -> None:
    guarded, alone = (About("x", "few", "must_stop", "mosquitto", with_runtime) for with_runtime in (True, False))
    hit, stopped = record(collided=True), record(stopped_m=3.0)
    assert [holds(about, one, is_decided=True) for about in (guarded, alone) for one in (hit, stopped)] == [False, True, True, False]
    assert not holds(guarded, stopped, is_decided=False)


def heard(one: Car) -> Drive:
    drive = Drive()
    drive.hear("truth", truth(one, 0.0, is_last=True), 0.0)
    drive.hear("alert", b'{"name": "collision", "state": "raised", "severity": "critical", "value": 1.2}', 0.0)
    drive.hear("command", command(), 0.0)
    drive.hear("prediction", b'{"features": [1.2, 5.5, 10.0]}', 0.0)
    drive.hear("status", b'{"state": "running", "latency_us": {"total": {"p99": 12345.0}}}', 0.0)
    drive.hear("availability", b"online", 0.0)
    drive.hear("truth", b"\xc1", 0.0)
    return drive


def test_the_screen_and_the_lines_say_what_was_heard() -> None:
    one = car()
    one.obey(command(), 0)
    one.step(0.1)
    drive, about = heard(one), About("x", "few", "must_not_brake", "mosquitto", with_runtime=True)
    console = Console(width=80, height=24, record=True, force_terminal=True)
    console.print(screen(about, drive, None, console.size))
    shown = console.export_text()
    for text in ("9.7 m/s", "collision raised at 1.20", "5.5 m/s^2", "12.3 ms", "running"):
        assert text in shown
    assert drive.malformed == 1
    assert drive.is_over
    again = drive.record()
    assert again is not None
    assert (again.name, again.obeyed, again.most_brake) == ("nowhere", 1, 1.0)
    plain = Console(width=80, record=True, force_terminal=False)
    with Screen(plain, about, drive, None) as lines:
        lines.show(0.0, "starting")
        lines.show(0.0)
    assert "simulated time runs at" in plain.export_text()
    told = "\n".join(summary(about, drive, again, is_as_expected=False))
    assert "does not touch the brake: NO" in told
    assert "not decided in the time given" in told


def test_what_cannot_be_done_is_said_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    for wrong in ({"scenario": "moon"}, {"sensor": "radar"}):
        with pytest.raises(EdgeError, match="there are"):
            run_collision(CollisionOptions(**wrong), console)
    for url in ("mqtts://localhost", "mqtt://192.0.2.1"):
        with pytest.raises(EdgeError):
            run_collision(CollisionOptions(url=url), console)
    assert main(["demo", "--without-runtime"]) == main(["demo", "--scenario", "rain"]) == main(["demo", "collision", "--svg", "x.svg"]) == 2
    assert "edge demo collision" in capsys.readouterr().err


def test_a_picture_needs_pillow_and_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TransportError, match="there is no folder"):
        run_collision(CollisionOptions(picture=tmp_path / "no" / "x.png"), Console())
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(EdgeError, match="pip install pillow"):
        run_collision(CollisionOptions(picture=tmp_path / "x.png"), Console())
