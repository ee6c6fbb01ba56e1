"""A report as one self-contained page: style and plots inside, no scripts, nothing that is loaded. Every text is escaped."""

from edge.cli.models.report import plots
from edge.cli.models.report.facts import Facts, Value
from edge.cli.models.report.plots import esc
from edge.cli.models.report.sections import Section, Table, sections

# Okabe and Ito's blue, vermilion and green, a little lighter on dark: told apart by the colour-blind.
_STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1b2027;--dim:#5a6572;--line:#d8dee6;--card:#f6f8fa;--ref:#9cc3e6;--now:#c2410c;--ok:#0a7d5c;
--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--bg:#0f141a;--fg:#dce3ea;--dim:#93a0ae;--line:#2b3542;--card:#161d26;--ref:#2f5f8a;--now:#ff9a5c;
--ok:#4cc79f;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1180px;padding:24px 20px 60px;background:var(--bg);color:var(--fg);font:15px/1.45 system-ui,sans-serif}
h1{font-size:1.6rem;margin:0;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:0 0 8px}
header p,.note{color:var(--dim);margin:4px 0;overflow-wrap:anywhere}
.warn{border-left:4px solid var(--now);background:var(--card);padding:8px 12px;margin:12px 0;overflow-wrap:anywhere}
section{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:16px;margin:16px 0}
.scroll{overflow-x:auto;margin:8px 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.listing{width:100%}
th,td{text-align:left;vertical-align:top;padding:5px 14px 5px 0;border-bottom:1px solid var(--line)}
th{color:var(--dim);font-weight:600;font-size:.85rem;white-space:nowrap}
td{overflow-wrap:break-word;max-width:30em}td.long{min-width:17em}td.short{white-space:nowrap}.facts td{overflow-wrap:anywhere}
.facts td:first-child{color:var(--dim);white-space:nowrap;overflow-wrap:normal}tr:last-child td{border-bottom:0}
tr.bad td{color:var(--bad)}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:12px;margin-top:12px}
.card{border:1px solid var(--line);border-radius:6px;padding:10px;background:var(--bg);min-width:0}
.card.bad{border-color:var(--bad)}
.card h3{font-size:.9rem;margin:0 0 2px;overflow-wrap:anywhere}
.card p{margin:0 0 6px;font-size:.8rem;color:var(--dim)}.card.bad p b{color:var(--bad)}
.plot{display:block;max-width:100%;height:auto}.plot.fixed,.plot.wide{max-width:none}.card .plot{width:100%}
.plot text{fill:var(--fg);font:12px system-ui,sans-serif}.plot text.small{fill:var(--dim);font-size:11px}
.ref{fill:var(--ref)}.now{fill:none;stroke:var(--now);stroke-width:2}.axis,.grid,.frame{stroke:var(--line);fill:none}
.grid{stroke:var(--dim);stroke-width:.6;stroke-dasharray:3 4}
.best{stroke:var(--ok);stroke-width:3}.limit{stroke:var(--bad);stroke-width:2;stroke-dasharray:5 3}
.swap{stroke:var(--ok);stroke-width:2}.active{stroke:var(--ok);stroke-width:6;stroke-linecap:butt}
.mark{fill:var(--bg);stroke:var(--fg);stroke-width:2}.roll{fill:var(--bad);stroke:var(--bad)}
.legend{font-size:.8rem;color:var(--dim);margin:6px 0}
.legend i{display:inline-block;width:14px;height:10px;margin:0 5px 0 12px;vertical-align:baseline}
.legend i:first-child{margin-left:0}.i-ref{background:var(--ref)}.i-now{border-top:3px solid var(--now);height:5px}
.i-ok{background:var(--ok)}.i-bad{background:var(--bad)}
@media(max-width:640px){body{padding:14px 10px 40px;font-size:14px}section{padding:12px 10px}.facts td:first-child{white-space:normal}
.cards{grid-template-columns:1fr}}
@media print{section{break-inside:avoid-page}}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_LEGEND = {
    "drift": '<p class="legend"><i class="i-ref"></i>training<i class="i-now"></i>now; bins as in the manifest, drawn with one width</p>',
    "predictions": '<p class="legend"><i class="i-ref"></i>training<i class="i-now"></i>now</p>',
    "latency": '<p class="legend"><i class="i-ref"></i>99th percentile now<i class="i-ok"></i>at its best</p>',
    "history": '<p class="legend"><i class="i-ok"></i>active<i class="i-bad"></i>rolled back; one column a change</p>',
}


