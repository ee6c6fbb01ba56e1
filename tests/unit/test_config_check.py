"""The checks of meaning: each mistake is one problem at the key that must change, with the nearest valid name."""

import shutil
from pathlib import Path

import msgspec
import pytest

from edge.config.check import check
from edge.config.check_topics import overlap
from edge.config.load import load, loads
from edge.errors import Problem
from tests.unit.config_files import BUNDLES, FULL, changed, found

IMU = "[streams.imu.clean]"
FAN = "[actuators.fan]"
NO_RATE = ("rate_hz = 100\n", "")
OTHER_FEATURES = '[[features]]\nstream = "temp"\nchannels = ["celsius"]\nwindow = 4\nstats = ["mean"]\n\n[model]'
AGAIN = '[[features]]\nstream = "imu"\nchannels = ["ax"]\nwindow = "2000ms"\nstats = ["std"]\n\n[model]'
NO_MODEL = ('[model]\nbundle = "watch-linear"\nversion = "1.0.0"\n', "")
ALERT_ON_FEATURE = ('score = "shaken"', 'score = "imu.ax.std.2s"')
COMMAND_ON_FEATURE = ('score = "shaken"\nenter = 0.9', 'score = "imu.ax.std.2s"\nenter = 0.9')


def scan(key: str) -> tuple[str, str]:
    return 'kind = "scan"', f'kind = "scan"\n{key}'


