"""Writes docs/pipeline.md and docs/pipeline.schema.json from the types: python -m edge.config.reference."""

import json
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec

from edge.config.describe import is_table, meaning, members, plain, range_text, toml_value, type_text
from edge.config.schema import json_schema
from edge.config.types import Ramp, RuntimeConfig
from edge.features.statistics import STATISTICS
from edge.units import UNITS

COMMAND = "python -m edge.config.reference"
DOCS = Path(__file__).parents[2] / "docs"

EXAMPLE = """\
name = "fan-guard"
budget_ms = 5

[broker]
url = "mqtt://127.0.0.1:1883"

[streams.vibration]
topic = "plant/{device}/vibration"
rate_hz = 200
channels = { ax = "m/s^2", ay = "m/s^2", az = "m/s^2" }

[streams.vibration.clean]
range = { ax = [-80, 80] }
max_gap_ms = 200

[[features]]
stream = "vibration"
channels = ["ax", "ay", "az"]
window = "1s"
hop = "100ms"
stats = ["std", "rms"]

[[rules]]
name = "shaking"
score = "vibration.ax.rms.1s"
enter = 8.0
exit = 5.0
hold_ms = 500
emit = "alert"
topic = "plant/{device}/alerts"

[[rules]]
name = "slow-down"
score = "vibration.ax.rms.1s"
enter = 12.0
exit = 8.0
emit = "command"
actuator = "fan_speed"
value = 0.3

[actuators.fan_speed]
topic = "plant/{device}/cmd/fan_speed"
unit = "1"
min = 0.0
max = 1.0
slew_per_s = 0.5
ttl_ms = 300
safe_value = 0.3
stale_ms = 500
"""

_HEAD = f"""\
<!-- Generated: change edge/config/types.py or edge/config/reference.py, then run: {COMMAND} -->
# The pipeline file

One TOML file says what comes in, what is computed, and what may go out. Only `name`, `budget_ms` and one stream must be there; every
other key has the default of the tables below. A key that is not known is an error.

```toml
{EXAMPLE}```

`edge check FILE` lists everything that is wrong with a file, each problem with its key path and the nearest valid name. It reads the
model's manifest and compares its features with the file's. `edge check --show FILE` prints the file with every default written out.
`edge run` and `edge replay` make the same checks and start nothing when one fails.

For completion in an editor, put `#:schema ./docs/pipeline.schema.json` on the first line of the file (Even Better TOML, taplo), or
save the output of `edge schema`.

## What belongs together

- **Paths** (`model.bundle`, `broker.ca_file`, `cert_file`, `key_file`, `password_file`) count from the folder of the pipeline file.
- **Durations** are text such as `"100ms"` or `"1.5s"`, with ns, us, ms, s, min or h. Keys that end in `_ms` or `_s` are plain numbers.
- **`{{device}}`** in a stream's topic names the lane that a message belongs to. It is filled in again in the topics of alerts, commands
  and predictions. Where no stream's topic has it, nothing else may have it.
- **A feature** is named `stream.channel.statistic.window`, as in `vibration.ax.rms.1s`. The vector has the order of the file: entry by
  entry, channel by channel, statistic by statistic. A model takes exactly the vector that it was trained on.
- **Features of several streams** make one vector of one device: it is complete when every window has filled, so a device needs all of
  the streams. Devices of different kinds, each with streams of its own, need a file each, and a daemon each. `edge check` notes it, the
  status names what devices wait for (`decisions.waiting`), and so does the log when frames come and nothing is decided.
- **A time window, or a hop in time,** needs the stream's `rate_hz`. A window holds at most 2^20 samples.
- **A rule** acts on a label of the model or on a feature. It triggers upwards when `enter` is at least `exit`, otherwise downwards. An
  alert needs `topic`; a command needs `actuator` and `value`. A ramp needs a score, `exit <= enter` and `enter <= 1`.
- **An actuator** must be listed to be reached at all. `budget_ms` must be less than its `ttl_ms`, `tick_ms` at most a quarter of it, and
  its `stale_ms` more than the time between two decisions, which is the `hop` of the first `[[features]]` entry.
- **Topics** may not meet: no message may belong to two streams, nothing that is sent may be read again, and alerts, commands,
  predictions and status go to different ones. No level but the first may be empty.
- **Plaintext** to another machine needs `insecure = true`; `mqtts://` does not.

## Keys

Tables without a default are optional: leave the header out. `name` in a header stands for a name of your choice.
"""


def document() -> str:
    """The whole of docs/pipeline.md."""
    lines: list[str] = [_HEAD]
    _sections(RuntimeConfig, "", "top of the file", lines)
    lines += ["## Statistics\n", "| name | unit | definition |", "|---|---|---|"]
    lines += [f"| `{stat.form or name}` | {_unit(stat.unit)} | {_cell(stat.formula)} |" for name, stat in STATISTICS.items()]
    lines += ["\n## Units\n", "| quantity | units |", "|---|---|"]
    lines += [f"| {quantity} | {', '.join(f'`{unit}`' for unit in units)} |" for quantity, units in UNITS.items()]
    return "\n".join(lines) + "\n"


def schema_text() -> str:
    """The whole of docs/pipeline.schema.json."""
    return json.dumps(json_schema(), indent=2) + "\n"


def _sections(kind: Any, path: str, title: str, lines: list[str]) -> None:
    lines += [f"### {title}\n", f"{_text(kind)}\n", "| key | type | default | range | meaning |", "|---|---|---|---|---|"]
    below: list[tuple[Any, str, str]] = []
    for field in msgspec.structs.fields(kind):
        where = f"{path}.{field.name}" if path else field.name
        inner, pattern = _inner(field.type)
        if inner is None:
            cells = (type_text(field.type), _default(field), range_text(field.type), meaning(field.type))
            lines.append(f"| `{field.name}` | " + " | ".join(map(_cell, cells)) + " |")
        else:
            place = pattern.format(where)
            needed = "**required**" if field.required else ""
            text = f"{_cell(meaning(field.type))}: see `{place}`"
            lines.append(f"| `{field.name}` | table | {needed} | {range_text(field.type)} | {text} |")
            below.append((inner, place.strip("[]"), f"`{place}`"))
    lines.append("")
    for inner, place, heading in below:
        _sections(inner, place, heading, lines)


def _inner(annotation: Any) -> tuple[Any, str]:
    """The table that a key holds, and the shape of its header; (None, "") for values and for what fits on a line."""
    for member in members(annotation):
        base, _ = plain(member)
        arguments = get_args(base)
        if is_table(base) and base is not Ramp:
            return base, "[{}]"
        if get_origin(base) is dict and is_table(plain(arguments[1])[0]):
            return plain(arguments[1])[0], "[{}.name]"
        if get_origin(base) is list and is_table(plain(arguments[0])[0]):
            return plain(arguments[0])[0], "[[{}]]"
    return None, ""


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "**required**"
    value = field.default_factory() if callable(field.default_factory) else field.default
    return "" if value is None else f"`{toml_value(value)}`"


def _unit(unit: str) -> str:
    return "`1`" if unit == "1" else f"`{unit.format('u', other='v')}`, with the channel's unit u"


def _text(kind: Any) -> str:
    return " ".join((kind.__doc__ or "").split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write both files."""
    (DOCS / "pipeline.md").write_text(document(), encoding="utf-8")
    (DOCS / "pipeline.schema.json").write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
