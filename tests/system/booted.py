"""The service under a real systemd, booted in a container: start, watchdog, crash, start limit, safe mode, sandbox, reboot.

Not part of the normal run: ``make test-system``. Needs root, debootstrap, systemd-container and a Debian mirror.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core.caching import _CacheLocator

from edge.cli.service import UNITS, drop_in_text, unit_text
from edge.inference.writer import BundleWriter
from tests.system.kills import PIPELINE

REPO = Path(__file__).parents[2]
ROOT = REPO / ".system" / "root"  # kept from run to run, inside this checkout; `make clean` removes it
PACKAGES = "systemd,systemd-sysv,dbus,mosquitto,mosquitto-clients,python3,libgomp1,libstdc++6"
MISSING = [tool for tool in ("debootstrap", "systemd-nspawn") if shutil.which(tool) is None]
BOOT_S = 600
MOST_EXPOSURE = 2.0

pytestmark = [
    pytest.mark.timeout(1500),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sudo make test-system"),
    pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} missing: apt-get install debootstrap systemd-container"),
]

GUARD = PIPELINE.replace('[outbox]\npath = "alerts.db"\ndurability = "{durability}"\n', "").replace(
    'channels = {{ x = "1" }}', 'format = "json"\nchannels = {{ x = "1" }}'
)
STUCK = """
name = "stuck"
budget_ms = 900

[broker]
url = "mqtt://127.0.0.1:1883"

[streams.temp]
topic = "plant/{device}/temp"
format = "json"
channels = { celsius = "degC" }

[[features]]
stream = "temp"
channels = ["celsius"]
window = 4
stats = ["mean", "max"]

[model]
bundle = "/etc/edge/thermo"

[[rules]]
name = "cool"
score = "hot"
enter = 0.8
exit = 0.5
emit = "command"
actuator = "fan"
value = 0.8

[actuators.fan]
topic = "plant/{device}/cmd/fan"
unit = "1"
min = 0.0
max = 1.0
ttl_ms = 1000
safe_value = 0.3
stale_ms = 5000
rearm_ms = 0

