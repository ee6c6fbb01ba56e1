"""How the demo looks: a live screen on a terminal, plain lines elsewhere, and the summary. Draws what was heard; asks nobody."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from edge.cli.demo.heard import Device, Event, Heard, received
from edge.errors import TransportError

_BAR = 16  # characters of a score's bar
_EVENTS = 8  # most rows of alerts and commands
_FEATURES = 6  # most columns of feature values
_FEATURES_HEAD = 12  # characters before them
_STAGES = ("decode", "clean", "features", "infer", "decide", "encode", "send", "total")
_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # fonts that a viewer would fetch from the internet
_PICTURE = ConsoleDimensions(96, 26)
_SIDE_ROWS = len(_STAGES) + 2
_PARTS_WITHOUT_FEATURES = 5


class About(msgspec.Struct, frozen=True):
    """What does not change while the demo runs.

    Args:
        name: of the pipeline.
        broker: kind and address.
        recording: what is played.
        budget_ms: of the pipeline.
        feature_names: in the plan's order.
    """

    name: str
    broker: str
    recording: str
    budget_ms: float
    feature_names: tuple[str, ...] = ()


def screen(about: About, heard: Heard, now_s: float, size: ConsoleDimensions, note: str = "") -> RenderableType:
    """The live screen; fits a terminal of 80 columns and 24 rows with up to four devices.

    Args:
        about: constants.
        heard: everything heard so far.
        now_s: seconds since the demo's start.
        size: of the terminal.
        note: what is being waited for, when it is.
    """
    if note:
        return Text.assemble(("edge demo ", "bold"), f"{now_s:.0f} s  ", (note, "yellow"))
    state = str(heard.status.get("state", heard.availability))
    title = Text.assemble(
        ("edge demo ", "bold"), (about.name, "bold cyan"), f"  {state}  ", (f"{now_s:.0f} s", "bold"), f"  {about.broker}"
    )
    sides = Table.grid(padding=(0, 4))
    sides.add_row(_latency(about, heard), _counters(heard))
    parts: list[RenderableType] = [title, sides, _heading("devices: what the model says, what the recording says"), _devices(heard)]
    if any(device.features for device in heard.devices.values()):
        parts += [_heading("features"), _features(about, heard, size.width)]
    parts.append(_heading(f"alerts {heard.alerts}, commands {heard.commands}"))
    used = 1 + _SIDE_ROWS + 2 + len(heard.devices) + (3 if len(parts) > _PARTS_WITHOUT_FEATURES else 0) + 1
    parts.append(_events(heard.events, min(max(size.height - used - 1, 2), _EVENTS)))
    return Group(*parts)


def _heading(text: str) -> Rule:
    return Rule(Text(text, "dim"), align="left", style="dim")


def _latency(about: About, heard: Heard) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=10)
    for _ in range(3):
        table.add_column(justify="right", min_width=5)
    table.add_row(*(Text(name, "dim") for name in ("latency, us", "p50", "p99", "max")))
    stages: dict[str, dict[str, float]] = heard.status.get("latency_us", {})
    for stage in _STAGES:
        took = stages.get(stage)
        values = [f"{took[name]:.0f}" if took else "-" for name in ("p50", "p99", "max")]
        table.add_row(stage, *values, style="bold" if stage == "total" else "")
    table.add_row(Text("budget", "dim"), "", "", Text(f"{about.budget_ms * 1000:.0f}", "dim"))
    return table


def _counters(heard: Heard) -> Table:
    status = heard.status
    decisions, budget, commands = (status.get(name, {}) for name in ("decisions", "budget", "commands"))
    counts = accounting(status)
    missed = int(budget.get("missed", 0))
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_row("samples/s", Text(f"{heard.samples_per_s:.0f}", "bold"))
    table.add_row("received", f"{counts['received']}")
    table.add_row("used", f"{counts['used']}")
    table.add_row("late, duplicate, held", f"{counts['late']}, {counts['duplicate']}, {counts['held']}")
    table.add_row("invalid, dropped", f"{counts['invalid']}, {counts['dropped']}")
    table.add_row("decisions", f"{decisions.get('made', 0)}")
    table.add_row("  skipped, failed", f"{_total(decisions.get('skipped'))}, {_total(decisions.get('failed'))}")
    table.add_row("budget met, missed", Text.assemble(f"{budget.get('met', 0)}, ", (str(missed), "bold red" if missed else "green")))
    table.add_row("commands withheld, blocked", f"{_total(commands.get('withheld'))}, {_total(commands.get('blocked'))}")
    table.add_row("memory", f"{status.get('rss_mb', 0):.0f} MB")
    return table


def _devices(heard: Heard) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("device", "model", "", "score", "recording"):
        table.add_column(name, justify="right" if name == "score" else "left")
    for name in sorted(heard.devices):
        device = heard.devices[name]
        filled = round(min(max(device.score, 0.0), 1.0) * _BAR)
        colour = "cyan" if not device.truth else "green" if device.label == device.truth else "red"
        bar = Text("█" * filled, colour) + Text("░" * (_BAR - filled), "dim")
        table.add_row(name, Text(device.label, f"bold {colour}"), bar, f"{device.score:.2f}", device.truth or "-")
    return table


def _features(about: About, heard: Heard, width: int) -> Table:
    device = next(heard.devices[name] for name in sorted(heard.devices) if heard.devices[name].features)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(device.name, no_wrap=True, min_width=_FEATURES_HEAD - 2)
    names = [about.feature_names[i] if i < len(about.feature_names) else f"#{i}" for i in range(len(device.features))]
    chosen = _spread(names, width - _FEATURES_HEAD)
    for i in chosen:
        table.add_column(names[i], justify="right", no_wrap=True)
    table.add_row(f"{len(device.features)} in all", *(f"{device.features[i]:.3g}" for i in chosen))
    return table


def _spread(names: Sequence[str], width: int) -> range:
    """As many indices, evenly apart, as have room side by side."""
    for count in range(min(_FEATURES, len(names)), 1, -1):
        chosen = range(0, len(names), len(names) // count)[:count]
        if sum(len(names[i]) + 2 for i in chosen) <= width:
            return chosen
    return range(1)


def _events(events: Sequence[Event], rows: int) -> Table:
    table = Table.grid(padding=(0, 2))
    for _ in range(6):
        table.add_column(no_wrap=True)
    newest = sorted(events, key=lambda event: event.last_s, reverse=True)[:rows]
    for event in newest:
        kind = Text(event.kind, "yellow" if event.kind == "alert" else "magenta")
        times = f"x {event.times}" if event.times > 1 else ""
        table.add_row(f"{event.last_s:6.1f} s", kind, event.device, event.name, event.text, times)
    for _ in range(rows - len(newest)):
        table.add_row("")
    return table


def save_picture(path: Path, about: About, heard: Heard, now_s: float) -> None:
    """Writes the screen as an SVG file.

    Raises:
        TransportError: the file cannot be written.
    """
    console = Console(record=True, width=_PICTURE.width, height=_PICTURE.height, file=io.StringIO(), force_terminal=True)
    console.print(screen(about, heard, now_s, _PICTURE))
    picture = _FONT_FACE.sub("", console.export_svg(title="edge demo"))
    try:
        path.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise TransportError(f"{path} cannot be written: {error.strerror}") from error


def plain_line(heard: Heard, now_s: float) -> str:
    """One line of progress for a log."""
    total = heard.status.get("latency_us", {}).get("total", {})
    parts = [
        f"{now_s:6.1f} s",
        f"{heard.samples_per_s:.0f} samples/s",
        f"total p50 {_us(total, 'p50')} p99 {_us(total, 'p99')}",
        f"missed {heard.status.get('budget', {}).get('missed', 0)}",
        *(_said(heard.devices[name]) for name in sorted(heard.devices)),
        f"alerts {heard.alerts}",
        f"commands {heard.commands}",
    ]
    return "  ".join(parts)


def plain_event(event: Event) -> str:
    """One alert or command for a log."""
    return f"{event.at_s:6.1f} s  {event.kind} {event.name} for {event.device}: {event.text}"


def _said(device: Device) -> str:
    truth = f" (is {device.truth})" if device.truth else ""
    return f"{device.name}: {device.label} {device.score:.2f}{truth}" if device.label else f"{device.name}: no score{truth}"


def print_summary(console: Console, about: About, heard: Heard, played_s: float) -> None:
    """What happened, once all has ended.

    Args:
        console: where to.
        about: constants.
        heard: everything heard.
        played_s: seconds from the first to the last message of the recording.
    """
    counts = accounting(heard.status)
    total = heard.status.get("latency_us", {}).get("total", {})
    budget = heard.status.get("budget", {})
    lines = [
        f"{about.name}: played {played_s:.0f} s of {about.recording} through {about.broker}",
        "samples      " + ", ".join(f"{count} {name}" for name, count in counts.items()),
        f"predictions  {heard.predictions} heard" + _first(heard),
        "latency      " + ", ".join(f"{name} {_us(total, name)}" for name in ("p50", "p99", "max")) + " from reading to hand-over",
        f"budget       {about.budget_ms:g} ms: " + ", ".join(f"{name} {budget.get(name, 0)}" for name in ("met", "missed", "withheld")),
        f"sent         {heard.alerts} alerts, {heard.commands} commands",
    ]
    known = sum(device.predictions for device in heard.devices.values())
    if known:
        agreed = sum(device.agreed for device in heard.devices.values())
        lines.append(f"agreement    {agreed} of {known} predictions have the label of the recording ({agreed / known:.0%})")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _us(total: dict[str, float], name: str) -> str:
    return f"{total[name]:.0f} us" if total else "-"


def _first(heard: Heard) -> str:
    if heard.first_prediction_s is None:
        return ": it ended before the windows were full"
    return f", the first {heard.first_prediction_s:.1f} s after the start"


def accounting(status: dict[str, Any]) -> dict[str, int]:
    """Received = used + late + duplicate + invalid + dropped + held, summed over streams."""
    streams = list(status.get("streams", {}).values())
    counts = {"received": received(status)}
    for name in ("used", "late", "duplicate", "invalid", "dropped", "held"):
        counts[name] = sum(_total(stream.get(name)) for stream in streams)
    return counts


def _total(counts: object) -> int:
    if isinstance(counts, dict):
        return sum(counts.values())
    return counts if isinstance(counts, int) else 0
