"""The models' thread, round by round: what a person says holds, and no fault of the machine ends it or makes a bad version a good one."""

import errno
import fcntl
import os
import threading

import pytest

pytest.importorskip("onnx", reason="the models of these tests are built with onnx: pip install -e '.[dev]'")

from edge.daemon.lifecycle import Lifecycle
from edge.daemon.orders import Asked
from edge.daemon.refused import Refused
from edge.daemon.trial import Setting
from edge.inference.bundle import read_manifest
from edge.inference.guard import Trouble
from edge.inference.host import Event
from edge.inference.proving import Proof
from edge.inference.shadow import Probation
from edge.store.registry import Registry
from tests.integration.model_bundles import FEATURES, LABELS, write

NAN = Trouble("not_finite", "gave NaN")


class Model:
    """Stands for a loaded one; nothing of it runs here."""

    def __init__(self, version):
        self.version = version


class Scene:
    """A registry with three versions, of which 1.0.0 is active and known to be good, and what follows it."""

    def __init__(self, folder):
        for version in ("1.0.0", "2.0.0", "3.0.0"):
            write(folder, version)
        self.folder = folder / "thermo"
        self.registry = self.writer()
        self.registry.activate("1.0.0", "ann")
        self.registry.note_settled()
        self.begun = []

    def writer(self):
        return Registry(self.folder, proof=lambda *_: None, wait_s=0.05)

    def follow(self, running, *, settle_s=600.0, probation=0, refused=None):
        asked = Asked(
            "thermo",
            FEATURES,
            read_manifest(self.folder, "1.0.0").feature_hash,
            takes_other_features=False,
            settle_s=settle_s,
            probation=Probation(probation, 300.0),
            promotes=False,
            min_frames=1000,
            agreement=0.99,
            p99_ms=300.0,
        )
        life = Lifecycle(self.writer(), Setting(self.folder, LABELS, 2, 2, 3_000_000_000, [], 0), asked, running, lambda _: None, refused)
        life._loader.prove = lambda version, _: Proof("thermo", version, "", [], [], 0, 0, 0)
        life._loader.load = lambda proof: Model(proof.version)
        life._trials.begin = lambda proof, _budget_ns, _active, *, is_probation: self.begun.append((proof.version, is_probation))
        life._is_cold = False
        return life


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def ordered(life):
    """What was ordered, but for what is only said."""
    found = []
    while not life.orders.empty():
        order = life.orders.get()
        if order.kind != "tell":
            found.append((order.kind, order.model.version if order.model is not None else order.version))
    return found


def said(life):
    found = []
    while not life.orders.empty():
        if (order := life.orders.get()).said is not None:
            found.append(order.said.text)
    return found


def in_a_hurry(life):
    for retry in (life._hearing, life._judging, life._paying, life._following, life._settling, life._warming):
        retry.hurry()


# -- safe mode and rejections --------------------------------------------------------------------------------------------------


def test_only_a_person_who_chooses_a_version_ends_safe_mode(scene):
    life = scene.follow("")
    life._round()
    scene.registry.set_candidate("2.0.0", "shadow", who="ann")
    scene.registry.note_start()
    scene.registry.clear_candidate("ann")
    scene.registry.remove("3.0.0", "ann")
    life._round()
    assert ordered(life) == []
    scene.registry.activate("1.0.0", "ann", "it was the disk")
    life._round()
    assert ordered(life) == [("swap", "1.0.0")]


def test_safe_mode_leaves_the_starts_counted_so_that_a_restart_does_not_take_what_crashed(scene):
    scene.registry.note_start()
    life = scene.follow("", settle_s=0.0)
    life._round()
    life.close(is_orderly=True)
    life.run()
    assert scene.registry.state().unsettled_starts == 1


def test_what_was_refused_stays_so_when_the_file_is_read_again(scene):
    refused = Refused()
    scene.registry.activate("2.0.0", "ann")
    scene.registry.pin("2.0.0", "ann")  # so that the registry cannot go back
    life = scene.follow("2.0.0", refused=refused)
    life.happened.put(Event("rolled_back", "2.0.0", "1.0.0", "b-m2", NAN))
    life._round()
    again = scene.follow("1.0.0", refused=refused)
    again._round()
    assert [order for order in ordered(again) if order[0] == "swap"] == []
    scene.registry.activate("2.0.0", "ann")
    again._round()
    assert ordered(again) == [("swap", "2.0.0")]


