"""How long each stage of a frame took. Owns the histograms; is told every moment and reads no clock."""

import numpy as np

from edge.kernels.histogram import BUCKETS, fold_durations, read_quantiles

STAGES = ("decode", "clean", "features", "infer", "decide", "encode", "send", "total")
_MEASURED = STAGES[:-2]
_CAPACITY = 1024


class StageTimes:
    """Stage durations of every message, in log-linear histograms.

    Rows are collected in a preallocated buffer and folded by one kernel call per thousand messages: 0.25 us a message instead of
    1 us for counting in Python.

    Args:
        due: until when each decision must have left that is not handed over yet; emptied here.

    Attributes:
        late: decisions that were handed over later than that.
    """

    def __init__(self, due: list[int]) -> None:
        self.late = 0
        self._due = due
        self._rows = np.zeros((_CAPACITY, len(_MEASURED) + 3), np.int64)
        self._view = self._rows.data.cast("B").cast("q")
        self._width = self._rows.shape[1]
        self._n = 0
        self._counts = np.zeros((len(STAGES), BUCKETS), np.int64)
        self._longest = np.zeros(len(STAGES), np.int64)
        self._quantiles = np.zeros((len(STAGES), 3), np.int64)

    def add(self, durations: tuple[int, int, int, int, int, int], ended_ns: int, received_ns: int) -> None:
        """Note one message.

        Args:
            durations: ns of decode, clean, features, infer, decide, encode; 0 where the message did not get.
            ended_ns: when the last stage ended, or 0 if the message led to no decision.
            received_ns: when its bytes were read.
        """
        view = self._view
        i = self._n * self._width
        view[i], view[i + 1], view[i + 2], view[i + 3], view[i + 4], view[i + 5] = durations
        view[i + 6] = ended_ns
        view[i + 7] = received_ns
        view[i + 8] = 0
        self._n += 1
        if self._n == _CAPACITY:
            self.fold()

    def handed_over(self, now_ns: int) -> None:
        """Everything noted so far has left through the socket now."""
        if self._due:
            self.late += sum([now_ns > due_ns for due_ns in self._due])
            self._due.clear()
        last = self._n * self._width - 1
        if self._n and not self._view[last]:  # a later tick that had nothing to send is not when this one left
            self._view[last] = now_ns
            if self._n > _CAPACITY // 2:
                self.fold()

    def fold(self) -> None:
        """Move the collected rows into the histograms."""
        fold_durations(self._rows, self._n, self._counts, self._longest)
        self._n = 0

    def summary(self) -> dict[str, dict[str, float]]:
        """p50, p99, max in microseconds and the count, for each stage that was reached."""
        self.fold()
        read_quantiles(self._counts, self._longest, self._quantiles)
        result = {}
        for name, longest, (total, p50, p99) in zip(STAGES, self._longest.tolist(), self._quantiles.tolist(), strict=True):
            if total:
                result[name] = {"p50": p50 / 1000, "p99": p99 / 1000, "max": longest / 1000, "count": total}
        return result
