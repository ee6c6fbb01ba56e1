"""Where a topic leads: its stream, its device, and the device's lane once it has one."""

from collections.abc import Sequence

import msgspec

from edge.pipeline.intake import Intake


class Route(msgspec.Struct):
    """The way of a message.

    Args:
        topic: of the message.
        intake, device: the stream that takes it, and whose it is.
        lane: of the device; -1: nothing usable came from this topic yet.
    """

    topic: str
    intake: Intake
    device: str
    lane: int = -1


class Routes:
    """The topics of devices that have a lane. Others are matched again each time: anyone may send to any number of topics.

    Args:
        intakes: the streams.
        lanes: number of devices.
    """

    def __init__(self, intakes: Sequence[Intake], lanes: int) -> None:
        self._intakes = intakes
        self._kept: dict[str, Route] = {}
        self._topics: list[list[str]] = [[] for _ in range(lanes)]

    def find(self, topic: str) -> Route | None:
        """The route of a topic, or None when no stream has it."""
        route = self._kept.get(topic)
        if route is None:
            matches = ((intake, intake.topic.match(topic)) for intake in self._intakes)
            return next((Route(topic, intake, device) for intake, device in matches if device is not None), None)
        return route

    def keep(self, route: Route) -> None:
        """The route's device has a lane."""
        self._kept[route.topic] = route
        self._topics[route.lane].append(route.topic)

    def forget(self, lane: int) -> None:
        """A device gives up its lane."""
        for topic in self._topics[lane]:
            del self._kept[topic]
        self._topics[lane].clear()
