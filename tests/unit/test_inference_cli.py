"""`edge models check`: one line per check, exit code 0 or 1, never a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest
from inference_models import linear, slow, write_bundle

from edge.cli.main import main


def test_a_good_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = write_bundle(tmp_path / "watch")
    for folder in (home, home.parent):
        assert main(["models", "check", str(folder)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line[:18].strip() for line in lines] == [
            "OK manifest",
            "OK hashes",
            "OK self-contained",
            "OK tensors",
            "OK golden",
            "OK p99",
        ]
        assert "full: p99 0." in lines[-1]
        assert "ms over" in lines[-1]


def test_one_version_of_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for version in ("1.0.0", "1.1.0"):
        write_bundle(tmp_path / "watch", version)
    assert main(["models", "check", str(tmp_path / "watch")]) == 0
    assert "watch 1.1.0" in capsys.readouterr().out
    assert main(["models", "check", str(tmp_path / "watch"), "--version", "1.0.0"]) == 0
    assert "watch 1.0.0" in capsys.readouterr().out


def test_a_variant_that_is_too_slow_is_shown_and_the_bundle_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path / "watch", models={"full": slow(), "small": linear()}, budget_ms=5)
    assert main(["models", "check", str(tmp_path / "watch")]) == 0
    assert "excluded" in capsys.readouterr().out


def test_failures_are_shown_with_what_would_be_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = write_bundle(tmp_path / "watch")
    (home / "full.onnx").write_bytes(b"")
    assert main(["models", "check", str(home)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("OK manifest")
    assert lines[1].startswith("FAILED ")
    assert "full.onnx: sha256 is" in lines[1]
    assert main(["models", "check", str(tmp_path / "nowhere")]) == 1
    assert "there is no such folder" in capsys.readouterr().out


def test_every_fault_of_a_manifest_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_bundle(tmp_path / "watch") / "manifest.toml"
    path.write_text(path.read_text().replace("calm", "shaken").replace('file = "golden.npz"', 'file = "other.npz"'))
    assert main(["models", "check", str(tmp_path / "watch")]) == 1
    assert [line.split(" ")[0] for line in capsys.readouterr().out.splitlines()] == ["FAILED", "FAILED"]


def test_reading_a_bundle_needs_no_onnxruntime() -> None:
    """Checks of files stay fast; only admission pays for loading the runtime."""
    code = "import sys, edge.inference.bundle, edge.inference.variants, edge.cli.models; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
