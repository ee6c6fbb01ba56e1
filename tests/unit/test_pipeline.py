"""The whole line without a broker: budgets, overruns, lanes, order, and the accounting after each of them."""

import json
import struct

import msgpack
import msgspec
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import edge
from edge.build import load
from edge.messages import RawMessage
from edge.pipeline.status import status
from tests.fakes.clock import FakeClock
from tests.unit import inference_models as models

MS = 1_000_000
TEXT = """
name = "test"
budget_ms = {budget}
tick_ms = 10
lanes = {lanes}
{overrun}

[streams.imu]
topic = "d/{{device}}/imu"
channels = {{ ax = "m/s^2", ay = "m/s^2", az = "m/s^2" }}
rate_hz = 50
max_rows = 200
[streams.imu.clean]
lateness_ms = {lateness}

[streams.scan]
topic = "d/{{device}}/scan"
kind = "scan"

[[features]]
stream = "imu"
channels = ["ax", "ay", "az"]
window = "2s"
hop = "20ms"
stats = ["mean", "std"]

[model]
bundle = "bundle"

[[rules]]
name = "shaken"
score = "shaken"
enter = 0.0
exit = 0.0
emit = "command"
actuator = "brake"
value = 0.7

[[rules]]
name = "note"
score = "shaken"
enter = 0.0
exit = 0.0
emit = "alert"
topic = "d/{{device}}/alerts"

[actuators.brake]
topic = "d/{{device}}/brake"
unit = "1"
min = 0.0
max = 1.0
ttl_ms = 100
safe_value = 0.2
stale_ms = 50
rearm_ms = 0
"""


def text(overrun="", lateness=0, lanes=2):
    """The file; a frame that may wait has a budget to wait in."""
    return TEXT.format(overrun=overrun, lateness=lateness, lanes=lanes, budget=50 if lateness else 5)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    models.write_bundle(folder, models={"full": models.linear(), "small": models.linear()})
    return folder


@pytest.fixture
def build(tmp_path, bundle):
    (tmp_path / "bundle").symlink_to(bundle)

    def make(overrun="", lateness=0, lanes=2, **options):
        path = tmp_path / "pipeline.toml"
        path.write_text(text(overrun, lateness, lanes))
        return load(path, boot_id="b", **options)

    return make


def frame(seq, n=1, device="a", stamp_ns=None, received_ns=None, value=1.0):
    stamp_ns = seq * 20 * MS if stamp_ns is None else stamp_ns
    x = np.full((n, 3), value, "<f4").tobytes()
    payload = msgpack.packb({"v": 1, "seq": seq, "t": stamp_ns, "dt": 20 * MS, "x": x})
    return RawMessage(f"d/{device}/imu", payload, stamp_ns + 1 if received_ns is None else received_ns)


def warm(pipeline, device="a", first=1, count=101):
    """Frames until the window is full but for one; the next one decides."""
    out = []
    for seq in range(first, first + count):
        out += pipeline.step(frame(seq, device=device))
    return out


def balanced(pipeline):
    for name, counts in pipeline.counts().items():
        assert counts.is_balanced, (name, status(pipeline, 0))


def kinds(out):
    return [o.kind for o in out]


def test_a_frame_travels_the_whole_line(build):
    pipeline = build()
    out = warm(pipeline)
    assert kinds(out) == ["command", "alert"]
    command, alert = (json.loads(o.payload) for o in out)
    assert (command["name"], command["value"], command["device"]) == ("brake", 0.7, "a")
    origin = {"model": "bundle", "version": "1.0.0", "variant": "full", "deployment": f"{alert['boot_id']}-m1"}
    assert command["cause"] == {"rule": "shaken", "score": alert["value"], **origin}
    assert out[0].topic == "d/a/brake"
    assert out[0].not_after_ns == 101 * 20 * MS + 1 + 5 * MS
    assert pipeline.decisions.made == 1
    balanced(pipeline)


