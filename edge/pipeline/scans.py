"""From an admitted scan to a row of numbers for the features. Owns the choice of how closely to look in the time that is left."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge.inference.variants import BoundVariant, Inference
from edge.lidar.ego import Ego
from edge.messages import Block, Scan

if TYPE_CHECKING:  # its kernels are loaded by a pipeline that has a LIDAR, and by no other
    from edge.lidar.chain import ScanChain, Scene

FULL, REDUCED = "full", "reduced"
_KEPT = 1024  # newest samples of the vehicle's motion, by lane: 1 s at 1 kHz, longer than a scan is old when it is looked at
_NO_STAMP = -(1 << 62)


class EgoMotion:
    """The vehicle's newest speeds and yaw rates, found by time: a scan is older than what has arrived since.

    Args:
        sources: "speed" and "yaw_rate" to the stream's index and the column of its blocks.
        lanes: devices.
        max_age_ns: an older value is not known any more.
    """

    def __init__(self, sources: Mapping[str, tuple[int, int]], lanes: int, max_age_ns: int) -> None:
        self._sources = {name: sources[name] for name in ("speed", "yaw_rate") if name in sources}
        self._max_age_ns = max_age_ns
        self._stamps = {name: np.full((lanes, _KEPT), _NO_STAMP, np.int64) for name in self._sources}
        self._values = {name: np.zeros((lanes, _KEPT), np.float32) for name in self._sources}
        self.streams = frozenset(index for index, _ in self._sources.values())

    def note(self, stream: int, lane: int, block: Block) -> None:
        """Keep the newest rows of a stream."""
        first = max(block.n - _KEPT, 0)
        n = block.n - first
        for name, (index, column) in self._sources.items():
            if index == stream:
                stamps, values = self._stamps[name][lane], self._values[name][lane]
                if block.stamps_view[first] <= stamps[-1]:  # the sender's clock began anew
                    stamps[:] = _NO_STAMP
                stamps[:-n] = stamps[n:]
                values[:-n] = values[n:]
                stamps[-n:] = block.stamps[first : block.n]
                values[-n:] = block.rows[first : block.n, column]

    def at(self, lane: int, stamp_ns: int) -> Ego:
        """The motion that was known at a time."""
        return Ego(self._find("speed", lane, stamp_ns, math.nan), self._find("yaw_rate", lane, stamp_ns, 0.0))

    def arrays(self, lane: int) -> dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Stamps and values of a device by name, in place."""
        return {name: (self._stamps[name][lane], self._values[name][lane]) for name in self._sources}

    def reset(self, lane: int) -> None:
        """Forget a device."""
        for stamps in self._stamps.values():
            stamps[lane] = _NO_STAMP

    def _find(self, name: str, lane: int, stamp_ns: int, unknown: float) -> float:
        if name not in self._sources:
            return unknown
        stamps = self._stamps[name][lane]
        i = int(np.searchsorted(stamps, stamp_ns, "right")) - 1
        if i < 0 or stamp_ns - int(stamps[i]) > self._max_age_ns:
            return unknown
        value = float(self._values[name][lane, i])
        return value if math.isfinite(value) else unknown


class ScanWork:
    """Looks at the scans of one stream.

    Args:
        chain: from points to a row.
        ego: the vehicle's motion.
        index: row of the stream in the feature plan.

    Attributes:
        block: the row of the last scan.
        looks: scans by how closely they were looked at.
        scene: of the last scan, overwritten by the next.
    """

    def __init__(self, chain: "ScanChain", ego: EgoMotion, index: int) -> None:
        self.chain, self.ego, self.index = chain, ego, index
        self.block = Block(len(chain.channels), 1)
        self.looks = {FULL: 0, REDUCED: 0}
        self.scene: Scene | None = None
        # How long each way takes is learnt from the first scan on, as it is for the variants of a model.
        self._efforts = Inference("scan", "", (), (), [BoundVariant(name, _unused, 0) for name in (FULL, REDUCED)])

    def choose(self, remaining_ns: int, may_go_smaller: bool) -> BoundVariant | None:
        """How closely to look in the time that is left; None when there is time for nothing."""
        return self._efforts.choose(remaining_ns, may_go_smaller) if remaining_ns > 0 else None

    def look(self, scan: Scan, lane: int, effort: BoundVariant) -> Block:
        """Take a scan to its row.

        Args:
            scan: admitted.
            lane: whose.
            effort: from ``choose``.

        Raises:
            InferenceFault: the classifier failed.
        """
        scene = self.chain.run(scan, lane, self.ego.at(lane, scan.stamp_ns), is_reduced=effort.name == REDUCED)
        self.looks[effort.name] += 1
        self.scene = scene
        block = self.block
        block.rows[0] = scene.row
        block.stamps_view[0] = scan.stamp_ns
        block.n, block.seq, block.received_ns = 1, scan.seq, scan.received_ns
        return block

    def observe(self, effort: BoundVariant, took_ns: int) -> None:
        """Note how long a look took."""
        if not effort.p99_ns:
            # The first look may have been held up by anything: a quarter of it is taken for possible, so that another one is tried now and
            # then even when the first did not fit.
            effort.p99_ns, effort.best_ns = took_ns, took_ns // 4
        self._efforts.observe(effort, took_ns)

    def warm_up(self) -> None:
        """Touch the memory of the largest scan and every kernel, and leave no trace: the first scan of a drive is no slower than others."""
        settings = self.chain.settings
        turn = np.arange(settings.max_points, dtype=np.float32)
        reach = settings.range_m[1] * np.sqrt((turn + 1) / (len(turn) + 1))  # evenly over the disc that is in reach
        height = np.where(turn % 2 == 0, 0.0, 1.0) - settings.mount.z_m
        points = np.stack([reach * np.cos(turn), reach * np.sin(turn), height], axis=1).astype(np.float32)
        for is_reduced in (False, True):
            self.chain.run(Scan(points, ("x", "y", "z"), -1, 0, 0), 0, Ego(), is_reduced=is_reduced)
        self.chain.reset(0)

    def reset(self, lane: int) -> None:
        """Forget a device."""
        self.chain.reset(lane)
        self.ego.reset(lane)


def _unused(vector: npt.NDArray[np.float32], lane: int) -> list[float]:
    raise NotImplementedError(f"a look is no graph, and takes no vector of {len(vector)} of lane {lane}")
