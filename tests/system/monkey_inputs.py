"""What the daemon of the monkey is fed with: a sensor over MQTT, and a receiver on a serial line."""

import contextlib
import json
import os
import random
import struct
import threading
import time
import tty

import msgpack
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

RATE_HZ, FLIP = 300, 30  # messages a second, of which every tenth makes a command and every thirtieth an alert


class Sensor:
    """Sends a square wave over MQTT, straight to the broker, and counts what it sent.

    Attributes:
        sent: messages on its topic that the pipeline must account for.
        pace: times its rate; 0: silent.
        skew_ns: added to its stamps.
    """

    def __init__(self, port: int) -> None:
        self.sent, self.pace, self.skew_ns = 0, 1.0, 0
        self._seq, self._lock, self._is_closed = 0, threading.Lock(), False
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type]
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def publish(self, payload: bytes, device: str = "a") -> None:
        """One message that counts."""
        with self._lock:
            if self.client.is_connected() and self.client.publish(f"d/{device}/s", payload).rc == paho.MQTT_ERR_SUCCESS:
                self.sent += 1

    def witness(self) -> None:
        """One message past the daemon, which tells how late the broker and its reader are."""
        if self.client.is_connected():
            self.client.publish("witness", str(time.time_ns()))

    def frame(self, x: float = 0.0, /, **other: object) -> bytes:
        fields = {"v": 1, "seq": self._seq, "t": time.time_ns() + self.skew_ns, "x": struct.pack("<f", x)} | other
        return bytes(msgpack.packb(fields))

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._is_closed:
            if self.pace:
                self.publish(self.frame(float(self._seq // FLIP % 2)))
                self._seq += 1
            due_s = max(due_s + 1 / (RATE_HZ * (self.pace or 1.0)), time.monotonic() - 0.2)
            if (ahead_s := due_s - time.monotonic()) > 0:
                time.sleep(ahead_s)

    def odd(self, rng: random.Random) -> None:
        """One message that no device should send, or send twice."""
        now_ns = time.time_ns()
        good = self.frame(0.0)
        odd = [
            rng.randbytes(rng.randrange(200)),
            good[: rng.randrange(len(good))],
            b"{" + b"x" * rng.randrange(4000, 9000),  # some within max_bytes, some beyond
            self.frame(float("nan")),
            self.frame(1e9),
            self.frame(0.0, t=now_ns - rng.randrange(3_600_000_000_000)),
            self.frame(0.0, t=now_ns + 3_600_000_000_000),
            self.frame(0.0, seq=max(0, self._seq - rng.randrange(50))),
            self.frame(0.0, x=struct.pack("<3f", 1.0, 2.0, 3.0)),
            self.frame(0.0, v=2),
            json.dumps({"x": 1.0, "seq": self._seq}).encode(),
            b"",
        ]
        self.publish(rng.choice(odd), rng.choice(["a"] * 9 + ["b", "c", "ü", "x" * 200, "$", *map(str, range(9))]))

    def close(self) -> None:
        self._is_closed = True
        self._thread.join(5)
        self.client.disconnect()
        self.client.loop_stop()


class Gps:
    """A receiver on a pseudo-terminal that says ten times a second where it is. What the line does not take is not sent again."""

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        for end in (self._master, slave):
            tty.setraw(end)
        os.set_blocking(self._master, False)
        self.path, self._slave, self.sent, self._is_closed = os.ttyname(slave), slave, 0, False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_closed:
            said = f"GPGGA,{time.strftime('%H%M%S', time.gmtime())}.00,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,"
            check = 0
            for one in said.encode():
                check ^= one
            with contextlib.suppress(BlockingIOError):
                os.write(self._master, f"${said}*{check:02X}\r\n".encode())
                self.sent += 1
            time.sleep(0.1)

    def close(self) -> None:
        self._is_closed = True
        self._thread.join(5)
        os.close(self._slave)
        os.close(self._master)
