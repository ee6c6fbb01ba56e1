"""How often drift is seen where there is none, and how late it is seen where there is some. Prints the tables of docs/drift.md.

``python -m benchmarks.inference.drift_rates DATA``, where DATA holds ``esp32-fan`` and ``streams`` (electricity.csv.gz); what is not
there is left out. Streams without drift are made of recordings in which nothing changes. The fan's are independent seconds: every other
one is the reference, seconds of the rest are drawn at random and played. Ten feature vectors a second overlap, so they are dependent.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.inference.drift import DriftEvent, DriftMonitor
from edge.inference.manifest import Reference

Array = npt.NDArray[np.float32]
_DAY_S = 86_400.0
_S = 1_000_000_000


def reference(values: Array, *, deciles_only: bool = False) -> Reference:
    """What a packed bundle would say of these values."""
    values = values[np.isfinite(values)]
    deciles = np.quantile(values, np.linspace(0, 1, 11)).tolist()
    mean, std = float(values.mean()), float(values.std())
    if deciles_only:
        return Reference(mean=mean, std=std, deciles=deciles)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, 11)[1:-1]))
    shares = np.bincount(np.digitize(values, edges), minlength=len(edges) + 1) / len(values)
    return Reference(mean=mean, std=std, deciles=deciles, edges=edges.tolist(), shares=shares.tolist())


def monitor(training: Array, *, deciles_only: bool = False) -> DriftMonitor:
    """Default settings, one reference a column."""
    return DriftMonitor([(f"f{i}", reference(column, deciles_only=deciles_only)) for i, column in enumerate(training.T)], [])


def play(drift: DriftMonitor, frames: Array, rate_hz: float, began: int = 0) -> list[tuple[int, DriftEvent]]:
    """Events with the frame that showed them."""
    events: list[tuple[int, DriftEvent]] = []
    for i, frame in enumerate(frames):
        drift.update(frame, ())
        events += [(i, event) for event in drift.look(int((began + i) * _S / rate_hz))]
    return events


def seconds(data: Path, speed: str) -> Array:
    """Recordings of one speed, one second each, g: float32 (n, 200, 3)."""
    return np.asarray(np.load(data / "esp32-fan" / f"fan_0_{speed}.npz")["x"], np.float32)


def fan(recordings: Array) -> Array:
    """Mean, std, min, max of a rolling second, ten times a second, of recordings that are played one after the other: (n, 12)."""
    windows = np.lib.stride_tricks.sliding_window_view(recordings.reshape(-1, 3), 200, axis=0)[::20]
    return np.concatenate([windows.mean(2), windows.std(2), windows.min(2), windows.max(2)], axis=1).astype(np.float32)


def shuffled(rng: np.random.Generator, recordings: Array, frames: int) -> Array:
    """So many frames of recordings drawn at random."""
    return fan(recordings[rng.integers(0, len(recordings), frames // 10 + 2)])[:frames]


def smooth(rng: np.random.Generator, frames: int, features: int, phi: float) -> Array:
    """Stationary first-order processes, standard normal."""
    out = rng.normal(size=(frames, features))
    out[1:] *= np.sqrt(1 - phi * phi)
    for i in range(1, frames):
        out[i] += phi * out[i - 1]
    return out.astype(np.float32)


def quiet(data: Path, days: float) -> Iterator[tuple[str, float, float, int]]:
    """Name, rate, days of stream, false alarms."""
    rng = np.random.default_rng(20)
    for phi in (0.0, 0.9, 0.99, 0.995):
        drift, rate, alarms = monitor(smooth(rng, 200_000, 12, phi)), 2.0, 0
        for day in range(round(days)):
            n = int(_DAY_S * rate)
            alarms += _raised(play(drift, smooth(rng, n, 12, phi), rate, day * n))
        yield f"AR(1) {phi:g}, 12 features", rate, days, alarms
    if (data / "esp32-fan").is_dir():
        for speed in ("low_0_weight", "med_0_weight"):
            for few in (False, True):
                whole = seconds(data, speed)
                drift, rate, alarms = monitor(fan(whole[::2]), deciles_only=few), 10.0, 0
                n = int(_DAY_S * rate)
                total = max(round(days / 2), 1)
                for day in range(total):
                    alarms += _raised(play(drift, shuffled(rng, whole[1::2], n), rate, day * n))
                yield f"fan {speed}, {'deciles' if few else 'bins'}", rate, float(total), alarms


def changes(data: Path) -> Iterator[tuple[str, str, int | None]]:
    """Name, what changes, frames until the first alarm."""
    rng = np.random.default_rng(21)
    for phi in (0.0, 0.9):
        for sigma in (0.5, 1.0, 2.0):
            drift = monitor(smooth(rng, 200_000, 12, phi))
            play(drift, smooth(rng, 20_000, 12, phi), 2.0)
            yield (
                f"AR(1) {phi:g}",
                f"one of 12 moves by {sigma:g} sigma",
                _first(play(drift, smooth(rng, 20_000, 12, phi) + sigma * np.eye(12, dtype=np.float32)[0], 2.0, 20_000)),
            )
    drift = monitor(smooth(rng, 200_000, 12, 0.9))
    play(drift, smooth(rng, 20_000, 12, 0.9), 2.0)
    ramp = np.linspace(0, 3, 40_000, dtype=np.float32)[:, None]
    yield "AR(1) 0.9", "ramp of 3 sigma over 40,000 frames", _first(play(drift, smooth(rng, 40_000, 12, 0.9) + ramp, 2.0, 20_000))
    if (data / "esp32-fan").is_dir():
        low = seconds(data, "low_0_weight")
        for other in ("med_0_weight", "low_1_weight"):
            drift = monitor(fan(low[::2]))
            before = _raised(play(drift, shuffled(rng, low[1::2], 20_000), 10.0))
            after = _first(play(drift, shuffled(rng, seconds(data, other), 20_000), 10.0, 20_000))
            yield "fan at low speed", f"becomes {other}" + (f" ({before} alarms before)" if before else ""), after
    if (data / "streams" / "electricity.csv.gz").is_file():
        yield from electricity(data)


def electricity(data: Path) -> Iterator[tuple[str, str, int | None]]:
    """The market before and after Victoria joined it: three columns are constant before."""
    rows = np.genfromtxt(data / "streams" / "electricity.csv.gz", delimiter=",", skip_header=1, usecols=(3, 4, 5, 6, 7), dtype=np.float32)
    joined = int(np.flatnonzero(np.diff(rows[:, 2]))[0]) + 1
    half = joined // 2
    drift = monitor(rows[:half, :2])
    before = play(drift, rows[half:joined, :2], 1 / 1800)
    yield "Elec2, price and demand", "second half of the first year (seasons)", _first(before)
    drift = monitor(rows[:joined, :2])
    yield "Elec2, price and demand", "Victoria joins", _first(play(drift, rows[joined:, :2], 1 / 1800))


def _raised(events: list[tuple[int, DriftEvent]]) -> int:
    return sum(event.state == "raised" for _, event in events)


def _first(events: list[tuple[int, DriftEvent]]) -> int | None:
    return next((frame + 1 for frame, event in events if event.state == "raised"), None)


def main(data: Path, days: float, tell: Callable[[str], None] = print) -> None:
    """Both tables, as Markdown."""
    tell("| stream without drift | frames/s | days of stream | false alarms |\n|---|---|---|---|")
    for name, rate, length, alarms in quiet(data, days):
        tell(f"| {name} | {rate:g} | {length:g} | {alarms} |")
    tell("\n| stream | change | frames to the alarm |\n|---|---|---|")
    for name, change, delay in changes(data):
        tell(f"| {name} | {change} | {'not seen' if delay is None else delay} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 4.0)
