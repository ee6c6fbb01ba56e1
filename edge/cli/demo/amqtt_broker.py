"""The amqtt broker as a program: ``python -m edge.cli.demo.amqtt_broker PORT``. Prints the port when it listens.

It listens itself and hands MQTT 3.1.1 connections to amqtt. amqtt 0.12 speaks no MQTT 5, and only a bare MQTT 5 CONNECT gets
the refusal that the standard asks for: it reads the properties of one as if they were a 3.1.1 payload, so that a CONNECT with
a will, a user name or properties leaves it waiting for bytes that never come, and the client without an answer. Measured.
"""

import asyncio
import contextlib
import logging
import signal
import sys

from amqtt.adapters import ReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker

_LISTENER = "default"
_CONNECT_S = 10.0  # a peer that says nothing for this long is not a client
_MQTT_3_1_1 = 4
_REFUSE_VERSION = b"\x20\x02\x00\x01"  # CONNACK: unacceptable protocol version [MQTT-3.1.2-2]
_NAME_AND_LEVEL = 7  # bytes: length of "MQTT" (2), "MQTT", protocol level


class Rewound(ReaderAdapter):  # type: ignore[misc]  # amqtt has no types
    """A stream whose first bytes have been looked at already."""

    def __init__(self, seen: bytes, reader: asyncio.StreamReader) -> None:
        self._seen = seen
        self._reader = reader

    async def read(self, n: int = -1) -> bytes:
        """Exactly n bytes, or all until the end."""
        if n < 0:
            seen, self._seen = self._seen, b""
            return seen + await self._reader.read(-1)
        seen, self._seen = self._seen[:n], self._seen[n:]
        return seen if len(seen) == n else seen + await self._reader.readexactly(n - len(seen))

    def feed_eof(self) -> None:
        """Ends the stream."""
        self._reader.feed_eof()


async def _first_bytes(reader: asyncio.StreamReader) -> bytes:
    """The fixed header and the protocol name and level of the first packet."""
    seen = await reader.readexactly(2)
    while seen[-1] & 0x80 and len(seen) < 5:  # the remaining length goes on
        seen += await reader.readexactly(1)
    return seen + await reader.readexactly(_NAME_AND_LEVEL)


async def serve(port: int) -> None:
    """Serves on 127.0.0.1 until SIGTERM or the end of stdin.

    Args:
        port: TCP port, or 0 for a free one.
    """
    anonymous = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    broker = Broker({"listeners": {_LISTENER: {"type": "external"}}, "plugins": anonymous})
    await broker.start()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            seen = await asyncio.wait_for(_first_bytes(reader), _CONNECT_S)
            if seen[-_NAME_AND_LEVEL:-1] == b"\x00\x04MQTT" and seen[-1] == _MQTT_3_1_1:
                await broker.external_connected(Rewound(seen, reader), StreamWriterAdapter(writer), _LISTENER)
                return
            writer.write(_REFUSE_VERSION)
            await writer.drain()
        writer.close()

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    loop.add_reader(sys.stdin.fileno(), stopped.set)  # the demo writes nothing: readable means that it is gone
    server = await asyncio.start_server(connected, "127.0.0.1", port)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await stopped.wait()
    server.close()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)  # it logs a client that leaves as an error
    asyncio.run(serve(int(sys.argv[1])))
