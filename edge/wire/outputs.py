"""Decisions to outgoing messages: topic, bytes, and what the sink must know about their life."""

from edge.messages import Alert, Command, Outgoing, Prediction
from edge.topics import TopicTemplate
from edge.wire.outgoing import Encoder


class Outputs:
    """Encoder what a pipeline decided.

    Args:
        encoder: for alerts and commands.
        prediction_encoder: for predictions.
        predictions: topic of predictions, or None when they are not published.
        every: publish one of so many predictions per lane.
        with_features: predictions carry the feature vector.
        lanes: number of devices.
    """

    def __init__(
        self,
        encoder: Encoder,
        prediction_encoder: Encoder,
        predictions: TopicTemplate | None,
        every: int,
        *,
        with_features: bool,
        lanes: int,
    ) -> None:
        self.publishes_predictions = predictions is not None
        self.with_features = with_features
        self._encoder = encoder
        self._prediction_encoder = prediction_encoder
        self._predictions = predictions
        self._every = every
        self._since = [every - 1] * lanes
        self._topics: dict[str, str] = {}

    def wants_prediction(self, lane: int) -> bool:
        """Whether this prediction of the lane is one that is published."""
        if not self.publishes_predictions:
            return False
        since = self._since[lane] + 1
        self._since[lane] = 0 if since >= self._every else since
        return since >= self._every

    def prediction(self, prediction: Prediction) -> Outgoing:
        """A prediction for its device's topic."""
        topic = self._topics.get(prediction.device)
        if topic is None:
            assert self._predictions is not None  # noqa: S101 - wants_prediction said so
            topic = self._topics[prediction.device] = self._predictions.format(prediction.device)
        return Outgoing("prediction", topic, self._prediction_encoder.prediction(prediction), prediction)

    def alert(self, alert: Alert, age_ms: float, wall_offset_ns: int) -> Outgoing:
        """An alert for its rule's topic."""
        return Outgoing("alert", alert.topic, self._encoder.alert(alert, age_ms, wall_offset_ns), alert)

    def command(self, command: Command, age_ms: float, wall_offset_ns: int, not_after_ns: int) -> Outgoing:
        """A command for its actuator's topic, void after ``not_after_ns``."""
        payload = self._encoder.command(command, age_ms, wall_offset_ns)
        ttl_ns = command.expires_ns - command.issued_ns
        return Outgoing("command", command.topic, payload, command, min(not_after_ns, command.expires_ns), ttl_ns)

    def forget(self, lane: int, device: str) -> None:
        """The device gave up its lane."""
        self._topics.pop(device, None)
        self._since[lane] = self._every - 1
