"""Paths of what is written to disk: each its own."""

import pytest

from tests.system.kills import PIPELINE
from tests.unit.config_files import found


def problems(folder, outbox="alerts", checkpoint="state", recording="tapes"):
    text = PIPELINE.format(url="mqtt://127.0.0.1:1883", durability="power").replace('path = "alerts.db"', f'path = "{outbox}"')
    return found(f'{text}\n[checkpoint]\npath = "{checkpoint}"\n[recording]\npath = "{recording}"\n', folder)


def test_paths_of_their_own_are_no_problem(tmp_path):
    assert problems(tmp_path) == {}
    assert problems(tmp_path, "tapes/alerts", "tapes/state") == {}, "a recording is a folder"


def test_one_path_for_all_is_refused_with_both_keys(tmp_path):
    wrong = problems(tmp_path, "one", "one", "./one")
    assert set(wrong) == {"checkpoint.path", "recording.path"}
    assert all("is outbox.path too; each needs a path of its own" in reason for reason in wrong.values())


def test_another_name_of_the_same_file_is_refused(tmp_path):
    (tmp_path / "alerts").touch()
    (tmp_path / "link").symlink_to(tmp_path / "alerts")
    assert set(problems(tmp_path, checkpoint="link")) == {"checkpoint.path"}


@pytest.mark.parametrize(
    ("paths", "key", "other"),
    [
        ({"checkpoint": "alerts/state"}, "checkpoint.path", "outbox.path"),
        ({"recording": "alerts/tapes"}, "recording.path", "outbox.path"),
        ({"recording": "state/tapes"}, "recording.path", "checkpoint.path"),
        ({"outbox": "state/alerts"}, "outbox.path", "checkpoint.path"),
        ({"checkpoint": "alerts-wal"}, "checkpoint.path", "outbox.path"),
        ({"outbox": "state.new"}, "outbox.path", "checkpoint.path"),
    ],
)
def test_a_path_through_a_file_of_another_is_refused(tmp_path, paths, key, other):
    ((where, reason),) = problems(tmp_path, **paths).items()
    assert where == key
    assert reason.endswith(f"which is a file of {other}")