[publish.status]
every_s = 0.1
"""
INSIDE = """
[Unit]
Description=the test
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 {repo}/tests/system/inside.py /results
TimeoutStartSec=580
[Install]
WantedBy=graphical.target
"""


def build_root() -> None:
    if (ROOT / "complete").exists():
        return
    shutil.rmtree(ROOT, ignore_errors=True)
    ROOT.parent.mkdir(exist_ok=True)
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(ROOT)]  # from its own mirror
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    shutil.rmtree(ROOT / "var/cache/apt", ignore_errors=True)
    (ROOT / "complete").touch()


def seed_cache(name: str) -> None:
    """Kernels that are compiled on this machine already, where the service looks for them: compiling is not what is tested here."""
    import edge.kernels.admit
    import edge.kernels.clean
    import edge.kernels.histogram
    import edge.kernels.resample
    import edge.kernels.window

    source = Path(edge.kernels.window.__file__)
    folder = ROOT / f"var/cache/private/edge/{name}" / _CacheLocator.get_suitable_cache_subpath(str(source))
    folder.mkdir(parents=True)
    for pattern in ("*.nbi", "*.nbc"):
        for file in (source.parent / "__pycache__").glob(pattern):
            shutil.copy(file, folder)


def put(path: str, text: str) -> None:
    target = ROOT / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def write_endless() -> None:
    """A bundle whose model never comes back from a vector that none of its golden ones is like; onnx is needed here, not inside."""
    from tests.integration import model_bundles

    made = BundleWriter(ROOT / "etc/edge/thermo", "1.0.0", description="calm or hot", source="none", licence="CC0-1.0", budget_ms=300.0)
    made.set_input("features", "temperatures")
    made.add_output("scores", model_bundles.LABELS, "probability of each state")
    made.set_features(model_bundles.FEATURES, ("degC", "degC"))
    rows = np.random.default_rng(7).uniform(20, 80, (8, 2)).astype(np.float32)
    made.add_variant("full", model_bundles.model(rare="slow", turns=1 << 40), model_bundles.expected(rows.astype(np.float64)))
    made.write(rows, rtol=1e-3, atol=1e-4)


def furnish() -> None:
    """Everything of an earlier run is gone, and the units are as `edge service install` writes them."""
    for old in ("var/lib/private/edge", "var/cache/private/edge", "var/log/journal", "etc/edge", "etc/systemd/system"):
        shutil.rmtree(ROOT / old, ignore_errors=True)
    (ROOT / "var/log/journal").mkdir(parents=True)
    (ROOT / "root").chmod(0o755)  # an interpreter of root's is mounted there
    for name in ("guard", "broken", "stuck"):
        seed_cache(name)
    put("etc/mosquitto/mosquitto.conf", "listener 1883 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
    for unit in UNITS:
        put(f"etc/systemd/system/{unit}", unit_text(unit))
    write_endless()
    put("etc/edge/stuck.toml", STUCK)
    for name in ("guard", "broken"):
        put(f"etc/edge/{name}.toml", GUARD.format(url="mqtt://127.0.0.1:1883").replace('"guard"', f'"{name}"'))
    for name in ("guard", "broken", "stuck"):
        for unit, option in (("edge", ""), ("edge-safe", "--safe ")):
            text = drop_in_text(Path(f"/etc/edge/{name}.toml"), option, 20) + f"Environment=PYTHONPATH={REPO}\n"
            put(f"etc/systemd/system/{unit}@{name}.service.d/10-file.conf", text)
    put("etc/systemd/system/edge@broken.service.d/20-broken.conf", "[Service]\nExecStart=\nExecStart=/bin/sh -c 'exit 1'\n")
    probe = f"[Service]\nType=exec\nWatchdogSec=0\nRestart=no\nExecStart=\nExecStart={sys.executable} {REPO}/tests/system/probe.py\n"
    put("etc/systemd/system/edge@probe.service.d/10-file.conf", probe + "ProtectHome=read-only\nSupplementaryGroups=dialout\n")
    put("etc/systemd/system/inside.service", INSIDE.format(repo=REPO))
    wants = ROOT / "etc/systemd/system/graphical.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "inside.service").symlink_to("/etc/systemd/system/inside.service")
    (ROOT / "etc/systemd/system/multi-user.target.wants").mkdir(exist_ok=True)
    (ROOT / "etc/systemd/system/multi-user.target.wants/mosquitto.service").symlink_to("/lib/systemd/system/mosquitto.service")
    (ROOT / "etc/systemd/system/default.target").symlink_to("/lib/systemd/system/graphical.target")


def boot(number: int, results: Path) -> dict:
    put("boot-number", str(number))
    binds = [f"--bind-ro={REPO}", f"--bind={results}:/results"]
    others = {prefix for prefix in (sys.prefix, sys.base_prefix) if not Path(prefix).is_relative_to(REPO) and not prefix.startswith("/usr")}
    binds += [f"--bind-ro={prefix}" for prefix in sorted(others)]
    command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--boot", f"--directory={ROOT}", *binds]
    with (results / f"console{number}.log").open("wb") as console:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, timeout=BOOT_S, check=False)
    found = results / f"boot{number}.json"
    assert found.exists(), (results / f"console{number}.log").read_text(errors="replace")[-3000:]
    return json.loads(found.read_text())


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def first(results):
    build_root()
    furnish()
    seen = boot(1, results)
    print(json.dumps({name: value for name, value in seen.items() if name != "journal"}, indent=1))  # noqa: T201
    assert "fault" not in seen, seen["fault"]
    return seen


@pytest.fixture(scope="module")
def second(first, results):
    seen = boot(2, results)
    assert "fault" not in seen, seen["fault"]
    return seen


def test_it_is_ready_and_works(first):
    assert first["start"] == 0
    assert first["state"] == "active"
    assert first["alert"] == "hot"
    assert first["outbox"]["kept"].startswith("in /var/lib/")
    assert "guard.outbox" in first["files"]


def test_log_lines_have_fields(first):
    assert first["journal_lines"] > 0
    assert first["journal"]["SYSLOG_IDENTIFIER"] == "edge"
    assert first["journal"]["EDGE_PIPELINE"] == "guard"
    assert first["journal"]["LOGGER"].startswith("edge.")


def test_a_daemon_that_hangs_is_restarted_by_the_watchdog(first):
    assert first["hang_seen_s"] is not None
    assert first["hang_back_s"] is not None
    assert first["hang_restarts"] == 1
    assert first["hang_reason"]
    assert first["hang_alert"] == "hot"


def test_a_model_that_never_comes_back_is_ended_by_the_watchdog_and_no_command_outlives_its_time(first):
    stuck = first["stuck"]
    assert stuck["start"] == 0
    before, after = stuck["before"], stuck["after"]
    assert before[-1]["value"] == 0.8, "the output was live"
    assert stuck["seen_s"] is not None
    assert stuck["restarts"] == 1
    assert stuck["reason"]
    assert stuck["back_s"] is not None
    assert stuck["heard_while_stuck"] == [], "what was said last is not kept for those who come later"
    assert all(one["expires_ns"] - one["issued_ns"] <= 1_000_000_000 for one in before)
    assert before[-1]["expires_ns"] < stuck["gone_ns"], "an actuator that obeys the time was at its safe value before the daemon was ended"
    assert {one["boot_id"] for one in before}.isdisjoint({one["boot_id"] for one in after})
    assert min(one["issued_ns"] for one in after) > stuck["fed_again_ns"], "a new run commands nothing before it has heard its sensor"
    assert after[-1]["value"] == 0.8


def test_a_daemon_that_dies_comes_back(first):
    assert first["crash_back_s"] is not None
    assert first["crash_alert"] == "hot"


def test_a_service_that_fails_again_and_again_ends_in_safe_mode(first):
    assert first["storm_s"] is not None
    assert first["storm_state"] == "failed" or first["storm_state"] == "inactive"
    assert int(first["storm_restarts"]) == 5
    assert first["safe_state"] == "safe mode"


def test_what_the_sandbox_lets_through_and_what_not(first):
    probe = first["probe"]
    assert probe["serial"] == "ping"
    assert probe["numba"] == "42"
    assert probe["uid"]
    assert probe["write_etc"] == probe["write_usr"] == "EROFS"
    assert probe["write_state"] == "0"
    assert probe["raw_socket"] == "EPERM"
    assert probe["packet_socket"] in ("EAFNOSUPPORT", "EPERM")


def test_exposure(first):
    assert float(first["security"].split(":")[1].split()[0]) <= MOST_EXPOSURE
    for unit in UNITS:
        path = ROOT / "etc/systemd/system" / unit
        command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSURE * 10:g}", str(path)]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_it_comes_back_after_a_reboot(second):
    assert second["back_s"] is not None
    assert second["alert"] == "hot"
    assert "guard.outbox" in second["state_files"]