def test_a_frame_without_time_left_is_skipped_but_moves_the_windows(build):
    pipeline = build()
    warm(pipeline, count=100)
    clock = FakeClock(101 * 20 * MS + 6 * MS)
    pipeline.run_on(clock, 0)
    assert pipeline.step(frame(101)) == []
    assert pipeline.decisions.skipped == {"overrun": 1}
    assert pipeline.counts()["imu"].used == 101
    clock.now_ns = 102 * 20 * MS
    assert kinds(pipeline.step(frame(102))) == ["command", "alert"]
    balanced(pipeline)


def test_a_tight_frame_takes_the_smaller_model_when_it_may(build):
    for overrun, want in (('on_overrun = ["smaller_model", "skip"]', {"small": 1}), ('on_overrun = ["skip"]', {})):
        pipeline = build(overrun)
        warm(pipeline, count=100)
        full, small = pipeline.decisions.model.variants
        full.p99_ns, small.p99_ns = 3 * MS, MS
        full.best_ns = 3 * MS
        pipeline.run_on(FakeClock(101 * 20 * MS + 3 * MS), 0)
        pipeline.step(frame(101))
        assert pipeline.decisions.by_variant == want
        balanced(pipeline)


def test_an_overrun_can_lead_to_the_safe_state(build):
    pipeline = build('on_overrun = ["smaller_model", "safe_state"]')
    warm(pipeline)
    pipeline.run_on(FakeClock(102 * 20 * MS + 9 * MS), 0)
    out = pipeline.step(frame(102))
    assert [(o.kind, json.loads(o.payload)["value"]) for o in out] == [("command", 0.2)]
    assert json.loads(out[0].payload)["cause"]["rule"] == "envelope.overrun"


def test_a_command_that_was_too_late_leads_to_the_safe_state_as_well(build):
    pipeline = build('on_overrun = ["safe_state"]')
    command = warm(pipeline)[0]
    out = pipeline.withhold(command.message, "late", command.not_after_ns + 1)
    assert [json.loads(o.payload)["value"] for o in out] == [0.2]
    assert status(pipeline, 0)["commands"]["withheld"] == {"late": 1}
    assert build().withhold(command.message, "late", 0) == []


