"""What watching for drift costs a frame of 64 features, beside numpy and river. ``python -m benchmarks.inference.drift``."""

import time
from collections.abc import Callable

import numpy as np

from edge.inference.drift import DriftMonitor
from edge.inference.manifest import Reference


def _us(call: Callable[[int], object], frames: int) -> str:
    """Median and extremes of five rounds, us of processor time a frame: others may be at work."""
    rounds = []
    for _ in range(5):
        began = time.thread_time_ns()
        for i in range(frames):
            call(i)
        rounds.append((time.thread_time_ns() - began) / frames / 1e3)
    return f"{np.median(rounds):.2f} ({min(rounds):.2f} to {max(rounds):.2f})"


def main() -> None:
    """Print a table."""
    rng = np.random.default_rng(1)
    frames = rng.normal(size=(1000, 64)).astype(np.float32)
    deciles = np.quantile(frames, np.linspace(0, 1, 11)).tolist()
    one = Reference(mean=0.0, std=1.0, deciles=deciles)
    monitor = DriftMonitor([(f"f{i}", one) for i in range(64)], [])
    edges, counts, rows = np.array(deciles[1:-1], np.float32), np.zeros((64, 10), np.int64), np.arange(64)

    def watch(i: int) -> None:
        monitor.update(frames[i % 1000], ())
        monitor.look(i * 100_000_000)

    def digitize(i: int) -> None:
        counts[rows, np.digitize(frames[i % 1000], edges)] += 1

    print(f"edge, update and look      {_us(watch, 20_000)} us a frame")
    print(f"numpy digitize, counts     {_us(digitize, 20_000)} us a frame")
    try:
        from river.drift import ADWIN, KSWIN
    except ImportError:
        print("river is not installed")
        return
    values = frames.tolist()
    for name, kind, n in (("river ADWIN", ADWIN, 300), ("river KSWIN", KSWIN, 20)):
        detectors = [kind() for _ in range(64)]

        def update(i: int, detectors: list[object] = detectors) -> None:
            for detector, value in zip(detectors, values[i % 1000], strict=True):
                detector.update(value)  # type: ignore[attr-defined]

        for i in range(150):  # KSWIN tests once its window of 100 is full
            update(i)
        print(f"{name}, one a feature  {_us(update, n)} us a frame")


if __name__ == "__main__":
    main()
