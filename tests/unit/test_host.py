"""Which model answers a lane, and every switch from one to another."""

import collections

import numpy as np
import pytest

from edge.inference.guard import Limits, Trouble
from edge.inference.host import Host, place
from edge.inference.variants import BoundVariant, Inference

BAD = Trouble("latency", "was slow")
LIMITS = Limits(budget_ns=1000, windows=1, window_frames=10, faults=1)
VECTOR = np.zeros(2, np.float32)


class States:
    def __init__(self):
        self.resets = []

    def reset(self, lane):
        self.resets.append(lane)


def model(version, labels=("a", "b"), states=None):
    made = Inference("m", version, labels, ("x", "y"), [BoundVariant("full", lambda v, lane: [0.0, 1.0], 500)])
    made.states = states
    return made


def host(version="1", devices=("d0", "d1", "d2")):
    made = Host(model(version), "boot", list(devices))
    made.watch(LIMITS)
    return made


def kinds(one):
    return [(event.kind, event.version, event.to, event.deployment) for event in one.events]


def test_a_swap_is_one_pointer_and_the_former_one_stays_warm():
    one = host()
    first = one.active.model
    assert one.swap(model("2")) is None
    assert (one.at(0).model.version, one.at(0).id, one.former.model) == ("2", "boot-m2", first)
    assert kinds(one) == [("swapped", "2", "2", "boot-m2")]
    assert one.swap(model("3")) is first
    assert one.former.model.version == "2"


def test_the_version_that_ran_well_last_is_kept_rather_than_one_that_only_ran():
    one = host()
    one.swap(model("2"), good="1")
    retired = one.swap(model("3"), good="1")
    assert (retired.version, one.former.model.version) == ("2", "1")


def test_trouble_goes_back_once_then_turns_off():
    one = host()
    one.swap(model("2"))
    one.stop(one.active, BAD)
    assert (one.active.model.version, one.former, one.is_off) == ("1", None, False)
    assert one.active.id == "boot-m3", "another deployment, although the model was there before"
    one.keep_warm(model("0"))
    one.stop(one.active, BAD)
    assert (one.active, one.is_off) == (None, True), "a second trouble: no model, even if there is one to go back to"
    assert kinds(one)[1:] == [("rolled_back", "2", "1", "boot-m3"), ("off", "1", "", "")]
    one.swap(model("4"))
    assert (one.at(0).model.version, one.is_off) == ("4", False)


def test_without_a_former_one_trouble_turns_off_at_once():
    one = host()
    one.stop(one.active, BAD)
    assert one.is_off
    assert one.at(0) is None


def test_one_that_was_stopped_already_cannot_be_stopped_again():
    one = host()
    one.swap(model("2"))
    second = one.active
    one.stop(second, BAD)
    one.stop(second, BAD)
    assert one.active.model.version == "1"


def test_each_kind_of_trouble_is_seen():
    one = host()
    one.swap(model("2"))
    one.ran(one.active, 1001, [0.0], VECTOR)
    assert one.events[-1].trouble.kind == "latency"
    one = host()
    one.fault(one.active, "not_finite", "why", VECTOR)
    assert one.events[-1].trouble.kind == "not_finite"
    one = host()
    one.skipped(one.active, 500)
    assert one.events[-1].trouble.kind == "latency"


def test_what_is_not_the_models_fault_is_not_held_against_it():
    one = host()
    one.skipped(one.active, 499)  # less time was left than it needs
    one.fault(one.active, "not_finite", "why", np.array([np.nan, 1], np.float32))
    assert one.events == []
    free = Host(model("1"), "boot", ["d"])  # nothing is watched
    free.fault(free.active, "failed", "why", VECTOR)
    free.skipped(free.active, 1 << 40)
    free.ran(free.active, 1 << 40, [0.0], VECTOR)
    assert free.events == []


def test_the_manifests_budget_holds_where_it_is_less():
    one = host()
    one.swap(model("2"), budget_ns=10)
    one.ran(one.active, 11, [0.0], VECTOR)
    assert one.events[-1].kind == "rolled_back"
    one = host()
    one.swap(model("2"), budget_ns=5000)
    one.ran(one.active, 1001, [0.0], VECTOR)
    assert one.events[-1].kind == "rolled_back"


