"""The kernel cache: valid for these sources only, rebuilt when damaged, done without when it cannot be written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edge.kernels

ROOM = Path(edge.kernels.__file__).parent
PROBE = """
import logging, numpy as np
logging.basicConfig(level="WARNING", format="%(message)s")
from edge.kernels.histogram import fold_durations, BUCKETS
rows = np.array([[5, 0, 7, 1, 7]], np.int64)
counts, longest = np.zeros((4, BUCKETS), np.int64), np.zeros(4, np.int64)
fold_durations(rows, 1, counts, longest)
print("hits", sum(fold_durations.stats.cache_hits.values()), "bucket", counts[0].argmax())
"""


@pytest.fixture
def room(tmp_path):
    """A copy of the kernels that may be edited, with a cache of its own."""
    package = tmp_path / "src" / "edge"
    shutil.copytree(ROOM, package / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__init__.py").touch()
    return tmp_path


def probe(room, cache="cache"):
    env = {**os.environ, "PYTHONPATH": str(room / "src"), "NUMBA_CACHE_DIR": str(room / cache), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", PROBE], env=env, cwd=room, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    hits, bucket = re.search(r"hits (\d+) bucket (\d+)", done.stdout).groups()
    return int(hits), int(bucket), done.stderr


def test_a_second_start_compiles_nothing(room):
    assert probe(room)[:2] == (0, 5)
    assert probe(room)[:2] == (1, 5)


def test_an_edit_in_another_file_of_the_room_invalidates_the_cache(room):
    probe(room)
    layout = room / "src/edge/kernels/layout.py"
    layout.write_text(layout.read_text() + "# edited\n")
    assert probe(room)[0] == 0


def test_a_damaged_cache_is_rebuilt(room):
    probe(room)
    damaged = [path.write_bytes(path.read_bytes()[:40]) for path in (room / "cache").rglob("*.nb[ic]")]
    assert damaged
    hits, bucket, log = probe(room)
    assert (hits, bucket) == (0, 5)
    assert "rebuilding" in log
    assert probe(room)[:2] == (1, 5)


def test_a_cache_that_cannot_be_written_is_done_without(room):
    (room / "cache").write_text("a file where the folder should be")
    hits, bucket, _ = probe(room)
    assert (hits, bucket) == (0, 5)
