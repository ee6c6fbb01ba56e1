"""Deadlines while large models are swapped in: 1,000 frames a second, a deadline of 5 ms, beside equally long spells without a swap.

usage: python benchmarks/inference/swap.py [--rounds N] [--megabytes M] [--probation FRAMES] [--budget-ms MS] [--rate HZ]
Writes what was measured to benchmarks/results/model_swap.json.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from rig_models import Rig, features, pipeline, table, write_large

from edge.store.registry import Registry

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6, help="swaps, and spells without one")
    parser.add_argument("--megabytes", type=float, default=20.0, help="of each model")
    parser.add_argument("--probation", type=int, default=200, help="live vectors that a version answers first")
    parser.add_argument("--budget-ms", type=float, default=5.0, help="deadline of a frame")
    parser.add_argument("--rate", type=int, default=1000, help="frames a second")
    options = parser.parse_args()
    text = pipeline(options.probation, options.budget_ms)
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as temporary:
        folder = Path(temporary)
        names, units = features(text)
        registry = Registry(folder / "large", proof=lambda *_: None)  # the daemon proves; that is what is measured
        for version in range(1, options.rounds + 2):
            write_large(folder, f"{version}.0.0", options.megabytes, names, units, options.budget_ms)
            if version == 1:
                registry.activate("1.0.0", "bench")
        rig = Rig(folder, text, options.rate)
        try:
            rig.until(lambda report: report["decisions"]["made"] > 3 * options.rate)
            rounds = [_round(rig, registry, f"{i + 2}.0.0") for i in range(options.rounds)]
        finally:
            rig.close()
    _tell(rounds, options)


def _round(rig: Rig, registry: Registry, version: str) -> dict[str, Any]:
    before = rig.status()
    began = time.monotonic()
    registry.activate(version, "bench")
    after = rig.until(lambda report: report["models"]["active"] == version)
    took_s = time.monotonic() - began
    time.sleep(0.5)
    swap = _spell(before, rig.status())
    before = rig.status()
    time.sleep(took_s + 0.5)
    found = {"seconds": round(took_s, 2), "swap": swap, "quiet": _spell(before, rig.status()), "deployment": after["models"]["deployment"]}
    print(json.dumps(found), flush=True)
    return found


def _spell(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    made = after["decisions"]["made"] - before["decisions"]["made"]
    missed = after["budget"]["missed"] - before["budget"]["missed"]
    return {"decisions": made, "missed": missed, "longest_us_so_far": after["latency_us"]["total"]["max"]}


def _tell(rounds: list[dict[str, Any]], options: argparse.Namespace) -> None:
    total = {kind: {key: sum(r[kind][key] for r in rounds) for key in ("decisions", "missed")} for kind in ("swap", "quiet")}
    results = {
        "megabytes": options.megabytes,
        "probation": options.probation,
        "budget_ms": options.budget_ms,
        "rate_hz": options.rate,
        "total": total,
        "rounds": rounds,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "model_swap.json").write_text(json.dumps(results, indent=1) + "\n")
    table({"from activate to acting": [r["seconds"] for r in rounds]}, "s")
    table({f"missed, {kind}": [100 * r[kind]["missed"] / max(r[kind]["decisions"], 1) for r in rounds] for kind in total}, "% of deadlines")
    for kind, sums in total.items():
        print(f"{kind}: {sums['missed']} of {sums['decisions']} deadlines of {options.budget_ms:g} ms missed")


if __name__ == "__main__":
    main()