MISTAKES: list[tuple[list[tuple[str, str]], str, str]] = [
    # streams
    ([('celsius = "degC"', 'celsius = "degc"')], "streams.temp.channels.celsius", "(did you mean 'degC'?)"),
    ([('celsius = "degC"', 'celsius = "furlong"')], "streams.temp.channels.celsius", "unknown unit 'furlong'"),
    ([('kind = "scan"', 'kind = "telemetry"')], "streams.lidar.channels", "needs channels"),
    ([scan('channels = { x = "m" }')], "streams.lidar.channels", "no channels"),
    ([scan('format = "json"')], "streams.lidar.format", "msgpack"),
    ([scan("clean = { range = { x = [0, 1] } }")], "streams.lidar.clean.range", "no channels"),
    ([scan('fields = { x = "y" }')], "streams.lidar.fields", "json"),
    ([(IMU, 'fields = { ax = "a" }\n' + IMU)], "streams.imu.fields", "json"),
    ([(IMU, 'stamp_unit = "us"\n' + IMU)], "streams.imu.stamp_unit", "json"),
    ([('celsius = "body.t"', 'celsus = "body.t"')], "streams.temp.fields.celsus", "(did you mean 'celsius'?)"),
    ([('celsius = "body.t"', 'celsius = "body..t"')], "streams.temp.fields.celsius", "not a path"),
    ([('t = "at"', 't = "a\\u0000t"')], "streams.temp.fields.t", "not a path"),
    ([('t = "at"', 't = "' + ".".join("a" * 17) + '"')], "streams.temp.fields.t", "up to 16"),
    ([('t = "at"', 't = "body.t.at"')], "streams.temp.fields.t", "leads through 'body.t', which is the number of 'celsius'"),
    ([('t = "at"', 't = "seq.at"')], "streams.temp.fields.t", "the number of 'seq'"),
    ([('{ celsius = "degC" }', '{ celsius = "degC", t = "degC" }')], "streams.temp.channels.t", "frame itself"),
    ([('{ celsius = "degC" }', '{ celsius = "degC", "" = "degC" }')], 'streams.temp.channels.""', "name"),
    ([("[streams.lidar]", '[streams.""]')], 'streams.""', "name"),
    ([("ax = [-80, 80]", "ax = [80, -80]")], "streams.imu.clean.range.ax", "lowest"),
    ([("ax = [-80, 80]", "ax = [-1e39, 80]")], "streams.imu.clean.range.ax", "float32"),
    ([("ax = [-80, 80]", "axx = [-80, 80]")], "streams.imu.clean.range.axx", "(did you mean 'ax'?)"),
    ([('clock = "synced"\n', "")], "streams.imu.clean.max_age_ms", 'clock = "synced"'),
    # features
    ([('stream = "imu"', 'stream = "imuu"')], "features[0].stream", "(did you mean 'imu'?)"),
    ([('stream = "imu"\nchannels = ["ax", "ay", "az"]', 'stream = "lidar"\nchannels = ["objects.ttc"]')], "features[0].channels[0]", "ttc"),
    ([('["ax", "ay", "az"]', '["ax", "ay", "aq"]')], "features[0].channels[2]", "no channel 'aq'"),
    ([('["mean", "std"]', '["mean", "sdt"]')], "features[0].stats[1]", "(did you mean 'std'?)"),
    ([('window = "2s"', 'window = "2"')], "features[0].window", "not a duration"),
    ([('window = "2s"', "window = 0")], "features[0].window", "at least 1"),
    ([('window = "2s"', 'window = "' + "9" * 400 + 'h"')], "features[0].window", "infinity"),
    ([('window = "2s"', 'window = "10h"')], "features[0].window", "at most 1048576"),
    ([('window = "2s"', "window = 9000000")], "features[0].window", "at most 1048576"),
    ([('hop = "100ms"', 'hop = "-1s"')], "features[0].hop", "not a duration"),
    ([('hop = "100ms"', 'hop = "99999999h"')], "features[0].hop", "too long"),
    ([("hop = \"100ms\"", f"hop = {2**62}")], "features[0].hop", "too long"),
    ([NO_RATE, ("hop = \"100ms\"", "hop = 1")], "features[0].window", "needs streams.imu.rate_hz"),
    ([('["mean", "std"]', '["mean", "mean"]')], "features[0]", "computes imu.ax.mean.2s twice"),
    ([("[model]", AGAIN)], "features[1]", "features[0]"),
    # model
    ([('bundle = "watch-linear"', 'bundle = "watch-liner"')], "model.bundle", "no such folder"),
    ([('bundle = "watch-linear"', 'bundle = "a\\u0000b"')], "model.bundle", "no such folder"),
    ([('bundle = "watch-linear"', 'bundle = "' + "n" * 300 + '"')], "model.bundle", ""),
    ([('version = "1.0.0"', 'version = "1.0.1"')], "model.version", "(did you mean '1.0.0'?)"),
    ([('version = "1.0.0"', 'version = "../x"')], "model.version", "not a version"),
    ([('["ax", "ay", "az"]', '["ax", "ay"]')], "features", "missing imu.az.mean.2s, imu.az.std.2s"),
    ([("[model]", OTHER_FEATURES)], "features", "not expected temp.celsius.mean.4"),
    ([('["ax", "ay", "az"]', '["ay", "ax", "az"]')], "features", "another order: imu.ay.mean.2s at 0 where imu.ax.mean.2s is expected"),
    ([('az = "m/s^2" }', 'az = "g" }')], "features", "imu.az.mean.2s is in g where m/s^2 is expected"),
    # rules
    ([('score = "shaken"', 'score = "shakn"')], "rules[0].score", "(did you mean 'shaken'?)"),
    ([('score = "shaken"', 'score = "imu.ax.sd.2s"')], "rules[0].score", "(did you mean 'imu.ax.std.2s'?)"),
    ([NO_MODEL, ALERT_ON_FEATURE, ('value = { at_enter = 0.5, at_one = 0.0 }', "value = 1")], "rules[1].score", "the file has no model"),
    ([('name = "slow-down"', 'name = "shaken"')], "rules[1].name", "rules[0]"),
    ([("enter = 0.8", "enter = 1e39")], "rules[0].enter", "float32"),
    ([('topic = "site/{device}/alerts"\n', "")], "rules[0].topic", "an alert needs one"),
    ([('severity = "critical"', 'actuator = "fan"')], "rules[0].actuator", 'belongs to emit = "command"'),
    ([('severity = "critical"', "value = 1")], "rules[0].value", 'belongs to emit = "command"'),
    ([('severity = "critical"', "otherwise = 1")], "rules[0].otherwise", 'belongs to emit = "command"'),
    ([('actuator = "fan"', 'actuator = "fan"\ntopic = "x"')], "rules[1].topic", 'belongs to emit = "alert"'),
    ([('actuator = "fan"', 'actuator = "fan"\nseverity = "info"')], "rules[1].severity", 'belongs to emit = "alert"'),
    ([('actuator = "fan"\n', "")], "rules[1].actuator", "is missing"),
    ([('actuator = "fan"', 'actuator = "fann"')], "rules[1].actuator", "(did you mean 'fan'?)"),
    ([("value = { at_enter = 0.5, at_one = 0.0 }\n", "")], "rules[1].value", "is missing"),
    ([("enter = 0.9", "enter = 0.4")], "rules[1].value", "upwards"),
    ([("enter = 0.9", "enter = 1.5")], "rules[1].value", "at most 1"),
    ([COMMAND_ON_FEATURE], "rules[1].value", "is a feature"),
    # actuators and time
    ([(FAN, '[actuators.""]'), ('actuator = "fan"', 'actuator = ""')], 'actuators.""', "name"),
    ([('unit = "1"', 'unit = "rmp"')], "actuators.fan.unit", "(did you mean 'rpm'?)"),
    ([("min = 0.0", "min = 2.0")], "actuators.fan.min", "at most max"),
    ([("safe_value = 0.3", "safe_value = 1.5")], "actuators.fan.safe_value", "within min and max"),
    ([("ttl_ms = 200", "ttl_ms = 51"), ("tick_ms = 10", "tick_ms = 13")], "tick_ms", "quarter"),
    ([("ttl_ms = 200", "ttl_ms = 50")], "budget_ms", "less than ttl_ms"),
    ([("lateness_ms = 20", "lateness_ms = 50")], "streams.imu.clean.lateness_ms", "less than budget_ms (50)"),
    ([("stale_ms = 300", "stale_ms = 9")], "actuators.fan.stale_ms", "tick_ms"),
    ([("stale_ms = 300", "stale_ms = 100")], "actuators.fan.stale_ms", "100 ms from one decision to the next"),
    ([('hop = "100ms"', "hop = 30")], "actuators.fan.stale_ms", "300 ms from one decision to the next"),
    ([('"smaller_model", "safe_state"', '"skip", "smaller_model"')], "on_overrun[1]", "never reached"),
    ([('"smaller_model", "safe_state"', '"skip", "skip"')], "on_overrun[1]", "twice"),
    # topics
    ([('topic = "site/{device}/temp"', 'topic = "site/{device}/imu"')], "streams.temp.topic", "too"),
    ([('topic = "site/{device}/temp"', 'topic = "site/a/imu"')], "streams.temp.topic", "streams.imu.topic"),
    ([('topic = "site/{device}/temp"', 'topic = "site/#"')], "streams.temp.topic", "not a topic"),
    ([('topic = "site/{device}/temp"', 'topic = "site/x{device}/temp"')], "streams.temp.topic", "whole level"),
    ([('topic = "site/{device}/temp"', 'topic = "$share/g/temp"')], "streams.temp.topic", "'$'"),
    ([('topic = "site/{device}/temp"', 'topic = "site//{device}/temp"')], "streams.temp.topic", "(did you mean 'site/{device}/temp'?)"),
    ([('topic = "site/{device}/cmd/fan"', 'topic = "site//fan"')], "actuators.fan.topic", "empty level"),
    ([('topic = "site/{device}/alerts"', 'topic = "site/{devcie}/alerts"')], "rules[0].topic", "(did you mean 'site/{device}/alerts'?)"),
    ([('topic = "site/{device}/alerts"', 'topic = "site/a\\nb"')], "rules[0].topic", "control character"),
    ([('topic = "site/{device}/cmd/fan"', 'topic = "site/{device}/alerts"')], "actuators.fan.topic", "the topic of rules[0].topic"),
    ([('topic = "site/{device}/temp"', 'topic = "' + "t" * 65536 + '"')], "streams.temp.topic", "longer"),
    ([('topic = "site/{device}/alerts"', 'topic = "site/{device}/imu"')], "rules[0].topic", "come back in"),
    ([('topic = "site/{device}/cmd/fan"', 'topic = "site/a/temp"')], "actuators.fan.topic", "come back in"),
    ([('topic = "site/{device}/pred"', 'topic = "{device}/b/imu"')], "publish.predictions.topic", "come back in"),
    ([("every_s = 0.5", 'topic = "site/a/scan"')], "publish.status.topic", "come back in"),
    ([('topic = "site/{device}/scan"', 'topic = "edge/{device}/availability"')], "name", "come back in"),
    ([('topic = "site/{device}/scan"', 'topic = "edge/guard/status"')], "publish.status.topic", "come back in"),
    ([("every_s = 0.5", 'topic = "site/a/pred"')], "publish.status.topic", "the topic of publish.predictions.topic"),
    ([("every_s = 0.5", 'topic = "site/{device}/st"')], "publish.status.topic", "whole process"),
    ([("every_s = 0.5", 'topic = "edge/guard/availability"')], "publish.status.topic", "whether it is there"),
    ([('topic = "site/{device}/pred"', 'topic = "site/{device}/alerts"')], "publish.predictions.topic", "the topic of rules[0].topic"),
    # broker
    ([("mqtt://127.0.0.1:1884", "mqttt://127.0.0.1")], "broker.url", "(did you mean 'mqtt'?)"),
    ([("mqtt://127.0.0.1:1884", "127.0.0.1")], "broker.url", "without a scheme"),
    ([("mqtt://127.0.0.1:1884", "mqtt://127.0.0.1:99999")], "broker.url", "out of range"),
    ([("mqtt://127.0.0.1:1884", "mqtt://127.0.0.1:0")], "broker.url", "not 0"),
    ([("mqtt://127.0.0.1:1884", "mqtt://127.0.0.1:x")], "broker.url", "not an address"),
    ([("mqtt://127.0.0.1:1884", "mqtt://[::1")], "broker.url", "not an address"),
    ([("mqtt://127.0.0.1:1884", "mqtt://")], "broker.url", "no host"),
    ([("mqtt://127.0.0.1:1884", "mqtt://u:p@127.0.0.1")], "broker.url", "credentials"),
    ([("mqtt://127.0.0.1:1884", "mqtt://127.0.0.1/x")], "broker.url", "no path"),
    ([("mqtt://127.0.0.1:1884", "mqtt://broker.lan")], "broker.url", "insecure = true"),
    ([('client_id = "c-1"', 'client_id = ""')], "broker.client_id", "1 to"),
    ([('client_id = "c-1"', "retry_min_s = 20")], "broker.retry_min_s", "at most retry_max_s"),
    ([('client_id = "c-1"', 'username = "u"')], "broker.username", "password_file"),
    ([('client_id = "c-1"', 'password = "p"')], "broker.password", "needs broker.username"),
    ([('client_id = "c-1"', 'username = "u"\npassword_file = "none"')], "broker.password_file", "no such file"),
    ([('client_id = "c-1"', 'username = "u"\npassword_file = "watch-linear"')], "broker.password_file", "not a file"),
    ([('client_id = "c-1"', 'username = "u"\npassword_file = "watch-linear/1.0.0/full.onnx"')], "broker.password_file", "UTF-8"),
    ([('client_id = "c-1"', 'ca_file = "watch-linear/1.0.0/full.onnx"')], "broker.ca_file", "mqtts"),
    ([("mqtt://127.0.0.1:1884", 'mqtts://h"\nca_file = "none')], "broker.ca_file", "no such file"),
    ([("mqtt://127.0.0.1:1884", 'mqtts://h"\ncert_file = "watch-linear/1.0.0/full.onnx')], "broker.cert_file", "needs broker.key_file"),
    ([("mqtt://127.0.0.1:1884", 'mqtts://h"\nkey_file = "watch-linear/1.0.0/full.onnx')], "broker.key_file", "needs broker.cert_file"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "path", "said"), MISTAKES, ids=[f"{i}-{path}" for i, (_, path, _) in enumerate(MISTAKES)])
