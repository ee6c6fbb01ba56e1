"""The windows of all lanes: memory laid out by a plan, moved by one kernel call a message."""

import numpy as np
import numpy.typing as npt

from edge.features.plan import FeaturePlan
from edge.kernels import layout as k
from edge.kernels.window import reset_stream, update_windows
from edge.messages import Block


class RollingFeatures:
    """Rolling features of every stream and lane.

    Args:
        plan: what to compute.
        lanes: devices whose state is kept.

    Attributes:
        vectors: float32 (max_rows, F): after ``update``, the emitted vectors.
        vector_rows: int64 (max_rows,): the row of the block that completed each of them.
    """

    def __init__(self, plan: FeaturePlan, lanes: int) -> None:
        self.plan = plan
        f32, f64, i64 = plan.state_sizes
        self._f32 = np.zeros((lanes, f32), np.float32)
        self._f64 = np.zeros((lanes, f64), np.float64)
        self._i64 = np.zeros((lanes, i64), np.int64)
        trigger_rows = plan.streams[plan.stream_index[plan.trigger]].max_rows if plan.trigger else 1
        self.vectors: npt.NDArray[np.float32] = np.zeros((trigger_rows, len(plan.names)), np.float32)
        self.vector_rows: npt.NDArray[np.int64] = np.zeros(trigger_rows, np.int64)
        self.vector_rows_view = self.vector_rows.data
        self._evicted_gaps = np.zeros((len(plan.streams), 2), np.int64)
        for lane in range(lanes):
            self.reset(lane)

    @property
    def nbytes(self) -> int:
        """Memory of all lanes."""
        return self._f32.nbytes + self._f64.nbytes + self._i64.nbytes

    def update(self, stream: int, lane: int, block: Block) -> int:
        """Push a block's rows and return how many vectors they completed.

        Args:
            stream: row in the plan's stream table.
            lane: whose windows.
            block: finite rows with strictly rising stamps, later than any before.
        """
        plan = self.plan
        emitted: int = update_windows(
            plan.stream_table,
            plan.group_table,
            plan.column_list,
            plan.feature_table,
            stream,
            self._f32,
            self._f64,
            self._i64,
            lane,
            block.rows,
            block.stamps,
            block.n,
            self.vectors,
            self.vector_rows,
        )
        return emitted

    def reset(self, lane: int) -> None:
        """Forget everything about a lane; its gap and overflow counts stay in the totals."""
        for stream in range(len(self.plan.streams)):
            self._evicted_gaps[stream] += self._counters(stream, slice(lane, lane + 1))
        self._f64[lane] = 0.0
        self._i64[lane] = 0
        for stream in range(len(self.plan.streams)):
            reset_stream(self.plan.stream_table, self.plan.group_table, stream, self._f64, self._i64, lane)

    def gaps(self, stream: int) -> int:
        """Gaps seen in a stream, over all lanes."""
        return int(self._evicted_gaps[stream, 0] + self._counters(stream, slice(None))[0])

    def overflows(self, stream: int) -> int:
        """Rows that left a time window early because the sender is more than 1.5 times as fast as ``rate_hz`` says."""
        return int(self._evicted_gaps[stream, 1] + self._counters(stream, slice(None))[1])

    def _counters(self, stream: int, lanes: slice) -> npt.NDArray[np.int64]:
        state = self.plan.stream_table[stream, k.S_STATE]
        counters: npt.NDArray[np.int64] = self._i64[lanes, state + k.T_GAPS : state + k.T_OVERFLOW + 1].sum(axis=0)
        return counters
