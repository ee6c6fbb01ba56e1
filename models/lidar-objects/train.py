"""Trains lidar-objects on simulated scenes, and writes all that follows from it: the bundle, its metrics, the generated part of the card.

    python models/lidar-objects/train.py             # some minutes: scenes are cast on every core
    python models/lidar-objects/train.py --check     # trains, writes nothing, says whether the committed files come out again
    python models/lidar-objects/train.py --real DIR  # where SUSTechPOINTS' example lies; its figures stay as they are without it

Needs the extra `train`. Clusters come from the runtime's own code. No setting and no threshold was chosen by looking at the real scans.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import card
import real
from _common import Array, Network, check_against, fill_in
from scenes import Clusters, clusters_of, is_test, joined

from edge.inference.writer import BundleWriter
from edge.lidar import shape

HERE = Path(__file__).resolve().parent
VERSION = "1.0.0"
SEED = 20261125
SCENES = 840
TOLERANCE = 0.03  # of macro F1, when another processor's rounding has led to other scenes or weights
REAL = HERE.parents[2] / "shared" / "data" / "lidar-sustech"


def generate(scenes: int) -> Clusters:
    """Clusters of many scenes, cast on every core; the same for the same number of scenes."""
    with multiprocessing.get_context("spawn").Pool() as pool:
        return joined(pool.imap(clusters_of, range(scenes), chunksize=8))


def balanced(clusters: Clusters) -> Array:
    """Rows to train on: every cluster, those of rarer classes several times, by the root of how much rarer they are."""
    counts = np.bincount(clusters.label, minlength=3)
    times = np.maximum(np.rint(np.sqrt(counts.max() / np.maximum(counts, 1))), 1).astype(int)
    return np.repeat(np.arange(len(clusters.label)), times[clusters.label])


def fit(model: MLPClassifier | LogisticRegression, clusters: Clusters) -> Network:
    """Fit on clusters."""
    rows = balanced(clusters)
    x, y = clusters.shapes[rows].astype(np.float64), clusters.label[rows]
    mean, std = x.mean(0), x.std(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fixed number of epochs is the intention
        model.fit((x - mean) / std, y)
    return Network.of(model, mean, std)


def write_bundle(folder: Path, network: Network, training: Clusters, test: Clusters) -> Path:
    """The bundle; golden inputs are held-out clusters, golden outputs come from the network before export."""
    writer = BundleWriter(
        folder,
        VERSION,
        description="Probability that a cluster of LIDAR points is a vehicle, a vulnerable road user, or anything else",
        source="scenes of firmware_bridge.simulator, cast ray by ray; no recording of any sensor",
        licence="Apache-2.0",
        budget_ms=1,
    )
    writer.set_input("features", "shape of a cluster, see edge.lidar.shape, unscaled: the standardiser is part of the graph")
    writer.add_output("probability", shape.LABELS, "they sum to 1")
    writer.set_features(shape.NAMES, shape.UNITS, training.shapes)
    golden = test.shapes[:: len(test.shapes) // 63]
    writer.add_variant("mlp", network.export(len(shape.LABELS), open_rows=True), network.predict(golden))
    return writer.write(golden, overwrite=True)


def make(folder: Path, scenes: int, real_folder: Path) -> dict:
    """Generate, train, measure, and write the bundle and its metrics into a folder."""
    clusters = generate(scenes)
    held_out = np.array([is_test(seed) for seed in clusters.scene])
    training, test = clusters.where(~held_out), clusters.where(held_out)
    network = fit(MLPClassifier((48, 24), alpha=0.1, max_iter=24, random_state=SEED), training)
    linear = fit(LogisticRegression(C=0.1, max_iter=500), training)
    metrics = {
        "labels": list(shape.LABELS),
        "scenes": {"training": len(np.unique(training.scene)), "test": len(np.unique(test.scene))},
        "simulated": card.measure(test, {"mlp": network.predict(test.shapes), "linear": linear.predict(test.shapes)}),
    }
    before = HERE / VERSION / "metrics.json"
    if real_folder.is_dir():
        metrics["real"] = real.evaluate(real_folder, network.predict)
    elif before.exists():
        metrics["real"] = json.loads(before.read_text(encoding="utf-8"))["real"]
    home = write_bundle(folder, network, training, test)
    (home / "metrics.json").write_text(json.dumps(metrics) + "\n", encoding="utf-8")
    return metrics


def main() -> int:
    """Train and write, or train and compare."""
    parser = argparse.ArgumentParser(description="trains lidar-objects")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 unless the committed files come out again")
    parser.add_argument("--scenes", type=int, default=SCENES, help=f"how many to cast (default {SCENES}; fewer are for a try)")
    parser.add_argument("--real", type=Path, default=REAL, help="folder of labelled real scans")
    asked = parser.parse_args()
    with threadpool_limits(1), tempfile.TemporaryDirectory() as name:  # one thread: sums have one order
        folder = Path(name) / HERE.name
        metrics = make(folder if asked.check else HERE, asked.scenes, asked.real)
        text = card.text(metrics)
        print(text)
        if asked.check:
            return check_against(HERE, folder, VERSION, ("simulated", "mlp", "macro_f1"), TOLERANCE)
    fill_in(HERE / "README.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
