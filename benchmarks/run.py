"""Runs the round-trip benchmark and prints its tables: edge beside a C echo and beside the script a user would write.

usage: python benchmarks/run.py [--quick] [--rounds N] [--seconds S] [--window W] [--peers echo,script,edge]
Writes everything measured to benchmarks/results/roundtrip.json. See benchmarks/README.md.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from roundtrip import make_bundle, peers, report, rig

RESULTS = Path(__file__).parent / "results"
JITTER_S = 2
BLOCK_ROWS = 100
LARGEST_DIFFERENCE = 1e-3  # of scores, which are float32 probabilities


def main() -> None:
    options = _options()
    rig.compile_programs()
    names = options.peers.split(",")
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as temporary:
        folder = Path(temporary)
        bundle = make_bundle.make(folder / "roundtrip-mlp")
        results: dict[str, Any] = {
            "machine": _machine(),
            "settings": {"rounds": options.rounds, "seconds": options.seconds, "window": options.window},
            "jitter": [],
            "rounds": [],
        }
        if "edge" in names:
            _say("checking that edge and the script compute the same; filling the kernel cache")
            results["difference"] = _check(folder, bundle)
        for i in range(options.rounds):
            results["jitter"].append(rig.jitter(JITTER_S))
            found = {}
            for name in names:
                _say(f"round {i + 1} of {options.rounds}: {peers.NAMES[name]}")
                found[name] = _round(name, folder, bundle, options)
            results["rounds"].append(found)
    (RESULTS / "roundtrip.json").write_text(json.dumps(results, indent=1) + "\n")
    print(report.markdown(results, peers.NAMES))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="each measures every peer once (default 5)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each phase (default 5)")
    parser.add_argument("--window", type=int, default=128, help="messages on their way when flat out (default 128)")
    parser.add_argument("--peers", default="echo,script,script-nodelay,edge", help=f"some of {','.join(peers.NAMES)}")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1.5 s: a look, not a result")
    options = parser.parse_args()
    if unknown := set(options.peers.split(",")) - set(peers.NAMES):
        parser.error(f"no such peer: {', '.join(unknown)}")
    if options.quick:
        options.rounds, options.seconds = 2, 1.5
    return options


def _check(folder: Path, bundle: Path) -> float:
    differences = [
        peers.largest_difference(folder, bundle, ["script", "edge"], pipeline, rows)
        for pipeline, rows in (("pipeline.toml", 1), ("blocks.toml", BLOCK_ROWS))
    ]
    if max(differences) > LARGEST_DIFFERENCE:
        raise SystemExit(f"edge and the script disagree by {max(differences)}: they do not do the same work")
    return max(differences)


def _round(name: str, folder: Path, bundle: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One peer, twice: one sample a message at three rates, then 100 samples a message flat out."""
    seconds = options.seconds
    with rig.broker(folder) as port, peers.start(name, port, folder, bundle, "pipeline.toml") as (child, ready_s):
        # 5,000/s last: it is more than the script can do, and what it has not answered by then would spoil the next phase
        phases = [f"1000:{seconds}", f"0:{seconds}", f"5000:{seconds}"]
        messages = rig.measure(port, child.pid, phases, window=options.window, rows=1)
        memory = rig.memory_mb(child.pid)
    with rig.broker(folder) as port, peers.start(name, port, folder, bundle, "blocks.toml") as (child, ready_again_s):
        blocks = rig.measure(port, child.pid, [f"0:{seconds}"], window=options.window, rows=BLOCK_ROWS)
        block_memory = rig.memory_mb(child.pid)
    memory = {key: max(memory[key], block_memory[key]) for key in memory}
    return {"messages": messages, "blocks": blocks, "memory": memory, "ready_s": [ready_s, ready_again_s]}


def _machine() -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    models = [line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    version = subprocess.run([rig.find_mosquitto(), "-h"], capture_output=True, text=True, check=False).stdout.split("\n", 1)[0]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": os.cpu_count(),
        "virtual": " (virtual)" if "hypervisor" in cpuinfo else "",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "mosquitto": version.removeprefix("mosquitto version "),
        "onnxruntime": importlib.metadata.version("onnxruntime"),
        "paho": importlib.metadata.version("paho-mqtt"),
        "load": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
    }


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
