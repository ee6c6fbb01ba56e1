"""Trains the model of `motor-guard` on the firmware's own plant, and writes its bundle. Needs gcc and the development packages.

    .venv/bin/python firmware_bridge/hil/scenarios/motor-guard/train.py

`plant.c` is compiled for this machine and driven at many speeds, loads and imbalances; nothing is random but the plant's own noise, so
that the bundle comes out the same again. What counts as unbalanced is an imbalance of 300 or more, at 900 rpm or more: below, nothing
shakes enough to tell. The model is a logistic regression on vibration, speed and their squares: a healthy motor's vibration follows the
square of its speed.
"""

import ctypes
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.config.load import load
from edge.config.plan import feature_plan
from edge.features.offline import compute
from edge.features.plan import FeaturePlan
from edge.inference.writer import BundleWriter

HERE = Path(__file__).resolve().parent
FIRMWARE = HERE.parents[2] / "firmware"
SECONDS = 4
DRIVES, LOADS = (0, 300, 500, 700, 800, 1000), (0, 200, 500)
HEALTHY, UNBALANCED = (0, 25, 50, 100), (300, 400, 600, 800, 1200)
SLOWEST_RPM = 900
MIDDLE = np.array([0.5, 1500.0], np.float32)  # of vibration in g, and of speed in rpm
SPAN = np.array([0.5, 1000.0], np.float32)


class Input(ctypes.Structure):
    """`struct plant_input`."""

    _fields_ = [(name, ctypes.c_int32) for name in ("drive", "brake", "load", "imbalance", "runaway")]


class Plant(ctypes.Structure):
    """`struct plant`."""

    _fields_ = [
        ("speed", ctypes.c_int64), ("heat", ctypes.c_int64), ("phase", ctypes.c_uint32), ("noise", ctypes.c_uint32),
        *((name, ctypes.c_int32) for name in ("speed_rpm", "celsius", "vibration", "current")),
    ]  # fmt: skip


def record(library: ctypes.CDLL, drive: int, load: int, imbalance: int) -> np.ndarray:
    """Rows (N, 5) float32 of the stream `motor`, a thousand a second."""
    plant, given = Plant(), Input(drive, int(drive == 0), load, imbalance, 0)
    library.plant_start(ctypes.byref(plant), 1 + drive + load + imbalance)
    rows = np.empty((SECONDS * 1000, 5), np.float32)
    for i in range(len(rows)):
        library.plant_step(ctypes.byref(plant), ctypes.byref(given))
        rows[i] = (plant.speed_rpm / 1000, plant.vibration / 1000, plant.celsius / 1000, plant.current / 1000, i // 250 % 2)
    return rows


def recordings() -> tuple[np.ndarray, np.ndarray, FeaturePlan]:
    """Feature vectors (N, features), whether each is of an unbalanced motor, and the plan that they come from."""
    plan = feature_plan(load(HERE / "pipeline.toml", with_model=False))
    vectors, labels = [], []
    with tempfile.TemporaryDirectory() as folder:
        shared = Path(folder) / "plant.so"
        words = ["gcc", "-O2", "-shared", "-fPIC", f"-I{FIRMWARE}", str(FIRMWARE / "plant.c"), "-o", str(shared)]
        subprocess.run(words, check=True, timeout=60)  # noqa: S603 - fixed words
        library = ctypes.CDLL(str(shared))
        for drive in DRIVES:
            for load_ in LOADS:
                for imbalance in HEALTHY + UNBALANCED:
                    rows = record(library, drive, load_, imbalance)
                    stamps = np.arange(len(rows), dtype=np.int64) * 1_000_000
                    x = compute(plan, {"motor": (stamps, rows)})[1][5::5].astype(np.float64)
                    speed = x[:, plan.names.index("motor.speed.mean.20")]
                    is_clear = (imbalance in HEALTHY) | (speed > SLOWEST_RPM) | (speed < SLOWEST_RPM / 3)
                    vectors.append(x[is_clear])
                    labels.append((imbalance in UNBALANCED) & (speed[is_clear] > SLOWEST_RPM))
    return np.concatenate(vectors), np.concatenate(labels), plan


def main() -> None:
    """Train, prove, write."""
    x, y, plan = recordings()
    columns = [plan.names.index(name) for name in ("motor.vibration.rms.100", "motor.speed.mean.20")]
    scaled = (x[:, columns] - MIDDLE) / SPAN
    z = np.concatenate([scaled, scaled * scaled], 1)
    weights, bias = np.zeros(4), 0.0
    for _ in range(20_000):
        wrong = 1 / (1 + np.exp(-(z @ weights + bias))) - y
        weights, bias = weights - 1.0 * (z.T @ wrong / len(y) + 1e-6 * weights), bias - 1.0 * wrong.mean()
    p = 1 / (1 + np.exp(-(z @ weights + bias)))
    alarms, missed = int((p[~y] > 0.8).sum()), int((p[y] < 0.8).sum())
    print(f"{len(y)} vectors, {y.mean():.0%} unbalanced; over 0.8 though balanced: {alarms}; under it though not: {missed}")  # noqa: T201

    both = np.stack([np.zeros(4), weights], 1).astype(np.float32)
    picked = {"columns": np.array(columns, np.int64), "middle": MIDDLE, "span": SPAN, "w": both, "b": np.array([0, bias], np.float32)}
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["features", "columns"], ["picked"], axis=1),
            helper.make_node("Sub", ["picked", "middle"], ["moved"]),
            helper.make_node("Div", ["moved", "span"], ["scaled"]),
            helper.make_node("Mul", ["scaled", "scaled"], ["squares"]),
            helper.make_node("Concat", ["scaled", "squares"], ["all"], axis=1),
            helper.make_node("Gemm", ["all", "w", "b"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["scores"]),
        ],
        "motor_guard",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, len(plan.names)])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in picked.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    rows = np.linspace(0, len(x) - 1, 16).astype(int)
    bundle = BundleWriter(
        HERE, "1.0.0", description="Is the rotor of the bench's motor unbalanced?", source="firmware/plant.c, simulated by train.py",
        licence="Apache-2.0", budget_ms=2.0,
    )  # fmt: skip
    bundle.set_features(plan.names, plan.units, training=x)
    bundle.set_input("features", "vibration over 100 ms, speed over 20 ms, the probe")
    bundle.add_output("scores", ["balanced", "unbalanced"], "probability of each state")
    bundle.add_variant("full", model.SerializeToString(), expected=np.stack([1 - p, p], 1)[rows])
    print(bundle.write(x[rows], rtol=1e-3, atol=1e-4, overwrite=True))  # noqa: T201


if __name__ == "__main__":
    main()
