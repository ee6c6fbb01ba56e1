"""The table of faults: what each one must lead to, and what was seen. Filled by tests, written into docs/reliability.md by the run.

``pytest tests/system/faults --fault-table`` writes it; tests/system/faults/test_fault_table.py holds the page to the tests.
"""

from pathlib import Path

import msgspec

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: written by pytest tests/system/faults --fault-table -->", "<!-- end of faults -->"


class Row(msgspec.Struct):
    """One fault.

    Args:
        group: such as ``link``, ``input``, ``process``.
        fault, required: in words.
        seen: figures of the run, by name.
        passed: whether the test did.
    """

    group: str
    fault: str
    required: str
    seen: dict[str, str | float] = {}
    passed: bool = False


def render(rows: list[list[str]]) -> str:
    """Markdown of rows of four cells."""
    lines = ["| # | | fault | must | seen |", "|---:|---|---|---|---|"]
    lines += [f"| {i} | {' | '.join(row)} |" for i, row in enumerate(sorted(rows, key=lambda row: row[0]), 1)]
    return "\n".join(lines)


def cells(row: Row) -> list[str]:
    """What the page shows of a row."""
    seen = ", ".join(f"{name} {_short(value)}" for name, value in row.seen.items())
    return [row.group, row.fault, row.required, seen if row.passed else f"FAILED: {seen}"]


def write(rows: list[Row], page: Path = PAGE) -> None:
    """Put the table between its marks; a fault that was not done this time keeps its row.

    Raises:
        ValueError: the page has no such marks.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page}: needs the lines {BEGIN!r} and {END!r}")
    merged = {(row[0], row[1]): row for row in _table(page)} | {(row.group, row.fault): cells(row) for row in rows}
    page.write_text(f"{before}{BEGIN}\n\n{render(list(merged.values()))}\n\n{END}{after}", encoding="utf-8")


def listed(page: Path = PAGE) -> list[tuple[str, str, str]]:
    """Group, fault and requirement of each row of the page."""
    return [(row[0], row[1], row[2]) for row in _table(page)]


def _table(page: Path) -> list[list[str]]:
    table = page.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| ")]
    return [row[1:] for row in found if row[0].isdigit()]


def _short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.3g}" if isinstance(value, float) else str(value)
