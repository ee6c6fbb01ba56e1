"""Small plots as SVG text: histograms, bars, steps over a history, calibration. Pure functions; colours are classes of the page.

Every text goes through ``esc``; a name can say what it likes, it stays a text.
"""

import html
from collections.abc import Sequence

from edge.inference.choice import Entry

_MOST_STEPS = 80  # of a history that are drawn


def esc(text: str) -> str:
    """Text for HTML and SVG: markup is escaped, what cannot be shown is replaced."""
    return html.escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def _svg(width: int, height: int, body: list[str], label: str, kind: str = "") -> str:
    return (
        f'<svg class="plot {kind}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{esc(label)}"><title>{esc(label)}</title>{"".join(body)}</svg>'
    )


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{esc(text)}</text>'


def histogram(reference: Sequence[float], current: Sequence[float], edges: Sequence[float], name: str) -> str:
    """Shares in training (filled) and now (outlined), bin by bin; bins have one width, because quantile bins have one share.

    Args:
        reference, current: shares; the first decides how many bins there are.
        edges: between the bins; the lowest and the highest are written below.
        name: for those who cannot see it.
    """
    width, height, floor = 220, 74, 58
    bins, top = len(reference), max([*reference, *current, 1e-9])
    if not bins:
        return ""
    step = width / bins
    body, points = [], []
    for i, share in enumerate(reference):
        tall = share / top * (floor - 4)
        body.append(f'<rect class="ref" x="{i * step + 1:.1f}" y="{floor - tall:.1f}" width="{step - 2:.1f}" height="{tall:.1f}"/>')
    for i, share in enumerate(current[:bins]):
        y = floor - share / top * (floor - 4)
        points.append(f"{i * step:.1f},{y:.1f} {(i + 1) * step:.1f},{y:.1f}")
    if points:
        body.append(f'<polyline class="now" points="{" ".join(points)}"/>')
    body.append(f'<line class="axis" x1="0" x2="{width}" y1="{floor}" y2="{floor}"/>')
    if edges:
        body.append(_text(step, height - 3, f"{edges[0]:.4g}", "small", "middle" if bins > 4 else "start"))
        if len(edges) > 1:
            body.append(_text(width - step, height - 3, f"{edges[-1]:.4g}", "small", "middle" if bins > 4 else "end"))
    return _svg(width, height, body, f"{name}: shares of values in training and now")


def bars(rows: Sequence[tuple[str, float, float]], unit: str, limit: float | None = None) -> str:
    """One row a name: a bar from zero, a tick for the best, and a line for what is allowed.

    Args:
        rows: name, value, best.
        unit: of all.
        limit: that is allowed; drawn if it is not far beyond the values.
    """
    if not rows:
        return ""
    left, width, row = 130, 560, 26
    top = max(max(value, best) for _, value, best in rows) or 1.0
    is_near = limit is not None and limit <= 4 * top
    top = max(top, limit) if is_near and limit is not None else top
    scale = (width - left - 90) / top
    height = row * len(rows) + (18 if is_near else 4)
    body = []
    for i, (name, value, best) in enumerate(rows):
        y = i * row + 4
        body.append(_text(left - 8, y + 13, name if len(name) <= 18 else name[:17] + "…", "", "end"))
        body.append(f'<rect class="ref" x="{left}" y="{y}" width="{max(value * scale, 1):.1f}" height="18" rx="2"/>')
        body.append(f'<line class="best" x1="{left + best * scale:.1f}" x2="{left + best * scale:.1f}" y1="{y - 2}" y2="{y + 20}"/>')
        body.append(_text(left + max(value * scale, best * scale) + 6, y + 13, f"{value:,.1f} {unit}"))
    if is_near and limit is not None:
        x = left + limit * scale
        body.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{row * len(rows)}"/>')
        body.append(_text(x, height - 4, f"budget {limit:,.0f} {unit}", "small", "end"))
    return _svg(width, height, body, "99th percentile of a run by variant", "wide")


