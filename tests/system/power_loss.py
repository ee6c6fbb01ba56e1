"""Losses of power: what a real writer did is noted call by call, and its files are rebuilt as a disk may have kept them.

``python -m tests.system.power_loss 3000`` prints the figures of docs/reliability.md; see power_disk.py for what is believed of a disk.
"""

import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.system.power_disk import Disk, Mode, Step, steps
from tests.system.power_judge import OutboxJudge, judge_checkpoint, left

SHIM = Path(__file__).with_name("power_shim.c")
MARKS = "marks"
OUTBOX, CHECKPOINT = "state/alerts.db", "state/checkpoint"


def build_shim(folder: Path) -> Path:
    """Compile what notes the calls.

    Raises:
        subprocess.CalledProcessError: it cannot be.
    """
    shim = folder / "shim.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", shim, SHIM, "-ldl", "-lpthread"], check=True, timeout=120)
    return shim


def note(shim: Path, home: Path, log: Path, *arguments: str, kill_at: int = 0) -> int:
    """Run the writer and append what it does below ``home`` to a log; its exit code, negative for a signal.

    Args:
        kill_at: it dies instead of this sync, counted from 1; 0: it does not.
    """
    surroundings = os.environ | {"LD_PRELOAD": str(shim), "EDGE_SHIM_LOG": str(log), "EDGE_SHIM_UNDER": str(home)}
    if kill_at:
        surroundings["EDGE_SHIM_KILL"] = str(kill_at)
    command = [sys.executable, "-m", "tests.system.power_writer", *arguments]
    return subprocess.run(command, env=surroundings, cwd=Path(__file__).parents[2], timeout=300, check=False).returncode


class Cut(msgspec.Struct, frozen=True):
    """A loss of power.

    Args:
        at: after so many steps.
        mode: what became of what was not synced.
        seen: lines that the writer had noted by then.
    """

    at: int
    mode: Mode
    seen: list[str]


def cuts(every: list[Step], states: int, seed: int, folder: Path, skips: str | None = None) -> Iterator[tuple[Cut, Path]]:
    """Files after losses of power: a third of them beside a sync or a change of names, a third soon after another file had its turn (a run
    begins, a log is copied into its database, a log begins anew), an eighth just when a run counts as stored what it has found, the others
    anywhere.

    Args:
        every: step that was noted.
        states: how many there are to be.
        seed: of what is dropped, kept and torn.
        folder: for them; one at a time.
        skips: see Disk.
    """
    rng = random.Random(seed)
    beside = [at + late for at, step in enumerate(every) if step.kind in "srum" for late in (0, 1)]
    turns = _turns(every)
    starts = [at + 1 for at, step in enumerate(every) if step.kind == "w" and step.data.startswith(b'["start"')] or [0]
    places = [rng.choice(beside) for _ in range(states // 3)]
    places += [min(rng.choice(turns) + rng.randrange(60), len(every)) for _ in range(states // 3)]
    places += [rng.choice(starts) for _ in range(states // 8)]
    places += [rng.randint(0, len(every)) for _ in range(states - len(places))]
    disk, done, marks = Disk(skips), 0, bytearray()
    noting: set[tuple[int, int]] = set()  # open handles of the writer's own notes
    for at in sorted(places):
        for step in every[done:at]:
            handle = step.process, step.handle
            if step.path == MARKS:
                noting.add(handle)
            elif handle in noting and step.kind == "w":
                marks += step.data
            else:
                noting.discard(handle)
                disk.take(step)
        done = at
        mode: Mode = rng.choice(("none", "all", "some", "some", "some", "some"))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        disk.write(folder, mode, rng)
        yield Cut(at, mode, marks.decode().splitlines()), folder


def _turns(every: list[Step]) -> list[int]:
    """Steps at which another file than before is worked on."""
    notes, found, before = (-1, -1), [0], (-1, -1)
    for at, step in enumerate(every):
        handle = step.process, step.handle
        if step.path == MARKS:
            notes = handle
        elif handle not in (notes, before):
            found.append(at)
            before = handle
    return found


RUNS = (("a", 900, 0), ("b", 60, 12), ("c", 300, 60), ("d", 60, 9), ("e", 30, 0))  # name, alerts, the sync at which it is killed


def note_outbox(home: Path, durability: str) -> list[Step]:
    """Five runs of an outbox, one after the other; with ``power``, three are killed before a sync that would have ended a commit."""
    shim, work = build_shim(home), home / "work"
    work.mkdir()
    for run, alerts, kill_at in RUNS:
        dies = kill_at if durability == "power" else 0
        code = note(shim, work, home / "log", "outbox", str(work / OUTBOX), durability, run, str(alerts), kill_at=dies)
        assert code == (-signal.SIGKILL if dies else 0), f"run {run} ended with {code}"
    return steps(home / "log")


def note_checkpoints(home: Path, n: int) -> list[Step]:
    """So many checkpoints, one in the place of the other."""
    shim, work = build_shim(home), home / "work"
    work.mkdir()
    assert note(shim, work, home / "log", "checkpoint", str(work / CHECKPOINT), str(n)) == 0
    return steps(home / "log")


def judged_outbox(home: Path, every: list[Step], states: int, skips: str | None = None) -> collections.Counter[str]:
    """How many of so many states of an outbox are right, and what is wrong with the others."""
    judge = OutboxJudge((home / "work" / MARKS).read_text().splitlines())
    with memory_folder(home) as name:
        found = cuts(every, states, states, Path(name) / "state", skips)
        return collections.Counter(judge.judge(cut.seen, left(folder / OUTBOX)) for cut, folder in found)


def judged_checkpoints(home: Path, every: list[Step], states: int, skips: str | None = None) -> collections.Counter[str]:
    """The same of checkpoints."""
    with memory_folder(home) as name:
        found = cuts(every, states, states, Path(name) / "state", skips)
        return collections.Counter(judge_checkpoint(cut.seen, folder / CHECKPOINT) for cut, folder in found)


def memory_folder(home: Path) -> "tempfile.TemporaryDirectory[str]":
    """Where states are laid out: in memory if there is such a place, for each is synced when it is opened."""
    memory = "/dev/shm"  # noqa: S108
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else home)


def main(states: int) -> None:
    """Print the figures."""
    for durability in ("power", "process"):
        with tempfile.TemporaryDirectory() as name:
            print("outbox", durability, dict(judged_outbox(Path(name), note_outbox(Path(name), durability), states)), flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory() as name:
        print("checkpoint", dict(judged_checkpoints(Path(name), note_checkpoints(Path(name), 60), states)))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
