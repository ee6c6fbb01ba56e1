"""What watches a model: by one clock for all devices."""

import numpy as np

from edge.inference.drift import DriftMonitor, DriftSettings
from edge.inference.manifest import Reference
from edge.messages import Origin
from edge.pipeline.moment import Moment
from edge.pipeline.monitoring import Monitoring, Told

S = 1_000_000_000


def test_devices_whose_clocks_differ_do_not_end_windows_early():
    one = Reference(mean=0.0, std=1.0, deciles=[float(i) for i in range(11)])
    drift = DriftMonitor([("f", one)], [], DriftSettings(window_frames=20, window_ns=20 * S))
    watch = Monitoring("1", Told("t", "warning"), drift, None, None)
    for i in range(190):  # 19 s; every other stamp is of a device whose clock is an hour ahead
        now_ns = i * S // 10
        moment = Moment(i % 2, i, now_ns + i % 2 * 3600 * S, now_ns, now_ns, now_ns)
        watch.decided(moment, (), np.array([i % 10], np.float32), Origin(version="1"), None, [])
    assert drift.windows == 0
    assert drift.frames + 10 >= 180, "batches are as long as they should be"
