"""A scenario of one's own, far from the package: what is wrong in it is said before a board is looked for."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.cli.hil import EXIT_REFUSED, hil
from firmware_bridge.hil import run as running
from firmware_bridge.hil.result import Check, Result
from firmware_bridge.hil.scenario import FOLDER, ScenarioError, load_scenario, pipeline_of

SCENARIO = """
name = "mine"
title = "mine"
duration_s = 1.0
[[expect]]
what = "it turns"
channel = "motor.speed"
above = 1
"""


def edge_hil(folder: Path, text: str, monkeypatch) -> tuple[int, str]:
    (folder / "mine.toml").write_text(text)
    monkeypatch.chdir(folder)
    found = CliRunner().invoke(hil, ["run", "mine.toml", "--board", f"pty:{os.devnull}"])
    return found.exit_code, found.output


def test_the_default_pipeline_is_the_shipped_one_and_that_is_said(tmp_path, monkeypatch):
    def run(scenario, file, board, images):
        assert pipeline_of(scenario, file) == FOLDER / "motor-guard" / "pipeline.toml"
        return Result(scenario.name, scenario.title, board, scenario.seed, checks=[Check("it turns", "2", True)])

    monkeypatch.setattr(running, "run_scenario", run)
    code, said = edge_hil(tmp_path, SCENARIO, monkeypatch)
    assert code == 0, said
    assert "with the shipped pipeline motor-guard/pipeline.toml: none of that name is beside mine.toml" in said


def test_a_pipeline_beside_the_scenario_goes_first(tmp_path):
    (tmp_path / "motor-guard").mkdir()
    own = tmp_path / "motor-guard" / "pipeline.toml"
    own.write_text('[serial.bench]\nurl = "serial:///dev/x"\n')
    file = tmp_path / "mine.toml"
    file.write_text(SCENARIO)
    assert pipeline_of(*load_scenario(file)) == own
    own.write_text("# no line\n")
    with pytest.raises(ScenarioError, match="must begin with"):
        load_scenario(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('pipeline = "mine/p.toml"' + SCENARIO, "no 'mine/p.toml' beside the scenario; shipped is motor-guard/pipeline.toml"),
        (
            SCENARIO + '[[step]]\nat_s = 0\ndo = "wiggle"\n',
            "step[0].do: no step is called 'wiggle' (did you mean 'wire'?); there are set, wire,",
        ),
        (SCENARIO + '[[step]]\nat_s = 0\ndo = "unplugg"\n', "no step is called 'unplugg' (did you mean 'unplug'?); there are set,"),
        (SCENARIO.replace('channel = "motor.speed"', 'measure = "loop"'), "expect[0].measure: no measure is called 'loop'"),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_right(text, words, tmp_path, monkeypatch):
    code, said = edge_hil(tmp_path, text, monkeypatch)
    assert code == EXIT_REFUSED
    assert words in said.replace("\n", " ")
