"""The example in docs/bundles.md works as it is printed."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edge.cli.main import main
from edge.inference import manifest
from edge.inference.bundle import load_bundle
from edge.inference.proving import prove

PAGE = (Path(__file__).parents[2] / "docs" / "bundles.md").read_text()


def block(language: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", PAGE, re.S)
    assert match is not None
    return match[1]


def test_the_example_trains_writes_and_is_admitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "models" / "shaking"
    folder.mkdir(parents=True)
    (folder / "pipeline.toml").write_text(block("toml"))
    (folder / "train.py").write_text(block("python"))
    done = subprocess.run([sys.executable, "-W", "error", "train.py"], cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("shaking/1.0.0")
    assert main(["models", "check", str(folder)]) == 0
    checks = [line[:18].strip() for line in capsys.readouterr().out.splitlines()]
    assert checks == [line[:18].strip() for line in block("console").splitlines()[1:]]
    assert load_bundle(folder).manifest.labels == ("still", "shaken")


def test_the_example_that_remembers_is_admitted(tmp_path: Path) -> None:
    code = PAGE.split("## Models that remember")[1].split("```python\n")[1].split("```")[0]
    (tmp_path / "train.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", "train.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    proof = prove(tmp_path / "shocks", budget_ns=500_000_000)
    assert [variant.name for variant in proof.variants] == ["full"]
    bundle = load_bundle(tmp_path / "shocks")
    assert [state.output for state in bundle.manifest.states] == ["h_next"]
    assert len(bundle.manifest.score_references) == 1


def test_every_key_of_a_manifest_is_explained() -> None:
    table = PAGE.split("## The manifest")[1].split("## Variants")[0]
    tables = [value for value in vars(manifest).values() if isinstance(value, type) and issubclass(value, msgspec.Struct)]
    assert len(tables) >= 9
    for struct in tables:
        for key in struct.__struct_fields__:
            assert re.search(rf"\b{key}\b", table), f"{struct.__name__}.{key}"
