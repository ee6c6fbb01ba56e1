"""After the file was read again, the state of what runs now is kept."""

import struct
import time

import msgpack

from edge import build
from edge.config.load import loads
from edge.daemon.keeper import Keeper
from edge.messages import RawMessage
from edge.store.checkpoint import CheckpointWriter, read

TEXT = """
name = "guard"
budget_ms = 1000
[streams.s]
topic = "d/{device}/s"
channels = { x = "1" }
[[features]]
stream = "s"
channels = ["x"]
window = 4
stats = ["mean"]
"""


def feed(plan, device):
    frame = msgpack.packb({"v": 1, "seq": 0, "t": 1, "x": struct.pack("<f", 1.0)})
    plan.pipeline.step(RawMessage(f"d/{device}/s", frame, 1_000_000_000))


def test_the_next_plan_keeps_its_own_state_in_the_same_file(tmp_path):
    old, new = (build.plan_of(loads(TEXT, tmp_path)) for _ in range(2))
    old.keeper = Keeper(old.pipeline, CheckpointWriter(tmp_path / "c"), 1_000_000)
    feed(old, "a")
    old.give_way(new)
    assert old.keeper is None
    assert new.keeper is not None
    feed(new, "b")
    for tick in range(4000):
        new.keeper.look(tick * 20_000_000)
        if new.keeper.status()["written"] > 0:
            break
        time.sleep(0.005)
    assert set(read(tmp_path / "c").lanes) == {"b"}
    new.close()
    assert set(read(tmp_path / "c").lanes) == {"b"}
