"""Trains fan-anomaly on recordings of the normal fan and writes the bundle, its metrics and the generated part of the card.

    python models/fan-anomaly/train.py --data DIR            # seconds
    python models/fan-anomaly/train.py --data DIR --check    # writes nothing, says whether the committed files come out again

DIR holds the five files of FILES; the card says where they come from. Needs the extra `train`. Features come from the runtime's own code.
The two files with the coin are read after the model and its threshold are fixed, and only to say how good it is.
"""

import argparse
import io
import json
import sys
import tempfile
from pathlib import Path

import msgspec
import numpy as np
from onnx import helper, numpy_helper
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import card
from _common import Array, check_against, fill_in, graph, plan_of, verified

from edge.features.offline import compute
from edge.features.plan import FeaturePlan
from edge.inference.writer import BundleWriter

HERE = Path(__file__).resolve().parent
VERSION = "1.0.0"
FILES = {  # sha256
    "fan_0_off_0_weight.npz": "20d3deab6d72d81b396ce862434105e29b8eaebc0ff18d1a56b54ee656774c53",
    "fan_0_low_0_weight.npz": "36e9bea4dc94d3f65e8b4fad149e6ad8702f6c5b84dacd28b5f1ba1fdee32c1f",
    "fan_0_med_0_weight.npz": "0ce387879f7cdfe87b5712955e1c7034ee344027673a9e33f62b264d79e45e7c",
    "fan_0_low_1_weight.npz": "9d25badc81fe2991281d6cc7e0554cea5abdc8361adaa54eeae8c08bd4ff9eb3",
    "fan_0_med_1_weight.npz": "0ce8129d3ea8ce5875de381b9c4b00374a7e0c56e38f7fabe01eb7953089f03e",
}
SPEEDS, FAULTY = ("off", "low", "med"), ("low", "med")
SEED = 453006
SHARES = (0.5, 0.75)  # of each normal file: up to here for fitting, from here to there for the threshold, the rest for testing
AXES, STATS = 3, ("mean", "std", "min", "max")  # as in pipeline.toml
FLOOR = 1e-4  # g, under the sensor's resolution: the logarithm of a dead sensor's 0 must stay finite
ANCHORS = ((0.90, 0.5), (0.99, 0.8))  # share of normal windows under a score
SOURCE = "github.com/ShawnHymel/tinyml-example-anomaly-detection, commit 453006106a3c, datasets/ceiling-fan, the three 0_weight folders"


class Normal(msgspec.Struct, frozen=True):
    """What the fan is like when nothing is wrong: one Gaussian for each speed, over logarithms of tilt-free spreads.

    Attributes:
        spreads: (12, D), takes spreads out of feature vectors.
        means: (speeds, D).
        whiten: (speeds, D, D); the squared distance is the squared length of (x - mean) @ whiten.
        gain, offset: the score is the logistic function of gain * ln(least squared distance) + offset.
    """

    spreads: Array
    means: Array
    whiten: Array
    gain: float = 1.0
    offset: float = 0.0

    def distance(self, vectors: Array) -> Array:
        """Squared distance to the nearest speed, (n,)."""
        logs = np.log(np.maximum(vectors.astype(np.float64) @ self.spreads, FLOOR))
        away = np.einsum("nsd,sde->nse", logs[:, None] - self.means, self.whiten)
        return (away**2).sum(2).min(1)

    def score(self, vectors: Array) -> Array:
        """How unlike normal, 0 to 1, (n,)."""
        return 1 / (1 + np.exp(-(self.gain * np.log(self.distance(vectors)) + self.offset)))

    def export(self) -> bytes:
        """As ONNX."""
        speeds, size = self.means.shape
        shapes = {"apart": [speeds, size], "one": [1, 1]}
        weights = {
            "spreads": self.spreads,
            "floor": np.array([FLOOR]),
            "whiten": np.concatenate(list(self.whiten), 1),
            "centre": -np.concatenate([mean @ whiten for mean, whiten in zip(self.means, self.whiten, strict=True)]),
            "gain": np.array([self.gain]),
            "offset": np.array([self.offset]),
        }
        constants = [
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(shape, np.int64)))
            for name, shape in shapes.items()
        ]
        nodes = [
            helper.make_node("MatMul", ["features", "spreads"], ["spread"]),
            helper.make_node("Max", ["spread", "floor"], ["floored"]),
            helper.make_node("Log", ["floored"], ["logs"]),
            helper.make_node("Gemm", ["logs", "whiten", "centre"], ["white"]),
            helper.make_node("Reshape", ["white", "apart"], ["by_speed"]),
            helper.make_node("ReduceSumSquare", ["by_speed"], ["distances"], axes=[1], keepdims=0),
            helper.make_node("ReduceMin", ["distances"], ["least"], axes=[0], keepdims=1),
            helper.make_node("Log", ["least"], ["log_least"]),
            helper.make_node("Mul", ["log_least", "gain"], ["scaled"]),
            helper.make_node("Add", ["scaled", "offset"], ["shifted"]),
            helper.make_node("Sigmoid", ["shifted"], ["flat"]),
            helper.make_node("Reshape", ["flat", "one"], ["anomaly"]),
        ]
        return graph([*constants, *nodes], weights, len(self.spreads), "anomaly", 1)


def pick(names: tuple[str, ...]) -> Array:
    """The matrix that takes spreads out of feature vectors.

    A plain mean, minimum or maximum would give away how the sensor was taped on, which differs between the files. Differences do not.

    Args:
        names: ``std``, ``up`` (max - mean), ``down`` (mean - min); columns come name by name, axis by axis.
    """
    column = {stat: i for i, stat in enumerate(STATS)}
    terms = {"std": (("std", 1),), "up": (("max", 1), ("mean", -1)), "down": (("mean", 1), ("min", -1))}
    matrix = np.zeros((AXES * len(STATS), AXES * len(names)))
    for i, name in enumerate(names):
        for axis in range(AXES):
            for stat, sign in terms[name]:
                matrix[axis * len(STATS) + column[stat], i * AXES + axis] = sign
    return matrix


def load(folder: Path, plan: FeaturePlan, file: str) -> Array:
    """Feature vectors (recordings, 12) of a file: recordings are seconds that do not follow one another, so a gap parts them."""
    found = np.load(io.BytesIO(verified(folder / file, FILES[file])))["x"]
    count, rows, axes = found.shape
    stamps = (np.arange(count)[:, None] * 2_000_000_000 + np.arange(rows) * 5_000_000).reshape(-1)
    vectors = compute(plan, {"vibration": (stamps.astype(np.int64), np.ascontiguousarray(found.reshape(-1, axes), np.float32))})[1]
    if len(vectors) != count:
        raise SystemExit(f"{file}: {len(vectors)} windows from {count} recordings; one each is right")
    return vectors


def fit(by_speed: list[Array], spreads: Array) -> Normal:
    """Mean and covariance of each speed."""
    logs = [np.log(np.maximum(vectors.astype(np.float64) @ spreads, FLOOR)) for vectors in by_speed]
    whiten = [np.linalg.cholesky(np.linalg.inv(np.cov(x.T))) for x in logs]
    return Normal(spreads, np.stack([x.mean(0) for x in logs]), np.stack(whiten))


def calibrate(model: Normal, normal: Array) -> Normal:
    """Set the score so that the anchors hold on normal windows that the model was not fitted on."""
    (low, at_low), (high, at_high) = ((np.log(np.quantile(model.distance(normal), share)), np.log(p / (1 - p))) for share, p in ANCHORS)
    gain = (at_high - at_low) / (high - low)
    return msgspec.structs.replace(model, gain=float(gain), offset=float(at_low - gain * low))


def split(vectors: Array, seed: int) -> tuple[Array, Array, Array]:
    """For fitting, for the threshold, for testing."""
    order = np.random.default_rng(seed).permutation(len(vectors))
    fitting, setting, testing = np.split(order, [round(share * len(order)) for share in SHARES])
    return vectors[fitting], vectors[setting], vectors[testing]


def write_bundle(folder: Path, plan: FeaturePlan, models: dict[str, Normal], training: Array, golden: Array) -> Path:
    """The bundle, preferred variant first; golden outputs come from numpy in float64."""
    writer = BundleWriter(
        folder,
        VERSION,
        description="How unlike a normal fan at its known speeds the last second of vibration is; 0.8: more than 99 of 100 normal seconds",
        source=SOURCE,
        licence="Beerware",
        budget_ms=1,
    )
    writer.set_input("features", "mean, std, min and max of each axis over 200 samples; the graph uses std, max - mean and mean - min")
    writer.add_output("anomaly", ["anomaly"], "0 to 1; grows with the distance to the nearest normal speed")
    writer.set_features(plan.names, plan.units, training)
    for name, model in models.items():
        writer.add_variant(name, model.export(), model.score(golden)[:, None])
    return writer.write(golden, overwrite=True)


def make(folder: Path, data: Path) -> dict:
    """Fit, set the threshold, and only then look at the fault; write bundle and metrics into a folder."""
    plan = plan_of(HERE / "pipeline.toml")
    parts = {speed: split(load(data, plan, f"fan_0_{speed}_0_weight.npz"), SEED + i) for i, speed in enumerate(SPEEDS)}
    fitting, setting = [parts[speed][0] for speed in SPEEDS], np.concatenate([parts[speed][1] for speed in SPEEDS])
    models = {
        "shape": calibrate(fit(fitting, pick(("std", "up", "down"))), setting),
        "level": calibrate(fit(fitting, pick(("std",))), setting),
    }
    unseen = {}
    for left_out in SPEEDS:
        others = [parts[speed][0] for speed in SPEEDS if speed != left_out]
        set_on = np.concatenate([parts[speed][1] for speed in SPEEDS if speed != left_out])
        unseen[left_out] = calibrate(fit(others, pick(("std", "up", "down"))), set_on)
    testing = {speed: parts[speed][2] for speed in SPEEDS}
    faulty = {speed: load(data, plan, f"fan_0_{speed}_1_weight.npz") for speed in FAULTY}
    metrics = card.measure(models, unseen, fitting, testing, faulty)
    golden = np.concatenate([*(testing[speed][:8] for speed in SPEEDS), *(faulty[speed][:4] for speed in FAULTY)])
    home = write_bundle(folder, plan, models, np.concatenate(fitting), golden)
    (home / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    return metrics


def main() -> int:
    """Train and write, or train and compare."""
    parser = argparse.ArgumentParser(description="trains fan-anomaly")
    parser.add_argument("--data", type=Path, required=True, help="folder with the five files of FILES")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 unless the committed files come out again")
    given = parser.parse_args()
    with threadpool_limits(1), tempfile.TemporaryDirectory() as name:  # one thread: sums have one order
        folder = Path(name) / HERE.name
        text = card.text(make(folder if given.check else HERE, given.data))
        print(text)
        if given.check:
            return check_against(HERE, folder, VERSION, ("auc", "shape", "med"), 0.005)
    fill_in(HERE / "README.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
