"""A sensor in its own process: ``python -m tests.system.producer PORT RATE_HZ FLIP``; a square wave that flips every FLIP frames."""

import itertools
import struct
import sys
import time

import msgpack
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion


def main(port: int, rate_hz: float, flip: int) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    start, period_s = time.monotonic(), 1 / rate_hz
    for seq in itertools.count():
        x = float(seq // flip % 2)
        client.publish("d/a/s", msgpack.packb({"v": 1, "seq": seq, "t": time.time_ns(), "dt": 1_000_000, "x": struct.pack("<f", x)}))
        if (ahead_s := start + (seq + 1) * period_s - time.monotonic()) > 0:
            time.sleep(ahead_s)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