def page(facts: Facts) -> str:
    """The whole page."""
    warnings = "".join(f'<p class="warn">{esc(note)}</p>' for note in facts.notes)
    body = "".join(_section(section, facts) for section in sections(facts))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{esc(facts.name)}: models</title><style>{_STYLE}</style></head>\n<body><header><h1>{esc(facts.name)}</h1>"
        f"<p>Models, {esc(facts.made)}. From: {esc(facts.source)}</p></header>\n{warnings}<main>{body}</main></body></html>\n"
    )


def _section(section: Section, facts: Facts) -> str:
    notes = "".join(f'<p class="note">{esc(note)}</p>' for note in section.notes)
    plot = _plot(section, facts)
    drawn = f'{_LEGEND.get(section.key, "")}<div class="scroll">{plot}</div>' if plot else ""
    tables = "".join(_table(table, section.key) for table in section.tables)
    return f'<section id="{section.key}"><h2>{esc(section.title)}</h2>{notes}{drawn}{tables}</section>\n'


def _table(table: Table, key: str) -> str:
    if not table.rows:
        return ""
    if table.values:
        cards = "".join(_card(row, value) for row, value in zip(table.rows, table.values, strict=True))
        return f'{_LEGEND.get(key, "")}<div class="cards">{cards}</div>'
    is_named = any(table.columns)
    head = f"<thead><tr>{''.join(f'<th>{esc(column)}</th>' for column in table.columns)}</tr></thead>" if is_named else ""
    rows = ""
    for i, row in enumerate(table.rows):
        cells = "".join(map(_cell, row)) if is_named else "".join(f"<td>{esc(cell)}</td>" for cell in row)
        rows += f"<tr{' class=bad' if i in table.bad else ''}>{cells}</tr>"
    return f'<div class="scroll"><table class="{"listing" if is_named else "facts"}">{head}<tbody>{rows}</tbody></table></div>'


def _cell(text: str) -> str:
    kind = ' class="short"' if len(text) <= 20 else ' class="long"' if len(text) > 40 else ""
    return f"<td{kind}>{esc(text)}</td>"


def _card(row: tuple[str, ...], value: Value) -> str:
    name, state, psi, ks, values = row
    drawn = plots.histogram(value.reference, value.current, value.edges, name)
    bad = " bad" if value.drifting else ""
    return (
        f'<div class="card{bad}"><h3>{esc(name)}</h3><p><b>{esc(state)}</b> · PSI {esc(psi)} · KS {esc(ks)} · {esc(values)} values</p>'
        f"{drawn}</div>"
    )


def _plot(section: Section, facts: Facts) -> str:
    live, known = facts.live, facts.versions
    if section.key == "latency" and live is not None:
        rows = [(name, v.p99_us or 0.0, v.best_p99_us or 0.0) for name, v in live.models.variants.items() if v.p99_us is not None]
        active = next((v for v in known.versions if v.version == live.models.active), None) if known is not None else None
        return plots.bars(rows, "µs", active.budget_ms * 1e3 if active is not None and active.budget_ms else None)
    if section.key == "quality" and live is not None and live.monitoring is not None and live.monitoring.quality is not None:
        return plots.calibration([(b.confidence, b.accuracy, b.n) for b in live.monitoring.quality.calibration])
    return plots.timeline(known.history) if section.key == "history" and known is not None else ""
