"""What a user would write in an afternoon: telemetry in, rolling features, a model, scores out.

It is honest code: right numbers, the libraries' own defaults, nothing slowed down on purpose. paho-mqtt leaves Nagle's algorithm on
(TCP_NODELAY off) by default, and so does this script; with ``--nodelay`` it sets the option, to show how much of its time is that.

usage: script.py [--nodelay] PORT TOPIC_IN TOPIC_OUT MODEL.onnx
"""

import socket
import sys
from collections import deque

import msgpack
import numpy as np
import onnxruntime
import paho.mqtt.client as mqtt

CHANNELS = 8
WINDOW = 256
LABELS = ("normal", "unusual")

arguments = [argument for argument in sys.argv[1:] if argument != "--nodelay"]
port, topic_in, topic_out, model = arguments
session = onnxruntime.InferenceSession(model)
window = deque(maxlen=WINDOW)


def on_connect(client, _userdata, _flags, _reason_code, _properties):
    client.subscribe(topic_in)


def on_message(client, _userdata, message):
    frame = msgpack.unpackb(message.payload)
    window.extend(np.frombuffer(frame["x"], "<f4").reshape(-1, CHANNELS))
    if len(window) < WINDOW:
        return
    samples = np.array(window)
    features = np.stack([samples.mean(axis=0), samples.std(axis=0), samples.min(axis=0), samples.max(axis=0)], axis=1)
    scores = session.run(None, {"features": features.reshape(1, -1)})[0][0]
    answer = {"seq": frame["seq"], "t": frame["t"], "scores": {label: float(score) for label, score in zip(LABELS, scores, strict=True)}}
    client.publish(topic_out, msgpack.packb(answer))


def on_socket_open(_client, _userdata, sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.on_connect = on_connect
client.on_message = on_message
if "--nodelay" in sys.argv:
    client.on_socket_open = on_socket_open
client.connect("127.0.0.1", int(port))
client.loop_forever()
