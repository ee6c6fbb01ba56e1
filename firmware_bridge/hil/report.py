"""A run on paper: one self-contained HTML page with plots for people, JUnit XML for machines. Computes nothing."""

import html
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from firmware_bridge.hil.result import Result, Series

WIDTH, HEIGHT, LEFT, BOTTOM = 860, 150, 70, 22
POINTS = 800  # of a plot; the extremes of what is between are kept

STYLE = """body{font:15px/1.45 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25em .6em;border-bottom:1px solid #ddd;vertical-align:top}
.ok{color:#0a7a2f}.bad{color:#b00020;font-weight:600}svg{display:block;margin:.3em 0 1.1em}svg text{font-size:11px;fill:#555}
pre{background:#f5f5f5;padding:.7em;overflow:auto;font-size:12px}"""


def write_report(results: Sequence[Result], folder: Path) -> Path:
    """Writes ``report.html`` and ``junit.xml``.

    Args:
        results: runs, in the order of the page.
        folder: made if need be.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.html"
    page.write_text(_page(results), encoding="utf-8")
    (folder / "junit.xml").write_bytes(_junit(results))
    return page


def _page(results: Sequence[Result]) -> str:
    passed = sum(result.passed for result in results)
    body = "".join(_section(result) for result in results)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Hardware in the loop</title><style>{STYLE}</style>"
        f"<h1>Hardware in the loop: {passed} of {len(results)} passed</h1>{body}</html>\n"
    )


def _section(result: Result) -> str:
    verdict = "<span class=ok>passed</span>" if result.passed else "<span class=bad>failed</span>"
    lines = [f"<h2>{html.escape(result.title)}: {verdict}</h2>"]
    lines.append(f"<p>Scenario <b>{html.escape(result.name)}</b> on board <b>{html.escape(result.board)}</b>, seed {result.seed}, ")
    lines.append(f"{result.seconds:.1f} s.</p>")
    if result.error:
        lines.append(f"<p class=bad>{html.escape(result.error)}</p>")
    lines.append("<table><tr><th>expected<th>found<th></tr>")
    for check in result.checks:
        mark = "<td class=ok>yes" if check.holds else "<td class=bad>no"
        lines.append(f"<tr><td>{html.escape(check.what)}<td>{html.escape(check.found)}{mark}</tr>")
    lines.append("</table><h3>Figures</h3><table>")
    lines += [f"<tr><td>{html.escape(name)}<td>{html.escape(value)}</tr>" for name, value in result.figures.items()]
    lines.append("</table><h3>By the board's clock</h3>")
    lines += [_plot(series, result.marks) for series in result.series]
    if result.latencies_ms:
        lines.append("<h3>Sensor edge to actuator edge</h3>" + _histogram(result.latencies_ms))
    if result.log:
        lines.append(f"<h3>Log of the board</h3><pre>{html.escape(chr(10).join(result.log))}</pre>")
    return "".join(lines)


def _thin(series: Series) -> list[tuple[float, float]]:
    points = [(t, v) for t, v in zip(series.times_s, series.values, strict=True) if math.isfinite(v)]
    step = max(1, 2 * len(points) // POINTS)
    if step == 1:
        return points
    kept = []
    for start in range(0, len(points), step):
        block = points[start : start + step]
        kept += sorted({min(block, key=lambda p: p[1]), max(block, key=lambda p: p[1])})
    return kept


def _plot(series: Series, marks: Iterable[tuple[float, str]]) -> str:
    points = _thin(series)
    if not points:
        return f"<p>{html.escape(series.name)}: no values</p>"
    first, last = points[0][0], max(points[-1][0], points[0][0] + 1e-9)
    low, high = min(v for _, v in points), max(v for _, v in points)
    if low == high:
        low, high = low - 1, high + 1

    def x(t: float) -> float:
        return LEFT + (t - first) / (last - first) * (WIDTH - LEFT - 10)

    def y(v: float) -> float:
        return 8 + (high - v) / (high - low) * (HEIGHT - BOTTOM - 8)

    line = " ".join(f"{x(t):.1f},{y(v):.1f}" for t, v in points)
    parts = [f"<b>{html.escape(series.name)}</b> [{html.escape(series.unit)}]<svg width={WIDTH} height={HEIGHT}>"]
    parts.append(f'<rect x={LEFT} y=8 width={WIDTH - LEFT - 10} height={HEIGHT - BOTTOM - 8} fill="#fafafa" stroke="#ccc"/>')
    for t, label in marks:
        if first <= t <= last:
            parts.append(f'<line x1={x(t):.1f} x2={x(t):.1f} y1=8 y2={HEIGHT - BOTTOM} stroke="#c60" stroke-dasharray="3 3"/>')
            parts.append(f'<text x={x(t) + 3:.1f} y=19 style="fill:#c60">{html.escape(label)}</text>')
    parts.append(f'<polyline points="{line}" fill="none" stroke="#1357a6" stroke-width="1.2"/>')
    parts.append(f"<text x=4 y=18>{high:.5g}</text><text x=4 y={HEIGHT - BOTTOM}>{low:.5g}</text>")
    parts.append(f"<text x={LEFT} y={HEIGHT - 6}>{first:.2f} s</text><text x={WIDTH - 60} y={HEIGHT - 6}>{last:.2f} s</text></svg>")
    return "".join(parts)


def _histogram(values: Sequence[float], bins: int = 40) -> str:
    low, high = min(values), max(values)
    width = (high - low) / bins or 1.0
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int((value - low) / width))] += 1
    tallest, bar = max(counts), (WIDTH - LEFT) / bins
    parts = [f"<svg width={WIDTH} height={HEIGHT}>"]
    for i, count in enumerate(counts):
        tall = count / tallest * (HEIGHT - BOTTOM - 8)
        parts.append(f'<rect x={LEFT + i * bar:.1f} y={HEIGHT - BOTTOM - tall:.1f} width={bar - 1:.1f} height={tall:.1f} fill="#1357a6"/>')
    parts.append(f"<text x={LEFT} y={HEIGHT - 6}>{low:.3g} ms</text><text x={WIDTH - 70} y={HEIGHT - 6}>{high:.3g} ms</text></svg>")
    return "".join(parts)


def _junit(results: Sequence[Result]) -> bytes:
    failed = sum(not check.holds for result in results for check in result.checks)
    errors = sum(bool(result.error) for result in results)
    cases = sum(len(result.checks) for result in results)
    root = ElementTree.Element("testsuites", tests=str(cases), failures=str(failed), errors=str(errors))
    for result in results:
        bad = sum(not check.holds for check in result.checks)
        suite = ElementTree.SubElement(
            root, "testsuite", name=f"hil.{result.name}", tests=str(len(result.checks)), failures=str(bad), time=f"{result.seconds:.3f}"
        )
        suite.set("errors", "1" if result.error else "0")
        for check in result.checks:
            case = ElementTree.SubElement(suite, "testcase", classname=f"hil.{result.name}.{result.board}", name=check.what)
            if not check.holds:
                ElementTree.SubElement(case, "failure", message=check.found)
        if result.error:
            case = ElementTree.SubElement(suite, "testcase", classname=f"hil.{result.name}.{result.board}", name="run")
            ElementTree.SubElement(case, "error", message=result.error)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
