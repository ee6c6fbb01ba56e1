"""The demo's ears: one MQTT subscription per kind of message. Runs in the demo's own thread, call by call."""

import contextlib
import functools
import time
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge.cli.demo.heard import Heard
from edge.config.types import RuntimeConfig
from edge.errors import TransportError
from edge.features.statistics import parse_stat
from edge.topics import TopicTemplate
from edge.units import duration_ns, format_duration

_CONNECT_S = 5.0


def topics_of(config: RuntimeConfig) -> list[tuple[str, TopicTemplate]]:
    """Kind and topic of everything that a pipeline publishes."""
    status = config.publish.status.topic or f"edge/{config.name}/status"
    topics = [("status", status), ("availability", f"edge/{config.name}/availability")]
    if config.publish.predictions is not None:
        topics.append(("prediction", config.publish.predictions.topic))
    topics += [("alert", rule.topic) for rule in config.rules if rule.emit == "alert" and rule.topic]
    topics += [("command", actuator.topic) for actuator in config.actuators.values()]
    return [(kind, TopicTemplate(topic)) for kind, topic in dict.fromkeys(topics)]


def feature_names(config: RuntimeConfig) -> tuple[str, ...]:
    """The names of the feature vector, in its order; by the documented rule, so that the view need not load the compiled kernels."""
    return tuple(
        f"{entry.stream}.{channel}.{part.text}.{_window(entry.window)}"
        for entry in config.features
        for channel in entry.channels
        for stat in entry.stats
        for part in parse_stat(stat)
    )


def _window(window: str | int | None) -> str:
    return format_duration(duration_ns(window)) if isinstance(window, str) else str(window)


class Listener:
    """Feeds what is published into ``Heard``.

    Args:
        heard: takes every message.
        topics: kind and topic template.
        started_s: time.monotonic of the demo's start.
    """

    def __init__(self, heard: Heard, topics: list[tuple[str, TopicTemplate]], started_s: float) -> None:
        self._heard = heard
        self._topics = topics
        self._started_s = started_s
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="edge-demo-view", protocol=mqtt.MQTTv311)
        for kind, topic in topics:
            self._client.message_callback_add(topic.subscription, functools.partial(self._take, kind, topic))

    def open(self, host: str, port: int) -> None:
        """Connects and subscribes.

        Raises:
            TransportError: the broker does not answer.
        """
        try:
            self._client.connect(host, port)
        except OSError as error:
            raise TransportError(f"the broker at {host}:{port} does not answer: {error}") from error
        until = time.monotonic() + _CONNECT_S
        while not self._client.is_connected() and time.monotonic() < until:
            self._client.loop(0.1)
        self._client.subscribe([(topic.subscription, 1) for _kind, topic in self._topics])

    def listen(self, until_s: float) -> None:
        """Takes messages in until ``until_s`` (time.monotonic).

        Raises:
            TransportError: the connection is lost.
        """
        while (left_s := until_s - time.monotonic()) > 0:
            code = self._client.loop(left_s)
            if code != mqtt.MQTT_ERR_SUCCESS:
                raise TransportError(f"the view lost its connection to the broker: {mqtt.error_string(code)}")

    def close(self) -> None:
        """Disconnects; never raises."""
        with contextlib.suppress(OSError, ValueError):
            self._client.disconnect()

    def _take(self, kind: str, topic: TopicTemplate, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self._heard.hear(kind, bytes(message.payload), time.monotonic() - self._started_s, topic.match(message.topic) or "")