def test_one_mistake_is_one_problem(changes: list[tuple[str, str]], path: str, said: str) -> None:
    result = found(changed(*changes))
    assert list(result) == [path]
    assert said in result[path]


ALLOWED: list[list[tuple[str, str]]] = [
    [("mqtt://127.0.0.1:1884", 'mqtt://broker.lan"\ninsecure = true\nusername = "u"\npassword = "p')],
    [("mqtt://127.0.0.1:1884", "mqtt://LOCALHOST/")],
    [("mqtt://127.0.0.1:1884", "mqtt://[::1]:1")],
    [("mqtt://127.0.0.1:1884", "mqtts://broker.lan")],
    [("value = { at_enter = 0.5, at_one = 0.0 }", "value = 2.0")],  # the envelope clamps
    [("enter = 0.9", "enter = 0.4"), ("value = { at_enter = 0.5, at_one = 0.0 }", "value = 0")],
    [("enter = 0.9", "enter = 7"), ("at_one = 0.0", "at_one = 0.5")],  # a ramp that does not rise or fall
    [("actuator = \"fan\"", "actuator = \"fan\"\nseverity = \"warning\"")],
    [NO_MODEL, ALERT_ON_FEATURE, ('score = "shaken"', 'score = "imu.ax.std.2s"'), ("{ at_enter = 0.5, at_one = 0.0 }", "1")],
    [("safe_value = 0.3", "safe_value = 1")],
    [("stale_ms = 300", "stale_ms = 101")],
    [("lateness_ms = 20", "lateness_ms = 49")],
    [('stamp_unit = "ms"', 'stamp_unit = "ms"\nclean = { lateness_ms = 500 }')],  # no decision waits for this stream
    [('topic = "site/{device}/temp"', 'topic = "/site/{device}/temp"')],  # common on devices
]  # fmt: skip


