"""What README and the docs show works as it is shown."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest
import typer

from edge.cli.main import app
from tests.broker import Mosquitto, needs_mosquitto

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
pytestmark = pytest.mark.timeout(180)  # the first start of a daemon on a machine compiles kernels


def _block(name: str) -> str:
    """The fenced block that follows ``<!-- name -->``."""
    found = re.search(rf"<!-- {re.escape(name)} -->\n```\w*\n(.*?)```", README, re.DOTALL)
    assert found, f"README has no block marked {name}"
    return found[1]


def _fenced(page: Path) -> Iterator[str]:
    yield from re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)


def test_every_make_target_that_is_mentioned_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    mentioned = {
        target for page in PAGES for target in re.findall(r"^make (?:ARGS=\S+ )?([a-z][a-z-]*)", "\n".join(_code(page)), re.MULTILINE)
    }
    assert mentioned
    assert mentioned <= targets


def _code(page: Path) -> Iterator[str]:
    text = page.read_text()
    yield from re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def test_every_command_and_option_that_is_shown_exists() -> None:
    shown = [line for page in PAGES for code in _code(page) for line in code.splitlines()]
    commands = [found for line in shown if (found := re.match(r"(?:\.venv/bin/|/opt/edge/bin/)?edge ([a-z]+)(.*)", line.strip()))]
    assert len(commands) >= 5
    group = typer.main.get_group(app)
    for found in commands:
        name, rest = found[1], found[2].split("#")[0]
        assert name in group.commands, f"there is no edge {name}"
        command = group.commands[name]
        if hasattr(command, "commands"):
            command = command.commands[first[1]] if (first := re.match(r" ([a-z]+)", rest)) else command
        options = {option for parameter in command.params for option in parameter.opts}
        for option in re.findall(r"(--[a-z-]+)", rest):
            assert option in options | {"--help"}, f"edge {name} has no {option}"


def test_every_link_and_folder_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for folder in re.findall(r"^\| `([a-z_]+/)` \|", README, re.MULTILINE):
        assert (ROOT / folder).is_dir()


def test_the_python_api_runs_as_shown() -> None:
    code = _block("python")
    assert len(code.splitlines()) == 5
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    assert "'ROW':" in done.stdout


@needs_mosquitto
def test_a_sensor_connects_as_shown(tmp_path: Path, broker: Mosquitto) -> None:
    assert len(_block("pump.toml").splitlines()) + len(_block("commands").splitlines()) <= 15
    (tmp_path / "pump.toml").write_text(_block("pump.toml"))
    for program in ("mosquitto_pub", "mosquitto_sub"):
        (tmp_path / program).write_text(f"-p {broker.port}\n")  # the port is free, not 1883
    environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path)}
    daemon = subprocess.Popen(
        [sys.executable, "-m", "edge", "run", "pump.toml", "--broker-url", broker.url], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        assert daemon.stderr is not None
        _wait_for(": connected to", daemon.stderr)
        alert = _first_line(_block("commands"), tmp_path, environment)
    finally:
        daemon.terminate()
        daemon.communicate(timeout=20)
    assert daemon.returncode == 0
    heard = msgspec.json.decode(alert)
    shown = msgspec.json.decode(_block("alert"))
    assert heard.keys() == shown.keys()
    for key in ("device", "name", "state", "severity", "seq"):
        assert heard[key] == shown[key]
    assert heard["value"] == pytest.approx(shown["value"])


def _wait_for(text: str, lines: Iterable[str]) -> None:
    seen = ""
    for line in lines:
        seen += line
        if text in line:
            return
    raise AssertionError(seen)


def _first_line(script: str, folder: Path, environment: dict[str, str]) -> str:
    """The first line that a script prints; what it started in the background is ended."""
    shell = subprocess.Popen(["bash", "-c", script], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert shell.stdout is not None
        return shell.stdout.readline()
    finally:
        os.killpg(shell.pid, 15)
        shell.communicate(timeout=20)
