"""What a pipeline reports of itself: plain data, ready for JSON."""

from typing import Any

from edge.pipeline.intake import Intake, TelemetryIntake
from edge.pipeline.recipe import Pipeline


def status(pipeline: Pipeline, uptime_ns: int) -> dict[str, Any]:
    """Counters and latencies of a pipeline.

    Args:
        pipeline: which.
        uptime_ns: since the process began.
    """
    decisions, times = pipeline.decisions, pipeline.times
    latency = times.summary()
    withheld = sum(pipeline.withheld.values())
    tables = {} if pipeline.tables is None else {"tables": pipeline.tables.status(decisions.at_ns + decisions.wall_offset_ns)}
    watch = {} if decisions.monitoring is None else {"monitoring": decisions.monitoring.status()}
    tables |= watch
    return tables | {
        "name": pipeline.name,
        "boot_id": decisions.terms.boot_id,
        "uptime_s": round(uptime_ns * 1e-9, 1),
        "model": f"{decisions.model.name} {decisions.model.version}" if decisions.model is not None else "",
        "lanes": {"used": len(pipeline.lanes), "of": len(pipeline.lanes.devices), "evictions": pipeline.lanes.evictions},
        "streams": {intake.name: _stream(pipeline, intake) for intake in pipeline.intakes},
        "unrouted": pipeline.unrouted,
        "no_vector": {"unjoined": pipeline.features.unjoined, "unaligned": pipeline.features.unaligned},
        "rows_early": pipeline.aligner.early if pipeline.aligner is not None else 0,
        "decisions": {
            "made": decisions.made,
            "skipped": _sorted(decisions.skipped),
            "failed": _sorted(decisions.failed),
            "by_variant": _sorted(decisions.by_variant),
            "waiting": pipeline.features.waiting(len(pipeline.lanes)),
        },
        "budget": {
            "met": decisions.made - times.late - len(decisions.due),
            "missed": times.late + decisions.skipped.get("overrun", 0),
            "withheld": withheld,
        },
        "alerts": {"raised": decisions.raised, "cleared": decisions.cleared},
        "commands": {"sent": decisions.commands - withheld, "withheld": _sorted(pipeline.withheld), "blocked": _sorted(decisions.blocked)},
        "latency_us": latency,
    }


def _stream(pipeline: Pipeline, intake: Intake) -> dict[str, Any]:
    counts = intake.gate.counts
    used = len(pipeline.lanes)
    gaps = overflows = step_ns = 0
    if isinstance(intake, TelemetryIntake):
        gaps, overflows = pipeline.features.tallies(intake.index, used)
        cleaner = intake.gate.cleaner
        if cleaner is None or cleaner.steps.grid is None:  # on a grid, the steps are the grid's and say nothing of the sender
            step_ns = pipeline.features.step_ns(intake.index, used)
    return {
        "received": counts.received,
        "used": counts.used,
        "held": counts.held,
        "late": counts.late,
        "duplicate": counts.duplicate,
        "invalid": _sorted(counts.invalid),
        "dropped": _sorted(counts.dropped),
        "lost_frames": counts.lost_frames,
        "resyncs": counts.resyncs,
        "cleaning": _cleaning(intake),
        "looks": _looks(intake),
        "gaps": gaps,
        "overflows": overflows,
        "rate_hz": round(1e9 / step_ns, 3) if step_ns > 0 else None,
    }


def _cleaning(intake: Intake) -> dict[str, Any]:
    """What was done to values, by action and channel; empty for a stream whose rows are only accepted or refused."""
    if not isinstance(intake, TelemetryIntake) or intake.gate.cleaner is None:
        return {}
    return intake.gate.cleaner.summary()


def _looks(intake: Intake) -> dict[str, int]:
    """Scans by how closely they were looked at; empty for telemetry, and for scans that no feature asks for."""
    return (
        {}
        if isinstance(intake, TelemetryIntake) or intake.work is None
        else intake.work.looks | {"completed": intake.gate.completed, "objects_dropped": intake.work.chain.dropped}
    )


def _sorted(counts: dict[Any, int]) -> dict[str, int]:
    return {str(name): counts[name] for name in sorted(counts)} if counts else {}
