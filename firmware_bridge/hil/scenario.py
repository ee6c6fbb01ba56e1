"""Scenario files: what happens when, and what must be true then. Reads TOML and refuses what it does not know; runs nothing.

Times of steps count from the moment the loop is closed: the board says hello, the host is in charge, and the first command was obeyed.
"""

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

Direction = Literal["to_host", "to_board", "both"]
Do = Literal[
    "set", "wire", "clean_wire", "unplug", "plug", "reset", "pause_board", "resume_board",
    "kill_host", "pause_host", "resume_host", "start_host", "cpu_load", "full_disk", "kill_broker", "start_broker",
    "forge", "replay", "command", "mark",
]  # fmt: skip
Measure = Literal[
    "", "loop_p50_ms", "loop_p99_ms", "loop_max_ms", "loop_jitter_ms", "loops", "lost_share", "boots", "acks", "logged",
    "wrong_frames", "goodput", "outlived_ms",
]  # fmt: skip
ADDRESS = re.compile(r'^url = "serial://[^"?]*', re.MULTILINE)  # the harness puts its own tty there


class ScenarioError(ValueError):
    """A scenario file cannot be used; the text says where and why."""


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file."""


class Step(_Table, frozen=True):
    """One thing that happens."""

    at_s: float
    do: Do
    name: str = ""  # expectations refer to it
    parameter: str = ""  # set: of the board
    value: float = 0.0  # set, command, forge
    actuator: str = "drive"  # command, forge
    ttl_ms: int = 200  # command, forge
    count: int = 1  # forge, replay, command: how many
    seconds: float = 1.0  # cpu_load
    direction: Direction = "both"  # wire
    flip: float = 0.0
    drop: float = 0.0
    garble: float = 0.0
    duplicate: float = 0.0
    truncate: float = 0.0
    burst: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    silent: bool = False


class Expect(_Table, frozen=True):
    """One thing that must be true. Of a channel: by the board's own rows and clock."""

    what: str  # shown in the report
    channel: str = ""  # "motor.speed" or "board.state"
    of: Literal["every", "some", "last", "rise"] = "every"  # row after the settling time; rise: the last minus the first
    after: str | float = 0.0  # seconds, or a step's name
    before: str | float = ""  # likewise; "" is the end
    settle_ms: float = 0.0  # look only from this long after `after` on
    within_ms: float | None = None  # the first row for which it holds comes no later than this after `after`
    measure: Measure = ""
    actuator: str = "drive"  # outlived_ms
    status: str = ""  # acks: only those with this status, such as "expired"
    text: str = ""  # logged: lines of the board that contain this
    below: float | None = None
    above: float | None = None
    equals: float | None = None


class Scenario(_Table, frozen=True):
    """A scenario file."""

    name: str
    title: str
    duration_s: float
    pipeline: str = "motor-guard/pipeline.toml"  # beside the file, or else a shipped one
    seed: int = 1
    key: bool = False  # commands carry a MAC
    broker: bool = False  # the host has one, a Mosquitto
    parameters: dict[str, float] = msgspec.field(default_factory=dict)  # of the board, before the loop is closed
    step: list[Step] = msgspec.field(default_factory=list)
    expect: list[Expect] = msgspec.field(default_factory=list)


FOLDER = Path(__file__).resolve().parent / "scenarios"


def shipped() -> list[str]:
    """Names of the scenarios that come with the package."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def load_scenario(name: str | Path) -> tuple[Scenario, Path]:
    """Reads a scenario: a file, or the name of a shipped one.

    Returns:
        The scenario and its file.

    Raises:
        ScenarioError: there is no such file, or something in it is wrong.
    """
    file = Path(name)
    if not file.suffix and not file.exists():
        file = FOLDER / f"{name}.toml"
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
        _check_words(said, file)
        scenario = msgspec.convert(said, Scenario)
    except FileNotFoundError as error:
        raise ScenarioError(f"{name}: no such scenario; shipped are {', '.join(shipped())}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ScenarioError(f"{file}: {error}") from error
    _check(scenario, file)
    return scenario, file


def pipeline_of(scenario: Scenario, file: Path) -> Path:
    """The pipeline file of a scenario: beside it, or else the shipped one of that name.

    Raises:
        ScenarioError: neither is there, or the harness cannot put its tty into it.
    """
    found = next((one for one in (file.parent / scenario.pipeline, FOLDER / scenario.pipeline) if one.is_file()), None)
    if found is None:
        ours = ", ".join(sorted(str(one.relative_to(FOLDER)) for one in FOLDER.glob("*/pipeline.toml")))
        raise ScenarioError(f"{file}: pipeline: no {scenario.pipeline!r} beside the scenario; shipped is {ours}")
    try:
        n = len(ADDRESS.findall(found.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{file}: pipeline: {found}: {error}") from error
    if n != 1:
        raise ScenarioError(f'{file}: pipeline: one line of {found} must begin with: url = "serial://; there are {n}')
    return found


def _check_words(said: dict[str, Any], file: Path) -> None:
    """Steps and measures by name: a reader is told which there are."""
    for table, key, kind, valid in (("step", "do", "step", get_args(Do)), ("expect", "measure", "measure", get_args(Measure))):
        entries = said.get(table, [])
        for i, entry in enumerate(entries if isinstance(entries, list) else ()):
            word = entry.get(key) if isinstance(entry, dict) else None
            if isinstance(word, str) and word not in valid:
                near = next(iter(difflib.get_close_matches(word, valid, n=1)), "")
                hint = f" (did you mean {near!r}?)" if near else ""
                known = ", ".join(filter(None, valid))
                raise ScenarioError(f"{file}: {table}[{i}].{key}: no {kind} is called {word!r}{hint}; there are {known}")


def _check(scenario: Scenario, file: Path) -> None:
    pipeline_of(scenario, file)
    named = {step.name for step in scenario.step if step.name}
    late = [step for step in scenario.step if not 0 <= step.at_s <= scenario.duration_s]
    if late:
        raise ScenarioError(f"{file}: step at {late[0].at_s} s is not within 0 and duration_s = {scenario.duration_s}")
    if not scenario.expect:
        raise ScenarioError(f"{file}: expect: nothing is expected, so nothing could fail")
    for i, expect in enumerate(scenario.expect):
        where = f"{file}: expect[{i}] ({expect.what})"
        for moment in (expect.after, expect.before):
            if isinstance(moment, str) and moment and moment not in named:
                raise ScenarioError(f"{where}: no step is named {moment!r}; there are {', '.join(sorted(named)) or 'none'}")
        if bool(expect.channel) == bool(expect.measure):
            raise ScenarioError(f"{where}: give either channel or measure")
        if expect.below is None and expect.above is None and expect.equals is None:
            raise ScenarioError(f"{where}: give below, above or equals")
