"""The link of `edge models send` and `receive`, and the messages that both sides read. Owns one connection and what waits to leave."""

import contextlib
import re
import secrets
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import typer
from msgspec import Meta

from edge.config.check_broker import check_broker
from edge.config.findings import Findings
from edge.config.types import Broker
from edge.errors import BundleError
from edge.messages import Outgoing, RawMessage
from edge.store.registry.upload import Offer
from edge.transport.dial import Address
from edge.transport.link import Handlers, Settings
from edge.transport.mqtt import MqttTransport

MAX_PACKET = (1 << 20) + 65_536  # the largest piece, and its topic
MOST_TTL_MS = 3_600_000
AHEAD_NS = 60_000_000_000  # by which the sender's clock may be ahead of ours
_POLL_S = 0.05
_MOST_WAITING = 4096
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")


IssuedNs = Annotated[int, Meta(ge=0, le=1 << 62)]
TtlMs = Annotated[int, Meta(ge=1, le=MOST_TTL_MS)]


class Dated(msgspec.Struct, frozen=True, kw_only=True):
    """When something was asked.

    Args:
        issued_ns: the sender's wall clock, ns since 1970.
        ttl_ms: for how long it may be obeyed.
    """

    issued_ns: IssuedNs
    ttl_ms: TtlMs


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an install goes.

    Args:
        id: of the offer.
        state: ``want``: send these pieces; ``proving``: all is here; ``installed``; ``refused``.
        pieces: numbers.
        have: pieces that are kept.
        version: that was installed.
        error: why it was refused.
    """

    id: str
    state: str
    pieces: list[int] = []
    have: int = 0
    version: str = ""
    error: str = ""


class DatedOffer(Offer, frozen=True, kw_only=True):
    """An offer as it is sent; see Dated."""

    issued_ns: IssuedNs
    ttl_ms: TtlMs


def check_age(dated: Dated | DatedOffer) -> None:
    """Refuse what is too old, or from the future.

    Raises:
        BundleError: it is.
    """
    age_ns = time.time_ns() - dated.issued_ns
    if not -AHEAD_NS <= age_ns <= dated.ttl_ms * 1_000_000:
        raise BundleError(
            f"was issued {age_ns / 1e9:.1f} s ago and was good for {dated.ttl_ms / 1e3:g} s; send a new one, check the clocks"
        )


def now_dated(ttl_ms: int) -> Dated:
    """Of something that is asked now."""
    return Dated(issued_ns=time.time_ns(), ttl_ms=ttl_ms)


def topics(name: str) -> dict[str, str]:
    """Where things are sent: ``offer``, ``piece`` and ``reply`` (with the id in the place of ``+``), ``control``, ``answer``.

    Raises:
        typer.BadParameter: the name cannot be a level of a topic.
    """
    if not _NAME.fullmatch(name):
        raise typer.BadParameter(f"{name!r} is not a name; letters, digits and _.+- are right", param_hint="--name")
    base = f"edge/{name}/models"
    return {
        "offer": f"{base}/install/offer",
        "piece": f"{base}/install/piece/+",
        "reply": f"{base}/install/reply/+",
        "control": f"{base}/control",
        "answer": f"{base}/answer/+",
    }


def link_of(url: str, *, insecure: bool) -> Settings:
    """The settings for a broker's URL.

    Raises:
        typer.BadParameter: not a broker's URL, or plaintext to another machine.
    """
    found = Findings()
    check_broker(Broker(url=url, insecure=insecure), found)
    if found.problems:
        raise typer.BadParameter(f"{url!r}: {found.problems[0].reason}", param_hint="--url")
    parts = urlsplit(url)
    is_tls = parts.scheme == "mqtts"
    address = Address(parts.hostname or "", parts.port or (8883 if is_tls else 1883), is_tls)
    return Settings(address, f"edge-models-{secrets.token_hex(4)}", max_packet=MAX_PACKET, retry_max_s=2.0)


class Post:
    """One connection that comes back by itself; what is sent waits for it, up to a bound.

    Args:
        settings: of the link.
        filters: what to subscribe to.
        take: told of every message.
    """

    def __init__(self, settings: Settings, filters: Sequence[str], take: Callable[[RawMessage], None]) -> None:
        self.is_stopping = False
        self._waiting: deque[Outgoing] = deque(maxlen=_MOST_WAITING)
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ, lambda _mask: self._wake_out.recv(4096))
        self.transport = MqttTransport(settings, [(name, 1) for name in filters], Handlers(on_message=take), self._selector, self.wake)

    def send(self, topic: str, payload: bytes) -> None:
        """Send as soon as the link takes it, once; who needs an answer asks again."""
        self._waiting.append(Outgoing("status", topic, payload))

    @property
    def waiting(self) -> int:
        """Messages that did not leave yet."""
        return len(self._waiting)

    def turn(self) -> None:
        """Move everything along; takes at most 50 ms."""
        self.transport.poll(time.monotonic_ns())
        for key, mask in self._selector.select(_POLL_S):
            key.data(mask)
        while self._waiting and self.transport.send(self._waiting[0]):
            self._waiting.popleft()
            self.transport.flush()
        self.transport.flush()

    def wake(self) -> None:
        """End a wait; from any thread."""
        with contextlib.suppress(OSError):  # full: the loop wakes anyway; closed: nobody is left to wake
            self._wake_in.send(b"\0")

    def stop(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Ask the loop to end; may be a signal handler."""
        self.is_stopping = True
        self.wake()

    @contextlib.contextmanager
    def open(self) -> Iterator["Post"]:
        """Until the end: SIGINT and SIGTERM stop the loop. Leaves the broker afterwards."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self.stop) for number in numbers]
        try:
            yield self
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
            self.transport.close()
            self._selector.close()
            self._wake_in.close()
            self._wake_out.close()
