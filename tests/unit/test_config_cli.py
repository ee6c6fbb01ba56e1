"""`edge check`: what it prints and its exit code."""

import shutil
from pathlib import Path

import pytest

from edge.cli.main import main
from edge.config.load import load, loads
from edge.errors import ConfigError
from tests.unit.config_files import BUNDLES, FULL, changed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(BUNDLES / "watch-linear", tmp_path / "watch-linear")
    return tmp_path


def run(folder: Path, text: str, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    (folder / "p.toml").write_text(text)
    code = main(["check", str(folder / "p.toml"), *options])
    said = capsys.readouterr()
    assert not said.err
    return code, said.out


def test_a_good_file_is_one_line_that_says_what_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(folder, FULL, capsys)
    assert code == 0
    assert out == (
        f"OK {folder}/p.toml: guard, 3 streams (imu, temp, lidar), 6 features (imu.ax.mean.2s, imu.ax.std.2s, imu.ay.mean.2s, "
        "imu.ay.std.2s, imu.az.mean.2s, imu.az.std.2s), model watch-linear 1.0.0 (calm, shaken), "
        "2 rules (shaken, slow-down), 1 actuator (fan)\n"
    )


def test_every_problem_is_a_line_and_their_number_is_the_last(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(folder, changed(("enter = 0.8", "entre = 0.8"), ('"degC"', '"degc"')), capsys)
    assert code == 1
    second, first, last = out.splitlines()  # in the order of the file
    assert first == "rules[0].entre: unknown key (did you mean 'enter'?)"
    assert second.startswith("streams.temp.channels.celsius: unknown unit 'degc'")
    assert second.endswith("(did you mean 'degC'?)")
    assert last == f"{folder}/p.toml: 2 problems"


def test_problems_come_in_the_order_of_the_file() -> None:
    unit, rule = ('"degC"', '"degc"'), ("enter = 0.8", "enter = nan")
    text = changed(rule, ("budget_ms = 50", "budget_ms = 500"), unit, ("safe_value = 0.3", "safe_value = 9"))
    with pytest.raises(ConfigError) as caught:
        loads(text, BUNDLES)
    places = ["budget_ms", "streams.temp.channels.celsius", "rules[0].enter", "actuators.fan.safe_value"]
    assert [problem.path for problem in caught.value.problems] == places


def test_a_unit_that_is_unknown_leaves_the_names_of_channels_known() -> None:
    text = changed(('"degC"', '"celsius"'), ('celsius = "body.t"', 'celsius = "body.t", zz = "body.z"'))
    with pytest.raises(ConfigError) as caught:
        loads(text, BUNDLES)
    assert [problem.path for problem in caught.value.problems] == ["streams.temp.channels.celsius", "streams.temp.fields.zz"]
    assert str(caught.value).count("docs/pipeline.md#units") == 1
    assert caught.value.problems[0].hint == "degC"


def test_what_may_not_be_meant_is_a_note_and_no_problem(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """
        name = "p"
        budget_ms = 5
        streams.a = { topic = "a/{device}", channels = { temp = "C", charge = "C" } }
        streams.b = { topic = "b/{device}", channels = { x = "1" } }
        features = [
          { stream = "a", channels = ["temp"], window = 2, stats = ["mean"] },
          { stream = "b", channels = ["x"], window = 2, stats = ["mean"] },
        ]
    """
    code, out = run(folder, text, capsys)
    verdict, unit, streams = out.splitlines()
    assert (code, verdict[:2]) == (0, "OK")
    assert unit == "note: streams.a.channels.temp is in C, which is coulomb; degC is degree Celsius"
    assert streams.startswith("note: features come from several streams (a, b): a device decides nothing until it has sent on all")
    code, out = run(folder, text, capsys, "--show")
    assert loads(out, folder).name == "p"


def test_show_prints_a_file_that_loads_to_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(folder, FULL, capsys, "--show")
    assert code == 0
    assert loads(out, Path("/nowhere")) == load(folder / "p.toml")
    assert out.startswith("# OK ")


def test_show_hides_the_password(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(folder, changed(('"c-1"', '"c-1"\nusername = "u"\npassword = "hunter2"')), capsys, "--show")
    assert code == 0
    assert 'password = "***"' in out
    assert "hunter2" not in out


def test_an_altered_model_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = folder / "watch-linear" / "1.0.0" / "full.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    code, out = run(folder, FULL, capsys)
    assert code == 1
    assert out.startswith("model.bundle: ")
    assert "sha256" in out


def test_a_missing_file_is_a_problem_like_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "none.toml")]) == 1
    assert capsys.readouterr().out.splitlines() == [f"{tmp_path}/none.toml: there is no such file", f"{tmp_path}/none.toml: 1 problem"]


def test_run_refuses_with_every_problem_and_exit_code_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "p.toml").write_text(changed(("enter = 0.8", "entre = 0.8"), ("lanes = 8", "lanes = 0")))
    assert main(["run", str(folder / "p.toml")]) == 3
    said = capsys.readouterr().err
    assert f"{folder}/p.toml: rules[0].entre" in said
    assert f"{folder}/p.toml: lanes: must be" in said
