"""The loop's side of a model's life: orders that came too late, a way back that is one switch, pins, and an end that nobody waits for."""

import threading
from queue import SimpleQueue
from types import SimpleNamespace

import pytest

from edge.daemon.deployments import Deployments, Places
from edge.daemon.heartbeat import Heartbeat
from edge.daemon.orders import Order
from edge.inference.guard import Limits, Trouble
from edge.inference.host import Host
from edge.inference.variants import BoundVariant, Inference

LIMITS = Limits(budget_ns=1000, windows=1, window_frames=10, faults=1)


class Life:
    """The thread's part, which is played by the test."""

    def __init__(self):
        self.orders, self.happened, self.missed, self.retired = SimpleQueue(), SimpleQueue(), SimpleQueue(), SimpleQueue()
        self.name, self.pinned, self.generation, self.rollbacks, self.warm = "m", "", 1, 0, ""
        self.heartbeat, self.waits_for, self.closed = Heartbeat("models"), None, None
        self.over = threading.Event()

    def run(self):
        self.over.wait(10)

    def close(self, **how):
        self.closed = how


def model(version):
    made = Inference("m", version, ("a",), ("x",), [BoundVariant("full", lambda v, lane: [0.0], 500)])
    made.states = None
    return made


@pytest.fixture
def scene():
    host, life = Host(model("1"), "b", ["d"]), Life()
    decisions = SimpleNamespace(host=host, monitoring=None, watch_with=lambda *_: None, announce=lambda *said: said)
    pipeline = SimpleNamespace(decisions=decisions, lanes=SimpleNamespace(devices=["d"]), go_safe=lambda *_: [])
    made = Deployments(pipeline, life, LIMITS, 0, Places("alerts", "shadow", "critical"))
    yield SimpleNamespace(host=host, life=life, models=made, pipeline=pipeline)
    life.over.set()


def swap(scene, version, **more):
    scene.life.orders.put(Order("swap", model(version), version=version, generation=scene.life.generation, **more))
    scene.models.look(0)


def test_an_order_for_a_version_that_is_not_asked_for_any_more_is_not_carried_out(scene):
    scene.life.orders.put(Order("swap", model("2"), version="2", generation=0))
    scene.models.look(0)
    assert scene.host.active.model.version == "1"
    assert scene.life.retired.get(timeout=1).version == "2"


def test_the_way_back_takes_the_warm_model_and_leaves_the_rejected_one(scene):
    first = scene.host.active.model
    swap(scene, "2")
    assert scene.life.warm == "1"
    scene.life.orders.put(Order("back", version="1", good="1", generation=1, leaves_rejected=True))
    scene.models.look(0)
    assert (scene.host.active.model, scene.host.former, scene.life.warm) == (first, None, "")


def test_a_way_back_to_what_is_not_warm_is_told_to_the_thread(scene):
    scene.life.orders.put(Order("back", version="0", generation=1))
    scene.models.look(0)
    assert scene.life.missed.get(timeout=1) == 1
    assert scene.host.active.model.version == "1"


def test_a_pin_takes_the_guard_away_and_its_end_gives_it_back_while_the_daemon_runs(scene):
    assert scene.host.active.guard is not None
    scene.life.pinned = "1"
    scene.models.look(0)
    assert scene.host.active.guard is None
    scene.models.trouble("drifted")
    assert scene.host.active.model.version == "1"
    scene.life.pinned = "2"
    swap(scene, "2")
    assert (scene.host.active.guard, scene.host.former.guard is None) == (None, False)
    scene.life.pinned = ""
    scene.models.look(0)
    assert scene.host.active.guard is not None


def test_what_the_last_frame_did_to_a_model_is_known_before_the_end_is_an_orderly_one(scene):
    swap(scene, "2")
    while not scene.life.happened.empty():
        scene.life.happened.get()
    scene.host.stop(scene.host.active, Trouble("failed", "failed"))
    scene.models.close(is_orderly=True, wait_s=0.0)
    assert scene.life.happened.get(timeout=1).kind == "rolled_back"
    assert scene.life.closed == {"is_orderly": True, "has_run": False}


def test_nobody_waits_for_a_thread_that_gives_way_and_the_next_one_does(scene):
    scene.models.look(0)
    scene.models.close(wait_s=0.0)
    assert scene.models._thread.is_alive()
    second, third = (Deployments(scene.pipeline, Life(), LIMITS, 0, Places("alerts", "shadow", "critical")) for _ in range(2))
    second.follows(scene.models)
    third.follows(second)  # the second never began
    assert third._lifecycle.waits_for is scene.models._thread


def test_a_system_without_threads_is_asked_again(scene, monkeypatch):
    begin = scene.models._thread.start
    monkeypatch.setattr(scene.models._thread, "start", lambda: (_ for _ in ()).throw(RuntimeError("can't start new thread")))
    scene.models.look(0)
    monkeypatch.setattr(scene.models._thread, "start", begin)
    scene.models.look(0)
    assert scene.models._thread.is_alive()
