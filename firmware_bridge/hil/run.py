"""Runs scenarios and asks whether what was expected is true, by the board's own rows and clock."""

import contextlib
import json
import math
import statistics
import tempfile
import time
from pathlib import Path

from firmware_bridge import messages
from firmware_bridge.hil.emulator import BoardError
from firmware_bridge.hil.judge import judge
from firmware_bridge.hil.play import Run
from firmware_bridge.hil.result import Result, Series
from firmware_bridge.hil.scenario import Scenario

STALL_MS = 100.0  # a machine that lets the harness wait for longer cannot keep to limits of 500 ms: such a run may be repeated, once


def run_scenario(scenario: Scenario, file: Path, board: str, folder: Path | None = None, images: Path | None = None) -> Result:
    """Runs a scenario to its end and judges it; once again if it failed while the machine itself stood still for over ``STALL_MS``.

    Args:
        scenario, file: as `load_scenario` gives them.
        board: kind, such as ``qemu``.
        folder: for logs and the firmware; default one that is removed.
        images: where the firmware is built, to be shared by runs; default: in `folder`.

    Returns:
        What was found. What kept the run from its end is in ``error``; that it is a second run, and why, in ``figures``.
    """
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hil-")))
        result, stall_ms = _attempt(scenario, file, board, folder, images)
        if not result.passed and stall_ms > STALL_MS:
            first = "; ".join(filter(None, [result.error, *(check.what for check in result.checks if not check.holds)]))
            result, _ = _attempt(scenario, file, board, folder, images)
            result.figures["repeated"] = f"the machine stood still for {stall_ms:.0f} ms (limit {STALL_MS:.0f}); then failed: {first[:500]}"
    return result


def _attempt(scenario: Scenario, file: Path, board: str, folder: Path, images: Path | None) -> tuple[Result, float]:
    result = Result(scenario.name, scenario.title, board, scenario.seed)
    began, stall_ms = time.monotonic(), 0.0
    with contextlib.ExitStack() as stack:
        try:
            run = Run(scenario, file, board, folder, images)
            stack.callback(run.close)
            try:
                run.play()
                fill(result, run)
            finally:
                stall_ms = run.stalls.longest_ms
        except (BoardError, OSError, TimeoutError) as error:
            result.error = str(error)
    result.seconds = time.monotonic() - began
    return result, stall_ms


def fill(result: Result, run: Run) -> None:
    """Verdicts, figures and plots of a run that came to its end."""
    recording, origin = run.recording, run.origin_us
    result.checks = [judge(expect, recording, run.marks, origin, run.scenario.duration_s) for expect in run.scenario.expect]
    result.marks = [((at - origin) / 1e6, label) for at, label in run.shown]
    for channel in recording.channels():
        times, values, unit = recording.series(channel)
        inside = [(at, value) for at, value in zip(times, values, strict=True) if at >= origin - 500_000]
        if inside and len({value for _, value in inside}) > 1:
            result.series.append(Series(channel, unit, [(at - origin) / 1e6 for at, _ in inside], [value for _, value in inside]))
    result.log = [f"{(at - origin) / 1e6:8.3f} s  {text}" for at, text in recording.logged]
    result.latencies_ms = _loops_ms(run)
    result.figures = figures(run)


def figures(run: Run) -> dict[str, str]:
    """What was counted and measured."""
    recording = run.recording
    loops = sorted(_loops_ms(run))
    found = {"board": run.board.name, "boots": str(len(recording.timeline.ids))}
    if loops:
        p50, p99 = statistics.median(loops), loops[min(len(loops) - 1, math.ceil(0.99 * len(loops)) - 1)]
        spread = statistics.pstdev(loops)
        found["sensor edge to actuator edge"] = (
            f"{len(loops)} loops: p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {loops[-1]:.2f} ms, jitter (standard deviation) {spread:.2f} ms"
        )
    statuses: dict[str, int] = {}
    for _, ack in recording.acks:
        name = messages.Status(ack.status).name.lower()
        statuses[name] = statuses.get(name, 0) + 1
    found["commands seen on the line"] = str(len(recording.commands))
    found["acks by status"] = json.dumps(statuses)
    found["bytes carried"] = json.dumps(run.board.wire.carried)
    if "board.tick_ms" in recording.channels():
        found["longest time between two ticks of the board"] = f"{recording.longest_tick_ms(run.origin_us):.1f} ms"
    found["longest stall of the harness"] = f"{run.stalls.longest_ms:.1f} ms"
    found["telemetry blocks lost on the board"] = f"{recording.lost_share() * 100:.3f} %"
    return found


def _loops_ms(run: Run) -> list[float]:
    """Of a board that measures its loop."""
    has_them = {"board.loops", "board.loop_ms"} <= set(run.recording.channels())
    return run.recording.loops_ms(after_us=run.origin_us) if has_them else []