def test_a_late_answer_is_measured_as_missed(build):
    pipeline = build()
    warm(pipeline, count=100)
    pipeline.run_on(FakeClock(101 * 20 * MS, step_ns=MS // 5), 0)
    pipeline.step(frame(101, received_ns=101 * 20 * MS))
    pipeline.times.handed_over(101 * 20 * MS + 6 * MS)
    report = status(pipeline, 0)
    assert report["budget"] == {"met": 0, "missed": 1, "withheld": 0}
    assert set(report["latency_us"]) == {"decode", "clean", "features", "infer", "decide", "encode", "send", "total"}
    assert report["latency_us"]["total"]["max"] == 6000.0


def test_the_budget_counts_every_decision_and_what_was_skipped(build):
    pipeline = build(lateness=30)
    clock = FakeClock()
    pipeline.run_on(clock, 0)
    clock.now_ns = 20 * MS
    pipeline.step(frame(1, n=105, received_ns=clock.now_ns))
    pipeline.times.handed_over(clock.now_ns)
    assert status(pipeline, 0)["budget"] == {"met": 5, "missed": 0, "withheld": 0}
    for seq in (2, 4, 5):  # stamps of the block end at 105 periods
        clock.now_ns = (104 + seq) * 20 * MS
        pipeline.step(frame(seq, stamp_ns=clock.now_ns, received_ns=clock.now_ns))
        pipeline.times.handed_over(clock.now_ns)
    clock.now_ns += 45 * MS  # the first of the two that wait for 3 has waited for 65 ms by then, the other for 45
    pipeline.tick(clock.now_ns)
    pipeline.times.handed_over(clock.now_ns)
    report = status(pipeline, 0)
    assert (report["decisions"]["made"], report["decisions"]["skipped"]) == (7, {"overrun": 1})
    assert report["budget"] == {"met": 7, "missed": 1, "withheld": 0}


def test_silence_sends_safe_values_on_the_grid_of_ticks(build):
    pipeline = build()
    command = warm(pipeline)[0]
    assert command.message.expires_ns - command.message.issued_ns == 100 * MS
    quiet = pipeline.tick(command.message.issued_ns + 50 * MS)
    assert quiet == []
    out = pipeline.tick(command.message.issued_ns + 75 * MS)
    assert [json.loads(o.payload)["value"] for o in out] == [0.2]
    assert out[0].message.issued_ns % (10 * MS) == 0


def test_a_step_of_the_time_costs_nothing_where_nothing_is_due(build):
    pipeline = build(lateness=30)
    ticked = []
    tick = pipeline.decisions.envelope.tick
    pipeline.decisions.envelope.tick = lambda now_ns, devices: ticked.append(now_ns) or tick(now_ns, devices)
    pipeline.step(frame(1))
    pipeline.step(frame(3))  # waits for 2
    day_ns = 86_400_000 * MS + 7
    pipeline.step(frame(4, stamp_ns=day_ns))
    assert ticked == [60 * MS, 70 * MS, 80 * MS, 90 * MS, 100 * MS, 86_400_000 * MS]
    assert pipeline.counts()["imu"].used == 2
    pipeline.tick(1_700_000_000_000_000_000)
    balanced(pipeline)


def test_an_hour_of_silence_at_once_is_an_hour_of_ticks(build):
    one, other = build(), build()
    start_ns = warm(one)[0].message.issued_ns
    warm(other)
    end_ns = start_ns + 3_600_000 * MS
    walked = [o for now_ns in range(start_ns, end_ns, 10 * MS) for o in one.tick(now_ns)]
    assert [o.payload for o in other.tick(end_ns - 1)] == [o.payload for o in walked]
    assert len(walked) > 50_000
    assert len(other.tick(1_700_000_000_000_000_000)) <= 72_002, "a leap of the clock is no silence"


def test_a_replay_judges_a_frame_that_waited_when_it_is_released(build):
    pipeline = build(lateness=30)
    warm(pipeline, count=100)
    pipeline.step(frame(102))
    pipeline.tick(102 * 20 * MS + 60 * MS)  # released at a tick 30 to 40 ms later: in time
    assert (pipeline.decisions.made, pipeline.decisions.skipped) == (1, {})
    pipeline.step(frame(104))
    pipeline.decisions.terms = msgspec.structs.replace(pipeline.decisions.terms, budget_ns=20 * MS)
    pipeline.tick(104 * 20 * MS + 60 * MS)
    assert (pipeline.decisions.made, pipeline.decisions.skipped) == (1, {"overrun": 1})
    pipeline.step(frame(106))
    pipeline.step(frame(105, received_ns=106 * 20 * MS + 21 * MS))
    assert (pipeline.decisions.made, pipeline.decisions.skipped) == (2, {"overrun": 2})


def test_frames_that_waited_are_used_in_order(build):
    pipeline = build(lateness=30)
    warm(pipeline, count=100)
    assert pipeline.step(frame(102)) == []
    assert status(pipeline, 0)["streams"]["imu"]["held"] == 1
    assert len([k for k in kinds(pipeline.step(frame(101, received_ns=102 * 20 * MS + 5))) if k == "command"]) == 2
    assert pipeline.step(frame(104)) == []
    made = pipeline.decisions.made
    pipeline.tick(104 * 20 * MS + 200 * MS)
    assert pipeline.decisions.made == made + 1
    balanced(pipeline)


def test_stopping_uses_what_waits_and_leaves_safe_values(build):
    pipeline = build(lateness=30)
    warm(pipeline)
    pipeline.step(frame(103))
    out = pipeline.stop(103 * 20 * MS + 10)
    assert pipeline.decisions.made == 2
    assert json.loads(out[-1].payload)["value"] == 0.2
    balanced(pipeline)


def test_a_device_too_many_takes_the_place_of_the_longest_silent(build):
    pipeline = build()
    warm(pipeline, "a", count=101)
    pipeline.step(frame(1, device="b", stamp_ns=102 * 20 * MS))
    out = pipeline.step(frame(1, device="c", stamp_ns=102 * 20 * MS + MS))
    assert [(o.message.device, o.message.value) for o in out] == [("a", 0.2)]
    assert pipeline.lanes.devices == ["c", "b"]
    out = pipeline.step(frame(2, device="a", stamp_ns=103 * 20 * MS))
    assert pipeline.lanes.evictions == 2
    assert pipeline.decisions.made == 1, "the device's windows start anew"
    balanced(pipeline)


def test_what_cannot_be_used_takes_no_place_from_a_device(build):
    pipeline = build()
    warm(pipeline, "a")
    out = []
    for device, payload, is_retained in (("x", b"junk", False), ("y", frame(1).payload, True), ("z", b"", False)):
        out += pipeline.step(RawMessage(f"d/{device}/imu", payload, 102 * 20 * MS, is_retained))
        out += pipeline.step(RawMessage(f"d/{device}/scan", b"junk", 102 * 20 * MS))
    assert (out, pipeline.lanes.devices, pipeline.lanes.evictions) == ([], ["a", ""], 0)
    assert pipeline.counts()["imu"].invalid == {"malformed": 1, "empty": 1}
    assert pipeline.counts()["scan"].invalid == {"malformed": 3}
    balanced(pipeline)


def test_a_device_pushed_from_python_leaves_nothing_to_the_next_one_on_its_lane(build):
    pipeline = build(lateness=30, lanes=1)
    rows = [[1.0, 1.0, 1.0]]
    pipeline.push("imu", rows, device="a", seq=0, stamps=[10_000 * MS])
    pipeline.push("imu", rows, device="a", seq=2, stamps=[10_002 * MS])  # waits for 1
    pipeline.push("imu", rows, device="b", seq=0, stamps=[5_000 * MS], received_ns=10_003 * MS)
    counts = pipeline.counts()["imu"]
    assert (counts.used, counts.held, counts.duplicate, counts.late, dict(counts.dropped)) == (2, 0, 0, 0, {"evicted": 1})
    pipeline.tick(11_000 * MS)
    assert counts.used == 2
    assert list(pipeline.intakes[0].pushed_ns) == ["b"]
    balanced(pipeline)


def scan_of(seq, device="a"):
    x = np.arange(1, 7, dtype="<f4").tobytes()
    payload = msgpack.packb({"v": 1, "seq": seq, "t": seq, "n": 2, "fields": ["x", "y", "z"], "x": x})
    return RawMessage(f"d/{device}/scan", payload, seq)


def test_of_scans_that_wait_the_newest_wins_and_the_others_are_counted(build):
    pipeline = build()
    for seq in (1, 2, 3):
        pipeline.step(scan_of(seq))
        balanced(pipeline)
    pipeline.step(RawMessage("d/b/scan", b"junk", 4))
    pipeline.flush_scans()
    counts = pipeline.counts()["scan"]
    assert (counts.received, counts.used, dict(counts.dropped), dict(counts.invalid)) == (4, 1, {"superseded": 2}, {"malformed": 1})
    pipeline.step(scan_of(9, "a"))
    for device in ("x", "y", "z"):
        pipeline.step(frame(1, device=device, stamp_ns=1000 * MS))
    pipeline.flush_scans()
    assert counts.dropped["evicted"] == 1
    balanced(pipeline)


def test_retained_oversized_and_strange_messages_are_counted(build):
    pipeline = build()
    raw = frame(1)
    pipeline.step(RawMessage(raw.topic, raw.payload, raw.received_ns, True))
    pipeline.count_oversized("d/a/imu")
    pipeline.count_oversized("other")
    assert pipeline.step(RawMessage("nobody/asked", b"", 5)) == []
    counts = pipeline.counts()["imu"]
    assert (dict(counts.dropped), dict(counts.invalid), pipeline.unrouted) == ({"retained": 1}, {"too_large": 1}, 2)
    balanced(pipeline)


def test_the_python_api_pushes_frames_and_reads_what_came_of_them(tmp_path, bundle):
    (tmp_path / "bundle").symlink_to(bundle)
    (tmp_path / "p.toml").write_text(text())
    pipeline = edge.load(tmp_path / "p.toml")
    rows = np.random.default_rng(0).normal(size=(150, 3))
    result = pipeline.push("imu", rows, device="watch-1")
    assert len(result.predictions) == 50
    assert result.predictions[0].features.shape == (6,)
    assert set(result.predictions[0].scores) == {"calm", "shaken"}
    assert len(result.alerts) == 1
    assert {command.device for command in result.commands} == {"watch-1"}
    again = pipeline.push("imu", rows, device="watch-1")
    assert len(again.predictions) == 150
    with pytest.raises(ValueError, match="no telemetry stream 'gps'"):
        pipeline.push("gps", rows)
    with pytest.raises(ValueError, match=r"shape \(150, 2\)"):
        pipeline.push("imu", rows[:, :2])
    with pytest.raises(ValueError, match="stamps have shape"):
        pipeline.push("imu", rows, stamps=[1, 2])


def test_one_row_is_one_sample_and_other_things_are_refused_by_name(build):
    pipeline = build()
    assert pipeline.push("imu", [1, 2, 3]).refused == {}
    assert pipeline.counts()["imu"].used == 1
    for rows in ({"ax": 1.0}, b"\x00", "1,2,3", [["a", "b", "c"]], [[1, 2, 3], [4]], None):
        with pytest.raises(ValueError, match="imu: rows"):
            pipeline.push("imu", rows)
    with pytest.raises(ValueError, match="imu: stamps must be int64"):
        pipeline.push("imu", [1, 2, 3], stamps=["now"])
    assert pipeline.counts()["imu"].received == 1


def test_a_push_says_what_was_refused(build):
    pipeline = build()
    rows = [[1, 2, 3], [np.nan, 0, 0], [4, 5, 6]]
    assert pipeline.push("imu", rows, stamps=[20 * MS, 40 * MS, 30 * MS]).refused == {"not_finite": 1}
    assert pipeline.push("imu", rows, stamps=[20 * MS, 40 * MS, 50 * MS]).refused == {"late": 1, "not_finite": 1}
    assert pipeline.push("imu", [1, 2, 3]).refused == {}


def test_bytes_of_a_device_can_be_fed(build):
    one, other = build(), build()
    for seq in range(1, 105):
        raw = frame(seq)
        result = one.feed(raw.topic, raw.payload)
        out = other.step(raw)
        assert [p.seq for p in result.predictions] == ([seq] if seq > 100 else [])
        assert [message.value for message in result.commands] == [o.message.value for o in out if o.kind == "command"]
    assert one.feed("d/a/imu", b"junk").refused == {"malformed": 1}
    assert one.feed(raw.topic, raw.payload).refused == {"duplicate": 1}
    unstamped = msgpack.packb({"v": 1, "seq": 105, "x": b"\0" * 12})
    assert one.feed("d/a/imu", unstamped).refused == {}
    for topic in ("d/a/scan", "nobody/asked"):
        with pytest.raises(ValueError, match=r"no telemetry stream has topic.*d/\{device\}/imu"):
            one.feed(topic, b"")
    balanced(one)


def test_json_without_stamps_is_fed_at_the_rate(tmp_path):
    (tmp_path / "p.toml").write_text(
        'name = "p"\nbudget_ms = 5\nstreams.s = { topic = "d/{device}", format = "json", channels = { a = "1" } }\n'
        'features = [{ stream = "s", channels = ["a"], window = 2, stats = ["mean"] }]\n'
    )
    pipeline = load(tmp_path / "p.toml")
    results = [pipeline.feed("d/x", b'{"a": %d}' % i) for i in range(3)]
    assert [p.features.tolist() for result in results for p in result.predictions] == [[0.5], [1.5]]
    assert pipeline.feed("d/x", b'{"b": 1}').refused == {"missing_field": 1}
    assert pipeline.lanes.devices[0] == "x"


TWO_KINDS = """
name = "two"
budget_ms = 5
streams.a = { topic = "a/{device}", rate_hz = 50, channels = { x = "1" } }
streams.b = { topic = "b/{device}", rate_hz = 50, channels = { x = "1" } }
features = [
  { stream = "a", channels = ["x"], window = 2, stats = ["mean"] },
  { stream = "b", channels = ["x"], window = 2, stats = ["mean", "std"] },
]
"""


def test_the_status_names_the_windows_that_a_first_vector_waits_for_and_the_rate(tmp_path):
    (tmp_path / "p.toml").write_text(TWO_KINDS)
    pipeline = load(tmp_path / "p.toml")
    assert status(pipeline, 0)["decisions"]["waiting"] == {}
    for device in "pq":
        pipeline.push("a", [[1.0]] * 5, device=device)
    report = status(pipeline, 0)
    assert report["decisions"]["waiting"] == {"b.x.mean.2": 2}
    assert [report["streams"][name]["rate_hz"] for name in "ab"] == [50.0, None]
    pipeline.push("b", [[1.0]], device="q", stamps=[MS])
    pipeline.push("b", [[1.0]], device="q", stamps=[3 * MS])
    report = status(pipeline, 0)
    assert (report["decisions"]["waiting"], report["streams"]["b"]["rate_hz"]) == ({"b.x.mean.2": 1}, 500.0)


def test_dir_lists_what_is_public():
    assert {"load", "run", "ConfigError"} <= set(dir(edge)) == set(edge.__all__)


def test_features_of_a_push_are_those_of_the_same_bytes_on_the_wire(build):
    one, other = build(), build()
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(200, 3)).astype(np.float32)
    stamps = np.arange(1, 201, dtype=np.int64) * 20 * MS
    pushed = one.push("imu", rows, stamps=stamps).predictions
    other.decisions.kept = []
    for i in range(200):
        payload = msgpack.packb({"v": 1, "seq": i, "t": int(stamps[i]), "x": rows[i].tobytes()})
        other.step(RawMessage("d/a/imu", payload, int(stamps[i])))
    assert [p.features.tobytes() for p in pushed] == [p.features.tobytes() for p in other.decisions.kept]
    assert [p.scores for p in pushed] == [p.scores for p in other.decisions.kept]


def test_what_comes_after_the_end_is_counted_and_moves_nothing(build):
    pipeline = build()
    warm(pipeline)
    assert json.loads(pipeline.stop(101 * 20 * MS + 10)[-1].payload)["value"] == 0.2
    assert pipeline.step(frame(102, n=3)) == []
    pipeline.step(scan_of(1))
    pipeline.step(RawMessage("d/a/imu", b"junk", 5))
    assert pipeline.flush_scans() == pipeline.tick(110 * 20 * MS) == []
    imu, scans = pipeline.counts()["imu"], pipeline.counts()["scan"]
    assert (imu.used, dict(imu.dropped), dict(imu.invalid)) == (101, {"shutdown": 3}, {"malformed": 1})
    assert dict(scans.dropped) == {"shutdown": 1}
    assert pipeline.decisions.made == 1
    balanced(pipeline)


def late_by_its_model(pipeline, clock, took_ns):
    """The model takes so long on this pipeline's clock, whatever was measured of it."""
    for variant in pipeline.decisions.model.variants:
        variant.p99_ns = MS

        def slow(vector, lane, run=variant.run):
            clock.now_ns += took_ns
            return run(vector, lane)

        variant.run = slow


def test_a_pipeline_whose_decisions_are_all_late_falls_silent(build):
    pipeline = build()
    assert kinds(warm(pipeline)) == ["command", "alert"]
    clock = FakeClock()
    pipeline.run_on(clock, 0)
    late_by_its_model(pipeline, clock, 6 * MS)
    out = []
    for seq in range(102, 107):
        clock.now_ns = seq * 20 * MS + 1
        for variant in pipeline.decisions.model.variants:
            variant.p99_ns = MS
        out += pipeline.step(frame(seq))
    assert pipeline.decisions.made == 6
    assert {json.loads(o.payload)["cause"]["rule"] for o in out} == {"envelope.silence"}
    assert pipeline.decisions.blocked == {"late": 5}


def test_a_late_decision_still_tells_its_alert_and_can_lead_to_the_safe_state(build):
    pipeline = build('on_overrun = ["safe_state"]')
    warm(pipeline, count=100)
    clock = FakeClock(101 * 20 * MS + 1)
    pipeline.run_on(clock, 0)
    late_by_its_model(pipeline, clock, 6 * MS)
    assert kinds(pipeline.step(frame(101))) == ["alert"], "an output that was never armed is left alone"
    pipeline = build('on_overrun = ["safe_state"]')
    warm(pipeline)
    clock = FakeClock(102 * 20 * MS + 1)
    pipeline.run_on(clock, 0)
    late_by_its_model(pipeline, clock, 6 * MS)
    out = pipeline.step(frame(102))
    assert [json.loads(o.payload)["cause"]["rule"] for o in out] == ["envelope.overrun"]
    balanced(pipeline)


def test_commands_of_a_block_leave_one_by_one_and_are_those_of_a_replay(build):
    live, replayed = build(), build()
    clock = FakeClock()
    live.run_on(clock, 0)
    left = []
    live.decisions.emit = lambda out: left.append((clock.now_ns, [o.payload for o in out]))
    want = []
    for raw in (frame(1, n=150), frame(2, n=150, stamp_ns=151 * 20 * MS, received_ns=301 * 20 * MS)):
        clock.now_ns = raw.received_ns
        clock.step_ns = MS // 1000
        assert live.step(raw) == []
        want += [o.payload for o in replayed.step(raw)]
    sent = [payload for _, payloads in left for payload in payloads]
    strip = [[{**json.loads(p), "age_ms": 0} for p in payloads] for payloads in (sent, want)]
    assert strip[0] == strip[1]
    assert len(left) > 150
    moments = [at for at, _ in left]
    assert moments == sorted(set(moments)), "each was handed over before the next was decided"


@settings(max_examples=30, stateful_step_count=40, deadline=None)
class AnyInput(RuleBasedStateMachine):
    """Whatever comes, in whatever order: every sample is accounted for after every call."""

    home = None

    def __init__(self):
        super().__init__()
        self.pipeline = load(self.home, boot_id="b")
        self.now = 0

    def _step(self, topic, payload, retained=False):
        self.now += 1 * MS
        self.pipeline.step(RawMessage(topic, payload, self.now, retained))

    @rule(device=st.sampled_from("abc"), seq=st.integers(0, 12), n=st.integers(1, 5), value=st.sampled_from([1.0, float("nan")]))
    def telemetry(self, device, seq, n, value):
        x = struct.pack("<3f", value, 0, 0) * n
        self._step(f"d/{device}/imu", msgpack.packb({"v": 1, "seq": seq, "t": seq * 20 * MS, "dt": MS, "x": x}))

    @rule(payload=st.binary(max_size=20), topic=st.sampled_from(["d/a/imu", "d/b/scan", "x"]), retained=st.booleans())
    def garbage(self, payload, topic, retained):
        self._step(topic, payload, retained)

    @rule(device=st.sampled_from("abc"), seq=st.integers(0, 5))
    def scan(self, device, seq):
        self.now += MS
        self.pipeline.step(RawMessage(f"d/{device}/scan", scan_of(seq, device).payload, self.now))

    @rule()
    def flush(self):
        self.pipeline.flush_scans()

    @rule(ms=st.integers(1, 200))
    def wait(self, ms):
        self.now += ms * MS
        self.pipeline.tick(self.now)

    @rule()
    def stop(self):
        self.pipeline.stop(self.now)
        assert not any(counts.held for counts in self.pipeline.counts().values())

    @invariant()
    def every_sample_is_accounted_for(self):
        balanced(self.pipeline)


def test_any_input(tmp_path, bundle):
    from hypothesis.stateful import run_state_machine_as_test

    (tmp_path / "bundle").symlink_to(bundle)
    (tmp_path / "p.toml").write_text(text(lateness=30))
    AnyInput.home = tmp_path / "p.toml"
    run_state_machine_as_test(AnyInput)