# -- an orderly end ------------------------------------------------------------------------------------------------------------


def test_a_version_that_the_loop_rolled_back_is_not_made_a_good_one_by_an_orderly_end(scene):
    scene.registry.activate("2.0.0", "ann")
    life = scene.follow("2.0.0")
    life.happened.put(Event("rolled_back", "2.0.0", "1.0.0", "b-m2", NAN))
    life.close(is_orderly=True)
    life.run()
    state = scene.registry.state()
    assert (state.active, state.last_known_good, state.rejected) == ("1.0.0", "1.0.0", ["2.0.0"])


@pytest.mark.parametrize("has_run", [False, True])
def test_a_version_that_was_only_queued_or_never_ran_is_not_a_good_one(scene, has_run):
    scene.registry.activate("2.0.0", "ann")
    scene.registry.note_start()
    life = scene.follow("1.0.0" if has_run else "2.0.0")
    life._round()
    life.close(is_orderly=True, has_run=has_run)
    life.run()
    assert (scene.registry.state().last_known_good, scene.registry.state().unsettled_starts) == ("1.0.0", 0)


# -- going back ----------------------------------------------------------------------------------------------------------------


def test_a_version_that_is_rolled_back_while_it_is_loaded_is_not_ordered(scene):
    scene.registry.activate("2.0.0", "ann")
    life = scene.follow("1.0.0")

    def load(proof):
        scene.registry.rollback("ann", "saw smoke")
        return Model(proof.version)

    life._loader.load = load
    life._round()
    life._round()
    assert ordered(life) == []


def test_an_order_is_of_a_generation_that_ends_when_the_registry_asks_for_another_version(scene):
    scene.registry.activate("2.0.0", "ann")
    life = scene.follow("1.0.0")
    life._round()
    order = life.orders.get()
    assert (order.kind, order.generation) == ("swap", life.generation)
    scene.registry.rollback("ann", "saw smoke")
    life._round()
    assert order.generation != life.generation


def test_going_back_to_what_is_warm_needs_no_proof_and_no_probation(scene):
    scene.registry.activate("2.0.0", "ann")
    life = scene.follow("2.0.0", probation=200)
    life.warm = "1.0.0"
    life._loader.prove = None
    life._round()
    scene.registry.rollback("ann", "smoke")
    life._round()
    order = life.orders.get()
    assert (order.kind, order.version, order.leaves_rejected, scene.begun) == ("back", "1.0.0", True, [])
    life.missed.put(order.generation)  # it was not warm any more
    life._loader.prove = lambda version, _: Proof("thermo", version, "", [], [], 0, 0, 0)
    life._round()
    assert scene.begun == [("1.0.0", True)]


# -- faults of the machine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), MemoryError(), RuntimeError("can't start new thread")])
def test_a_fault_is_said_once_and_what_was_asked_for_is_tried_again_although_nothing_changes(scene, fault):
    scene.registry.activate("2.0.0", "ann")
    life = scene.follow("1.0.0")
    prove = life._loader.prove

    def fail(*_):
        raise fault

    life._loader.prove = fail
    life._round()
    in_a_hurry(life)
    life._round()
    assert len(said(life)) == 1
    life._loader.prove = prove
    in_a_hurry(life)
    life._round()
    assert ordered(life) == [("swap", "2.0.0")]


def test_a_fault_while_the_last_good_version_is_loaded_does_not_end_the_thread(scene):
    scene.registry.activate("2.0.0", "ann")
    life = scene.follow("2.0.0")
    life._is_cold = True
    tried = threading.Event()

    def fail(*_):
        tried.set()
        raise RuntimeError("can't start new thread")

    life._loader.prove = fail
    thread = threading.Thread(target=life.run)
    thread.start()
    assert tried.wait(10)
    thread.join(0.3)
    assert thread.is_alive()
    life.close(is_orderly=False)
    thread.join(10)
    assert not thread.is_alive()


