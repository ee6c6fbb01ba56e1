"""A report as titled tables of text, in the order in which a reader asks. Shared by the terminal and the page; knows neither."""

import msgspec

from edge.cli.models.report.facts import Drift, Facts, Live, Quality, Value, Versions

MOST_HISTORY = 30
MOST_ROWS = 64  # features in a table
_NONE = "-"


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table.

    Args:
        columns: with a unit where there is one.
        rows: of text.
        bad: places of the rows that need attention.
        values: beside the rows of drift: both histograms.
    """

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    bad: frozenset[int] = frozenset()
    values: list[Value] = []


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """What answers one question.

    Args:
        key: short name, such as ``drift``.
        title: in words.
        tables: in order.
        notes: what is to be known beside them.
    """

    key: str
    title: str
    tables: list[Table] = []
    notes: list[str] = []


def sections(facts: Facts) -> list[Section]:
    """The whole report."""
    made = [_running(facts)]
    if facts.versions is not None:
        made.append(_versions(facts.versions))
    if facts.live is not None:
        live = facts.live
        made += [_latency(live, facts.versions), *_watched(live), *_trial(live)]
    if facts.versions is not None:
        made.append(_history(facts.versions))
    return made


def number(value: float | None, digits: int = 3, unit: str = "") -> str:
    """A number for people; "-" for none."""
    if value is None:
        return _NONE
    text = f"{value:,.{digits}f}" if abs(value) < 1e6 and (value == 0 or abs(value) >= 10.0**-digits) else f"{value:.3g}"
    return text + unit


def moment(when: str) -> str:
    """A time of the history to the second; what is none stays as it is."""
    return f"{when[:10]} {when[11:19]}" if len(when) > 18 and when[10] == "T" else when


def share(part: float, whole: float) -> str:
    """Part of a whole, in percent."""
    return f"{part / whole:.1%}" if whole else _NONE


def _running(facts: Facts) -> Section:
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    if (live := facts.live) is not None:
        made, failed, skipped = live.decisions.made, sum(live.decisions.failed.values()), sum(live.decisions.skipped.values())
        rows += [
            ("at work", f"{live.models.active or live.model or 'no model'}"),
            ("state", ", ".join(filter(None, (live.state, live.models.state)))),
            ("deployment", live.models.deployment or _NONE),
            ("kept warm", live.models.former or _NONE),
            ("daemon's uptime", f"{live.uptime_s:,.0f} s"),
            ("decisions", f"{made:,} made, {skipped:,} skipped, {failed:,} failed"),
            ("rollbacks since the start", str(live.models.rollbacks)),
        ]
    if (known := facts.versions) is not None:
        rows += [("active in the registry", known.active or _NONE), *_since(known)]
        rows += [
            ("last known good", known.last_known_good or _NONE),
            ("pinned", known.pinned or _NONE),
            ("on trial", known.candidate or _NONE),
            ("starts that did not settle", str(known.unsettled_starts)),
        ]
        running = facts.live.models.active if facts.live is not None else ""
        if running and known.active and running != known.active:
            notes.append(f"{running} is at work, the registry says {known.active}: it is being tried, was refused, or is another registry")
    return Section(key="running", title="What runs", tables=[Table(columns=("", ""), rows=rows)], notes=notes)


def _since(known: Versions) -> list[tuple[str, ...]]:
    if (step := known.since) is None:
        return [("since", "the history does not say")]
    return [("since", moment(step.when)), ("by", f"{step.who or _NONE} ({step.what})"), ("because", step.why or _NONE)]


def _versions(known: Versions) -> Section:
    rows: list[tuple[str, ...]] = []
    bad: set[int] = set()
    for i, one in enumerate(known.versions):
        if one.error or "rolled back" in one.roles:
            bad.add(i)
        cells = (
            one.description or one.error,
            f"{one.budget_ms:g} ms" if one.budget_ms is not None else _NONE,
            f"{one.features} ({one.feature_hash[:8]})" if one.features else _NONE,
            ", ".join(one.labels[:8]) + (f" and {len(one.labels) - 8} more" if len(one.labels) > 8 else ""),
            ", ".join(one.variants),
            f"{one.source[:200]}; {one.licence}" if one.source else _NONE,
        )
        rows.append((one.version, one.roles, *cells))
    columns = ("version", "is", "description", "budget", "features (hash)", "labels", "variants", "training data")
    tables = [Table(columns=columns, rows=rows, bad=frozenset(bad))]
    if known.rejected:
        rejected: list[tuple[str, ...]] = [
            (step.version, moment(step.when) or _NONE, step.who or _NONE, step.why or _NONE) for step in known.rejected
        ]
        tables.append(Table(columns=("rejected", "when", "by", "because"), rows=rejected))
    return Section(key="versions", title="Versions", tables=tables)


def _latency(live: Live, known: Versions | None) -> Section:
    made, models = live.decisions.by_variant, live.models
    total = sum(made.values())
    rows: list[tuple[str, ...]] = []
    for name, variant in models.variants.items():
        times = (number(variant.p99_us, 1), number(variant.best_p99_us, 1))
        rows.append((name, f"{variant.runs:,}", *times, share(made.get(name, 0), total), f"{variant.excluded:,}"))
    rows += [(name, _NONE, _NONE, _NONE, share(made[name], total), _NONE) for name in sorted(made.keys() - models.variants.keys())]
    tables = [Table(columns=("variant", "runs", "p99, us", "best p99, us", "of decisions", "did not fit"), rows=rows)]
    if models.cascade.first:
        c = models.cascade
        asked = c.settled + c.escalated + c.no_time
        cells = [f"{count:,} ({share(count, asked)})" for count in (c.settled, c.escalated, c.no_time)]
        tables.append(Table(columns=("cascade", "was sure", "passed on", "no time to pass on"), rows=[(f"{c.first} > {c.then}", *cells)]))
    stages: list[tuple[str, ...]] = [
        (name, number(stage.p50, 1), number(stage.p99, 1), number(stage.max, 1)) for name, stage in live.latency.items()
    ]
    if stages:
        tables.append(Table(columns=("stage of the pipeline", "p50, us", "p99, us", "max, us"), rows=stages))
    active = next((one for one in known.versions if one.version == models.active), None) if known is not None else None
    notes = [f"the manifest of {active.version} allows {active.budget_ms:g} ms"] if active is not None and active.budget_ms else []
    if not rows:
        notes.append("no model was run yet")
    return Section(key="latency", title="Latency by variant", tables=tables, notes=notes)


def _watched(live: Live) -> list[Section]:
    watched = live.monitoring
    if watched is None:
        return [Section(key="drift", title="Drift and quality", notes=["not watched: [drift] and [labels] are off in the pipeline file"])]
    made = [*_drift(watched.drift), *_quality(watched.quality, watched.labels)]
    if watched.version and live.models.active and watched.version != live.models.active:
        made[0].notes.insert(0, f"version {watched.version} is watched; {live.models.active} is at work")
    return made


def _drift(drift: Drift | None) -> list[Section]:
    if drift is None:
        return [Section(key="drift", title="Drift", notes=["not watched: the bundle has no references, or [drift] is off"])]
    notes = [
        f"{drift.frames:,} vectors in {drift.windows:,} windows; {drift.n_drifting} drift now; "
        f"alarms raised {drift.raised}, ended {drift.cleared}; {drift.nan:,} values were not a number, {drift.infinite:,} infinite"
    ]
    if not drift.values and drift.top:
        notes.append("only those farthest from their reference are in the status; the rest comes with the daemon's slow report")
    if not drift.all:
        notes.append("the first window is not complete yet")
    made = []
    for kind, key, title in (("feature", "drift", "Drift by feature"), ("score", "predictions", "Distribution of predictions")):
        values = drift.of(kind)
        if kind == "score" and not values:
            text = ["no score has a reference in the manifest"] if drift.all else []
            made += [Section(key=key, title=title, notes=text)] if text else []
            continue
        more = [f"and {len(values) - MOST_ROWS} more that are nearer to their reference"] if len(values) > MOST_ROWS else []
        made.append(
            Section(
                key=key,
                title=title,
                tables=[_values(values[:MOST_ROWS])] if values else [],
                notes=(notes if kind == "feature" else []) + more,
            )
        )
    return made


def _values(values: list[Value]) -> Table:
    rows: list[tuple[str, ...]] = []
    for one in values:
        effective = f" (worth {one.n_effective:,.0f})" if one.n_effective is not None else ""
        state = "drifts" if one.drifting else "as in training"
        rows.append((one.name, state, number(one.psi), number(one.ks), f"{one.n:,}{effective}"))
    bad = frozenset(i for i, one in enumerate(values) if one.drifting)
    return Table(columns=("name", "state", "PSI", "KS", "values"), rows=rows, bad=bad, values=values)


def _quality(quality: Quality | None, labels: dict[str, int]) -> list[Section]:
    came = [", ".join(f"{count:,} {fate}" for fate, count in labels.items())] if labels else []
    if quality is None or not quality.n:
        why = "no labels are taken: [labels] is not in the file" if quality is None else "no label was joined with a prediction yet"
        return [Section(key="quality", title="Quality by labels", notes=[why, *came])]
    named = {
        "accuracy": quality.accuracy,
        "F1, mean over labels": quality.f1_macro,
        "Brier score": quality.brier,
        "calibration error (ECE)": quality.ece,
        "RMSE": quality.rmse,
        "mean absolute error": quality.mae,
    }
    rows: list[tuple[str, ...]] = [(name, number(value, 4)) for name, value in named.items() if value is not None]
    rows.append(("errors", "rise" if quality.drifting else "steady"))
    tables = [Table(columns=("", ""), rows=rows, bad=frozenset({len(rows) - 1} if quality.drifting else ()))]
    if quality.calibration:
        bins: list[tuple[str, ...]] = [(f"{b.confidence:.3f}", f"{b.accuracy:.3f}", f"{b.n:,}") for b in quality.calibration if b.n]
        tables.append(Table(columns=("mean confidence", "share right", "predictions"), rows=bins))
    return [
        Section(
            key="quality",
            title="Quality by labels",
            tables=tables,
            notes=[f"of the last {quality.window:,} labelled predictions", *(f"labels: {text}" for text in came)],
        )
    ]


def _trial(live: Live) -> list[Section]:
    shadow, canary = live.models.shadow, live.models.canary
    rows: list[tuple[str, ...]] = []
    if canary is not None:
        made = f"{canary.made:,} ({share(canary.made, live.decisions.made)})"
        rows += [("canary", canary.version), ("deployment", canary.deployment), ("its decisions", made)]
    if shadow is not None:
        rows += [
            (shadow.mode, shadow.version),
            ("vectors compared", f"{shadow.n:,}; {shadow.dropped:,} never reached it"),
            ("agreement", f"{shadow.agreement:.2%}" if shadow.agreement is not None and shadow.n else _NONE),
            ("distance of scores", f"mean {number(shadow.mean_distance, 4)}, largest {number(shadow.max_distance, 4)}"),
            ("its time", f"p50 {number(shadow.p50_ms)} ms, p99 {number(shadow.p99_ms)} ms; {shadow.over:,} over the budget"),
            ("trouble", f"{shadow.not_finite:,} not finite, {shadow.failed:,} failed, {shadow.restarts} restarts"),
        ]
        rows += [("frozen", "its scores never change, those of the active model do")] if shadow.is_frozen else []
        rows += [("last failure", shadow.why)] if shadow.why else []
    if not rows:
        return []
    return [
        Section(
            key="trial", title=f"On trial beside {live.models.active or 'the active model'}", tables=[Table(columns=("", ""), rows=rows)]
        )
    ]


def _history(known: Versions) -> Section:
    last = known.history[-MOST_HISTORY:][::-1]
    rows: list[tuple[str, ...]] = [(str(e.number), moment(e.when), e.what, e.version, e.active or _NONE, e.who, e.why) for e in last]
    bad = frozenset(i for i, e in enumerate(last) if e.what == "rollback")
    columns = ("no", "when", "what", "version", "active after", "by", "because")
    notes = [f"the last {MOST_HISTORY} of {len(known.history):,} lines"] if len(known.history) > MOST_HISTORY else []
    return Section(key="history", title="Swaps and rollbacks", tables=[Table(columns=columns, rows=rows, bad=bad)], notes=notes)
