"""A clock that moves only when told to, or by a fixed step at every look."""


class FakeClock:
    """CLOCK_MONOTONIC of a test.

    Args:
        now_ns: the time.
        step_ns: how far every look moves it.
    """

    def __init__(self, now_ns: int = 0, step_ns: int = 0) -> None:
        self.now_ns = now_ns
        self.step_ns = step_ns

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns
