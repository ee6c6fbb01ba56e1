"""Trains activity-watch and writes all that follows from it: the bundle, its metrics, the generated part of the card, the demo's recording.

    python models/activity-watch/train.py            # about two minutes
    python models/activity-watch/train.py --check    # trains, writes nothing, says whether the committed files come out again

Needs the extra `train`: the data are in the wheel of seglearn 1.2.5. Features come from the runtime's own code.
"""

import argparse
import importlib.util
import io
import json
import sys
import tempfile
import warnings
from pathlib import Path

import msgspec
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import card
import recording
from _common import Array, Network, check_against, fill_in, plan_of, verified

from edge.features.offline import compute
from edge.features.plan import FeaturePlan
from edge.inference.writer import BundleWriter

HERE = Path(__file__).resolve().parent
VERSION = "1.0.0"
SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"  # watch_dataset.npy of seglearn 1.2.5
SEED = 20180206
TEST_SUBJECTS = (8, 9, 10)  # the last three of ten
# What a watch on the other wrist would have felt: reflection in the plane that halves the body. Acceleration is a vector, angular rate
# an axial one. Left and right recordings of the same exercise differ in just these signs.
MIRROR = np.array([-1, 1, 1, 1, -1, -1], np.float32)
SOURCE = "watch_dataset.npy of seglearn 1.2.5 (PyPI): shoulder exercises, smart watch, doi:10.1088/1361-6579/aacfd9; subjects "
SOLO = (("subject-8", 8, 0, "ER"), ("subject-9", 9, 1, "ROW"), ("subject-10", 10, 0, "PEN"))  # device, subject, side, first exercise
TOLERANCE = 0.03  # of macro F1, when another processor's rounding has led the training to other weights


class Recordings(msgspec.Struct, frozen=True):
    """The data set: rows float32 (n, 6) of each of 140 recordings; what it shows, whose it is, on which side (0 left, 1 right)."""

    rows: list[Array]
    exercise: Array
    subject: Array
    side: Array
    labels: list[str]


class Table(msgspec.Struct, frozen=True):
    """Feature vectors (n, F), and for each the class and the subject."""

    vectors: Array
    exercise: Array
    subject: Array

    def where(self, chosen: Array) -> "Table":
        """The chosen rows."""
        return Table(self.vectors[chosen], self.exercise[chosen], self.subject[chosen])


def load() -> Recordings:
    """The data set, from the installed wheel. The package itself is not imported: its import needs pandas, the file does not."""
    spec = importlib.util.find_spec("seglearn")
    if spec is None or spec.origin is None:
        raise SystemExit("seglearn is not installed; make train installs it")
    data = verified(Path(spec.origin).parent / "data" / "watch_dataset.npy", SHA256)
    # The wheel ships a pickle and no other form. What is unpickled is exactly the bytes whose hash was just compared, never anything else.
    found = np.load(io.BytesIO(data), allow_pickle=True).item()
    rows = [np.ascontiguousarray(x, np.float32) for x in found["X"]]
    return Recordings(rows, np.asarray(found["y"]), np.asarray(found["subject"]), np.asarray(found["side"]), list(found["y_labels"]))


def tabulate(plan: FeaturePlan, data: Recordings, signs: Array) -> Table:
    """All feature vectors, computed as on the device: one every hop, never across two recordings."""
    parts = []
    for rows in data.rows:
        stamps = np.arange(len(rows), dtype=np.int64) * recording.PERIOD_NS
        parts.append(compute(plan, {"imu": (stamps, rows * signs)})[1])
    counts = [len(part) for part in parts]
    return Table(np.concatenate(parts), np.repeat(data.exercise, counts), np.repeat(data.subject, counts))


def train(model: MLPClassifier | LogisticRegression, true: Table, mirrored: Table) -> Network:
    """Fit on vectors and their mirror images."""
    x = np.concatenate([true.vectors, mirrored.vectors]).astype(np.float64)
    y = np.concatenate([true.exercise, mirrored.exercise])
    mean, std = x.mean(0), x.std(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fixed number of epochs is the intention
        model.fit((x - mean) / std, y)
    return Network.of(model, mean, std)


def mlp() -> MLPClassifier:
    """The preferred variant."""
    return MLPClassifier((64, 32), alpha=0.3, max_iter=20, random_state=SEED)


def linear() -> LogisticRegression:
    """The smaller variant, and the baseline."""
    return LogisticRegression(C=0.1, max_iter=500)


def leave_one_out(true: Table, mirrored: Table) -> dict[str, list[float]]:
    """Macro F1 on each subject of a model trained on the nine others."""
    scores: dict[str, list[float]] = {"mlp": [], "linear": []}
    for subject in np.unique(true.subject):
        others = true.subject != subject
        for name, make in (("mlp", mlp), ("linear", linear)):
            network = train(make(), true.where(others), mirrored.where(others))
            unseen = true.where(~others)
            scores[name].append(card.macro_f1(unseen.exercise, network.predict(unseen.vectors)))
    return scores


def wearers(data: Recordings) -> dict[str, recording.Exercises]:
    """What the demo plays: one side of each held-out subject, each beginning with another exercise."""
    found = {}
    for device, subject, side, first in SOLO:
        start = data.labels.index(first)
        order = [(start + i) % len(data.labels) for i in range(len(data.labels))]
        one = {int(data.exercise[i]): data.rows[i] for i in np.flatnonzero((data.subject == subject) & (data.side == side))}
        found[device] = [(data.labels[exercise], one[exercise]) for exercise in order]
    return recording.even(found)


def measure_demo(plan: FeaturePlan, network: Network, played: dict[str, recording.Exercises], labels: list[str]) -> dict[str, object]:
    """Share of the demo's predictions that name what the newest sample in their window shows."""
    right = []
    for exercises in played.values():
        stamps, rows, truth = recording.joined(exercises)
        at, vectors = compute(plan, {"imu": (stamps, rows)})
        guesses = network.predict(vectors).argmax(1)
        right += [labels[guess] == truth[stamp // recording.PERIOD_NS] for guess, stamp in zip(guesses, at.tolist(), strict=True)]
    return {"predictions": len(right), "accuracy": float(np.mean(right))}


def write_bundle(folder: Path, plan: FeaturePlan, networks: dict[str, Network], training: Table, test: Table, labels: list[str]) -> Path:
    """The bundle, preferred variant first; golden inputs are held-out vectors, golden outputs come from the network before export."""
    writer = BundleWriter(
        folder,
        VERSION,
        description="Probability of each of seven shoulder exercises over the last four seconds of a wrist's acceleration and turning",
        source=f"{SOURCE}1 to 7",
        licence="BSD-3-Clause",
        budget_ms=1,
    )
    writer.set_input("features", "rolling statistics as in [features], unscaled: the standardiser is part of the graph")
    writer.add_output("probability", labels, "probability of each exercise; they sum to 1")
    writer.set_features(plan.names, plan.units, training.vectors)
    golden = test.vectors[:: len(test.vectors) // 31]
    for name, network in networks.items():
        writer.add_variant(name, network.export(len(labels)), network.predict(golden))
    return writer.write(golden, overwrite=True)


def make(folder: Path) -> dict:
    """Train, and write bundle, metrics and recording into a folder."""
    plan, data = plan_of(HERE / "pipeline.toml"), load()
    true, mirrored = tabulate(plan, data, np.ones(6, np.float32)), tabulate(plan, data, MIRROR)
    held_out = np.isin(true.subject, TEST_SUBJECTS)
    training, test = true.where(~held_out), true.where(held_out)
    networks = {"mlp": train(mlp(), training, mirrored.where(~held_out)), "linear": train(linear(), training, mirrored.where(~held_out))}
    majority = int(np.bincount(training.exercise).argmax())
    said = {name: network.predict(test.vectors) for name, network in networks.items()}
    played = wearers(data)
    metrics = {
        "labels": data.labels,
        "test_subjects": list(TEST_SUBJECTS),
        "held_out": card.measure(said, test.exercise, majority, data.labels),
        "leave_one_subject_out": leave_one_out(true, mirrored),
        "demo": measure_demo(plan, networks["mlp"], played, data.labels),
    }
    home = write_bundle(folder, plan, networks, training, test, data.labels)
    (home / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    recording.write(folder / "held-out.mcap", played, {"source": f"{SOURCE}8 to 10", "licence": "BSD-3-Clause, see LICENSE.seglearn"})
    return metrics


def main() -> int:
    """Train and write, or train and compare."""
    parser = argparse.ArgumentParser(description="trains activity-watch")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 unless the committed files come out again")
    is_check = parser.parse_args().check
    with threadpool_limits(1), tempfile.TemporaryDirectory() as name:  # one thread: sums have one order
        folder = Path(name) / HERE.name
        metrics = make(folder if is_check else HERE)
        text = card.text(metrics)
        print(text)
        if is_check:
            return check_against(HERE, folder, VERSION, ("held_out", "macro_f1", "mlp"), TOLERANCE)
    fill_in(HERE / "README.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
