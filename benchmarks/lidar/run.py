"""Runs the LIDAR benchmark and prints its tables: edge beside Open3D and small_gicp, on the same scans, in turn.

usage: python benchmarks/lidar/run.py [--quick] [--rounds N]
Every figure is of this run on this machine. A round asks every peer once; each is a process of its own on one and the same core with one
thread, and Open3D once more with all cores. Writes everything measured to benchmarks/results/lidar.json. Needs for Open3D, of the system:
libusb-1.0-0 libgl1 libgomp1 libegl1.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
# ruff: noqa: E402
from benchmarks.lidar.scans import SIZES, all_scans

RESULTS = ROOT / "benchmarks/results"
SCANS = {"street": "street scene, OS-1-128, 107,500 points", "merged": "two turns merged, 115,200 points"}
PEERS = ("numpy", "numba", "onnxruntime", "open3d", "small_gicp")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TBB_NUM_THREADS")
VOXELS = (0.1, 0.2, 0.5)
CLOCKS = ("ms", "cpu_ms")


class Peer:
    """A worker process."""

    def __init__(self, name: str, scans: Path, core: int | None) -> None:
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
        if core is not None:
            environment |= dict.fromkeys(THREADS, "1")
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        command = [*pinned, sys.executable, "-W", "ignore", str(Path(__file__).with_name("worker.py")), name, str(scans)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        if self._process.stdin is None or self._process.stdout is None:
            raise SystemExit("no pipes")
        self._asked, self._answers = self._process.stdin, self._process.stdout
        self.classifier = self._answer()["classifier"]

    def __call__(self, do: str, **arguments: Any) -> dict[str, Any]:
        self._asked.write(json.dumps({"do": do, **arguments}) + "\n")
        self._asked.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        for line in self._answers:
            if line.startswith("{"):  # Open3D prints what it likes
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise SystemExit(self._process.wait() or 1)

    def stop(self) -> None:
        self._asked.close()
        self._process.wait()


def spread(values: list[float], digits: int = 1) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def share(values: list[float], part: float) -> float:
    return float(np.percentile(values, part))


def compare(edge: Peer, one: Peer, every: Peer, rounds: int, scans: int) -> dict[str, Any]:
    """The chain beside Open3D's, round by round: 500 scans of ours, three of theirs."""
    found: dict[str, Any] = {}
    for scan in SCANS:
        kept = found[scan] = {"edge": [], "reduced": []}
        for _ in range(rounds):
            kept["edge"].append(edge("chain", scan=scan, count=scans))
            kept["reduced"].append(edge("chain", scan=scan, count=max(scans // 10, 3), is_reduced=True))
            for name, peer in (("one core", one), ("all cores", every)):
                for size in (0.2, 0.1):
                    kept.setdefault(f"Open3D, {size} m, {name}", []).append(peer("chain", scan=scan, count=3, size=size))
    return found


def print_comparison(found: dict[str, Any]) -> dict[str, list[float]]:
    """Medians of each round; CPU time tells what the neighbours on a shared machine took away."""
    bars: dict[str, list[float]] = {"times": [], "cpu": [], "tail": [], "cpu tail": []}
    for scan, title in SCANS.items():
        answers = found[scan]
        ours = {clock: [share(answer[clock], 50) for answer in answers["edge"]] for clock in CLOCKS}
        tails = {clock: [share(answer[clock], 99) for answer in answers["edge"]] for clock in CLOCKS}
        for bar, clock in (("tail", "ms"), ("cpu tail", "cpu_ms")):
            bars[bar] += [b / a for a, b in zip(ours[clock], tails[clock], strict=True)]
        print(f"| {title}, ms a scan, p50 | by the clock | CPU time | times edge | of CPU time |\n|---|---:|---:|---:|---:|")
        print(
            f"| edge, one core, {answers['edge'][0]['objects']} objects | {' | '.join(spread(ours[clock]) for clock in CLOCKS)} | 1 | 1 |"
        )
        print(f"| the same, p99 of {len(answers['edge'][0]['ms'])} scans | {cells(ours, tails, 2)} |")
        for name in [key for key in answers if key != "edge"]:
            theirs = {clock: [share(answer[clock], 50) for answer in answers[name]] for clock in CLOCKS}
            if "one core" in name:
                for bar, clock in (("times", "ms"), ("cpu", "cpu_ms")):
                    bars[bar] += [b / a for a, b in zip(ours[clock], theirs[clock], strict=True)]
            label = "edge, the reduced look" if name == "reduced" else f"{name}, {answers[name][-1]['clusters']} clusters"
            print(f"| {label} | {cells(ours, theirs, 2 if name == 'reduced' else 1)} |")
        print(flush=True)
    return bars


def cells(ours: dict[str, list[float]], theirs: dict[str, list[float]], digits: int) -> str:
    times = [[b / a for a, b in zip(ours[clock], theirs[clock], strict=True)] for clock in CLOCKS]
    return " | ".join([*(spread(theirs[clock]) for clock in CLOCKS), *(spread(values, digits) for values in times)])


def cost(edge: Peer, rounds: int, scans: int) -> dict[str, Any]:
    """CPU milliseconds by number of points: the medians of rounds, a line through the best of them, and how far off it they are."""
    found: dict[int, list[float]] = {n: [] for n in SIZES}
    for _ in range(rounds):
        for n in SIZES:
            found[n].append(share(edge("chain", scan=str(n), count=scans)["cpu_ms"], 50))
    best = np.array([min(values) for values in found.values()])
    slope, base = np.polyfit(SIZES, best, 1)
    off = best / (slope * np.array(SIZES) + base) - 1
    print(f"| points | {' | '.join(f'{n:,}' for n in SIZES)} |\n|---|{'---:|' * len(SIZES)}")
    print(f"| CPU ms a scan, p50 | {' | '.join(spread(values) for values in found.values())} |")
    print(f"| off the line, % | {' | '.join(f'{100 * value:+.1f}' for value in off)} |")
    print(f"\nThe line through the best rounds: {base:.2f} ms and {1e6 * slope:.1f} ns a point.\n", flush=True)
    return {"ms": found, "ns_per_point": float(1e6 * slope), "base_ms": float(base), "residual": off.tolist()}


def voxels(edge: Peer, one: Peer, rounds: int, scans: int) -> dict[str, Any]:
    print("| voxels alone, one core, 107,647 points, ms | edge | small_gicp | Open3D | small_gicp / edge | Open3D / edge |")
    print("|---|---:|---:|---:|---:|---:|")
    kept: dict[str, Any] = {}
    for size in VOXELS:
        answers = [{**edge("voxels", size=size, count=scans), **one("voxels", size=size, count=scans)} for _ in range(rounds)]
        names = ("edge", "small_gicp", "Open3D")
        medians = {name: [share(answer[name], 50) for answer in answers] for name in names}
        times = {name: [b / a for a, b in zip(medians["edge"], medians[name], strict=True)] for name in names[1:]}
        counts = " / ".join(f"{answers[0][f'{name} voxels']:,}" for name in names)
        figures = [spread(medians[name], 2) for name in names] + [spread(times[name], 2) for name in names[1:]]
        print(f"| {size} m: {counts} voxels | {' | '.join(figures)} |", flush=True)
        kept[str(size)] = {"ms": medians, "times": times}
    return kept


def memory(edge: Peer, scans: int) -> list[int]:
    """Resident kB at the start, after a tenth, and at the end; of small scans, or this would take as long as all the rest."""
    found = [edge("memory")["kb"]]
    for count in (scans // 10, scans - scans // 10):
        edge("chain", scan=str(SIZES[0]), count=count)
        found.append(edge("memory")["kb"])
    start, tenth, end = (kb / 1000 for kb in found)
    grown = f"{start:.1f} MB, after {scans // 10:,} {tenth:.1f} MB, at the end {end:.1f} MB"
    print(f"\nResident memory over {scans:,} scans of {SIZES[0]:,} points: {grown}.\n", flush=True)
    return found


def print_bars(bars: dict[str, list[float]], line: dict[str, Any], thinned: dict[str, Any], kb: list[int]) -> None:
    gicp = [value for kept in thinned.values() for value in kept["times"]["small_gicp"]]
    cloud = [value for kept in thinned.values() for value in kept["times"]["Open3D"]]
    rows = [
        ("the chain on one core, Open3D's time over edge's", ">= 10", bars["times"], lambda value: value >= 10, max, min),
        ("the same in CPU time", ">= 10", bars["cpu"], lambda value: value >= 10, max, min),
        ("p99 over p50 of 500 scans", "<= 1.5", bars["tail"], lambda value: value <= 1.5, min, max),
        ("the same in CPU time", "<= 1.5", bars["cpu tail"], lambda value: value <= 1.5, min, max),
        (
            "off a line up to 300,000 points, worst size, %",
            "<= 10",
            [100 * max(map(abs, line["residual"]))],
            lambda value: value <= 10,
            min,
            max,
        ),
        ("memory grown from scan 1,000 to 10,000, MB", "<= 1", [(kb[2] - kb[1]) / 1000], lambda value: value <= 1, min, max),
        ("voxels, small_gicp's time over edge's", ">= 1", gicp, lambda value: value >= 1, max, min),
        ("voxels, Open3D's time over edge's", ">= 1", cloud, lambda value: value >= 1, max, min),
    ]
    print("| bar | wanted | median | best | worst | |\n|---|---:|---:|---:|---:|---|")
    for name, wanted, values, is_met, best, worst in rows:
        middle = statistics.median(values)
        verdict = "met" if is_met(middle) else "**missed**"
        print(f"| {name} | {wanted} | {middle:.2f} | {best(values):.2f} | {worst(values):.2f} | {verdict} |")


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PEERS)
    return f"{cpu}, {os.cpu_count()} CPUs (load before: {os.getloadavg()[0]:.2f}), Python {platform.python_version()}, {versions}."


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="2 rounds of few scans: a look, not a result")
    options = parser.parse_args()
    rounds, many = (2, 50) if options.quick else (options.rounds, 500)
    results: dict[str, Any] = {"rounds": rounds, "machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scans.npz"
        np.savez(file, **all_scans())
        core = max(os.sched_getaffinity(0))
        edge, one, every = Peer("edge", file, core), Peer("open3d", file, core), Peer("open3d", file, None)
    results["classifier"] = edge.classifier
    print(f"{results['machine']}\n{rounds} rounds; median (lowest to highest). Classifier: {edge.classifier}.\n", flush=True)
    results["chain"] = compare(edge, one, every, rounds, many)
    bars = print_comparison(results["chain"])
    results["cost"] = cost(edge, rounds, many // 20)
    results["voxels"] = voxels(edge, one, rounds, many // 20)
    results["memory"] = memory(edge, 20 * many)
    print_bars(bars, results["cost"], results["voxels"], results["memory"])
    for peer in (edge, one, every):
        peer.stop()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "lidar.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
