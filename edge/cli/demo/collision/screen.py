"""How the collision demo looks: the scene from above and the numbers beside it on a terminal, plain lines elsewhere, and the summary."""

import math
from typing import Self

import msgspec
from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edge.cli.demo.collision.car import Record
from edge.cli.demo.collision.heard import Drive
from edge.cli.demo.collision.scene import Scenery

_SIDE = 42  # characters for the numbers
_LEAST = 16  # characters of a picture that shows anything
_REACH_M = 45.0  # around the vehicle: what matters within the next seconds
_BAR = 16
_LINE_S = 0.5  # of the car's clock
_COLOURS = {"critical": "bold red", "warning": "yellow"}


class About(msgspec.Struct, frozen=True):
    """What does not change while the demo runs.

    Args:
        scenario: name.
        sensor: name of the preset.
        expectation: "must_stop" or "must_not_brake".
        broker: kind and address.
        with_runtime: whether it guards.
    """

    scenario: str
    sensor: str
    expectation: str
    broker: str
    with_runtime: bool

    @property
    def title(self) -> str:
        """One line."""
        return f"{self.scenario}, {self.sensor}, {'with' if self.with_runtime else 'without'} the runtime"


class Screen:
    """Shows progress: a live screen on a terminal, otherwise a line every half second of the car's time, and one for each alert.

    Args:
        console: where to.
        about: constants.
        drive: what to show.
        scenery: what the scans show, or None.
    """

    def __init__(self, console: Console, about: About, drive: Drive, scenery: Scenery | None) -> None:
        self._console, self._about, self._drive, self._scenery = console, about, drive, scenery
        self._live = Live(console=console, auto_refresh=False, screen=False) if console.is_terminal else None
        self._next_s, self._shown, self._note = 0.0, 0, ""

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, _now_s: float, note: str = "") -> None:
        """Draws the state of affairs.

        Args:
            note: what is being waited for, if anything.
        """
        if self._live is not None:
            self._live.update(screen(self._about, self._drive, self._scenery, self._console.size, note), refresh=True)
        elif note:
            if note != self._note:
                self._note = note
                self._print(note)
        else:
            self._print_lines()

    def _print_lines(self) -> None:
        drive = self._drive
        fresh = drive.alert_count - self._shown
        for alert in list(drive.alerts)[-fresh:] if fresh else []:
            self._print(f"{alert.at_s:5.1f} s  {alert.text}")
        self._shown = drive.alert_count
        if drive.truth and drive.now_s >= self._next_s:
            self._print(plain_line(drive))
            self._next_s = drive.now_s + _LINE_S

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)


def screen(about: About, drive: Drive, scenery: Scenery | None, size: ConsoleDimensions, note: str = "") -> RenderableType:
    """The live screen; fits a terminal of 80 columns and 24 rows.

    Args:
        about: constants.
        drive: everything heard so far.
        scenery: what the scans show, or None.
        size: of the terminal.
        note: what is being waited for, when it is.
    """
    title = Text.assemble(("edge demo collision ", "bold"), (about.title, "bold cyan"))
    if note:
        return Group(title, Text(note, "yellow"))
    rows, columns = size.height - 3, size.width - _SIDE - 2
    seen = scenery.terminal(columns, rows, _REACH_M) if scenery is not None and columns >= _LEAST and rows > 0 else None
    sides = _numbers(about, drive)
    if seen is None:
        return Group(title, sides)
    beside = Table.grid(padding=(0, 2))
    beside.add_row(seen, sides)
    return Group(title, beside)


