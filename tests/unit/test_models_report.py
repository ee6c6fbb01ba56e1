"""What a report says: from the registry, from a status that may be anything, as text and as a page."""

import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

from edge.cli.main import main
from edge.cli.models.report import plots, terminal
from edge.cli.models.report.collect import of_registry, read_saved
from edge.cli.models.report.facts import Drift, Facts, Value, live_of
from edge.cli.models.report.page import page
from edge.cli.models.report.sections import sections
from edge.daemon.model_report import ModelReport
from edge.errors import BundleError, TransportError
from edge.inference.choice import Entry
from edge.inference.drift import DriftMonitor, DriftSettings
from edge.inference.manifest import Reference
from edge.inference.quality import ClassQuality, ValueQuality
from edge.store.registry import Registry
from tests.unit.registry_bundles import NAME, bundle, unproved

HOSTILE = '<script>alert("x")</script>\x1b[31m'


@pytest.fixture
def registry(tmp_path):
    made = Registry(tmp_path / NAME, proof=unproved)
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        made.install(bundle(tmp_path / f"from-{version}", version), "lena")
    made.note_settled()
    made.activate("1.1.0", "lena", "fewer false alarms")
    made.note_settled()
    made.activate("1.2.0", "station", HOSTILE)
    made.rollback("daemon", "99th percentile over the budget")
    made.set_candidate("1.0.0", "canary", 0.25, "lena")
    return made


def monitor(windows=3):
    rng = np.random.default_rng(1)
    values = rng.normal(size=20_000)
    reference = Reference(0.0, 1.0, np.quantile(values, np.linspace(0, 1, 11)).tolist())
    made = DriftMonitor([("a", reference), ("b", reference)], [("hot", reference)], DriftSettings(window_frames=200, window_ns=0))
    for i in range(200 * windows + 1):
        made.update(rng.normal([0.0, 3.0]).astype(np.float32), [float(rng.normal())])
        made.look(i * 10_000_000)
    return made


def status():
    quality = ClassQuality(("calm", "hot"))
    for i in range(100):
        quality.update([0.25, 0.75], "hot" if i % 4 else "calm")
    watched = {"version": "1.1.0", "drift": monitor().report(), "labels": {"received": 101, "joined": 100, "late": 1}}
    return {
        "name": "fan",
        "boot_id": "b7",
        "state": "running",
        "uptime_s": 60,
        "model": "fan 1.1.0",
        "decisions": {"made": 400, "skipped": {"overrun": 2}, "failed": {}, "by_variant": {"full": 300, "small": 100}},
        "latency_us": {"infer": {"p50": 80.0, "p99": 120.0, "max": 900.0, "count": 400}},
        "models": {
            "state": "at work",
            "active": "1.1.0",
            "deployment": "b7-m2",
            "former": "1.0.0",
            "canary": {"version": "1.0.0", "deployment": "b7-m3", "made": 100},
            "shadow": {
                "version": "1.3.0",
                "n": 50,
                "agreement": 0.98,
                "mean_distance": 0.01,
                "max_distance": 0.2,
                "mode": "shadow",
                "why": HOSTILE,
            },
            "rollbacks": 1,
            "variants": {"full": {"runs": 300, "excluded": 1, "p99_us": 4000.0, "best_p99_us": 3000.0}},
            "cascade": {"first": "small", "then": "full", "settled": 90, "escalated": 10, "no_time": 0},
        },
        "monitoring": watched | {"quality": quality.summary() | {"calibration": quality.calibration()}},
    }


def facts(registry=None, said=None):
    notes = []
    live = live_of(said, notes) if said is not None else None
    versions = of_registry(registry) if registry is not None else None
    return Facts(name="fan", source="a test", made="2026-01-01T00:00:00+00:00", versions=versions, live=live, notes=notes)


def cells(made):
    return [cell for section in sections(made) for table in section.tables for row in table.rows for cell in row]


def test_the_registry_says_what_is_active_since_when_by_whom_and_why(registry):
    known = of_registry(registry)
    assert (known.active, known.since.what, known.since.who) == ("1.1.0", "rollback", "daemon")
    assert (known.since.why, known.since.when != "") == ("99th percentile over the budget", True)
    (rejected,) = known.rejected
    assert (rejected.version, rejected.who, rejected.why) == ("1.2.0", "daemon", "99th percentile over the budget")
    assert known.candidate == "1.0.0 (canary 25%)"
    assert {one.version: one.roles for one in known.versions} == {
        "1.2.0": "rolled back from",
        "1.1.0": "active and the last known good one",
        "1.0.0": "on trial (canary)",
    }


