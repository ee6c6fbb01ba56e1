"""The figures of lidar-objects, and the part of its card that shows them."""

from collections.abc import Mapping

import numpy as np
import real
from _common import Array, table
from scenes import NEVER_SEEN, Clusters

from edge.lidar.shape import LABELS

RANGES_M = ((0, 10), (10, 25), (25, 50), (50, 100))
SIZES = ((5, 20), (20, 100), (100, 1 << 30))


def measure(test: Clusters, said: Mapping[str, Array]) -> dict[str, object]:
    """Figures on held-out scenes, by what was said."""
    majority = np.zeros((len(test.label), 3))
    majority[:, int(np.bincount(test.label).argmax())] = 1
    scenes = len(np.unique(test.scene))
    found: dict[str, object] = {"clusters": len(test.label), "false_obstacles_a_scan": float(test.is_ground.sum() / scenes)}
    for name, probabilities in {**said, "majority": majority}.items():
        guess = probabilities.argmax(axis=1)
        unseen = np.array([seed % 2 == 1 for seed in test.scene])
        found[name] = {
            "macro_f1": macro_f1(test.label, guess),
            "macro_f1_other_sensor": macro_f1(test.label[unseen], guess[unseen]),
            "by_class": [_scores(test.label == c, guess == c) for c in range(3)],
            "by_range": [[_scores(*_within(test.label == c, guess == c, test.distance, r)) for c in range(2)] for r in RANGES_M],
            "by_points": [[_scores(*_within(test.label == c, guess == c, test.points, r)) for c in range(2)] for r in SIZES],
        }
    return found


def macro_f1(label: Array, guess: Array) -> float:
    """Mean over the classes of the harmonic mean of precision and recall."""
    scores = [_scores(label == c, guess == c) for c in range(3)]
    return float(np.mean([2 * p * r / (p + r) if p + r else 0.0 for p, r, _ in scores]))


def text(metrics: dict) -> str:
    """The generated part of the card."""
    simulated, mlp = metrics["simulated"], metrics["simulated"]["mlp"]
    scenes = metrics["scenes"]
    parts = [
        f"Simulated scenes that had no part in training ({scenes['test']} of {scenes['training'] + scenes['test']}, "
        f"{simulated['clusters']} clusters; "
        f"in half of them the sensor is like `{NEVER_SEEN}`, a kind that training has not seen):",
        table(
            ["macro F1", "all", "the other kind of sensor"],
            [[name, simulated[name]["macro_f1"], simulated[name]["macro_f1_other_sensor"]] for name in ("majority", "linear", "mlp")],
        ),
        table(
            ["`mlp`, simulated", "precision", "recall", "clusters"],
            [[name, *mlp["by_class"][c]] for c, name in enumerate(LABELS)]
            + [[f"{LABELS[c]}, {low} to {high} m", *mlp["by_range"][r][c]] for r, (low, high) in enumerate(RANGES_M) for c in range(2)]
            + [[f"{LABELS[c]}, {low} points or more", *mlp["by_points"][s][c]] for s, (low, _) in enumerate(SIZES) for c in range(2)],
        ),
        f"False obstacles (most of their points on the ground, or of rain and dust): {simulated['false_obstacles_a_scan']:.2f} a scan.",
    ]
    if "real" in metrics:
        parts.append(
            "Real scans: four sweeps of a 40-beam sensor at a busy junction (SUSTechPOINTS' example, GPL-3.0, not part of this project). "
            "A box is found when one cluster holds half of its points and 70 % of that cluster lie within the box grown by 0.3 m. Most "
            "parked cars, and everything beyond the road, were never labelled: the last column is what is left of precision there."
        )
        parts += [table(head, rows) for _, head, rows in real.tables(metrics["real"])]
    return "\n\n".join(parts)


def _scores(is_true: Array, is_said: Array) -> tuple[float, float, int]:
    both = int((is_true & is_said).sum())
    return both / max(int(is_said.sum()), 1), both / max(int(is_true.sum()), 1), int(is_true.sum())


def _within(is_true: Array, is_said: Array, by: Array, bounds: tuple[int, int]) -> tuple[Array, Array]:
    here = (by >= bounds[0]) & (by < bounds[1])
    return is_true & here, is_said & here
