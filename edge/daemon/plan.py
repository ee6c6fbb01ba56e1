"""What a daemon runs."""

from edge.pipeline.recipe import Pipeline
from edge.transport.link import Settings


class Plan:
    """What a daemon runs: the pipeline, how to reach the broker, and how often status is published.

    Args:
        pipeline: compiled and warm.
        settings: of the link.
        subscriptions: (topic filter, QoS).
        status_topic, status_every_s: where and how often counters are published.
        tick_ms: period of the reactor's ticks.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        settings: Settings,
        subscriptions: list[tuple[str, int]],
        status_topic: str,
        status_every_s: float,
        tick_ms: int,
    ) -> None:
        self.pipeline, self.settings, self.subscriptions = pipeline, settings, subscriptions
        self.status_topic, self.status_every_s, self.tick_ms = status_topic, status_every_s, tick_ms
