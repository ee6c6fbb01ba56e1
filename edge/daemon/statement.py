"""What a daemon says of itself every second: the pipeline's status with that of everything around it. Plain data, ready for JSON."""

from typing import Any

from edge.daemon.health import Health
from edge.daemon.memory import resident_mb
from edge.daemon.outlet import Outlet
from edge.daemon.plan import Plan
from edge.pipeline.status import status


def statement(plan: Plan, outlet: Outlet, health: Health, now_ns: int, uptime_ns: int) -> dict[str, Any]:
    """The status of a daemon.

    Args:
        plan: that runs.
        outlet: with the links.
        health: of sources and helpers.
        now_ns: CLOCK_MONOTONIC.
        uptime_ns: since the process began.
    """
    transport, outbox = outlet.transport, outlet.outbox
    report = status(plan.pipeline, uptime_ns)
    if plan.models is not None:
        report["models"] = plan.models.status()
    elif (model := plan.pipeline.decisions.model) is not None:  # of a fixed version: nothing is swapped
        report["models"] = {"state": "at work", "active": model.version, **model.report()}
    state = "safe mode" if plan.is_safe or plan.pipeline.decisions.host.is_off else "running"
    report["state"] = state if transport.is_up else "waiting for the broker"
    report |= {"link": {"state": transport.state, "connects": transport.connects}, "rss_mb": resident_mb(), "outbox": outbox.report()}
    report["alerts"] |= outbox.counts()
    if plan.lines:
        report["serial"] = outlet.boards.report(now_ns)
        for name, n in outlet.boards.refused().items():
            stream = report["streams"][name]
            stream["received"] += n
            stream["invalid"]["channels"] = n
    if plan.keeper is not None:
        report["checkpoint"] = plan.keeper.status()
    report["health"] = health.report(now_ns)
    if outlet.recorder is not None:
        report["recording"] = outlet.recorder.status()
    return report
