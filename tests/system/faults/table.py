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


def render(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| # | | fault | must | seen |", "|---:|---|---|---|---|"]
    for i, row in enumerate(sorted(rows, key=lambda row: row.group), 1):
        seen = ", ".join(f"{name} {_short(value)}" for name, value in row.seen.items())
        lines.append(f"| {i} | {row.group} | {row.fault} | {row.required} | {seen if row.passed else 'FAILED: ' + seen} |")
    return "\n".join(lines)


def write(rows: list[Row], page: Path = PAGE) -> None:
    """Put the table between its marks.

    Raises:
        ValueError: the page has no such marks.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page}: needs the lines {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n\n{render(rows)}\n\n{END}{after}", encoding="utf-8")


def listed(page: Path = PAGE) -> list[tuple[str, str, str]]:
    """Group, fault and requirement of each row of the page."""
    table = page.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| ")]
    return [(row[1], row[2], row[3]) for row in cells if row[0].isdigit()]


def _short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.3g}" if isinstance(value, float) else str(value)
