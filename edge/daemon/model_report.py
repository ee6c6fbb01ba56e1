"""What is known of a model in full: every feature's histogram, calibration. Too much for each status, so it is sent now and then.

The broker keeps the last one (retained), so that who asks later has it at once.
"""

from collections.abc import Callable

import msgspec

from edge.messages import Outgoing
from edge.pipeline.recipe import Pipeline

EVERY = 60  # statuses
MOST_VALUES = 256  # features and scores: 66 of 10 bins take 0.7 to 0.9 ms of the loop


class ModelReport:
    """Sends the report of one pipeline.

    Args:
        pipeline: whose model it is.
        every: one report for so many statuses.
    """

    def __init__(self, pipeline: Pipeline, every: int = EVERY) -> None:
        self._pipeline, self._every = pipeline, every
        self._topic = f"edge/{pipeline.name}/models/report"
        self._left = 0

    def turn(self, send: Callable[[Outgoing], bool]) -> None:
        """A status was sent; send the report as well if it is time. What could not leave is tried again with the next status.

        Args:
            send: to the link; says whether it was taken.
        """
        self._left -= 1
        decisions = self._pipeline.decisions
        if self._left > 0 or decisions.monitoring is None or not decisions.made:
            return
        known = {
            "v": 1,
            "name": self._pipeline.name,
            "boot_id": decisions.terms.boot_id,
            "at": decisions.at_ns + decisions.wall_offset_ns,
            "monitoring": decisions.monitoring.report(MOST_VALUES),
        }
        if send(Outgoing("report", self._topic, msgspec.json.encode(known))):
            self._left = self._every
