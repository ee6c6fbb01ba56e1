"""Trains the small models of this folder and exports each with its toolkit's own converter; see README.md for what it needs.

``NAME.onnx`` is what the converter wrote, untouched. ``NAME.npz`` holds ``samples`` and ``expected``: what the trained model itself says
of them, computed by the toolkit and not by onnxruntime.
"""

import argparse
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
FEATURES, ROWS, LENGTH, CHANNELS = 4, 24, 32, 3


def table(classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around one centre a class, and the classes."""
    random = np.random.default_rng(11)
    y = np.arange(150) % classes
    x = random.normal(0, 0.8, (150, FEATURES)) + np.array([[0, 0, 9.8, 1], [1, -1, 8, 2], [-2, 2, 11, 0]])[y]
    return x.astype(np.float32), y


def save(name: str, model: bytes, samples: np.ndarray, expected: np.ndarray) -> None:
    """One fixture."""
    (HERE / f"{name}.onnx").write_bytes(model)
    np.savez_compressed(HERE / f"{name}.npz", samples=samples.astype(np.float32), expected=np.asarray(expected, np.float32))
    sys.stdout.write(f"{name}: {len(model)} bytes, samples {samples.shape}, expected {np.shape(expected)}\n")


def sklearn_models() -> None:
    """scikit-learn through skl2onnx, with its default ZipMap."""
    from skl2onnx import to_onnx
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingClassifier, IsolationForest, RandomForestClassifier, RandomForestRegressor
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler
    from sklearn.svm import SVC, OneClassSVM

    x, y = table()
    names = np.array(["rest", "turn", "stop"])
    classifiers = {
        "sklearn_forest": (RandomForestClassifier(6, max_depth=4, random_state=0), y),
        "sklearn_boosting": (GradientBoostingClassifier(n_estimators=5, max_depth=2, random_state=0), names[y]),
        "sklearn_svc": (SVC(probability=True, random_state=0, C=0.5), y),
        "sklearn_scaled_mlp": (make_pipeline(StandardScaler(), MLPClassifier((12,), max_iter=400, random_state=0)), names[y]),
        "sklearn_logistic": (LogisticRegression(max_iter=500), y == 1),
    }
    for name, (model, target) in classifiers.items():
        fitted = model.fit(x.astype(np.float64), target)
        onnx = to_onnx(fitted, x[:1], target_opset={"": 17, "ai.onnx.ml": 3})
        save(name, onnx.SerializeToString(), x[:ROWS], fitted.predict_proba(x[:ROWS]))
    for name, detector in {
        "sklearn_one_class": OneClassSVM(nu=0.1, gamma=0.1),
        "sklearn_isolation": IsolationForest(n_estimators=4, max_samples=16, random_state=0),
    }.items():
        fitted = detector.fit(x.astype(np.float64))
        onnx = to_onnx(fitted, x[:1], target_opset={"": 17, "ai.onnx.ml": 3})
        save(name, onnx.SerializeToString(), x[:ROWS], fitted.decision_function(x[:ROWS]).reshape(-1, 1))
    regressor = RandomForestRegressor(5, max_depth=4, random_state=0).fit(x.astype(np.float64), x[:, 0] * 2 + x[:, 2])
    onnx = to_onnx(regressor, x[:1], target_opset={"": 17, "ai.onnx.ml": 3})
    save("sklearn_regressor", onnx.SerializeToString(), x[:ROWS], regressor.predict(x[:ROWS]).reshape(-1, 1))
    _columns(x, y, make_pipeline, ColumnTransformer, StandardScaler, MinMaxScaler, LogisticRegression)


def _columns(x, y, make_pipeline, column_transformer, standard, min_max, logistic) -> None:
    """A model of a data frame: one input a column, as skl2onnx asks for when columns are taken by name."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    columns = ("ax", "ay", "az", "t")
    scale = column_transformer([("a", standard(), [0, 1]), ("b", min_max(), [2, 3])])
    fitted = make_pipeline(scale, logistic(max_iter=500)).fit(x.astype(np.float64), y)
    takes = [(name, FloatTensorType([None, 1])) for name in columns]
    onnx = convert_sklearn(fitted, initial_types=takes, target_opset={"": 17, "ai.onnx.ml": 3})
    save("sklearn_columns", onnx.SerializeToString(), x[:ROWS], fitted.predict_proba(x[:ROWS]))


def boosted_models() -> None:
    """XGBoost and LightGBM through onnxmltools."""
    from lightgbm import LGBMClassifier
    from onnxmltools import convert_lightgbm, convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType
    from xgboost import XGBClassifier, XGBRegressor

    x, y = table()
    takes = [("input", FloatTensorType([None, FEATURES]))]
    boosted = XGBClassifier(n_estimators=4, max_depth=3, random_state=0).fit(x, y)
    save("xgboost_classifier", convert_xgboost(boosted, initial_types=takes).SerializeToString(), x[:ROWS], boosted.predict_proba(x[:ROWS]))
    regressor = XGBRegressor(n_estimators=4, max_depth=3, random_state=0).fit(x, x[:, 0] + x[:, 1])
    save(
        "xgboost_regressor",
        convert_xgboost(regressor, initial_types=takes).SerializeToString(),
        x[:ROWS],
        regressor.predict(x[:ROWS]).reshape(-1, 1),
    )
    leaves = LGBMClassifier(n_estimators=4, num_leaves=5, min_child_samples=5, random_state=0, verbose=-1).fit(x, y)
    save("lightgbm_classifier", convert_lightgbm(leaves, initial_types=takes).SerializeToString(), x[:ROWS], leaves.predict_proba(x[:ROWS]))


def windows() -> tuple[np.ndarray, np.ndarray]:
    """Raw windows (n, channels, length) of two kinds of shaking."""
    random = np.random.default_rng(12)
    y = np.arange(96) % 2
    t = np.arange(LENGTH)
    waves = np.sin(2 * np.pi * np.where(y == 1, 0.2, 0.05)[:, None, None] * t + random.uniform(0, 6.28, (96, CHANNELS, 1)))
    return (waves + random.normal(0, 0.3, waves.shape)).astype(np.float32), y


def torch_models() -> None:
    """PyTorch through torch.onnx: the TorchScript exporter for the CNN and the GRU, the newer one (with external data) for an MLP."""
    import io

    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = windows()

    cnn = nn.Sequential(
        nn.Conv1d(CHANNELS, 6, 5, stride=2), nn.BatchNorm1d(6), nn.ReLU(), nn.Conv1d(6, 8, 5, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2), nn.Softmax(1),
    )  # fmt: skip
    _fit(torch, cnn, x, y)
    file = io.BytesIO()
    names = {
        "input_names": ["window"],
        "output_names": ["probabilities"],
        "dynamic_axes": {"window": {0: "batch"}, "probabilities": {0: "batch"}},
    }
    torch.onnx.export(cnn, (torch.zeros(1, CHANNELS, LENGTH),), file, dynamo=False, opset_version=17, **names)
    with torch.no_grad():
        save("torch_cnn", file.getvalue(), x[:ROWS], cnn(torch.from_numpy(x[:ROWS])).numpy())
    _gru(torch, nn, x)
    _external(torch, nn)


def _fit(torch, model, x, y) -> None:
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.nll_loss(torch.log(model(torch.from_numpy(x)) + 1e-9), torch.from_numpy(y)).backward()
        optimiser.step()
    model.eval()


def _gru(torch, nn, x) -> None:
    """One sample a call, the hidden state in and out."""
    import io

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(CHANNELS, 8, batch_first=True)
            self.head = nn.Linear(8, 1)

        def forward(self, sample, h):
            out, hn = self.gru(sample, h)
            return torch.sigmoid(self.head(out[:, -1])), hn

    model = Step().eval()
    file = io.BytesIO()
    sample, h = torch.zeros(1, 1, CHANNELS), torch.zeros(1, 1, 8)
    axes = {"sample": {0: "batch"}, "h": {1: "batch"}, "score": {0: "batch"}, "hn": {1: "batch"}}
    torch.onnx.export(
        model,
        (sample, h),
        file,
        dynamo=False,
        opset_version=17,
        input_names=["sample", "h"],
        output_names=["score", "hn"],
        dynamic_axes=axes,
    )
    sequence, scores = x[0].T.reshape(LENGTH, 1, CHANNELS), []
    with torch.no_grad():
        for row in sequence:
            score, h = model(torch.from_numpy(row.reshape(1, 1, CHANNELS)), h)
            scores.append(score.numpy()[0])
    save("torch_gru", file.getvalue(), sequence.reshape(LENGTH, CHANNELS), np.array(scores))


def _external(torch, nn) -> None:
    """The newer exporter keeps the weights in a second file."""
    x, y = table()
    model = nn.Sequential(nn.Linear(FEATURES, 96), nn.ReLU(), nn.Linear(96, 3), nn.Softmax(1))
    _fit(torch, model, x, y)
    path = HERE / "torch_external.onnx"
    shapes = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(model, (torch.zeros(2, FEATURES),), path, dynamo=True, external_data=True, dynamic_shapes=shapes, verbose=False)
    _forget(path)  # its remarks are lines of the source files of PyTorch, with their paths
    with torch.no_grad():
        save("torch_external", path.read_bytes(), x[:ROWS], model(torch.from_numpy(x[:ROWS])).numpy())


def _forget(path: Path) -> None:
    import onnx

    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        for remark in [entry for entry in node.metadata_props if "/" in entry.value]:
            node.metadata_props.remove(remark)
    path.write_bytes(model.SerializeToString())


def keras_models() -> None:
    """Keras through tf2onnx: channels last, as TensorFlow has them. Samples are (n, length, channels)."""
    import tensorflow as tf
    import tf2onnx

    tf.keras.utils.set_random_seed(0)
    x, y = windows()
    x = x.transpose(0, 2, 1)
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Input((LENGTH, CHANNELS)), layers.Conv1D(6, 5, strides=2, activation="relu"),
            layers.Conv1D(8, 5, strides=2, activation="relu"), layers.GlobalAveragePooling1D(), layers.Dense(2, activation="softmax"),
        ]
    )  # fmt: skip
    model.compile(optimizer=tf.keras.optimizers.Adam(0.02), loss="sparse_categorical_crossentropy")
    model.fit(x, y, epochs=20, verbose=0)
    signature = [tf.TensorSpec((None, LENGTH, CHANNELS), tf.float32, name="window")]
    onnx, _ = tf2onnx.convert.from_function(tf.function(model, input_signature=signature), signature, opset=17)
    save("keras_cnn", onnx.SerializeToString(), x[:ROWS], model.predict(x[:ROWS], verbose=0))


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    makers: dict[str, Callable[[], None]] = {
        "sklearn": sklearn_models,
        "boosted": boosted_models,
        "torch": torch_models,
        "keras": keras_models,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="*", default=list(makers))
    for which in parser.parse_args().which:
        makers[which]()
