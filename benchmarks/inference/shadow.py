"""What a shadow costs the active path: the ring's write alone, and the daemon's frames with and without a shadow beside it.

usage: python benchmarks/inference/shadow.py [--rounds N] [--seconds S] [--rate HZ] [--budget-ms MS] [--ring-only]
Writes what was measured to benchmarks/results/model_shadow.json.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rig_models import Rig, features, pipeline, table, write_large

from edge.inference.shadow import Layout
from edge.store.registry import Registry
from edge.store.ring import RingReader, RingWriter

RESULTS = Path(__file__).parents[1] / "results"
FEATURES, SCORES, WRITES = 64, 4, 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6, help="spells with a shadow, and as many without")
    parser.add_argument("--seconds", type=float, default=8.0, help="of a spell")
    parser.add_argument("--rate", type=int, default=200, help="frames a second")
    parser.add_argument("--ring-only", action="store_true", help="leave the daemon out")
    parser.add_argument("--budget-ms", type=float, default=5.0, help="deadline of a frame")
    options = parser.parse_args()
    rings = [_ring() for _ in range(max(options.rounds, 3))]
    results: dict[str, Any] = {"ring": rings}
    table({f"ring, {name}": [one[f"{name}_us"] for one in rings] for name in ("mean", "p50", "p99")}, "us")
    if not options.ring_only:
        results |= _daemon(options)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "model_shadow.json").write_text(json.dumps(results, indent=1) + "\n")


def _ring() -> dict[str, float]:
    """A vector of 64 features and 4 scores into a ring that is emptied now and then, us: mean of processor time, quantiles by the clock."""
    layout = Layout(SCORES, FEATURES)
    ring = RingWriter(1024, layout.nbytes)
    reader = RingReader(os.dup(ring.descriptor))
    write, vector, scores = (
        layout.packer(ring.bytes),
        np.random.default_rng(1).normal(size=FEATURES).astype(np.float32),
        [0.1, 0.2, 0.3, 0.4],
    )
    took = []
    cpu_ns = 0
    for i in range(WRITES):
        if i % 512 == 0:
            cpu_began = time.thread_time_ns()
        began = time.perf_counter_ns()
        at = ring.begin()
        if at >= 0:
            write(at, i, 0, i, scores, vector)
            ring.end(layout.nbytes)
        took.append(time.perf_counter_ns() - began)
        if i % 512 == 511:
            cpu_ns += time.thread_time_ns() - cpu_began
            while reader.take() is not None:
                pass
    took.sort()
    timed = WRITES // 512 * 512
    found = {
        "mean_us": cpu_ns / timed / 1e3,
        "p50_us": took[len(took) // 2] / 1e3,
        "p99_us": took[len(took) * 99 // 100] / 1e3,
        "dropped": ring.dropped,
    }
    reader.close()
    ring.close()
    return found


def _daemon(options: argparse.Namespace) -> dict[str, Any]:
    text = pipeline(0, options.budget_ms)
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as temporary:
        folder = Path(temporary)
        names, units = features(text)
        registry = Registry(folder / "large", proof=lambda *_: None)
        write_large(folder, "1.0.0", 1.0, names, units, options.budget_ms)
        registry.activate("1.0.0", "bench")
        write_large(folder, "2.0.0", 1.0, names, units, options.budget_ms)
        rig = Rig(folder, text, options.rate)
        rounds = []
        try:
            rig.until(lambda report: report["decisions"]["made"] > 2 * options.rate)
            for _ in range(options.rounds):
                alone = _spell(rig, options.seconds)
                registry.set_candidate("2.0.0", "shadow", who="bench")
                rig.until(lambda report: report["models"]["shadow"] and report["models"]["shadow"]["n"] > 20)
                beside = _spell(rig, options.seconds)
                shadow = rig.status()["models"]["shadow"]
                registry.clear_candidate("bench")
                rig.until(lambda report: not report["models"]["shadow"])
                rounds.append({"alone": alone, "beside": beside, "n": shadow["n"], "dropped": shadow["dropped"]})
                print(json.dumps(rounds[-1]), flush=True)
        finally:
            rig.close()
    medians = {kind: {key: statistics.median(r[kind][key] for r in rounds) for key in ("p50", "p99")} for kind in ("alone", "beside")}
    spells = {f"{quantile}, {kind}": [r[kind][quantile] for r in rounds] for quantile in ("p50", "p99") for kind in ("alone", "beside")}
    table(spells, "us, round trip", 0)
    change = medians["beside"]["p99"] / medians["alone"]["p99"] - 1
    print(
        f"p99 of the round trip, median of {len(rounds)} spells: {medians['alone']['p99']:.0f} us alone, "
        f"{medians['beside']['p99']:.0f} us beside a shadow: {change:+.1%}"
    )
    return {"rate_hz": options.rate, "seconds": options.seconds, "medians_us": medians, "rounds": rounds}


def _spell(rig: Rig, seconds: float) -> dict[str, float]:
    """Quantiles of the round trip, us: from sending a frame, through the broker and the daemon, to hearing its prediction."""
    rig.ages.clear()
    time.sleep(seconds)
    ages = sorted(rig.ages)
    return {"frames": len(ages), "p50": ages[len(ages) // 2], "p99": ages[len(ages) * 99 // 100]}


if __name__ == "__main__":
    main()