def timeline(history: Sequence[Entry]) -> str:
    """Which version was active after each line of a history; one column a line, because clocks of devices jump and bursts would overlap."""
    steps = list(history[-_MOST_STEPS:])
    names = list(dict.fromkeys(name for e in reversed(steps) for name in (e.active, e.version) if name))[:16]
    if not steps or not names:
        return ""
    left, row, column = 96, 24, 22
    width, floor = left + column * len(steps) + 20, row * len(names) + 8
    rows = {name: 8 + i * row + row // 2 - 4 for i, name in enumerate(names)}
    body = [_text(left - 12, y + 4, name if len(name) <= 12 else name[:11] + "…", "", "end") for name, y in rows.items()]
    body += [f'<line class="grid" x1="{left}" x2="{width - 10}" y1="{y}" y2="{y}"/>' for y in rows.values()]
    for i, entry in enumerate(steps):
        x = left + column * i + column // 2
        if (y := rows.get(entry.active)) is not None:
            body.append(f'<line class="active" x1="{x}" x2="{x + column if i < len(steps) - 1 else width - 10}" y1="{y}" y2="{y}"/>')
        before, after = rows.get(steps[i - 1].active) if i else None, rows.get(entry.active)
        if before is not None and after is not None and before != after:
            kind = "limit" if entry.what == "rollback" else "swap"
            body.append(f'<line class="{kind}" x1="{x}" x2="{x}" y1="{before}" y2="{after}"/>')
        if (y := rows.get(entry.version)) is not None:
            told = f"{entry.number}. {entry.what} {entry.version}, {entry.when}, by {entry.who}: {entry.why}"
            kind = "roll" if entry.what == "rollback" else "mark"
            body.append(f'<circle class="{kind}" cx="{x}" cy="{y}" r="5"><title>{esc(told)}</title></circle>')
    body.append(_text(left, floor + 14, f"{steps[0].number}: {steps[0].when[:16]}", "small"))
    if len(steps) > 10:
        body.append(_text(width - 10, floor + 14, f"{steps[-1].number}: {steps[-1].when[:16]}", "small", "end"))
    return _svg(width, floor + 20, body, "which version was active, change by change", "fixed")


def calibration(points: Sequence[tuple[float, float, int]]) -> str:
    """How often predictions of one confidence were right, beside the diagonal of a model that knows how sure it may be.

    Args:
        points: mean confidence and share that was right, both 0 to 1, and how many.
    """
    seen = [(x, y, n) for x, y, n in sorted(points) if n > 0]
    if not seen:
        return ""
    side, left = 220, 34
    most = max(n for *_, n in seen)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + min(max(x, 0.0), 1.0) * side, 8 + (1 - min(max(y, 0.0), 1.0)) * side

    body = [f'<rect class="frame" x="{left}" y="8" width="{side}" height="{side}"/>']
    body.append(f'<line class="grid" x1="{left}" y1="{8 + side}" x2="{left + side}" y2="8"/>')
    body.append(f'<polyline class="now" points="{" ".join(f"{px:.1f},{py:.1f}" for px, py in (at(x, y) for x, y, _ in seen))}"/>')
    for x, y, n in seen:
        px, py = at(x, y)
        radius = 2.5 + 4 * (n / most) ** 0.5
        body.append(f'<circle class="mark" cx="{px:.1f}" cy="{py:.1f}" r="{radius:.1f}"><title>{n} predictions</title></circle>')
    for tick in (0.0, 0.5, 1.0):
        body.append(_text(left - 5, at(0, tick)[1] + 4, f"{tick:g}", "small", "end"))
        body.append(_text(at(tick, 0)[0], side + 22, f"{tick:g}", "small", "middle"))
    body.append(_text(left + side / 2, side + 36, "confidence", "small", "middle"))
    body.append(f'<text class="small" text-anchor="middle" transform="translate(9 {8 + side / 2}) rotate(-90)">share right</text>')
    return _svg(left + side + 14, side + 42, body, "calibration: confidence and the share that was right")
