"""What runs inside the booted system, as a oneshot unit: installs and drives the service as a person would, with the lines of the
documentation, notes what it saw, and powers off.

Standard library only: the system has its own Python. ``inside.py RESULTS DOCUMENT``; the file /boot-number says 1 or 2.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

UNIT = "edge@fan-guard.service"
EDGE = "/opt/edge/bin/edge"
FILE = "/etc/edge/fan-guard.toml"
HEALTH = Path("/run/edge/fan-guard/health.json")
STATE, CACHE = Path("/var/lib/private/edge"), Path("/var/cache/private/edge")
WAIT_S = 240
INSTALL_S = 600  # pip compiles every module of every package, and the first start every kernel


def shell(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False, **options)
    return done.stdout.strip()


def typed(line, user="ada", timeout_s=INSTALL_S):
    """What came of a line that a person types."""
    start = time.monotonic()
    command = ["runuser", "-u", user, "--", "sh", "-c", line]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd="/")
    took_s = round(time.monotonic() - start, 1)
    return {"line": line, "user": user, "code": done.returncode, "out": done.stdout, "err": done.stderr, "s": took_s}


def documented(document):
    """Lines of all shell blocks of a document, in their order."""
    return [line for block in re.findall(r"```sh\n(.*?)```", document, re.DOTALL) for line in block.splitlines() if line.strip()]


def show(unit, *names):
    lines = shell("systemctl", "show", unit, *(f"--property={name}" for name in names)).splitlines()
    found = dict(line.split("=", 1) for line in lines)
    return [found.get(name, "") for name in names]


def until(condition, timeout_s=WAIT_S):
    """How long it took in seconds, or None."""
    start = time.monotonic()
    while time.monotonic() - start < timeout_s:
        if condition():
            return round(time.monotonic() - start, 2)
        time.sleep(0.05)
    return None


def is_active(unit=UNIT):
    return shell("systemctl", "is-active", unit) == "active"


def alert(seq):
    """Whether a hot sensor makes an alert: the sensor sends until one is heard."""
    reader = subprocess.Popen(
        ["mosquitto_sub", "-h", "127.0.0.1", "-t", "plant/a/alerts", "-C", "1", "-W", "30", "-q", "1"], stdout=subprocess.PIPE, text=True
    )
    for number in range(200):
        frame = {"seq": seq + number, "t": time.time_ns(), "x": float(number % 2)}
        shell("mosquitto_pub", "-h", "127.0.0.1", "-t", "plant/a/vibration", "-m", json.dumps(frame))
        if reader.poll() is not None:
            break
        time.sleep(0.05)
    out, _ = reader.communicate(timeout=60)
    return json.loads(out)["name"] if out.strip() else ""


def status_of(name):
    out = shell("mosquitto_sub", "-h", "127.0.0.1", "-t", f"edge/{name}/status", "-C", "1", "-W", "30")
    return json.loads(out) if out else {}


def first_boot(seen, document):
    seen["mosquitto"] = until(lambda: is_active("mosquitto.service"), 30)
    shell("useradd", "--create-home", "ada")  # is there already when the root was used before
    lines = documented(document)
    at = next(number for number, line in enumerate(lines) if "service install" in line)
    seen["install"] = [typed(line) for line in lines[: at + 1]]
    seen["state"], seen["status_text"], seen["user"] = show(UNIT, "ActiveState", "StatusText", "DynamicUser")
    if seen["state"] != "active":
        return
    seen["alert"] = alert(0)
    seen["outbox"] = status_of("fan-guard").get("outbox", {})
    seen["files"] = sorted(path.name for path in (STATE / "fan-guard").iterdir())
    shell("mosquitto_pub", "-h", "127.0.0.1", "-t", "plant/a/vibration", "-m", "nonsense")
    until(lambda: shell("journalctl", "-o", "cat", "EDGE_STREAM=vibration"), 30)
    alert(1_000)  # a sensor that is understood again
    seen["later"] = [typed(without_end(line)) for line in lines[at + 1 :]]
    seen["journal"] = [json.loads(line) for line in shell("journalctl", "-o", "json", "-u", UNIT).splitlines()]
    seen["security"] = shell("systemd-analyze", "security", UNIT, "--no-pager").splitlines()[-1]
    doctor(seen)
    alone(seen)
    hang(seen)
    others(seen)
    endless(seen)
    crash(seen)
    probe(seen)
    storm(seen)


def without_end(line):
    """A line that goes on until Ctrl-C gets one; everything else of it stays."""
    return f"timeout --signal=INT --foreground 10 {line}" if "--follow" in line else line


def doctor(seen):
    """With the rights of a person, and of the service, which runs meanwhile and goes on."""
    pid = show(UNIT, "MainPID")[0]
    kernels = "/home/ada/kernels"  # compiled ones, so that they need not be compiled for a person, too
    shutil.copytree(CACHE / "fan-guard", kernels, dirs_exist_ok=True)
    shell("chown", "-R", "ada", kernels)
    found = {"person": typed(f"NUMBA_CACHE_DIR={kernels} {EDGE} doctor {FILE} --json --seconds 0.2"), "health": HEALTH.exists()}
    found["unit"] = typed(f"sudo {EDGE} service doctor fan-guard --json --seconds 0.2")
    found["reload"] = typed("sudo systemctl reload edge@fan-guard")
    found["reloaded_s"] = until(lambda: shell("journalctl", "-o", "cat", "-u", UNIT, "--grep", "^reloaded: "), 120)
    found["owner"] = len({path.stat().st_uid for path in (STATE / "fan-guard").iterdir()})
    found["same_pid"] = show(UNIT, "MainPID")[0] == pid
    found["health"] = found["health"] and HEALTH.exists()
    found["alert"] = alert(5_000)
    seen["doctor"] = found


def health():
    try:
        return json.loads(HEALTH.read_text())
    except (OSError, ValueError):
        return {}


def alone(seen):
    """A broker that is gone: what the daemon says is in a file."""
    found = {"before": health(), "mode": oct(HEALTH.stat().st_mode & 0o777)}
    shell("systemctl", "stop", "mosquitto.service")
    found["lost_s"] = until(lambda: health().get("link", {}).get("state") not in ("up", None), 60)
    asked = [f"{EDGE} status {FILE}", f"{EDGE} status --name fan-guard"]
    found["told"] = [typed(line, user) for line in asked for user in ("root", "ada")]
    HEALTH.parent.chmod(0o700)
    found["closed"] = typed(asked[1])
    HEALTH.parent.chmod(0o755)
    shell("systemctl", "start", "mosquitto.service")
    found["up_s"] = until(lambda: health().get("link", {}).get("state") == "up", 120)
    found["alert"] = alert(7_000)
    seen["alone"] = found


def others(seen):
    """More instances, installed in the same way, with the kernels that the first has compiled."""
    seen["others"] = []
    for name in ("broken", "stuck"):
        shutil.copytree(CACHE / "fan-guard", CACHE / name)
        seen["others"].append(typed(f"sudo {EDGE} service install /etc/edge/{name}.toml --no-start"))
    shell("systemctl", "daemon-reload")
    seen["not_started"] = typed(f"sudo {EDGE} service doctor stuck --json --seconds 0.2")


def probe(seen):
    subprocess.run(["systemctl", "start", "edge@probe.service"], check=False, timeout=WAIT_S)
    until(lambda: show("edge@probe.service", "ActiveState")[0] in ("inactive", "failed"), 120)
    found = [line for line in shell("journalctl", "-o", "cat", "-u", "edge@probe.service").splitlines() if line.startswith("{")]
    seen["probe"] = json.loads(found[-1]) if found else shell("journalctl", "-o", "cat", "-u", "edge@probe.service")


def hang(seen):
    pid, restarts = show(UNIT, "MainPID", "NRestarts")
    os.kill(int(pid), 19)  # SIGSTOP
    seen["hang_seen_s"] = until(lambda: show(UNIT, "MainPID")[0] != pid)
    seen["hang_back_s"] = until(lambda: show(UNIT, "ActiveState", "SubState") == ["active", "running"])
    seen["hang_restarts"] = int(show(UNIT, "NRestarts")[0]) - int(restarts)
    seen["hang_reason"] = "watchdog" in shell("journalctl", "-u", UNIT, "-o", "cat").lower()
    seen["hang_alert"] = alert(10_000)


class Fan:
    """An actuator's ear: every command that it hears."""

    def __init__(self):
        command = ["mosquitto_sub", "-h", "127.0.0.1", "-t", "plant/a/cmd/fan", "-q", "1"]
        self.path = Path("/run/fan.jsonl")
        with self.path.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file)

    def heard(self):
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def close(self):
        self.process.kill()
        self.process.wait()