@pytest.mark.parametrize("changes", ALLOWED, ids=range(len(ALLOWED)))
def test_what_is_right_is_let_through(changes: list[tuple[str, str]]) -> None:
    assert found(changed(*changes)) == {}


def test_a_time_window_and_hop_without_a_rate_are_two_problems() -> None:
    assert list(found(changed(NO_RATE))) == ["features[0].window", "features[0].hop"]


def test_no_device_in_any_stream_means_none_elsewhere() -> None:
    text = FULL
    for name in ("imu", "temp", "scan"):
        text = changed((f'"site/{{device}}/{name}"', f'"site/{name}"'), text=text)
    result = found(text)
    assert list(result) == ["rules[0].topic", "actuators.fan.topic", "publish.predictions.topic"]
    assert all("{device}" in line for line in result.values())


def test_a_file_that_cannot_be_opened_is_named() -> None:
    text = changed(('client_id = "c-1"', f'username = "u"\npassword_file = "{"n" * 300}"'))
    assert "cannot be read" in found(text)["broker.password_file"]


def test_windows_that_no_machine_can_hold_are_refused() -> None:
    text = changed(("lanes = 8", "lanes = 100000"), ("[model]", OTHER_FEATURES.replace("= 4", "= 1000000")))
    result = found(text)
    assert list(result) == ["lanes", "features"]
    assert "GB" in result["lanes"]


