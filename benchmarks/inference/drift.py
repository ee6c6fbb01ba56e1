"""What watching for drift costs a frame of 64 features, beside numpy and river. ``python -m benchmarks.inference.drift``."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

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


def _longest(monitor: DriftMonitor, frames: npt.NDArray[np.float32], n: int) -> str:
    """The longest frames, us of processor time: those on which a window ends or is judged; others have their share in the maximum too."""
    took = np.empty(n)
    for i in range(n):
        began = time.thread_time_ns()
        monitor.update(frames[i % 1000], ())
        monitor.look(i * 100_000_000)
        took[i] = (time.thread_time_ns() - began) / 1e3
    judged = np.sort(took)[-7 * monitor.windows :]  # the end of a window and six steps
    return f"{np.median(judged):.0f} at the end of a window, longest {took.max():.0f}"


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

    fresh = DriftMonitor([(f"f{i}", one) for i in range(64)], [])
    print(f"edge, longest frames       {_longest(fresh, frames, 60_000)} us")
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

        def update(i: int, detectors: Sequence[object] = detectors) -> None:
            for detector, value in zip(detectors, values[i % 1000], strict=True):
                detector.update(value)  # type: ignore[attr-defined]

        for i in range(150):  # KSWIN tests once its window of 100 is full
            update(i)
        print(f"{name}, one a feature  {_us(update, n)} us a frame")


if __name__ == "__main__":
    main()
