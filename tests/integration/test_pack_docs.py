"""docs/packing.md shows what the commands print: they are run again, and only what was measured may differ."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge.cli.main import main

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "tests" / "golden" / "onnx"
FILES = {"driving": "sklearn_boosting", "shaking": "torch_cnn", "keras": "keras_cnn", "wear": "torch_gru"}
MEASURED = ("left out", "int8", "measured", "budget", "written")
PIPELINE = """
name = "NAME"
budget_ms = 20
[streams.STREAM]
topic = "fleet/{device}/x"
rate_hz = 100
channels = { ax = "m/s^2", ay = "m/s^2", az = "m/s^2" }
FEATURES
[model]
bundle = "models/NAME"
[[rules]]
name = "RULE"
score = "LABEL"
enter = 0.8
exit = 0.5
emit = "alert"
topic = "fleet/{device}/alerts"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random, kind = np.random.default_rng(11), np.arange(150) % 3
    rows = random.normal(0, 0.8, (150, 4)) + np.array([[0, 0, 9.8, 1], [1, -1, 8, 2], [-2, 2, 11, 0]])[kind]
    names = "car.ax.mean.1s,car.ay.mean.1s,car.az.mean.1s,car.az.std.1s"
    Path("driving.csv").write_text("\n".join([names, *(",".join(f"{value:.6g}" for value in row) for row in rows)]))
    for name, fixture in FILES.items():
        shutil.copy(MODELS / f"{fixture}.onnx", f"{name}.onnx")
        shutil.copy(MODELS / f"{fixture}.npz", f"{name}.npz")
    entry = '[[features]]\nstream = "{}"\nchannels = {}\nwindow = {}\nhop = {}\nstats = ["{}"]\n'
    every = '["ax", "ay", "az"]'
    first = entry.format("car", every, '"1s"', '"100ms"', "mean")
    features = {
        "driving": ("car", "stopping", "stop", first + entry.format("car", '["az"]', '"1s"', 1, "std")),
        "shaking": ("imu", "loose", "loose", (ROOT / "docs/packing.md").read_text().split("```toml\n")[1].split("```")[0]),
        "wear": ("imu", "worn", "worn", entry.format("imu", every, 1, 1, "last")),
    }  # fmt: skip
    for name, (stream, rule, label, tables) in features.items():
        text = PIPELINE.replace("STREAM", stream).replace("NAME", name).replace("RULE", rule).replace("LABEL", label)
        Path(f"{name}.toml").write_text(text.replace("FEATURES", tables))


def test_the_page_shows_what_is_printed(folder, capsys):
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "docs/packing.md").read_text(), re.DOTALL)
    runs = [run for block in blocks for run in re.split(r"(?m)^\$ edge ", block)[1:]]
    assert len(runs) == 5
    for run in runs:
        command, *shown = run.splitlines()
        source = '--source "random numbers"'
        arguments = command.replace(f" {source}", "").split() + (["--source", "random numbers"] if source in command else [])
        assert main(arguments) == 0, command
        printed = capsys.readouterr().out.splitlines()
        assert [_kept(line) for line in printed] == [_kept(line) for line in shown], command


def _kept(line):
    return line[:12] if line.startswith(MEASURED) else line