def _numbers(about: About, drive: Drive) -> RenderableType:
    truth, facts = drive.truth, drive.facts
    table = Table.grid(padding=(0, 2))
    table.add_column(width=14)
    table.add_column(width=_SIDE - 16)
    brake = float(truth.get("brake") or 0.0)
    filled = round(brake * _BAR)
    table.add_row("time", f"{drive.now_s:.1f} s, at {truth.get('rate', 1.0):.2f}x")
    table.add_row("speed", Text(f"{truth.get('speed_mps', 0.0):.1f} m/s", "bold"))
    table.add_row("nearest", f"{_far(truth.get('gap_m'))}")
    table.add_row("time to hit", _until(truth.get("ttc_s")))
    table.add_row("brake", Text("█" * filled, "red") + Text("░" * (_BAR - filled), "dim"))
    table.add_row("", "")
    if about.with_runtime:
        table.add_row(Text("the runtime:", "dim"), Text(str(drive.status.get("state", drive.availability)), "dim"))
        table.add_row("time to hit", _until(facts.get("objects.min_ttc"), 5.0))
        table.add_row("needs", f"{facts.get('objects.braking', 0.0):.1f} m/s^2")
        table.add_row("ahead", _far(facts.get("objects.nearest_ahead")))
        table.add_row("took, p99", _latency(drive))
        table.add_row("", "")
    record = drive.record()
    outcome = Text(record.outcome, "bold red" if record.collided else "bold green") if drive.is_decided and record is not None else Text("")
    alerts = [
        Text(f"{alert.at_s:4.1f} s {alert.text.removeprefix(alert.severity + ' ')}", _COLOURS.get(alert.severity, ""))
        for alert in drive.alerts
    ]
    return Group(table, *alerts, outcome)


def plain_line(drive: Drive) -> str:
    """One line of progress for a log."""
    truth = drive.truth
    parts = [
        f"{drive.now_s:5.1f} s",
        f"{truth.get('speed_mps', 0.0):4.1f} m/s",
        f"nearest {_far(truth.get('gap_m'))}",
        f"time to hit {_until(truth.get('ttc_s'))}",
        f"brake {float(truth.get('brake') or 0.0):.0%}",
        f"simulated time runs at {truth.get('rate', 1.0):.2f}x",
    ]
    return "  ".join(parts)


def summary(about: About, drive: Drive, record: Record, *, is_as_expected: bool) -> list[str]:
    """What happened, in lines."""
    rate = drive.truth.get("rate", 1.0)
    lines = [f"{about.title}, through {about.broker}: {record.outcome if drive.is_decided else 'not decided in the time given'}"]
    if math.isfinite(record.first_brake_s):
        ttc = f"{record.first_ttc_s:.2f} s before contact" if math.isfinite(record.first_ttc_s) else "with no contact ahead"
        lines.append(f"first brake  at {record.first_brake_s:.2f} s, {record.first_speed_mps:.1f} m/s, {ttc}")
    lines.append(f"nearest      {_far(record.min_gap_m)}, hardest braking {record.peak_mps2:.1f} m/s^2")
    if about.with_runtime:
        lines.append(f"commands     {record.obeyed} obeyed, {record.refused} refused as void; {drive.alert_count} alerts")
        blocked = drive.status.get("commands", {}).get("blocked", {})
        if blocked:
            lines.append(
                f"blocked      {', '.join(f'{count} {reason}' for reason, count in blocked.items())}: the brake got its safe value"
            )
        lines.append(f"latency      p99 {_latency(drive)} from reading a frame to handing over its command")
    lines.append(f"clock        {drive.now_s:.1f} s driven; simulated time ran at {rate:.2f}x: it stood still while scans were computed")
    due = {"must_stop": "hits nothing", "must_not_brake": "does not touch the brake"}[about.expectation]
    if not about.with_runtime and about.expectation == "must_stop":
        due = "hits it when nobody brakes"
    lines.append(f"expected     {due}: {'yes' if is_as_expected else 'NO'}")
    return lines


def _latency(drive: Drive) -> str:
    total = drive.status.get("latency_us", {}).get("total", {})
    return f"{total['p99'] / 1000:.1f} ms" if total else "-"


def _far(metres: float | None) -> str:
    return "-" if metres is None or not math.isfinite(metres) or metres >= 99.0 else f"{metres:.1f} m"


def _until(seconds: float | None, horizon_s: float = math.inf) -> str:
    return "-" if seconds is None or not math.isfinite(seconds) or seconds >= horizon_s else f"{seconds:.1f} s"