def feed(celsius, seq, n):
    for number in range(seq, seq + n):
        frame = {"seq": number, "t": time.time_ns(), "celsius": celsius}
        shell("mosquitto_pub", "-h", "127.0.0.1", "-t", "plant/a/temp", "-m", json.dumps(frame))
    return seq + n


def endless(seen):
    """A model that never comes back from what its sensor says once."""
    unit, stuck, seq = "edge@stuck.service", {}, 0
    seen["stuck"] = stuck
    stuck["start"] = subprocess.run(["systemctl", "start", unit], check=False, capture_output=True, timeout=WAIT_S).returncode
    if stuck["start"] != 0:
        return
    fan = Fan()
    try:
        end = time.monotonic() + 30
        while not fan.heard() and time.monotonic() < end:
            seq = feed(90.0, seq, 1)
        pid, restarts = show(unit, "MainPID", "NRestarts")
        seq = feed(90.0, seq, 10)
        seq = feed(1000.0, seq, 1)
        stuck["seen_s"] = until(lambda: show(unit, "MainPID")[0] != pid, 60)
        stuck["gone_ns"] = time.time_ns()
        stuck["before"] = fan.heard()
        late = shell("mosquitto_sub", "-h", "127.0.0.1", "-t", "plant/a/cmd/fan", "-W", "1")
        stuck["heard_while_stuck"] = late.splitlines()
        stuck["back_s"] = until(lambda: show(unit, "ActiveState", "SubState") == ["active", "running"], 120)
        stuck["restarts"] = int(show(unit, "NRestarts")[0]) - int(restarts)
        stuck["reason"] = "watchdog" in shell("journalctl", "-u", unit, "-o", "cat").lower()
        stuck["fed_again_ns"] = time.time_ns()
        end = time.monotonic() + 30
        while len(fan.heard()) == len(stuck["before"]) and time.monotonic() < end:
            seq = feed(90.0, seq, 1)
        stuck["after"] = fan.heard()[len(stuck["before"]) :]
        until(lambda: shell("journalctl", "-o", "cat", "EDGE_DEVICE=a", "EDGE_PIPELINE=stuck"), 30)
        stuck["of_device"] = shell("journalctl", "-o", "cat", "EDGE_DEVICE=a", "EDGE_PIPELINE=stuck")
    finally:
        fan.close()
        subprocess.run(["systemctl", "stop", unit], check=False, timeout=60)


