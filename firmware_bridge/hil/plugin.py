"""The pytest plugin: fixtures `board`, `broker`, `daemon`, `plant`, `recording`, and the options that choose the board.

A test that asks for what this machine lacks is skipped, and the reason says how to get it.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from firmware_bridge.hil.boards import Board
    from firmware_bridge.hil.host import Broker, Process
    from firmware_bridge.hil.recording import Recording

Starter = Callable[..., "Process"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("hil", "hardware in the loop")
    group.addoption(
        "--hil-board", default="qemu", metavar="KIND", help="qemu (default), simulator, serial:DEVICE[,bench=DEVICE], pty:DEVICE"
    )
    group.addoption("--hil-report", default=None, metavar="DIR", help="write report.html and junit.xml of all scenarios there")


def pytest_configure(config: pytest.Config) -> None:
    """Where results of scenarios are gathered."""
    config.stash[_RESULTS] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the report, if one is wanted."""
    folder, results = session.config.getoption("--hil-report"), session.config.stash.get(_RESULTS, [])
    if folder and results:
        from firmware_bridge.hil.report import write_report

        write_report(results, Path(folder))


_RESULTS: pytest.StashKey[list] = pytest.StashKey()  # type: ignore[type-arg]


@pytest.fixture
def hil_board_kind(request: pytest.FixtureRequest) -> str:
    """The board that was asked for; the test is skipped when this machine has none."""
    from firmware_bridge.hil.boards import lacks

    kind = str(request.config.getoption("--hil-board"))
    lack = lacks(kind)
    if lack:
        pytest.skip(lack)
    return kind


@pytest.fixture(scope="session")
def hil_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the firmware is built, once for all tests."""
    return tmp_path_factory.mktemp("firmware")


@pytest.fixture
def board(hil_board_kind: str, hil_images: Path, tmp_path: Path) -> Iterator["Board"]:
    """A board that said hello, with a wire to it."""
    from firmware_bridge.hil.boards import Board

    found = Board(hil_board_kind, tmp_path, images=hil_images)
    yield found
    found.close()


@pytest.fixture
def recording(board: "Board") -> "Recording":
    """Everything that the board says and is told."""
    return board.recording


@pytest.fixture
def plant(board: "Board") -> Callable[[str, float], None]:
    """``plant("load", 300)``: sets what acts on the board's motor, or how the board misbehaves."""
    return board.set


@pytest.fixture
def broker(tmp_path: Path) -> Iterator["Broker"]:
    """A real Mosquitto."""
    from firmware_bridge.hil.host import Broker, missing_broker

    lack = missing_broker()
    if lack:
        pytest.skip(lack)
    found = Broker(tmp_path)
    yield found
    found.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Starter]:
    """``daemon("run", FILE, ...)``: starts ``edge`` with these words as a process of its own; ended with the test."""
    from firmware_bridge.hil.host import Process

    started: list[Process] = []

    def start(*words: object) -> Process:
        process = Process([sys.executable, "-m", "edge", *map(str, words)], tmp_path / f"edge-{len(started)}.log")
        started.append(process)
        return process

    yield start
    for process in started:
        process.stop()


@pytest.fixture
def hil_run(hil_board_kind: str, hil_images: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """``hil_run("overspeed")``: runs a scenario, shipped or a file, and fails with what was found."""
    from firmware_bridge.hil.run import run_scenario
    from firmware_bridge.hil.scenario import load_scenario

    def run(name: str) -> None:
        result = run_scenario(*load_scenario(name), hil_board_kind, tmp_path, hil_images)
        request.config.stash[_RESULTS].append(result)
        if not result.passed:
            lines = [f"{'ok  ' if check.holds else 'FAIL'} {check.what}: {check.found}" for check in result.checks]
            pytest.fail("\n".join([result.error, *lines, *result.log, str(result.figures)]).strip(), pytrace=False)

    return run