def test_since_is_the_last_step_to_the_active_version_and_is_unknown_when_the_history_is_lost(registry):
    registry.activate("1.2.0", "lena", "again")
    registry.pin("1.2.0", "lena", "stays")  # changes nothing about what is active
    assert of_registry(registry).since.why == "again"
    (registry.folder / "history.jsonl").unlink()
    known = of_registry(registry)
    assert known.since is None
    assert "the history does not say" in cells(facts(registry))


def test_a_damaged_version_and_a_torn_state_are_told_and_stop_nothing(registry):
    (registry.folder / "1.0.0" / "manifest.toml").write_text("nonsense = [")
    (registry.folder / "registry.json").write_text("{")
    known = of_registry(registry)
    assert known.trouble
    assert any(one.error for one in known.versions) or len(known.versions) == 2


def test_a_folder_that_is_no_registry_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "none", tmp_path / "file", tmp_path):
        with pytest.raises(BundleError, match=str(folder)):
            of_registry(Registry(folder))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("models", []),
        ("models", {"variants": {"full": 3}}),
        ("monitoring", {"drift": {"top": 7}}),
        ("decisions", "many"),
        ("uptime_s", "long"),
    ],
)
def test_a_part_of_a_status_that_is_not_right_is_left_out_and_named(part, value):
    notes = []
    live = live_of(status() | {part: value}, notes)
    assert len(notes) == 1
    assert notes[0].startswith(f"{part} of the status")
    assert live.boot_id == "b7"
    page(facts(None, status() | {part: value}))


def test_every_section_is_there_and_shares_are_right(registry):
    made = facts(registry, status())
    assert [section.key for section in sections(made)] == [
        "running", "versions", "latency", "drift", "predictions", "quality", "trial", "history",
    ]  # fmt: skip
    said = cells(made)
    for expected in ("75.0%", "25.0%", "90 (90.0%)", "98.00%", "400 made, 2 skipped, 0 failed", "b7-m2", "0.7500"):
        assert expected in said


def test_what_drifts_comes_first():
    drift = live_of(status(), []).monitoring.drift
    assert drift.all[0].name == "b"
    assert drift.all[0].drifting
    assert not any(value.drifting for value in drift.all[1:])
    assert len(drift.all[0].reference) == len(drift.all[0].current) == 10
    assert Drift(top=[Value("x", psi=None), Value("y", psi=1.0)]).all[0].name == "y"


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.texts, self.handlers = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name in ("src", "href")]

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_escapes_whatever_comes_from_outside_and_loads_nothing(registry):
    said = status()
    said["name"] = said["models"]["deployment"] = said["boot_id"] = HOSTILE
    said["models"]["variants"] = {HOSTILE: {"runs": 1, "p99_us": 1.0, "best_p99_us": 1.0}}
    said["monitoring"]["drift"]["values"][0]["name"] = HOSTILE
    said["decisions"]["by_variant"] = {HOSTILE: 3}
    made = facts(registry, said)
    reader = Reader()
    reader.feed(page(made))
    assert "script" not in reader.tags
    assert not reader.handlers
    assert {"svg", "table"} <= set(reader.tags)
    assert sum('<script>alert("x")</script>' in text for text in reader.texts) >= 5
    assert "\x1b" not in page(made)


def test_plots_are_whole_svg_and_take_odd_numbers():
    entries = [
        Entry(number=i, generation=i, what="rollback" if i % 5 == 4 else "activate", version=f"1.{i % 3}.0", active=f"1.{i % 3}.0",
              last_known_good="", who=HOSTILE, why='"&<')
        for i in range(200)
    ]  # fmt: skip
    drawn = [
        plots.histogram([0.5, 0.5], [1.0, 0.0], [0.0], HOSTILE),
        plots.histogram([0.1] * 10, [], [], "no values yet"),
        plots.histogram([0.0, 0.0], [0.0, 0.0], [1.0], "nothing"),
        plots.bars([(HOSTILE, 4000.0, 3000.0), ("b", 0.0, 0.0)], "us", 5000.0),
        plots.bars([("a", 0.0, 0.0)], "us", 1e9),
        plots.timeline(entries),
        plots.calibration([(0.1, 0.2, 5), (1.7, -3.0, 1), (0.5, 0.5, 0)]),
    ]
    for svg in drawn:
        ET.fromstring(svg)  # noqa: S314 - ours
    assert plots.histogram([], [], [], "none") == plots.bars([], "us") == plots.timeline([]) == plots.calibration([]) == ""


