"""The scans of the LIDAR benchmark: an OS-1-128's street scene, and scans of any size made of its three turns."""

from pathlib import Path
from typing import Any

import numpy as np

from edge.store.scans import read_scans

ROOT = Path(__file__).parents[2]
CAPTURE = ROOT.parent / "shared/data/lidar-ouster/OS-1-128_v2.3.0_1024x10_lb_n3.pcap.gz"
HEIGHT_M = 2.0  # of the sensor above the street
SIZES = (20_000, 50_000, 100_000, 150_000, 200_000, 250_000, 300_000)


def street() -> list[Any]:
    """float32 (n, 4) of each turn: x, y, z, intensity."""
    if not CAPTURE.exists():
        raise SystemExit(f"{CAPTURE} is not there: unpack the recordings into shared/data beside this repository")
    turns = []
    for scan in read_scans(CAPTURE):
        columns = [scan.fields.index(name) for name in ("x", "y", "z", "intensity")]
        turns.append(np.ascontiguousarray(scan.points[:, columns]))
    return turns


def of_size(turns: list[Any], n: int, seed: int = 1) -> Any:
    """n points drawn from all turns, 1 cm of noise on each: the same scene, seen as closely as wanted."""
    random = np.random.default_rng(seed)
    pool = np.concatenate(turns)
    rows = np.sort(random.choice(len(pool), n, replace=False))
    points = pool[rows]
    points[:, :3] += random.normal(0, 0.01, (n, 3))
    return np.ascontiguousarray(points, np.float32)


def all_scans() -> dict[str, Any]:
    """Every scan of the benchmark by what it is and its turn; "street" and "merged" are those that peers are compared on."""
    turns = street()
    merged = np.concatenate([turns[0], of_size(turns[1:], 115_200 - len(turns[0]))])
    named = {f"street/{i}": turn for i, turn in enumerate(turns)} | {"merged/0": merged}
    return named | {f"{n}/0": of_size(turns, n) for n in SIZES}