@pytest.mark.parametrize("content", ["", "\n", "\nsecret"])
def test_a_password_file_without_a_password_is_named(content: str, tmp_path: Path) -> None:
    shutil.copytree(BUNDLES / "watch-linear", tmp_path / "watch-linear")
    (tmp_path / "p").write_text(content)
    text = changed(('client_id = "c-1"', 'username = "u"\npassword_file = "p"'))
    assert "first line is empty" in found(text, tmp_path)["broker.password_file"]


def test_a_bundle_that_is_not_complete_is_named(tmp_path: Path) -> None:
    (tmp_path / "watch-linear" / "1.0.0").mkdir(parents=True)
    assert "is missing" in next(iter(found(FULL, tmp_path).values()))
    latest = found(changed(('version = "1.0.0"', 'version = "latest"')), tmp_path)
    assert "no complete version" in latest["model.bundle"]
    (tmp_path / "watch-linear" / "1.0.0" / "manifest.toml").write_text("format = 1\n")
    assert "manifest.toml" in next(iter(found(FULL, tmp_path).values()))


def test_a_broken_model_does_not_hide_other_problems_nor_invent_any() -> None:
    text = changed(('bundle = "watch-linear"', 'bundle = "none"'), ("safe_value = 0.3", "safe_value = 9"), ('"imu"', '"imi"'))
    assert list(found(text)) == ["features[0].stream", "model.bundle", "actuators.fan.safe_value"]


def test_a_config_that_was_changed_in_python_can_be_checked() -> None:
    config = loads(FULL, BUNDLES)
    assert check(config) == []
    wrong = msgspec.structs.replace(config, tick_ms=900)
    assert [(type(problem), problem.path) for problem in check(wrong)] == [(Problem, "tick_ms")]


@pytest.mark.parametrize(
    ("one", "other", "is_shared"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/c", False),
        ("a/{device}", "a/c", True),
        ("a/{device}", "{device}/c", True),
        ("a/{device}", "a/c/d", False),
        ("a/{device}/x", "a/{device}/y", False),
        ("{device}", "a", True),
    ],
)
def test_overlap_of_topics(one: str, other: str, is_shared: bool) -> None:
    assert overlap(one, other) is overlap(other, one) is is_shared


def test_every_shipped_pipeline_passes() -> None:
    models = Path(__file__).parents[2] / "models"
    for file in models.glob("*/pipeline.toml"):
        assert load(file).name
