"""Takes checkpoints of a pipeline at work, a few lanes at a time, so that no frame waits long; gives them to the thread that writes them.

Devices are independent of each other: each one's state is of one instant between two frames, that of the whole file is of one round.
"""

import time

from edge.pipeline.checkpoint import Parts, take, take_whole
from edge.pipeline.recipe import Pipeline
from edge.store.checkpoint import Checkpoint, CheckpointWriter

SLICE_NS = 500_000  # of one tick: the last lane that is begun within it is still finished


class Keeper:
    """Keeps the state of one pipeline.

    Args:
        pipeline: whose.
        writer: of the file.
        every_ns: from the start of one round to the next.

    Attributes:
        longest_ns: longest time that the loop has spent here in one tick.
        rounds: how many were complete.
    """

    def __init__(self, pipeline: Pipeline, writer: CheckpointWriter, every_ns: int) -> None:
        self.longest_ns = self.rounds = 0
        self._pipeline, self._writer, self._every_ns = pipeline, writer, every_ns
        self._next_ns = 0
        self._lane = -1  # the next to take; -1 between two rounds
        self._taken: dict[str, Parts] = {}
        self._whole: Parts = {}  # what could not be taken this time is as it was the time before

    def look(self, now_ns: int) -> None:
        """Take what is due; call at every tick, between two frames.

        Args:
            now_ns: CLOCK_MONOTONIC.
        """
        if self._lane < 0:
            if now_ns < self._next_ns or self._writer.is_busy:
                return
            self._next_ns, self._lane, self._taken = now_ns + self._every_ns, 0, {}
        started_ns = time.monotonic_ns()
        used = len(self._pipeline.lanes)
        while self._lane <= used:
            if self._lane < used:
                self._taken[self._pipeline.lanes.devices[self._lane]] = take(self._pipeline, self._lane)
            else:
                self._whole |= take_whole(self._pipeline, now_ns)
            self._lane += 1
            if time.monotonic_ns() - started_ns >= SLICE_NS:
                break
        self.longest_ns = max(self.longest_ns, time.monotonic_ns() - started_ns)
        if self._lane > used:
            self._finish()

    def passed_on(self, pipeline: Pipeline) -> "Keeper":
        """Another pipeline takes over: the one that keeps it from now on, in the same file. This one is over, and keeps no more."""
        heir = Keeper(pipeline, self._writer, self._every_ns)
        heir.longest_ns, heir.rounds = self.longest_ns, self.rounds
        return heir

    def close(self) -> None:
        """The end: one more round, all at once."""
        lanes = self._pipeline.lanes
        self._taken = {device: take(self._pipeline, lane) for lane, device in enumerate(lanes.devices[: len(lanes)])}
        self._whole |= take_whole(self._pipeline, time.monotonic_ns())
        self._finish()
        self._writer.close()

    @property
    def every_s(self) -> float:
        """From the start of one round to the next, in seconds."""
        return self._every_ns / 1e9

    def pulse(self) -> tuple[int, bool]:
        """Files that the thread has dealt with, and whether one waits."""
        return self._writer.written + self._writer.failed, self._writer.is_busy

    @property
    def fault(self) -> str:
        """Why the last file could not be written, or ""."""
        return self._writer.fault

    def status(self) -> dict[str, float]:
        """For the status."""
        longest_us = round(self.longest_ns / 1000)
        return {"rounds": self.rounds, "written": self._writer.written, "failed": self._writer.failed, "longest_us": longest_us}

    def _finish(self) -> None:
        self._lane = -1
        self.rounds += 1
        self._writer.post(Checkpoint.of(self._pipeline.name, self._taken, dict(self._whole)))
        self._taken = {}
