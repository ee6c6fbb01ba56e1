"""The peers of the benchmark: who they are, how one is started, and a check that those that compute do the same work."""

import contextlib
import queue
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import paho.mqtt.client as mqtt

from roundtrip import rig

NAMES = {
    "echo": "floor: echo in C",
    "script": "script: paho, numpy, onnxruntime",
    "script-nodelay": "script with TCP_NODELAY",
    "edge": "edge run",
}
CHANNELS = 8
FRAMES = 600  # of the check: more than two windows
SUBSCRIBED_S = 2.0  # nothing tells from outside that a peer has subscribed; READY=1 does not wait for a broker


@contextlib.contextmanager
def start(name: str, port: int, folder: Path, bundle: Path, pipeline: str) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """Start a peer; gives its process and, for edge, the seconds from start to READY.

    Args:
        name: key of NAMES.
        port: of the broker.
        folder: for files of this run.
        bundle: folder of the bundle's version.
        pipeline: name of edge's pipeline file beside this module.
    """
    log = folder / f"{name}.log"
    if name == "edge":
        text = (rig.HERE / pipeline).read_text()
        text = text.replace("mqtt://127.0.0.1:1883", f"mqtt://127.0.0.1:{port}").replace('"roundtrip-mlp"', f'"{bundle.parent}"')
        (folder / pipeline).write_text(text)
        with rig.notified([sys.executable, "-m", "edge", "run", str(folder / pipeline)], folder, log) as (child, ready_s):
            yield child, ready_s
        return
    topics = [str(port), rig.TOPIC_IN, rig.TOPIC_OUT]
    options = ["--nodelay"] if name == "script-nodelay" else []
    script = [sys.executable, str(rig.HERE / "script.py"), *options, *topics, str(bundle / "model.onnx")]
    with rig.process([str(rig.BIN / "echo"), *topics] if name == "echo" else script, log) as child:
        yield child, 0.0


def answers(port: int, frames: int, rows: int) -> dict[int, list[float]]:
    """Send seeded frames to a peer and collect its scores by seq.

    Raises:
        SystemExit: the last frame is not answered in time.
    """
    arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_connect = lambda *_: client.subscribe(rig.TOPIC_OUT)
    subscribed: queue.SimpleQueue[bool] = queue.SimpleQueue()
    client.on_subscribe = lambda *_: subscribed.put(True)
    client.on_message = lambda _client, _userdata, message: arrived.put(message.payload)
    client.connect("127.0.0.1", port)
    client.loop_start()
    subscribed.get(timeout=rig.WAIT_S)
    random = np.random.default_rng(7)
    scores: dict[int, list[float]] = {}
    for seq in range(frames):
        x = random.normal(9.81, 0.7, (rows, CHANNELS)).astype("<f4").tobytes()
        client.publish(rig.TOPIC_IN, msgpack.packb({"v": 1, "seq": seq, "t": (seq * rows + 1) * 100_000, "dt": 100_000, "x": x}))
        time.sleep(0.001)
    try:
        while frames - 1 not in scores:
            answer: dict[str, Any] = msgpack.unpackb(arrived.get(timeout=rig.WAIT_S))
            scores[answer["seq"]] = list(answer["scores"].values())
    except queue.Empty:
        raise SystemExit(f"frame {frames - 1} is not answered; last: {max(scores, default=None)}") from None
    finally:
        client.loop_stop()
        client.disconnect()
    return scores


def largest_difference(folder: Path, bundle: Path, names: list[str], pipeline: str, rows: int) -> float:
    """How far the scores of two peers on the same frames are apart at most.

    Raises:
        SystemExit: they do not answer the same frames.
    """
    found = []
    for name in names:
        with rig.broker(folder) as port, start(name, port, folder, bundle, pipeline):
            time.sleep(SUBSCRIBED_S)
            found.append(answers(port, FRAMES, rows))
    first, *others = found
    for other in others:
        if first.keys() != other.keys():
            raise SystemExit(f"{names} answer different frames: {sorted(first.keys() ^ other.keys())[:5]}")
    return max((abs(a - b) for other in others for seq in first for a, b in zip(first[seq], other[seq], strict=True)), default=0.0)
