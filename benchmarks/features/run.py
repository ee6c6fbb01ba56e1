"""Runs the feature benchmark and prints its tables: edge beside River, bottleneck, numbagg, pandas and polars, in one process.

usage: python benchmarks/features/run.py [--quick] [--rounds N]
Every figure is a ratio or a time of this run on this machine; peers compute the same statistics of the same samples and are checked
against edge before they are timed. All of it runs on one thread. Writes everything measured to benchmarks/results/features.json.
"""

import os

for variable in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # before any of them is imported
# ruff: noqa: E402

import argparse
import importlib.metadata
import json
import platform
import statistics
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bottleneck as bn
import numbagg as nb
import numpy as np
import pandas as pd
import polars as pl
from river import stats as river_stats
from river import utils as river_utils

from edge.features.plan import FeaturePlan, Group, Span, StreamShape
from edge.features.rolling import RollingFeatures
from edge.messages import Block

RESULTS = Path(__file__).parents[1] / "results"
CHANNELS, WINDOW, BLOCK = 8, 256, 100
ROWS = 65_536  # of a batch
STEP_NS = 10_000_000
PEERS = ("numba", "numpy", "river", "bottleneck", "numbagg", "pandas", "polars")
FAMILY = ("mean", "std", "min", "max")

Measure = Callable[[], float]  # ns per sample and channel


def engine(
    stats: tuple[str, ...], *, window: int = WINDOW, hop: int = 1, rows: int = BLOCK, channels: int = CHANNELS, lanes: int = 1
) -> Any:
    """A feature stage and a block for it."""
    names = {f"c{i}": "1" for i in range(channels)}
    plan = FeaturePlan(
        [StreamShape("s", names, 1e9 / STEP_NS, rows)],
        [Group("s", tuple(names), Span(window, by_time=False), Span(hop, by_time=False), stats)],
    )
    return RollingFeatures(plan, lanes), Block(channels, rows)


def samples(rows: int, channels: int = CHANNELS, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(9.81, 0.7, (rows, channels)).astype(np.float32)


def timed(work: Callable[[], Any], units: int) -> float:
    started = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - started) / units


