"""paho on a socket that is already connected. Owns how a session is asked for: credentials, last will, subscriptions."""

from collections.abc import Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.transport.link import Settings
from edge.transport.packets import PacketSocket


class Client(paho.Client):
    """One session.

    Args:
        settings: of the link.
        sock: connected.
        is_v5: MQTT 5, or 3.1.1.
    """

    def __init__(self, settings: Settings, sock: PacketSocket, *, is_v5: bool) -> None:
        protocol = MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311
        super().__init__(CallbackAPIVersion.VERSION2, settings.client_id, protocol=protocol, reconnect_on_failure=False)
        self._ready_socket = sock
        self._speaks_v5 = is_v5
        self._wants_retained = settings.wants_retained
        if settings.username is not None:
            self.username_pw_set(settings.username, settings.password)
        if settings.availability_topic:
            self.will_set(settings.availability_topic, "offline", qos=1, retain=True)

    def subscribe_to(self, subscriptions: Sequence[tuple[str, int]]) -> None:
        """Subscribe to filters with their QoS. Retained copies are of unknown age; a 3.1.1 broker sends them, marked, asked or not."""
        topics: Any = list(subscriptions)
        if self._speaks_v5:
            handling = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE if self._wants_retained else SubscribeOptions.RETAIN_DO_NOT_SEND
            topics = [(topic, SubscribeOptions(qos, retainHandling=handling)) for topic, qos in subscriptions]
        self.subscribe(topics)

    def _create_socket(self) -> Any:
        return self._ready_socket
