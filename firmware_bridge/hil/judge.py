"""Whether an expectation holds: a pure function of a recording. Says what was found in either case."""

import math
import statistics
from collections.abc import Mapping

from firmware_bridge import messages
from firmware_bridge.hil.recording import Recording
from firmware_bridge.hil.result import Check
from firmware_bridge.hil.scenario import Expect
from firmware_bridge.hil.wire import TO_BOARD, TO_HOST


def judge(expect: Expect, recording: Recording, marks: Mapping[str, int], origin_us: int, duration_s: float) -> Check:
    """Judges one expectation.

    Args:
        expect: from the scenario.
        recording: of the run.
        marks: when the named steps took effect, microseconds of the run.
        origin_us: when the loop was closed.
        duration_s: of the scenario.
    """

    def moment(value: str | float, default: float) -> int:
        if isinstance(value, str):
            return marks[value] if value else origin_us + int(default * 1e6)
        return origin_us + int(value * 1e6)

    after, before = moment(expect.after, 0.0), moment(expect.before, duration_s + 1.0)
    try:
        if expect.channel:
            found, holds = _rows(expect, recording, after, before)
        else:
            value = _measure(expect, recording, after + int(expect.settle_ms * 1000), before)
            found, holds = f"{value:g}", _is_met(expect, value)
    except KeyError as error:
        found, holds = f"cannot be judged: {error.args[0] if error.args else error}", False
    return Check(_words(expect), found, holds)


def _is_met(expect: Expect, value: float) -> bool:
    if not math.isfinite(value):
        return False
    return (
        (expect.below is None or value < expect.below)
        and (expect.above is None or value > expect.above)
        and (expect.equals is None or value == expect.equals)
    )


def _rows(expect: Expect, recording: Recording, after: int, before: int) -> tuple[str, bool]:
    times, values, unit = recording.series(expect.channel)
    start = after + int(expect.settle_ms * 1000)
    inside = [(at, value) for at, value in zip(times, values, strict=True) if start <= at <= before]
    if not inside:
        return "no rows in that time", False
    if expect.within_ms is not None:
        first = next((at for at, value in inside if _is_met(expect, value)), None)
        if first is None:
            return f"never; last {inside[-1][1]:g} {unit}", False
        return f"after {(first - after) / 1000:.1f} ms", first - after <= expect.within_ms * 1000
    seen = [value for _, value in inside]
    found = f"{min(seen):g} to {max(seen):g} {unit} in {len(seen)} rows"
    if expect.of == "last":
        return f"{seen[-1]:g} {unit}", _is_met(expect, seen[-1])
    if expect.of == "rise":
        return f"{seen[0]:g} to {seen[-1]:g} {unit}", _is_met(expect, seen[-1] - seen[0])
    met = [_is_met(expect, value) for value in seen]
    return found, all(met) if expect.of == "every" else any(met)


def _measure(expect: Expect, recording: Recording, after: int, before: int) -> float:
    if expect.measure.startswith("loop"):
        return _loops(expect.measure, sorted(recording.loops_ms(after, before)))
    if expect.measure in ("wrong_frames", "goodput"):
        counts = [recording.arrivals(direction) for direction in (TO_HOST, TO_BOARD)]
        if expect.measure == "wrong_frames":
            return float(sum(wrong for _, _, wrong in counts))
        return min(good / max(1, sent) for sent, good, _ in counts)
    if expect.measure == "outlived_ms":
        return recording.outlived_ms(expect.actuator, after)
    if expect.measure == "lost_share":
        return recording.lost_share()
    if expect.measure == "boots":
        return float(len(recording.timeline.ids))
    if expect.measure == "logged":
        return float(sum(expect.text in text for at, text in recording.logged if after <= at <= before))
    acks = [ack for at, ack in recording.acks if after <= at <= before]
    return float(sum(not expect.status or messages.Status(ack.status).name.lower() == expect.status for ack in acks))


def _loops(measure: str, loops: list[float]) -> float:
    if measure == "loops":
        return float(len(loops))
    if not loops:
        raise KeyError("no edge was answered")
    if measure == "loop_p50_ms":
        return statistics.median(loops)
    if measure == "loop_p99_ms":
        return loops[math.ceil(0.99 * len(loops)) - 1]
    return loops[-1] if measure == "loop_max_ms" else statistics.pstdev(loops)


def _words(expect: Expect) -> str:
    limits = [("<", expect.below), (">", expect.above), ("=", expect.equals)]
    claim = " and ".join(f"{sign} {value:g}" for sign, value in limits if value is not None)
    subject = expect.channel or " ".join(filter(None, (expect.measure, expect.status, expect.text)))
    when = f", within {expect.within_ms:g} ms of {expect.after}" if expect.within_ms is not None else ""
    return f"{expect.what} ({subject} {claim}{when})"
