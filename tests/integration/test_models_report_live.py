"""A report of a daemon that works, over a real broker; and its page in a real browser."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("onnx", reason="the models of these tests are built with onnx: pip install -e '.[dev]'")

from edge.cli.models.report.collect import of_registry
from edge.cli.models.report.page import page
from edge.store.registry import Registry
from tests.broker import needs_mosquitto
from tests.integration.model_bundles import PIPELINE, write
from tests.integration.test_daemon import Edge, Peer, until
from tests.integration.test_model_life import Sensor
from tests.unit.test_models_report import HOSTILE, facts, status

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")


def report(*arguments):
    command = [sys.executable, "-m", "edge", "models", "report", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


@needs_mosquitto
@pytest.mark.timeout(300)
def test_a_daemon_that_works_is_reported_and_one_of_another_name_is_told_in_one_line(tmp_path, broker):
    write(tmp_path, "1.0.0")
    registry = Registry(tmp_path / "thermo", proof=lambda *_: None)
    write(tmp_path / "new", "2.0.0")
    registry.install(tmp_path / "new" / "thermo" / "2.0.0", "test")
    peer = Peer(broker.port)
    peer.client.subscribe("edge/guard/models/report", 1)
    edge = Edge(tmp_path, broker, PIPELINE + '\n[labels]\ntopic = "plant/{device}/labels"\n')
    sensor = Sensor(peer)
    try:
        until(lambda: peer.status() and peer.status()["decisions"]["made"] > 20, edge.log.read_text, 60)
        (boot,) = {peer.status()["boot_id"]}
        seq = peer.json("plant/a/pred")[-1]["seq"]
        peer.client.publish("plant/a/labels", json.dumps({"seq": seq, "label": "calm"}))
        made = report("--pipeline", edge.file, "--url", broker.url, "--json", "--html", tmp_path / "out.html")
        assert made.returncode == 0, made.stderr
        told = json.loads(made.stdout)
        assert (told["name"], told["live"]["boot_id"], told["live"]["models"]["active"]) == ("guard", boot, "1.0.0")
        assert told["live"]["models"]["deployment"] == f"{boot}-m1"
        assert told["live"]["models"]["variants"]["full"]["runs"] > 20
        assert [one["version"] for one in told["versions"]["versions"]] == ["2.0.0", "1.0.0"]
        assert told["notes"] == []
        assert f"{boot}-m1" in (tmp_path / "out.html").read_text()
        # Only the URL: whoever reports, if it is one.
        alone = report("--url", broker.url, "--seconds", "2")
        assert alone.returncode == 0, alone.stderr
        assert "guard" in alone.stdout.splitlines()[0]
        # The slow report is kept by the broker, for who asks later.
        late = Peer(broker.port)
        late.client.subscribe("edge/guard/models/report", 1)
        full = until(lambda: late.json("edge/guard/models/report"))[0]
        late.close()
        assert (full["boot_id"], "calibration" in full["monitoring"]["quality"]) == (boot, True)
        wrong = report("--url", broker.url, "--name", "nobody", "--seconds", "0.5")
        assert (wrong.returncode, wrong.stdout) == (4, "")
        assert "no status on edge/nobody/status" in wrong.stderr
        assert wrong.stderr.count("\n") == 1
    finally:
        sensor.close()
        edge.close()
        peer.close()


@needs_mosquitto
@pytest.mark.timeout(120)
def test_without_a_daemon_the_registry_alone_is_reported_unless_a_broker_was_named(tmp_path, broker):
    write(tmp_path, "1.0.0")
    file = tmp_path / "pipeline.toml"
    file.write_text(PIPELINE.replace("budget_ms", f'broker = {{ url = "{broker.url}" }}\nbudget_ms', 1))
    named = report("--pipeline", file, "--url", broker.url, "--seconds", "1")
    assert (named.returncode, named.stderr.count("\n")) == (4, 1)
    broker.kill()
    fallen_back = report("--pipeline", file, "--seconds", "1")
    assert fallen_back.returncode == 0, fallen_back.stderr
    assert "the registry alone knows" in fallen_back.stderr
    assert fallen_back.stderr.count("\n") == 1
    assert "1.0.0" in fallen_back.stdout


def browse(folder, path, *options):
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=2000",
    ]
    env = {**os.environ, "HOME": str(folder)}
    made = subprocess.run([*command, *options, path.as_uri()], capture_output=True, text=True, timeout=120, env=env, check=False)
    assert made.returncode == 0, made.stderr[-2000:]
    return made.stdout


@needs_chromium
@pytest.mark.timeout(300)
@pytest.mark.parametrize("width", [1280, 500])  # headless chromium is not narrower
def test_a_browser_shows_the_page_runs_nothing_in_it_and_does_not_scroll_sideways(tmp_path, width):
    said = status()
    said["models"]["deployment"] = said["models"]["shadow"]["why"] = HOSTILE + '<img src=x onerror="document.title=1">' + "w" * 300
    out = tmp_path / "out.html"
    out.write_text(page(facts(None, said)))
    dom = browse(tmp_path, out, f"--window-size={width},1200", "--dump-dom")
    assert "<title>fan: models</title>" in dom
    assert dom.count("<svg") >= 4
    assert "<img" not in dom
    assert "<script" not in dom
    # A page around it measures it, because the page itself runs no scripts.
    outer = tmp_path / "outer.html"
    body = out.read_text().replace("&", "&amp;").replace('"', "&quot;")
    body = re.sub(r"<meta http-equiv=[^>]*>", "", body)
    outer.write_text(
        f'<iframe id=f style="width:{width - 60}px;height:900px;border:0" srcdoc="{body}"></iframe><p id=o></p>'
        "<script>f.onload=()=>{let d=f.contentDocument.documentElement;o.textContent=`wide ${d.scrollWidth} of ${d.clientWidth} `+"
        "`svg ${[...f.contentDocument.querySelectorAll('svg')].filter(s=>s.getBoundingClientRect().height>20).length}`}</script>"
    )
    found = re.search(r"wide (\d+) of (\d+) svg (\d+)", browse(tmp_path, outer, f"--window-size={width},1200", "--dump-dom"))
    assert found
    wide, room, plots = map(int, found.groups())
    assert wide <= room
    assert plots >= 4


def test_the_page_of_a_registry_alone_is_whole(tmp_path):
    write(tmp_path, "1.0.0")
    versions = of_registry(Registry(tmp_path / "thermo"))
    assert versions.active == "1.0.0"
    assert "calm, hot" in page(facts(Registry(tmp_path / "thermo")))
