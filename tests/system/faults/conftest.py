"""``@pytest.mark.fault(group, fault, required)`` on a test, `seen`, a dict for what it measured, and `site`, what it happens to."""

import pytest

from tests.system.faults.site import Site
from tests.system.faults.table import Row, write

_ROWS: pytest.StashKey[list[Row]] = pytest.StashKey()
_PASSED: pytest.StashKey[bool] = pytest.StashKey()


def pytest_configure(config):
    config.addinivalue_line("markers", "fault(group, fault, required): a row of the table of faults")


@pytest.fixture
def seen(request):
    """What the test of a fault saw: figures by name, in the order in which the table is to show them."""
    row = Row(*request.node.get_closest_marker("fault").args)
    yield row.seen
    row.passed = request.node.stash.get(_PASSED, False)
    request.config.stash.setdefault(_ROWS, []).append(row)


@pytest.fixture
def site(tmp_path, broker):
    """``site(proxied=True, text=..., sensor=False)``: starts it; ended with the test."""
    opened = []

    def start(**options):
        opened.append(Site(tmp_path, broker, **options))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call":
        item.stash[_PASSED] = report.passed
    return report


def pytest_sessionfinish(session):
    rows = session.config.stash.get(_ROWS, [])
    if rows and session.config.getoption("--fault-table"):
        write(rows)
