"""A report on a terminal, with small histograms; elsewhere lines with tabs, for scripts. What came over the wire cannot move the cursor."""

import sys
from typing import TYPE_CHECKING

from edge.cli.models.report.facts import Facts, Value
from edge.cli.models.report.sections import Table, sections

if TYPE_CHECKING:
    from rich.text import Text

_BARS = " ▁▂▃▄▅▆▇█"
_MANY, _WIDE = 7, 48  # more columns than the first: no cell longer than the second; --html and pipes show all


def show(facts: Facts) -> None:
    """Print a report to stdout; notes about what is missing go to stderr as well where stdout is no terminal."""
    if sys.stdout.isatty():
        _show_rich(facts)
        return
    out = [f"# {clean(facts.name)}\t{clean(facts.source)}\t{facts.made}"]
    for section in sections(facts):
        out.append(f"\n## {section.title}")
        out += [f"# {clean(note)}" for note in section.notes]
        for table in section.tables:
            out += _plain(table)
    sys.stdout.write("\n".join(out) + "\n")
    for note in facts.notes:
        sys.stderr.write(f"edge: {clean(note)}\n")


def clean(text: str) -> str:
    """Text without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text)


def spark(shares: list[float]) -> str:
    """Shares as small bars, the largest one full; a share that is not zero is seen."""
    top = max(shares, default=0.0)
    if top <= 0:
        return ""
    return "".join(_BARS[min(max(round(s / top * 8), 1 if s > 0 else 0), 8)] for s in shares)


def _plain(table: Table) -> list[str]:
    columns = (*table.columns, "training", "now") if table.values else table.columns
    lines = ["\t".join(columns)] if any(columns) else []
    for i, row in enumerate(table.rows):
        shares: tuple[str, ...] = ()
        if table.values:
            value = table.values[i]
            shares = tuple(",".join(f"{s:.4f}" for s in some) or "-" for some in (value.reference, value.current))
        lines.append("\t".join(clean(cell) for cell in (*row, *shares)))
    return lines


def _show_rich(facts: Facts) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(clean(facts.name), style="bold"), Text(clean(facts.source), style="dim"))
    for note in facts.notes:
        console.print(Text(clean(note), style="yellow"))
    for section in sections(facts):
        console.print()
        console.print(Text(section.title, style="bold cyan"))
        for note in section.notes:
            console.print(Text(clean(note), style="dim"))
        for table in section.tables:
            console.print(_rich(table))


def _rich(table: Table) -> object:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    named = any(table.columns)
    made = RichTable(box=box.SIMPLE_HEAD if named else None, show_header=named, padding=(0, 1), pad_edge=False)
    for i, column in enumerate(table.columns):
        made.add_column(column, style="" if i or not named else "bold", overflow="fold", ratio=None)
    if table.values:
        made.add_column("training", no_wrap=True)
        made.add_column("now", no_wrap=True)
    for i, row in enumerate(table.rows):
        style = "red" if i in table.bad else ""
        most = _WIDE if len(row) > _MANY else len(max(row, key=len))
        cells = [Text(clean(cell if len(cell) <= most else f"{cell[: most - 1]}…"), style=style) for cell in row]
        if table.values:
            cells += _sparks(table.values[i])
        made.add_row(*cells)
    return made


def _sparks(value: Value) -> "list[Text]":
    from rich.text import Text

    return [Text(spark(value.reference), style="blue"), Text(spark(value.current), style="red" if value.drifting else "green")]