def test_text_has_no_control_characters_and_bars_show_the_largest_share(registry, capsys):
    terminal.show(facts(registry, status()))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "alert(" in out
    assert terminal.spark([0.0, 0.5, 1.0, 0.001]) == " ▄█▁"
    assert terminal.spark([]) == terminal.spark([0.0]) == ""


def test_the_rich_output_is_the_same_report(registry, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    terminal.show(facts(registry, status()))
    out = capsys.readouterr().out
    assert "Drift by feature" in out
    assert "█" in out


def test_a_saved_status_is_read_as_one_object_or_as_lines(tmp_path):
    path = tmp_path / "status.json"
    path.write_text(json.dumps(status()))
    assert read_saved(path)["boot_id"] == "b7"
    full = {"v": 1, "monitoring": {"version": "9"}}
    path.write_text(json.dumps(status()) + "\n" + json.dumps(full) + "\n")
    assert read_saved(path)["monitoring"] == {"version": "9"}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1}', "[" * 100_000, "\xff"])
def test_a_file_that_is_no_status_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "status.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(TransportError) as raised:
        read_saved(path)
    assert "\n" not in str(raised.value)


def test_exit_codes_of_the_command(tmp_path, registry, capsys):
    (tmp_path / "status.json").write_text(json.dumps(status()))
    base = ["models", "report", "--registry", str(registry.folder)]
    assert main([*base, "--status", str(tmp_path / "status.json"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["versions"]["active"], told["live"]["models"]["deployment"]) == ("1.1.0", "b7-m2")
    assert main([*base, "--html", str(tmp_path / "out.html")]) == 0
    assert "this is what the registry alone knows" in (tmp_path / "out.html").read_text()
    capsys.readouterr()
    for code, arguments in (
        (2, ["models", "report"]),
        (2, [*base, "--url", "http://x"]),
        (2, [*base, "--url", "mqtt://127.0.0.1:1", "--name", "a/b"]),
        (2, [*base, "--pipeline", "x.toml"]),
        (3, ["models", "report", "--registry", str(tmp_path / "none")]),
        (4, [*base, "--status", str(tmp_path / "none.json")]),
        (4, [*base, "--html", str(tmp_path / "none" / "out.html")]),
        (4, [*base, "--url", "mqtt://127.0.0.1:1", "--seconds", "0.3"]),
    ):
        assert main(arguments) == code, arguments
        assert "Traceback" not in capsys.readouterr().err


class Pipe:
    """What a daemon's report looks at."""

    name = "fan"

    def __init__(self, watched):
        self.decisions = self
        self.monitoring, self.made, self.at_ns, self.wall_offset_ns = watched, 1, 5, 7
        self.terms = type("Terms", (), {"boot_id": "b7"})

    def report(self, most):
        return {"most": most}


def test_the_daemon_sends_its_report_with_every_so_many_statuses_and_again_when_it_could_not_leave():
    pipe, sent, is_up = Pipe(None), [], [False]
    report = ModelReport(pipe, 3)

    def send(outgoing):
        sent.append(outgoing)
        return is_up[0]

    report.turn(send)
    assert not sent  # nothing watches
    pipe.monitoring = pipe
    report.turn(send)
    report.turn(send)
    assert len(sent) == 2  # the link is down
    is_up[0] = True
    for _ in range(7):
        report.turn(send)
    assert len(sent) == 5
    assert (sent[-1].kind, sent[-1].topic) == ("report", "edge/fan/models/report")
    assert json.loads(sent[-1].payload)["boot_id"] == "b7"


def test_a_full_report_has_every_histogram_and_values_have_no_calibration():
    full = monitor().report()
    assert [value["kind"] for value in full["values"]] == ["feature", "feature", "score"]
    assert all(sum(value["current"]) == pytest.approx(1, abs=0.01) for value in full["values"])
    assert all(len(value["edges"]) == len(value["reference"]) - 1 for value in full["values"])
    assert monitor(0).report()["values"] == []
    assert ValueQuality(("x",)).calibration() == []