def streaming(stats: tuple[str, ...], *, window: int = WINDOW, hop: int = BLOCK, blocks: int = 600) -> Measure:
    """Pushing blocks of 100 rows, a vector every ``hop`` rows."""
    features, block = engine(stats, window=window, hop=hop)
    data = samples(blocks * BLOCK)
    offsets = np.arange(1, BLOCK + 1, dtype=np.int64) * STEP_NS
    state = {"at": 0}

    def push() -> None:
        for i in range(blocks):
            block.rows[:] = data[i * BLOCK : (i + 1) * BLOCK]
            np.add(offsets, state["at"], out=block.stamps)
            state["at"] += BLOCK * STEP_NS
            block.n = BLOCK
            features.update(0, 0, block)

    warm = max(1, -(-2 * window // (blocks * BLOCK)))
    for _ in range(warm):
        push()
    return lambda: timed(push, blocks * BLOCK * CHANNELS)


def batch(stats: tuple[str, ...], data: Any) -> Measure:
    """A whole array, a vector at every row."""
    features, block = maker(stats)(len(data))
    block.rows[:] = data[:, : block.rows.shape[1]]
    offsets = np.arange(1, len(data) + 1, dtype=np.int64) * STEP_NS
    state = {"at": 0}

    def push() -> None:
        np.add(offsets, state["at"], out=block.stamps)
        state["at"] += len(data) * STEP_NS
        block.n = len(data)
        features.update(0, 0, block)

    push()
    return lambda: timed(push, len(data) * len(features.plan.groups[0].channels))


def maker(stats: tuple[str, ...]) -> Callable[[int], Any]:
    """What makes the engine for statistics of every channel, or of the first two."""
    if "(c1)" in stats[0]:
        return lambda rows: engine_pair(stats[0], rows)
    return lambda rows: engine(stats, rows=rows)


def river_measure(data: Any) -> Measure:
    """mean, std, min and max of one channel, each with River's rolling form, a value at each sample."""
    values = [float(x) for x in data[:4000, 0]]

    def push() -> None:
        kinds = [
            river_utils.Rolling(river_stats.Mean(), window_size=WINDOW),
            river_utils.Rolling(river_stats.Var(), window_size=WINDOW),
            river_stats.RollingMin(WINDOW),
            river_stats.RollingMax(WINDOW),
        ]
        out: deque[float] = deque(maxlen=4)
        for x in values:
            for kind in kinds:
                kind.update(x)
                out.append(kind.get())

    return lambda: timed(push, len(values))


def frames(data: Any) -> tuple[Any, Any, Any]:
    """The same samples as each peer likes them best: float64, every column contiguous along time."""
    columns = np.ascontiguousarray(data.T.astype(np.float64))
    # From an array of rows, pandas would keep a view whose columns are not contiguous, and be slower for it.
    return columns, pd.DataFrame(dict(enumerate(columns)), copy=True), pl.DataFrame({f"c{i}": column for i, column in enumerate(columns)})


def peer_calls(data: Any) -> dict[str, dict[str, Callable[[], Any]]]:
    """Statistic to peer to the call that computes it for all channels; results are (rows, channels)-like arrays in row order."""
    columns, pandas_frame, polars_frame = frames(data)
    rolling = pandas_frame.rolling(WINDOW)
    every = pl.all()

    def polars(expression: Any) -> Callable[[], Any]:
        return lambda: polars_frame.select(expression)

    calls: dict[str, dict[str, Callable[[], Any]]] = {
        "mean": {
            "bottleneck": lambda: bn.move_mean(columns, WINDOW),
            "numbagg": lambda: nb.move_mean(columns, window=WINDOW),
            "pandas": rolling.mean,
            "polars": polars(every.rolling_mean(WINDOW)),
        },
        "std": {
            "bottleneck": lambda: bn.move_std(columns, WINDOW, ddof=0),
            "numbagg": lambda: nb.move_std(columns, window=WINDOW),
            "pandas": lambda: rolling.std(ddof=0),
            "polars": polars(every.rolling_std(WINDOW, ddof=0)),
        },
        "var": {
            "bottleneck": lambda: bn.move_var(columns, WINDOW, ddof=0),
            "numbagg": lambda: nb.move_var(columns, window=WINDOW),
            "pandas": lambda: rolling.var(ddof=0),
            "polars": polars(every.rolling_var(WINDOW, ddof=0)),
        },
        "min": {
            "bottleneck": lambda: bn.move_min(columns, WINDOW),
            "pandas": rolling.min,
            "polars": polars(every.rolling_min(WINDOW)),
        },
        "max": {
            "bottleneck": lambda: bn.move_max(columns, WINDOW),
            "pandas": rolling.max,
            "polars": polars(every.rolling_max(WINDOW)),
        },
        "median": {
            "bottleneck": lambda: bn.move_median(columns, WINDOW),
            "pandas": rolling.median,
            "polars": polars(every.rolling_median(WINDOW)),
        },
        "quantile(0.9)": {
            "pandas": lambda: rolling.quantile(0.9),
            "polars": polars(every.rolling_quantile(0.9, "linear", window_size=WINDOW)),
        },
        "skew": {"pandas": rolling.skew, "polars": polars(every.rolling_skew(WINDOW))},
        "kurtosis": {"pandas": rolling.kurt, "polars": polars(every.rolling_kurtosis(WINDOW))},
        "cov(c1)": {
            "numbagg": lambda: nb.move_cov(columns[0], columns[1], window=WINDOW),
            "pandas": lambda: pandas_frame[0].rolling(WINDOW).cov(pandas_frame[1], ddof=0),
            "polars": polars(pl.rolling_cov("c0", "c1", window_size=WINDOW, ddof=0)),
        },
        "corr(c1)": {
            "numbagg": lambda: nb.move_corr(columns[0], columns[1], window=WINDOW),
            "pandas": lambda: pandas_frame[0].rolling(WINDOW).corr(pandas_frame[1]),
            "polars": polars(pl.rolling_corr("c0", "c1", window_size=WINDOW)),
        },
        "count": {"pandas": rolling.count},
        "ewma": {
            "pandas": lambda: pandas_frame.ewm(span=WINDOW, adjust=False).mean(),
            "polars": polars(every.ewm_mean(span=WINDOW, adjust=False)),
        },
        "ewvar": {
            "pandas": lambda: pandas_frame.ewm(span=WINDOW, adjust=False).var(bias=True),
            "polars": polars(every.ewm_var(span=WINDOW, adjust=False, bias=True)),
        },
    }
    return calls


def check_equal(data: Any, calls: dict[str, dict[str, Callable[[], Any]]]) -> dict[str, float]:
    """Largest relative difference between edge and each peer, by statistic; sample skewness and kurtosis are compared by rank only."""
    worst = {}
    for stat, peers in calls.items():
        features, block = maker((stat,))(len(data))
        block.rows[:] = data[:, : block.rows.shape[1]]
        block.stamps[:] = np.arange(1, len(data) + 1) * STEP_NS
        block.n = len(data)
        n = features.update(0, 0, block)
        ours = features.vectors[:n, 0].astype(float)
        for peer, call in peers.items():
            theirs = as_column(call())[WINDOW - 1 :]
            if stat in ("skew", "kurtosis") and peer == "pandas":  # pandas corrects for bias
                worst[f"{stat} {peer}"] = 1 - float(np.corrcoef(ours, theirs)[0, 1])
            else:
                worst[f"{stat} {peer}"] = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    return worst


def engine_pair(stat: str, rows: int) -> Any:
    """One feature between the first two channels."""
    names = {"c0": "1", "c1": "1"}
    plan = FeaturePlan(
        [StreamShape("s", names, 1e9 / STEP_NS, rows)], [Group("s", ("c0",), Span(WINDOW, by_time=False), Span(1, by_time=False), (stat,))]
    )
    return RollingFeatures(plan, 1), Block(2, rows)


def as_column(result: Any) -> Any:
    """The first channel of whatever a peer returns."""
    if isinstance(result, pl.DataFrame):
        return result.to_series(0).to_numpy()
    if isinstance(result, pd.DataFrame | pd.Series):
        return np.asarray(result).reshape(len(result), -1)[:, 0]
    return result if result.ndim == 1 else result[0]


def devices(lanes: int = 10_000, seconds: int = 2) -> Callable[[], tuple[float, int]]:
    """10,000 devices of 6 channels at 10 Hz, one sample a message: share of one core, and bytes a lane."""
    features, block = engine(FAMILY, window=64, hop=10, rows=1, channels=6, lanes=lanes)
    data = samples(1024, 6)
    state = {"at": 0}

    def push(rounds: int) -> None:
        update, rows, stamps = features.update, block.rows, block.stamps_view
        block.n = 1
        for _ in range(rounds):
            state["at"] += 100_000_000
            stamps[0] = state["at"]
            rows[0] = data[state["at"] // 100_000_000 % 1024]
            for lane in range(lanes):
                update(0, lane, block)

    push(70)

    def measure() -> tuple[float, int]:
        started = time.process_time()
        push(10 * seconds)
        return (time.process_time() - started) / seconds, features.plan.lane_bytes

    return measure


def spread(values: list[float], digits: int = 1) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def repeat(measures: dict[str, Measure], rounds: int) -> dict[str, list[float]]:
    """All of them in turn, so that each round sees the same machine."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            found[name].append(measure())
    return found


def ratios(found: dict[str, list[float]], over: str, under: str) -> list[float]:
    return [a / b for a, b in zip(found[over], found[under], strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="2 rounds: a look, not a result")
    options = parser.parse_args()
    rounds = 2 if options.quick else options.rounds
    data = samples(ROWS)
    calls = peer_calls(data)
    results: dict[str, Any] = {"rounds": rounds, "machine": machine(), "differences": check_equal(data, calls)}
    print(f"{results['machine']}\n{rounds} rounds; median (lowest to highest); ns are per sample and channel, {CHANNELS} channels, "
          f"window {WINDOW}; largest difference to a peer {max(results['differences'].values()):.1g}\n")  # fmt: skip
    results["streaming"] = stream_table(data, rounds)
    results["batch"] = batch_table(data, calls, rounds)
    results["widths"] = width_table(rounds)
    measure = devices()
    shares = [measure() for _ in range(rounds)]
    results["devices"] = shares
    print(f"\n10,000 devices x 6 channels x 10 Hz, one sample a message, window 64, vector every second: "
          f"{spread([100 * share for share, _ in shares])} % of one core, {shares[0][1]:,} bytes a device")  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "features.json").write_text(json.dumps(results, indent=1) + "\n")


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PEERS)
    return f"{cpu}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {versions}."


def stream_table(data: Any, rounds: int) -> dict[str, list[float]]:
    measures: dict[str, Measure] = {
        "edge, mean std min max, vector every 100": streaming(FAMILY),
        "edge, mean std min max, vector every sample": streaming(FAMILY, hop=1),
        "River, mean var min max, value every sample": river_measure(data),
        "edge, median iqr mad quantile(0.9), vector every 100": streaming(("median", "iqr", "mad", "quantile(0.9)")),
        "edge, skew kurtosis, vector every 100": streaming(("skew", "kurtosis")),
        "edge, band_energy(10-20) dominant_frequency, vector every 100": streaming(("band_energy(10-20)", "dominant_frequency")),
    }
    found = repeat(measures, rounds)
    print("| streaming, blocks of 100 | ns |\n|---|---:|")
    for name, values in found.items():
        print(f"| {name} | {spread(values)} |")
    names = list(found)
    times = spread(ratios(found, names[2], names[1]), 0)
    print(f"\nRiver takes {times} times as long as edge with a vector at every sample.\n", flush=True)
    return found


def batch_table(data: Any, calls: dict[str, dict[str, Callable[[], Any]]], rounds: int) -> dict[str, Any]:
    print("| whole array, a value at every row | edge, ns | bottleneck | numbagg | pandas | polars |\n|---|---:|---:|---:|---:|---:|")
    kept: dict[str, Any] = {}
    for stat, peers in calls.items():
        is_pair = "(c1)" in stat
        measures = {"edge": batch((stat,), data)}
        for peer, call in peers.items():
            measures[peer] = lambda call=call, units=ROWS * (1 if is_pair else CHANNELS): timed(call, units)
        found = kept[stat] = repeat(measures, rounds)
        cells = [f"{spread(ratios(found, peer, 'edge'), 2)}x" if peer in found else "" for peer in PEERS[3:]]
        print(f"| {stat} | {spread(found['edge'])} | {' | '.join(cells)} |", flush=True)
    for title, family, peer in (
        ("mean std min max in one call", FAMILY, "bottleneck"),
        ("mean std in one call", ("mean", "std"), "numbagg"),
        ("mean var std in one call", ("mean", "var", "std"), "numbagg"),
    ):
        separate = [calls[stat][peer] for stat in family]
        measures = {
            "edge": batch(family, data),
            peer: lambda separate=separate: timed(lambda: [call() for call in separate], ROWS * CHANNELS),
        }
        found = kept[title] = repeat(measures, rounds)
        cells = [f"{spread(ratios(found, name, 'edge'), 2)}x" if name == peer else "" for name in PEERS[3:]]
        print(f"| {title} | {spread(found['edge'])} | {' | '.join(cells)} |", flush=True)
    print("\nA peer's cell: how many times as long as edge it takes; below 1 it is faster.")
    return kept


def width_table(rounds: int) -> dict[str, Any]:
    widths = (16, 256, 4096, 16_384)
    print(f"\n| ns by window | {' | '.join(f'{w:,}' for w in widths)} |\n|---|{'---:|' * len(widths)}")
    kept = {}
    for title, stats in (("mean std min max", FAMILY), ("skew kurtosis", ("skew", "kurtosis")), ("median", ("median",))):
        measures = {str(width): streaming(stats, window=width, blocks=200) for width in widths}
        found = kept[title] = repeat(measures, rounds)
        print(f"| {title} | {' | '.join(spread(values) for values in found.values())} |", flush=True)
    return kept


if __name__ == "__main__":
    main()
