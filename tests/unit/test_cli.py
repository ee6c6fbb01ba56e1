"""The command line: help, exit codes, and one clear line instead of a traceback."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from edge.cli import main as cli
from edge.errors import BundleError, ConfigError, EdgeError, Problem, TransportError

HEAVY = ("numba", "onnxruntime", "numpy", "mcap", "paho", "rich")


def _edge(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    script = f"import sys; from edge.cli.main import main; main(['--help']); print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for command in ("run", "check", "replay", "record", "demo", "models", "schema", "--version"):
        assert command in done.stdout


def test_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("edge 0.")


@pytest.mark.parametrize(
    "arguments", [["nope"], ["run"], ["demo", "--port", "70000"], ["demo", "--broker", "hivemq"], ["demo", "--seconds", "0"]]
)
def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert "Usage: edge" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError([Problem("streams.imu.rate_hz", "must be positive")]), 3),
        (BundleError("model.onnx: sha256 differs"), 3),
        (TransportError("port 1883 is in use"), 4),
        (EdgeError("something else"), 1),
    ],
)
def test_a_failure_is_one_line_and_its_exit_code(
    error: EdgeError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "app", _app_that_raises(error))
    assert cli.main(["boom"]) == code
    assert capsys.readouterr().err == f"edge: {error}\n"


def test_ctrl_c_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "app", _app_that_raises(KeyboardInterrupt()))
    assert cli.main(["boom"]) == 130
    assert capsys.readouterr().err == ""


def _app_that_raises(error: BaseException) -> Callable[..., object]:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def boom() -> None:
        raise error

    @app.command()
    def other() -> None:
        pass

    return app


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_missing_pipeline_file_is_a_clear_line(command: str, tmp_path: Path) -> None:
    done = _edge(command, str(tmp_path / "none.toml"))
    assert done.returncode == (3 if command == "run" else 1)
    assert "none.toml" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
