"""A pipeline file in which every section occurs, and ways to change it."""

from pathlib import Path

from edge.config.load import loads
from edge.errors import ConfigError, Problem

BUNDLES = Path(__file__).parents[1] / "golden"

FULL = """\
name = "guard"
budget_ms = 50
on_overrun = ["smaller_model", "safe_state"]
lanes = 8
tick_ms = 10
format = "json"

[broker]
url = "mqtt://127.0.0.1:1884"
client_id = "c-1"

[streams.imu]
topic = "site/{device}/imu"
qos = 1
rate_hz = 100
channels = { ax = "m/s^2", ay = "m/s^2", az = "m/s^2" }
clock = "synced"

[streams.imu.clean]
range = { ax = [-80, 80], ay = [-inf, 80.5] }
lateness_ms = 20
max_gap_ms = 500
max_age_ms = 1000

[streams.temp]
topic = "site/{device}/temp"
format = "json"
channels = { celsius = "degC" }
fields = { celsius = "body.t", t = "at" }
stamp_unit = "ms"

[streams.lidar]
topic = "site/{device}/scan"
kind = "scan"

[[features]]
stream = "imu"
channels = ["ax", "ay", "az"]
window = "2s"
hop = "100ms"
stats = ["mean", "std"]

[model]
bundle = "watch-linear"
version = "1.0.0"

[[rules]]
name = "shaken"
score = "shaken"
enter = 0.8
exit = 0.5
hold_ms = 500
emit = "alert"
severity = "critical"
topic = "site/{device}/alerts"

[[rules]]
name = "slow-down"
score = "shaken"
enter = 0.9
exit = 0.5
emit = "command"
actuator = "fan"
value = { at_enter = 0.5, at_one = 0.0 }
otherwise = 1.0

[actuators.fan]
topic = "site/{device}/cmd/fan"
unit = "1"
min = 0.0
max = 1.0
slew_per_s = 0.5
ttl_ms = 200
safe_value = 0.3
stale_ms = 300

[publish.predictions]
topic = "site/{device}/pred"
every = 2

[publish.status]
every_s = 0.5
"""


def changed(*changes: tuple[str, str], text: str = FULL) -> str:
    """The text with each (old, new) replaced once; the old one must be there."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def problems(text: str, base: Path = BUNDLES) -> list[Problem]:
    """What is wrong with a text; nothing when it loads."""
    try:
        loads(text, base)
    except ConfigError as error:
        return error.problems or [Problem("", "refused without a problem")]
    return []


def found(text: str, base: Path = BUNDLES) -> dict[str, str]:
    """Problems as path to the rest of the line."""
    listed = problems(text, base)
    assert len({problem.path for problem in listed}) == len(listed), "one line a key"
    return {problem.path: str(problem).removeprefix(f"{problem.path}: ") for problem in listed}