def test_a_trial_that_cannot_be_looked_at_keeps_nothing_else_from_being_heard(scene):
    scene.registry.activate("2.0.0", "ann")
    life = scene.follow("2.0.0")

    def fail(_):
        raise OSError(errno.EMFILE, "Too many open files")

    life._trials.look = fail
    life._round()
    life.happened.put(Event("rolled_back", "2.0.0", "1.0.0", "b-m2", NAN))
    life._round()
    assert scene.registry.state().rejected == ["2.0.0"]


class Held:
    """The registry's lock, held by somebody else."""

    def __init__(self, folder):
        self._path = folder / ".lock"

    def __enter__(self):
        self._handle = os.open(self._path, os.O_RDWR)
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def __exit__(self, *_):
        os.close(self._handle)


def test_a_run_that_could_not_be_noted_as_settled_is_noted_later(scene):
    scene.registry.activate("2.0.0", "ann")
    life = scene.follow("2.0.0", settle_s=0.0)
    with Held(scene.folder):
        life._round()
        life._round()
    assert scene.registry.state().last_known_good == "1.0.0"
    in_a_hurry(life)
    life._round()
    assert scene.registry.state().last_known_good == "2.0.0"


def test_a_canary_that_was_stopped_stays_so_although_the_registry_cannot_be_written(scene):
    scene.registry.set_candidate("2.0.0", "canary", 0.5)
    life = scene.follow("1.0.0")
    life._round()
    assert ordered(life) == [("canary", "2.0.0")]
    life.happened.put(Event("canary_ended", "2.0.0", "1.0.0", "b-m1", NAN))
    with Held(scene.folder):
        life._round()
    scene.registry.note_start()
    life._paying._due_s = float("inf")
    life._round()
    in_a_hurry(life)
    life._round()
    assert ("canary", "2.0.0") not in ordered(life)
    assert scene.registry.state().candidate is None


def test_a_canary_passes_its_probation_first(scene):
    scene.registry.set_candidate("2.0.0", "canary", 0.5)
    life = scene.follow("1.0.0", probation=50)
    life._round()
    assert (ordered(life), scene.begun) == ([], [("2.0.0", True)])


# -- the registry --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_history", [True, False])
def test_a_torn_state_changes_nothing_while_a_version_acts(scene, has_history):
    scene.registry.activate("3.0.0", "ann")
    scene.registry.rollback("ann", "3.0.0 is bad")
    scene.registry.pin("1.0.0", "ann")
    life = scene.follow("1.0.0", settle_s=0.0)
    life._look()
    whole = (scene.folder / "registry.json").read_bytes()
    if not has_history:
        (scene.folder / "history.jsonl").unlink()
    (scene.folder / "registry.json").write_text('{"format":1,"gen')
    life._round()
    life._round()
    assert (scene.folder / "registry.json").read_text() == '{"format":1,"gen'
    assert (life.pinned, life._state.rejected) == ("1.0.0", ["3.0.0"])
    texts = said(life)
    assert any("1.0.0 stays at work until it can be read" in text for text in texts)
    (scene.folder / "registry.json").write_bytes(whole)
    scene.registry.pin(None, "ann")
    life._round()
    assert (life.pinned, ordered(life)) == ("", [])


@pytest.mark.parametrize("is_torn", [False, True])
def test_a_reload_that_an_unreadable_registry_refused_is_not_held_against_the_version(scene, is_torn):
    scene.registry.activate("2.0.0", "ann")
    life = scene.follow("1.0.0")
    life._look()
    if is_torn:
        (scene.folder / "registry.json").write_text("{")
    life._reloading = "2.0.0"
    life.reload_refused("cannot be run")
    life._hear()
    assert life._followed.is_refused("2.0.0") is not is_torn
    assert life._reloading == ""


def test_one_that_takes_over_waits_for_the_end_of_the_one_before(scene):
    release = threading.Event()
    before = threading.Thread(target=release.wait, args=(10,))
    before.start()
    life = scene.follow("1.0.0")
    life.waits_for = before
    scene.registry.activate("2.0.0", "ann")
    thread = threading.Thread(target=life.run)
    thread.start()
    thread.join(0.3)
    assert life.orders.empty()
    life.close(is_orderly=False)
    thread.join(0.3)
    assert thread.is_alive()  # the third would wait for it alone
    release.set()
    thread.join(10)
    assert not thread.is_alive()
