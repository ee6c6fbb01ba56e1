"""What a link to a broker is told, and what it tells."""

from collections.abc import Callable

import msgspec

from edge.messages import RawMessage
from edge.transport.dial import Address


class Settings(msgspec.Struct, frozen=True):
    """How to reach a broker and who we are there.

    Args:
        address: host, port, TLS.
        client_id: MQTT client id.
        username, password: or None.
        keepalive_s: a link silent for 1.5 times this is dead.
        retry_min_s, retry_max_s: first and longest wait before reconnecting.
        availability_topic: retained ``online``, ``stopped`` or (last will) ``offline``; "" for none.
        max_packet: largest packet accepted.
        wants_retained: what the broker keeps is asked for; otherwise not, where the broker speaks MQTT 5.
    """

    address: Address
    client_id: str
    username: str | None = None
    password: str | None = None
    keepalive_s: int = 30
    retry_min_s: float = 0.25
    retry_max_s: float = 10.0
    availability_topic: str = ""
    max_packet: int = 131_072
    wants_retained: bool = False


class Handlers(msgspec.Struct):
    """What the owner of a link wants to hear.

    Args:
        on_message: a message came.
        on_oversized: a message on this topic was larger than ``max_packet`` and was skipped.
        on_up: connected and subscribed.
        on_down: the link is gone; what was in flight is not acknowledged.
        on_acked: the broker took the message with this token.
        on_refused: the broker read the message with this token and will not have it, in words why (MQTT 5).
    """

    on_message: Callable[[RawMessage], None]
    on_oversized: Callable[[str], None] = lambda _topic: None
    on_up: Callable[[], None] = lambda: None
    on_down: Callable[[], None] = lambda: None
    on_acked: Callable[[int], None] = lambda _token: None
    on_refused: Callable[[int, str], None] = lambda _token, _why: None
