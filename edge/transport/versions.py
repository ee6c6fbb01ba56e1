"""Which version of MQTT the next attempt speaks. Owns nothing else; is told how attempts ended."""

CLOSES = 2  # in a row at CONNECT: one is also what a proxy in front of a broker that restarts does


class Versions:
    """MQTT 5, unless this broker shows that it does not know it.

    Attributes:
        is_v5: MQTT 5 for the next attempt, 3.1.1 otherwise.
    """

    def __init__(self) -> None:
        self.is_v5 = True
        self._closes = 0

    def lost(self) -> None:
        """A link that was up is gone: what comes back may be another broker, or a newer one."""
        self.is_v5 = True
        self._closes = 0

    def refused(self) -> None:
        """The broker said that it does not support this version."""
        self.is_v5 = not self.is_v5
        self._closes = 0

    def closed(self) -> None:
        """The broker closed the connection instead of answering CONNECT. 3.1.1 gets one attempt, then 5 is tried again."""
        self._closes += 1
        if not self.is_v5:
            self.lost()
        elif self._closes >= CLOSES:
            self.refused()

    def failed(self) -> None:
        """The attempt failed for a reason that has nothing to do with the version."""
        self._closes = 0
