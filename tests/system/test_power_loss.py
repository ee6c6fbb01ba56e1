"""Loss of power at any step of the real writer: nothing that counted as stored is missing, half there, or another."""

import shutil
import sys

import pytest

from tests.system.power_loss import CHECKPOINT, OUTBOX, judged_checkpoints, judged_outbox, note_checkpoints, note_outbox

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("gcc") is None or sys.platform != "linux", reason="the notes of calls need gcc and Linux"),
]
STATES = 300


@pytest.fixture(scope="module")
def synced(tmp_path_factory):
    home = tmp_path_factory.mktemp("power")
    return home, note_outbox(home, "power")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    home = tmp_path_factory.mktemp("checkpoints")
    return home, note_checkpoints(home, 40)


def test_with_power_every_committed_alert_is_there_and_nothing_else(synced):
    home, steps = synced
    assert judged_outbox(home, steps, STATES) == {"right": STATES}


def test_with_process_the_last_commits_may_be_lost_and_nothing_is_damaged(tmp_path):
    found = judged_outbox(tmp_path, note_outbox(tmp_path, "process"), STATES // 5)
    assert found["lost"], "the model finds no loss where there must be some"
    assert found.keys() <= {"right", "lost", "again"}


def test_a_disk_that_lies_about_its_syncs_is_found_out(synced):
    home, steps = synced
    found = judged_outbox(home, steps, STATES // 8, skips=f"{OUTBOX}-wal")
    assert found["lost"], "the check cannot fail"


def test_a_checkpoint_is_the_last_one_or_the_one_on_its_way(checkpoints):
    home, steps = checkpoints
    assert judged_checkpoints(home, steps, STATES) == {"right": STATES}


def test_a_checkpoint_that_was_not_synced_before_its_rename_is_found_out(checkpoints):
    home, steps = checkpoints
    assert judged_checkpoints(home, steps, STATES // 4, skips=f"{CHECKPOINT}.new")["damaged"], "the check cannot fail"
