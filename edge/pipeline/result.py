"""What came of samples that were pushed from Python."""

from collections.abc import Sequence

import msgspec

from edge.messages import Alert, Command, Outgoing, Prediction


class Result(msgspec.Struct):
    """What a push led to, in order; each prediction carries its feature vector."""

    predictions: list[Prediction]
    alerts: list[Alert]
    commands: list[Command]


def result_of(predictions: list[Prediction], out: Sequence[Outgoing]) -> Result:
    """Sort what a push led to.

    Args:
        predictions: all that were made.
        out: what the pipeline sends.
    """
    messages = [outgoing.message for outgoing in out]
    return Result(
        predictions,
        [message for message in messages if isinstance(message, Alert)],
        [message for message in messages if isinstance(message, Command)],
    )
