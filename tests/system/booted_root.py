"""The system that the service is tested in: a Debian as debootstrap makes it, with what deploy.md asks for, and nothing of this project.

It has no network. So two things are other than on a user's machine: ``python3-venv`` is there from the beginning, and pip takes wheels from
a folder instead of the package index. They are built from this tree and fetched here; ``/etc/pip.conf`` names the folder, so that the
documented lines are run as they are printed.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from edge.inference.writer import BundleWriter

REPO = Path(__file__).parents[2]
ROOT = REPO / ".system" / "root"  # kept from run to run, inside this checkout; `make clean` removes it
WHEELS = REPO / ".system" / "wheels"
PACKAGES = "systemd,systemd-sysv,dbus,sudo,python3-venv,mosquitto,mosquitto-clients"
PYTHON = "3.11"  # of that Debian
BOOT_S = 1500

FAN_GUARD = """
name = "{name}"
budget_ms = 100

[broker]
url = "mqtt://127.0.0.1:1883"

[streams.vibration]
topic = "plant/{{device}}/vibration"
format = "json"
channels = {{ x = "1" }}

[[features]]
stream = "vibration"
channels = ["x"]
window = 1
stats = ["last"]

[[rules]]
name = "hot"
score = "vibration.x.last.1"
enter = 0.5
exit = 0.5
emit = "alert"
topic = "plant/{{device}}/alerts"

[publish.status]
every_s = 0.1

[process]
priority = 20
"""
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
ExecStart=/usr/bin/python3 /test/inside.py /results /docs/deploy.md
TimeoutStartSec=1400
[Install]
WantedBy=graphical.target
"""


def run(command: list[str], timeout_s: float) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-2000:]} {done.stderr[-2000:]}"


def build_root() -> None:
    complete = ROOT / "complete"
    if complete.exists() and complete.read_text() == PACKAGES:
        return
    shutil.rmtree(ROOT, ignore_errors=True)
    ROOT.parent.mkdir(exist_ok=True)
    run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(ROOT)], 1200)  # from its own mirror
    shutil.rmtree(ROOT / "var/cache/apt", ignore_errors=True)
    complete.write_text(PACKAGES)


def build_wheels() -> None:
    """This tree anew, as what is published is built; what it depends on is kept until that changes."""
    asked = hashlib.sha256(b"".join((REPO / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))).hexdigest()
    stamp = WHEELS / "complete"
    is_kept = stamp.exists() and stamp.read_text() == asked
    if not is_kept:
        shutil.rmtree(WHEELS, ignore_errors=True)
    for old in WHEELS.glob("edge_runtime-*.whl"):
        old.unlink()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run([*pip, "wheel", "--no-deps", f"--wheel-dir={WHEELS}", str(REPO)], 600)
    if not is_kept:
        wheel = next(WHEELS.glob("edge_runtime-*.whl"))
        python = ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}"]
        run([*pip, "download", *python, f"--constraint={REPO}/constraints.txt", f"--dest={WHEELS}", str(wheel)], 1200)
        stamp.write_text(asked)


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
    """What a user has before the first documented line: a broker, pipeline files, a person who may use sudo. An earlier run is gone."""
    for old in ("var/lib/private/edge", "var/cache/private/edge", "var/log/journal", "etc/edge", "etc/systemd/system", "opt/edge"):
        shutil.rmtree(ROOT / old, ignore_errors=True)
    (ROOT / "var/log/journal").mkdir(parents=True)
    put("etc/hostname", "edge-test\n")
    put("etc/hosts", "127.0.0.1 localhost edge-test\n")
    put("etc/pip.conf", "[global]\nno-index = true\nfind-links = /wheels\ndisable-pip-version-check = true\n")
    put("etc/sudoers.d/ada", "ada ALL=(ALL) NOPASSWD: ALL\n")
    put("etc/mosquitto/mosquitto.conf", "listener 1883 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
    write_endless()
    put("etc/edge/stuck.toml", STUCK)
    for name in ("fan-guard", "broken"):
        put(f"etc/edge/{name}.toml", FAN_GUARD.format(name=name))
    put("etc/systemd/system/edge@broken.service.d/20-broken.conf", "[Service]\nExecStart=\nExecStart=/bin/sh -c 'exit 1'\n")
    probe = "[Service]\nType=exec\nWatchdogSec=0\nRestart=no\nExecStart=\nExecStart=/opt/edge/bin/python /test/probe.py\n"
    put("etc/systemd/system/edge@probe.service.d/10-file.conf", probe + "SupplementaryGroups=dialout\n")
    put("etc/systemd/system/inside.service", INSIDE)
    for target, unit in (("graphical", "/etc/systemd/system/inside.service"), ("multi-user", "/lib/systemd/system/mosquitto.service")):
        wants = ROOT / f"etc/systemd/system/{target}.target.wants"
        wants.mkdir(parents=True, exist_ok=True)
        (wants / Path(unit).name).symlink_to(unit)
    (ROOT / "etc/systemd/system/default.target").symlink_to("/lib/systemd/system/graphical.target")


def boot(number: int, results: Path) -> dict:
    """Boot it, let `inside.py` drive it, and return what that saw."""
    put("boot-number", str(number))
    binds = [
        f"--bind-ro={REPO}/tests/system:/test",
        f"--bind-ro={REPO}/docs:/docs",
        f"--bind-ro={WHEELS}:/wheels",
        f"--bind={results}:/results",
    ]
    command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--boot", f"--directory={ROOT}"]
    command += ["--system-call-filter=adjtimex clock_adjtime", *binds]  # which a container may not call otherwise
    with (results / f"console{number}.log").open("wb") as console:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, timeout=BOOT_S, check=False)
    found = results / f"boot{number}.json"
    assert found.exists(), (results / f"console{number}.log").read_text(errors="replace")[-3000:]
    return json.loads(found.read_text())
