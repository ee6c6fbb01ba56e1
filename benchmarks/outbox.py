"""What a durable outbox costs the loop, and how many alerts a second it takes.

``python benchmarks/outbox.py [SECONDS]``: the real daemon and a real mosquitto at 1,000 frames a second, without alerts, and with one every
ten frames kept in memory, on disk against kill -9, and on disk against loss of power; then rows a second of the writer alone.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edge.messages import Alert, Cause, Outgoing
from edge.store.outbox import Outbox
from edge.store.outbox_file import Durability
from edge.store.outbox_journal import Journal
from tests.broker import Mosquitto
from tests.system.kills import PIPELINE, Reader, wait

RATE_HZ, FLIP, RUNS = 1000, 10, 3
MODES = ("no alerts", "memory", "process", "power")


def pipeline(url: str, mode: str) -> str:
    text = PIPELINE.format(url=url, durability=mode if mode in ("process", "power") else "process")
    if mode in ("no alerts", "memory"):
        text = text.replace('path = "alerts.db"\n', "")
    return text.replace("enter = 0.5\nexit = 0.5", "enter = 5.0\nexit = 5.0") if mode == "no alerts" else text


def run(mode: str, seconds: float) -> dict[str, float]:
    """The stages that the daemon reports after so many seconds, in microseconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = Mosquitto(folder).start()
        reader = Reader(broker.port)
        (folder / "pipeline.toml").write_text(pipeline(broker.url, mode))
        with (folder / "edge.log").open("wb") as log:
            daemon = subprocess.Popen([sys.executable, "-m", "edge", "run", str(folder / "pipeline.toml")], stdout=log, stderr=log)
        sensor = None
        try:
            wait(lambda: bool(reader.statuses), daemon)
            sensor = subprocess.Popen([sys.executable, "-m", "tests.system.producer", str(broker.port), str(RATE_HZ), str(FLIP)])
            time.sleep(seconds)
            report = reader.statuses[-1]
        finally:
            for process in (sensor, daemon):
                if process is not None:
                    process.kill()
                    process.wait(10)
            reader.close()
            broker.close()
    total = report["latency_us"]["total"] if "total" in report["latency_us"] else list(report["latency_us"].values())[-1]
    return {
        "frames": report["streams"]["s"]["received"],
        "alerts": report["alerts"]["accepted"],
        "delivered": report["alerts"]["delivered"],
        "p50_us": total["p50"],
        "p99_us": total["p99"],
        "max_us": total["max"],
    }


def rows_per_s(durability: Durability, rows: int) -> tuple[float, float]:
    """Alerts a second from ``add`` to the disk, and microseconds that ``add`` takes."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        box = Outbox(rows, 20, Journal(Path(name) / "o", durability))
        alert = Alert("b-a1", "a", "b", 1, 0, "hot", "raised", "warning", 1.0, Cause("hot", 1.0), 0, "d/a/alerts")
        message = Outgoing("alert", "d/a/alerts", b"x" * 300, alert)
        start = time.perf_counter()
        added = 0.0
        for _ in range(rows):
            before = time.perf_counter()
            box.add(message)
            added += time.perf_counter() - before
        while box.journal is not None and box.journal.backlog:
            time.sleep(0.0005)
        took = time.perf_counter() - start
        box.close()
    return rows / took, added / rows * 1e6


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    result: dict[str, object] = {}
    for mode in MODES:
        found = [run(mode, seconds) for _ in range(RUNS)]
        result[mode] = {name: [round(one[name], 1) for one in found] for name in found[0]}
        print(mode, json.dumps(result[mode]), flush=True)
    modes: tuple[Durability, ...] = ("process", "power")
    for durability in modes:
        speeds, adds = zip(*(rows_per_s(durability, 5000) for _ in range(RUNS)), strict=True)
        print(f"{durability}: {min(speeds):.0f} to {max(speeds):.0f} rows/s; add takes {statistics.median(adds):.2f} us", flush=True)


if __name__ == "__main__":
    main()
