"""What the benchmarks of the models' life share: a daemon with a large model under 1,000 frames a second, a broker, a sensor."""

import contextlib
import json
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import onnx
import paho.mqtt.client as paho
from onnx import TensorProto, helper, numpy_helper
from paho.mqtt.enums import CallbackAPIVersion

from edge.inference.writer import BundleWriter

CHANNELS = 8
STATS = ("mean", "std", "min", "max", "p2p", "rms", "median", "crest")
LABELS = ("a", "b", "c", "d")
PIPELINE = """
name = "bench"
budget_ms = %g
tick_ms = 10

[streams.s]
topic = "b/{device}/s"
channels = { %s }
rate_hz = 1000

[[features]]
stream = "s"
channels = [%s]
window = 32
stats = [%s]

[model]
bundle = "large"
version = "active"

[model.rollback]
windows = 1000
probation_frames = %d

[publish.predictions]
topic = "b/{device}/pred"

[publish.status]
every_s = 0.2
"""


def pipeline(probation: int, budget_ms: float = 5.0) -> str:
    names = [f"c{i}" for i in range(CHANNELS)]
    channels = ", ".join(f'{name} = "g"' for name in names)
    return PIPELINE % (budget_ms, channels, ", ".join(f'"{n}"' for n in names), ", ".join(f'"{s}"' for s in STATS), probation)


def write_large(
    folder: Path, version: str, megabytes: float, plan_names: tuple[str, ...], units: tuple[str, ...], budget_ms: float = 5.0
) -> None:
    """A model whose weight is a table of which one row is read: large to load, quick to run."""
    features = len(plan_names)
    rng = np.random.default_rng(int(version.partition(".")[0]))
    rows = max(1, int(megabytes * 1e6 / 4 / 16))
    weights = (rng.normal(size=(features, len(LABELS))) / features).astype(np.float32)
    table = rng.normal(size=(rows, 16)).astype(np.float32)
    tensors = {
        "w": weights,
        "table": table,
        "rows": np.array(rows, np.int64),
        "down": np.zeros((16, len(LABELS)), np.float32),
    }
    nodes = [
        helper.make_node("ArgMax", ["features"], ["i"], axis=1, keepdims=0),
        helper.make_node("Mod", ["i", "rows"], ["row"]),
        helper.make_node("Gather", ["table", "row"], ["picked"]),
        helper.make_node("MatMul", ["picked", "down"], ["nothing"]),
        helper.make_node("MatMul", ["features", "w"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("Add", ["t", "nothing"], ["sum"]),
        helper.make_node("Softmax", ["sum"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, features])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, len(LABELS)])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    made = BundleWriter(folder / "large", version, description="large", source="random numbers", licence="CC0-1.0", budget_ms=budget_ms)
    made.set_input("features", "statistics")
    made.add_output("scores", LABELS, "nothing")
    made.set_features(plan_names, units)
    inputs = rng.normal(size=(16, features)).astype(np.float32)
    logits = np.tanh(inputs.astype(np.float64) @ weights)
    powers = np.exp(logits)
    made.add_variant("full", model.SerializeToString(), powers / powers.sum(1, keepdims=True))
    made.write(inputs, rtol=1e-3, atol=1e-4)


class Rig:
    """A broker, a daemon and a sensor.

    Args:
        folder: temporary.
        text: of the pipeline file.
        rate_hz: frames a second.
    """

    def __init__(self, folder: Path, text: str, rate_hz: int = 1000) -> None:
        self.folder, self.port, self.rate_hz = folder, _free_port(), rate_hz
        self.reports: list[dict[str, Any]] = []
        self.ages: list[float] = []
        self._stop = threading.Event()
        (folder / "bench.toml").write_text(text)
        (folder / "mosquitto.conf").write_text(f"user root\nset_tcp_nodelay true\nallow_anonymous true\nlistener {self.port} 127.0.0.1\n")
        mosquitto = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
        if mosquitto is None:
            raise SystemExit("mosquitto is not installed: apt-get install mosquitto")
        self._log = (folder / "edge.log").open("wb")
        self._broker = subprocess.Popen([mosquitto, "-c", folder / "mosquitto.conf"], stdout=self._log, stderr=self._log)
        time.sleep(0.5)
        command = [sys.executable, "-m", "edge", "run", str(folder / "bench.toml"), "--broker-url", f"mqtt://127.0.0.1:{self.port}"]
        self._edge = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.on_message = self._hear
        self.client.on_connect = lambda client, *_: client.subscribe([("edge/bench/status", 0), ("b/+/pred", 0)])
        self.client.connect("127.0.0.1", self.port)
        self.client.loop_start()
        self.until(lambda report: report["state"] == "running")
        self._sensor = threading.Thread(target=self._send)
        self._sensor.start()

    def status(self) -> dict[str, Any]:
        return self.reports[-1]

    def until(self, condition: Any, timeout_s: float = 120) -> dict[str, Any]:
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self.reports and condition(self.reports[-1]):
                return self.reports[-1]
            if self._edge.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"gave up waiting: {self.reports[-1:]}\n{(self.folder / 'edge.log').read_text()}")

    def close(self) -> None:
        self._stop.set()
        self._sensor.join()
        self.client.disconnect()
        self.client.loop_stop()
        for process in (self._edge, self._broker):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
        self._log.close()

    def _hear(self, _client: Any, _userdata: Any, message: Any) -> None:
        if message.topic.endswith("/status"):
            self.reports.append(json.loads(message.payload))
        elif message.topic.endswith("/pred"):  # t is when the sensor sent it
            self.ages.append((time.monotonic_ns() - json.loads(message.payload)["t"]) / 1e3)

    def _send(self) -> None:
        rng, seq, period = np.random.default_rng(3), 0, 1 / self.rate_hz
        rows = [struct.pack(f"<{CHANNELS}f", *row) for row in rng.normal(size=(256, CHANNELS))]
        due = time.monotonic()
        while not self._stop.is_set():
            payload = msgpack.packb({"v": 1, "seq": seq, "t": time.monotonic_ns(), "x": rows[seq % 256]})
            self.client.publish("b/d/s", payload)
            seq, due = seq + 1, due + period
            if (left := due - time.monotonic()) > 0:
                time.sleep(left)


def table(rows: dict[str, list[float]], unit: str, digits: int = 3) -> None:
    """Print what was measured, one row a name: rounds, median, best (the least) and worst."""
    print(f"{unit:32s} {'rounds':>6s} {'median':>10s} {'best':>10s} {'worst':>10s}")
    for name, values in rows.items():
        found = (statistics.median(values), min(values), max(values))
        print(f"{name:32s} {len(values):6d} " + " ".join(f"{value:10.{digits}f}" for value in found))


def features(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and units of the vector of a pipeline file."""
    from edge.config.load import loads
    from edge.config.plan import feature_plan

    plan = feature_plan(loads(text, Path(), with_model=False))
    return tuple(plan.names), tuple(plan.units)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
