"""Reading a pipeline file: what cannot be read, unknown keys, types, ranges, paths; everything in one go."""

import os
from pathlib import Path
from typing import Any

import pytest

from edge.config.effective import to_toml
from edge.config.load import MAX_FILE_BYTES, load, loads
from edge.config.types import Ramp
from edge.errors import ConfigError
from tests.unit.config_files import BUNDLES, FULL, changed, found


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].path == str(path)
    return caught.value.problems[0].reason


def test_a_full_file_loads_with_types_and_absolute_paths(tmp_path: Path) -> None:
    (tmp_path / "pass.txt").write_text("secret\n")
    text = changed(("client_id", 'username = "u"\npassword_file = "pass.txt"\nclient_id'), ('"watch-linear"', f'"{BUNDLES}/watch-linear"'))
    file = tmp_path / "pipeline.toml"
    file.write_text(text)
    config = load(file)
    assert config.broker.password_file == str(tmp_path / "pass.txt")
    assert config.streams["imu"].rate_hz == 100.0
    assert config.streams["imu"].clean.range["ax"] == (-80.0, 80.0)
    assert config.rules[1].value == Ramp(at_enter=0.5, at_one=0.0)
    assert config.model is not None
    assert config.model.bundle == f"{BUNDLES}/watch-linear"


def test_a_relative_path_counts_from_the_file_and_links_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "models").symlink_to(BUNDLES)
    (tmp_path / "sub" / "p.toml").write_text(changed(('"watch-linear"', '"../models/watch-linear"')))
    monkeypatch.chdir(tmp_path)
    model = load(Path("sub/p.toml")).model
    assert model is not None
    assert model.bundle == str(tmp_path / "models" / "watch-linear")


def test_a_file_that_cannot_be_read_is_one_clear_problem(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.toml")
    assert "folder" in refusal(tmp_path)
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b'name = "\xff"')
    assert "not UTF-8" in refusal(bad)
    assert "byte 8" in refusal(bad)
    bad.write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    assert "larger" in refusal(bad)
    assert "cannot be read" in refusal(Path("a\0b"))
    assert "cannot be read" in refusal(tmp_path / ("n" * 300))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "a"\nx = = 3\n', "line 2, column 5"),
        ('name = "a"\nname = "b"\n', "line 2"),
        ("a = " + "9" * 5000, "not TOML"),
        ("a = " + "[" * 100_000, "not TOML"),
        ('a = "', "not TOML"),
        ("\0", "not TOML"),
    ],
)
def test_a_syntax_error_says_where(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text(text)
    reason = refusal(file)
    assert "not TOML" in reason
    assert said in reason


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text(changed(('"watch-linear"', f'"{BUNDLES}/watch-linear"')), encoding="utf-8-sig")
    assert load(file).name == "guard"


def test_an_empty_file_lacks_what_is_required() -> None:
    assert list(found("")) == ["name", "budget_ms", "streams"]


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        (("enter = 0.8", "entre = 0.8"), "rules[0].entre", "unknown key (did you mean 'enter'?)"),
        (("lanes = 8", "lane = 8"), "lane", "(did you mean 'lanes'?)"),
        (("[streams.imu.clean]", "[streams.imu.claen]"), "streams.imu.claen", "(did you mean 'clean'?)"),
        (("qos = 1", "zzz = 1"), "streams.imu.zzz", "unknown key"),
        (("qos = 1", "on_gap = 'keep'"), "streams.imu.on_gap", "unknown key (did you mean 'clean.on_gap'?)"),
        (('name = "guard"', 'name = "guard\\n"'), "name", "must be text"),
        (("[streams.imu]", "[streams.imu]\nname = 1"), "streams.imu.name", "unknown key"),
        (("at_one", "at_1"), "rules[1].value.at_1", "unknown key"),
        (("budget_ms = 50", 'budget_ms = "50"'), "budget_ms", "must be number (> 0, <= 60000), not '50'"),
        (("budget_ms = 50", "budget_ms = 0"), "budget_ms", "> 0"),
        (("budget_ms = 50", "budget_ms = nan"), "budget_ms", "not nan"),
        (("budget_ms = 50", "budget_ms = true"), "budget_ms", "not true"),
        (("budget_ms = 50\n", ""), "budget_ms", "is missing"),
        (("lanes = 8", "lanes = 8.5"), "lanes", "whole number"),
        (("lanes = 8", "lanes = 200_000"), "lanes", "<= 100_000"),
        (('name = "guard"', 'name = "a b"'), "name", "matches"),
        (('format = "json"', 'format = "jsom"'), "format", "(did you mean 'json'?)"),
        (('["smaller_model", "safe_state"]', '["smaler_model"]'), "on_overrun[0]", "(did you mean 'smaller_model'?)"),
        (('["smaller_model", "safe_state"]', "[]"), "on_overrun", "must not be empty"),
        (("ax = [-80, 80]", "ax = [-80]"), "streams.imu.clean.range.ax", "list of two numbers"),
        (("ax = [-80, 80]", "ax = [nan, 80]"), "streams.imu.clean.range.ax", "nan"),
        (('stats = ["mean", "std"]', "stats = []"), "features[0].stats", "is missing; write statistics"),
        (('stats = ["mean", "std"]', "stats = [1]"), "features[0].stats[0]", "must be text, not 1"),
        (('window = "2s"', "window = 2.5"), "features[0].window", "text or whole number"),
        (("max = 1.0", "max = inf"), "actuators.fan.max", "finite"),
        (("at_one = 0.0", "at_one = 1979-05-27"), "rules[1].value.at_one", "must be number"),
        (("value = { at_enter = 0.5, at_one = 0.0 }", "value = [1]"), "rules[1].value", "number or { at_enter, at_one }"),
        (('"c-1"', '"c-1"\nusername = "u"\npassword = 12345'), "broker.password", "not what is there"),
        (("lateness_ms = 20", "lateness_ms = 1e400"), "streams.imu.clean.lateness_ms", "not inf"),
        (("hold_ms = 500", "hold_ms = 1e300"), "rules[0].hold_ms", "<="),
        (("hold_ms = 500", "hold_ms = -1"), "rules[0].hold_ms", ">= 0"),
    ],
)
def test_one_wrong_key_is_one_problem(change: tuple[str, str], path: str, said: str) -> None:
    result = found(changed(change))
    assert list(result) == [path]
    assert said in result[path]
    assert "12345" not in result[path]


