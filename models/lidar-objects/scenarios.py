"""Drive every scenario of the simulator with and without the collision guard: ``python models/lidar-objects/scenarios.py``.

Prints the table of docs/collision-guard.md, and puts it there with ``--write``. The exit code is 1 if any drive did not end as expected.
"""

import argparse
import math
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

from edge.cli.demo.collision.car import Record
from edge.cli.demo.collision.drive import drive
from firmware_bridge.simulator import SCENARIOS, scenario

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "collision-guard.md"
BEGIN, END = "<!-- scenarios -->\n", "<!-- /scenarios -->\n"
HEAD = (
    "| scenario | sensor | seed | without the runtime | with it | first brake at | before contact | nearest | hardest braking |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)


def both(what: tuple[str, str, int]) -> tuple[Record, Record]:
    """One scenario without the runtime and with it."""
    name, sensor, seed = what
    return drive(None, scenario(name, seed), sensor, seed), drive(HERE / "pipeline.toml", scenario(name, seed), sensor, seed)


def row(without: Record, guarded: Record) -> str:
    """Of the table."""
    brake = [f"{guarded.first_speed_mps:.1f} m/s", f"{guarded.first_ttc_s:.2f} s"] if guarded.has_braked else ["", ""]
    cells = [guarded.name, guarded.sensor, str(guarded.seed), without.outcome, guarded.outcome, *brake]
    cells += [f"{guarded.min_gap_m:.1f} m", f"{guarded.peak_mps2:.1f} m/s^2" if guarded.has_braked else ""]
    mark = "" if is_good(without, guarded) else " **not as expected**"
    return "| " + " | ".join(cells) + mark + " |\n"


def is_good(without: Record, guarded: Record) -> bool:
    """The scenario is what it says, and the guard did what it must."""
    return guarded.is_as_expected and without.collided == (guarded.expectation == "must_stop")


def summary(pairs: list[tuple[Record, Record]]) -> str:
    """Of all drives, in a sentence."""
    stops = [guarded for _, guarded in pairs if guarded.expectation == "must_stop"]
    others = [guarded for _, guarded in pairs if guarded.expectation != "must_stop"]
    hits, false = sum(guarded.collided for guarded in stops), sum(guarded.has_braked for guarded in others)
    nearest = min((guarded.min_gap_m for guarded in stops if not guarded.collided), default=math.nan)
    return (
        f"{len(stops)} drives that must stop: {hits} collisions (without the runtime: {sum(without.collided for without, _ in pairs)}), "
        f"nearest {nearest:.1f} m. {len(others)} drives that must not brake, false brakes: {false}.\n\n"
    )


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="Drive every scenario with and without the collision guard.")
    parser.add_argument("--runs", nargs="+", default=["spin40:1", "vlp16:1", "spin64:1"], metavar="SENSOR:SEED")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), choices=list(SCENARIOS), metavar="NAME")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the table into docs/collision-guard.md")
    options = parser.parse_args()
    runs = [(sensor, int(seed)) for sensor, _, seed in (run.partition(":") for run in options.runs)]
    pairs, rows = [], []
    with ProcessPoolExecutor(options.jobs) as pool:
        for pair in pool.map(both, [(name, *run) for name, run in product(options.scenarios, runs)]):
            pairs.append(pair)
            rows.append(row(*pair))
            sys.stdout.write(rows[-1])
            sys.stdout.flush()
    table = summary(pairs) + HEAD + "".join(rows)
    sys.stdout.write(summary(pairs))
    if options.write:
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(before + BEGIN + table + END + rest.split(END)[1])
    return 0 if all(is_good(*pair) for pair in pairs) else 1


if __name__ == "__main__":
    sys.exit(main())