def crash(seen):
    pid = show(UNIT, "MainPID")[0]
    os.kill(int(pid), 9)
    seen["crash_back_s"] = until(lambda: show(UNIT, "MainPID", "SubState")[0] not in ("0", pid) and show(UNIT, "SubState")[0] == "running")
    seen["crash_alert"] = alert(20_000)


def storm(seen):
    """A service that fails at once, every time."""
    subprocess.run(["systemctl", "start", "--no-block", "edge@broken.service"], check=False)
    seen["storm_s"] = until(lambda: is_active("edge-safe@broken.service"), 120)
    seen["storm_state"], seen["storm_result"], seen["storm_restarts"] = show("edge@broken.service", "ActiveState", "Result", "NRestarts")
    seen["safe_state"] = status_of("broken").get("state", "")
    subprocess.run(["systemctl", "stop", "edge-safe@broken.service"], check=False)


def second_boot(seen, _document):
    seen["back_s"] = until(is_active)
    seen["alert"] = alert(30_000)
    seen["checkpoint"] = shell("journalctl", "-b", "-u", UNIT, "-o", "cat", "--grep", "devices go on")
    seen["state_files"] = sorted(path.name for path in (STATE / "fan-guard").iterdir())


def main():
    results, document, boot = Path(sys.argv[1]), Path(sys.argv[2]).read_text(), int(Path("/boot-number").read_text())
    seen = {}
    try:
        (first_boot if boot == 1 else second_boot)(seen, document)
    except Exception as fault:  # noqa: BLE001 - whatever it is, it must reach the test
        seen["fault"] = repr(fault)
    (results / f"boot{boot}.log").write_text(shell("journalctl", "--no-pager", "-b"))
    (results / f"boot{boot}.json").write_text(json.dumps(seen, indent=1))


if __name__ == "__main__":
    try:
        main()
    finally:
        subprocess.run(["systemctl", "poweroff", "--no-block"], check=False)