def test_a_table_that_is_none_hides_what_refers_to_it() -> None:
    result = found(
        'name = "a"\nbudget_ms = 1\n[streams]\nimu = 4\n[[features]]\nstream = "imu"\nchannels = ["a"]\nwindow = 1\nstats = ["mean"]\n'
    )
    assert result == {"streams.imu": "must be a table, not 4"}


def test_everything_is_found_in_one_go() -> None:
    text = changed(
        ("lanes = 8", "lanes = 0\ntypo = 1"),
        ('ay = "m/s^2"', 'ay = "m/s2"'),
        ('window = "2s"', 'window = "2 parsecs"'),
        ('score = "shaken"', 'score = "shakn"'),
        ('actuator = "fan"', 'actuator = "fam"'),
        ("safe_value = 0.3", "safe_value = 3"),
        ('topic = "site/{device}/alerts"', 'topic = "site/+/alerts"'),
        ("mqtt://127.0.0.1:1884", "http://127.0.0.1:1884"),
    )
    assert set(found(text)) == {
        "typo",
        "lanes",
        "broker.url",
        "streams.imu.channels.ay",
        "features[0].window",
        "rules[0].score",
        "rules[1].actuator",
        "actuators.fan.safe_value",
        "rules[0].topic",
    }


def test_odd_names_are_quoted_in_paths() -> None:
    result = found(changed(("[publish.status]", '[streams."a.b \\"c"]\ntopic = "x"\nchannels = { "é" = "nope" }\n[publish.status]')))
    assert list(result) == ['streams."a.b \\"c".channels."é"']


def test_the_effective_file_loads_to_an_equal_config() -> None:
    odd = '[streams."a.b \\"c\\u007f"]\ntopic = "x\\"y"\nchannels = { "é\\n" = "g" }\n[publish.status]'
    config = loads(changed(("[publish.status]", odd)), BUNDLES)
    assert loads(to_toml(config), Path("/nowhere")) == config
    small = loads('name = "a"\nbudget_ms = 1e-5\n[streams.s]\ntopic = "t"\nchannels = { a = "1" }\n', BUNDLES)
    assert loads(to_toml(small), Path("/nowhere")) == small
    assert "lanes = 16" in to_toml(small)


def test_the_effective_file_hides_the_password() -> None:
    config = loads(changed(('"c-1"', '"c-1"\nusername = "u"\npassword = "hunter2"')), BUNDLES)
    assert 'password = "***"' in to_toml(config)
    assert "hunter2" not in to_toml(config)
    assert loads(to_toml(config, hide=False), BUNDLES) == config


def test_loading_runs_no_model_and_compiles_nothing() -> None:
    import subprocess
    import sys

    script = (
        "import sys; from pathlib import Path; from edge.config.load import loads; from tests.unit.config_files import FULL, BUNDLES;"
        "loads(FULL, BUNDLES); print([m for m in ('onnxruntime', 'numba', 'paho', 'rich') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60, check=True, env={**os.environ}
    )
    assert done.stdout.strip() == "[]"


def test_the_full_file_is_right() -> None:
    result: dict[str, Any] = found(FULL)
    assert result == {}
