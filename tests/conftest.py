"""One option for the whole suite: ``--fail-on-skip``, for continuous integration, where a skipped test is a hole. One rule: no deadlines.

A busy machine may take any time for an example; how fast things are is measured in benchmarks.
"""

import logging

import hypothesis
import pytest

pytest_plugins = ["tests.broker"]

hypothesis.settings.register_profile("edge", deadline=None)
hypothesis.settings.load_profile("edge")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fail-on-skip", action="store_true", help="fail when any test is skipped")
    parser.addoption("--kills", type=int, default=20, help="how often tests/system kills the daemon while it sends alerts")
    parser.addoption("--fault-table", action="store_true", help="write what tests/system/faults saw into docs/reliability.md")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = len(reporter.stats.get("skipped", [])) if reporter is not None else 0
    if session.config.getoption("--fail-on-skip") and skipped and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = len(terminalreporter.stats.get("skipped", []))
    if terminalreporter.config.getoption("--fail-on-skip") and skipped:
        terminalreporter.write_line(f"{skipped} skipped, and --fail-on-skip was given", red=True)


@pytest.fixture(autouse=True)
def _no_log_handler_is_left():
    """A command that sets logging up writes to the stream of its test, which is closed for the next one."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    for handler in [one for one in root.handlers if type(one) is logging.StreamHandler and one not in before]:
        root.removeHandler(handler)