def test_a_canary_acts_on_its_share_of_devices_and_always_on_the_same_ones():
    devices = [f"device-{i}" for i in range(1000)]
    one = host(devices=devices)
    before: set[int] = set()
    for share in (0.1, 0.3, 1.0):
        one.begin_canary(model("2"), share)
        chosen = {lane for lane in range(1000) if one.at(lane).model.version == "2"}
        assert abs(len(chosen) - 1000 * share) < 50
        assert before <= chosen, "a growing share keeps the devices that it had"
        before = chosen
        assert {lane for lane in range(1000) if one.at(lane).model.version == "2"} == chosen
    one.end_canary()
    assert one.at(0).model.version == "1"
    assert collections.Counter(event.kind for event in one.events) == {"canary": 3, "canary_ended": 1}


def test_a_canarys_trouble_ends_the_canary_alone():
    one = host()
    one.begin_canary(model("2"), 1.0)
    one.ran(one.at(0), 1001, [0.0], VECTOR)
    assert one.canary is None
    assert one.at(0).model.version == "1"
    assert kinds(one)[-1] == ("canary_ended", "2", "1", "boot-m1")
    assert one.events[-1].trouble is not None


def test_a_canary_that_becomes_active_is_no_canary_any_more():
    one = host()
    one.begin_canary(model("2"), 0.5)
    one.swap(model("2"))
    assert one.canary is None
    assert {one.at(lane).model.version for lane in range(3)} == {"2"}


def test_a_lane_that_changes_hands_is_judged_by_its_new_device():
    devices = ["low", "high"] if place("low") < place("high") else ["high", "low"]
    lanes = [devices[0]]
    one = Host(model("1"), "boot", lanes)
    one.begin_canary(model("2"), (place(devices[0]) + 1) / 10_000)
    assert one.at(0).model.version == "2"
    lanes[0] = devices[1]
    one.forget(0)
    assert one.at(0).model.version == "1"


def test_states_of_lanes_that_others_answered_begin_anew():
    states = States()
    one = Host(model("1", states=states), "boot", ["d0", "d1"])
    one.begin_canary(model("2"), 1.0)
    one.at(1)
    one.end_canary()
    assert states.resets == [1]
    one.swap(model("2"))
    one.stop(one.active, BAD)
    assert states.resets == [1, 0, 1]


def test_other_labels_are_refused():
    one = host()
    for call in (lambda: one.swap(model("2", ("a", "c"))), lambda: one.begin_canary(model("2", ("a",)), 0.5)):
        with pytest.raises(ValueError, match="labels"):
            call()


def test_a_start_without_a_fit_model_knows_its_labels():
    one = Host(None, "boot", ["d"])
    one.begin_off(("a", "b"), "1", BAD)
    assert (one.is_off, one.labels, one.at(0)) == (True, ("a", "b"), None)
    one.swap(model("1"))
    assert one.at(0).model.version == "1"


def test_when_no_model_is_left_to_act_a_canary_is_none_either():
    one = host()
    canary = model("2")
    one.begin_canary(canary, 1.0)
    one.stop(one.active, BAD)
    assert [one.at(lane) for lane in range(3)] == [None] * 3
    assert kinds(one)[1:] == [("canary_ended", "2", "", ""), ("off", "1", "", "")]
    one.begin_canary(model("3"), 1.0)  # it was being loaded
    assert [one.at(lane) for lane in range(3)] == [None] * 3
    one.swap(model("4"))
    assert {one.at(lane).model.version for lane in range(3)} == {"4"}
    assert [gone.version for gone in one.retired] == ["1", "2", "3"]


def test_what_is_kept_no_longer_waits_to_be_freed_elsewhere():
    one = host()
    one.keep_warm(model("0"))
    one.keep_warm(model("0b"))
    one.begin_canary(model("2"), 1.0)
    one.begin_canary(model("3"), 1.0)
    one.end_canary()
    one.stop(one.active, BAD)
    assert [gone.version for gone in one.retired] == ["0b", "2", "3", "1"]
    assert one.active.model.version == "0", "what acts again is not freed"
