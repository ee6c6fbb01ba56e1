"""What came of samples that were pushed from Python."""

from collections.abc import Sequence

import msgspec

from edge.clean.counts import Counts
from edge.messages import Alert, Command, Outgoing, Prediction


class Result(msgspec.Struct):
    """What a push led to, in order; each prediction carries its feature vector.

    Args:
        predictions, alerts, commands: all that were made.
        refused: samples of this stream that were not used, by reason: ``late``, ``duplicate``, or one of docs/wire.md.
    """

    predictions: list[Prediction]
    alerts: list[Alert]
    commands: list[Command]
    refused: dict[str, int] = {}


def refusals(counts: Counts) -> dict[str, int]:
    """How many samples of a stream were not used, by reason."""
    reasons = {str(reason): n for part in (counts.invalid, counts.dropped) for reason, n in part.items()}
    return {"late": counts.late, "duplicate": counts.duplicate} | reasons


def result_of(predictions: list[Prediction], out: Sequence[Outgoing], before: dict[str, int], after: dict[str, int]) -> Result:
    """Sort what a push led to.

    Args:
        predictions: all that were made.
        out: what the pipeline sends.
        before, after: ``refusals`` of the stream.
    """
    messages = [outgoing.message for outgoing in out]
    return Result(
        predictions,
        [message for message in messages if isinstance(message, Alert)],
        [message for message in messages if isinstance(message, Command)],
        {reason: more for reason, n in after.items() if (more := n - before.get(reason, 0))},
    )
