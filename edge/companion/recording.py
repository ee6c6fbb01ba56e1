"""What a recorder does: it takes messages out of a ring and puts them into MCAP files, one after the other.

Asked once, in one line of JSON on standard input; what is to be told goes out on standard output, one line of JSON a period. It ends when
standard input ends, after it has written what is still in the ring. A disk that is full or fails stops it, which it says; it tries again.
What is not with the operating system yet is still in the ring: a recorder that is killed loses nothing as long as the ring has room.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

import msgspec

from edge.companion.folder import Folder
from edge.errors import TransportError
from edge.messages import RawMessage
from edge.store.recording import RecordingWriter
from edge.store.ring import RingReader
from edge.store.tape import Report, TapeReader, Task

IDLE_S = 0.005  # between two looks at an empty ring
PERIOD_S = 0.25  # of what is told
FLUSH_S = 1.0
AGAIN_S = 2.0  # a disk that failed is tried again
DRAIN_S = 1.5  # at the end
_ROUND = 512  # messages between two looks at the clock


class Recorder:
    """Writes one tape to files.

    Args:
        task: see Task.
        tape: where messages come from.
        clock: CLOCK_MONOTONIC in seconds.

    Attributes:
        report: what is known.
    """

    def __init__(self, task: Task, tape: TapeReader, clock: Callable[[], float] = time.monotonic) -> None:
        self.report = Report(why="begins")
        self._task, self._tape, self._clock = task, tape, clock
        self._folder: Folder | None = None
        self._writer: RecordingWriter | None = None
        self._part = Path()
        self._began_s = self._flushed_s = self._room_s = self._again_s = 0.0
        self._taken = self._recorded = self._number = self._began = 0
        self._why = "begins"

    def turn(self) -> bool:
        """Write what is there, at most so much that the clock is looked at often enough. Returns whether there may be more."""
        now = self._clock()
        if self._writer is None and not self._open(now):
            return False
        try:
            is_more = self._write()
            self._look_after(now)
        except TransportError as fault:
            self._give_up(str(fault), now)
            return False
        self._tell()
        return is_more

    def close(self) -> None:
        """Write all that is in the ring, as far as there is time, and close the file."""
        end = self._clock() + DRAIN_S
        while self.turn() and self._clock() < end:
            pass
        try:
            self._finish()
        except TransportError as fault:
            self._give_up(str(fault), self._clock())
        if self._folder is not None:
            self._folder.close()
            self._folder = None
        self._why = "ended"
        self._tell()

    def _open(self, now: float) -> bool:
        if now < self._again_s:
            return False
        task = self._task
        try:
            if self._folder is None:
                self._folder = Folder(Path(task.folder), task.name, task.keep_bytes, task.free_bytes)
            self._part = self._folder.begin(task.file_bytes)
            self._writer = RecordingWriter(self._part, {"pipeline": task.name}, flush_s=FLUSH_S, compression=task.compression)
        except TransportError as fault:
            self._give_up(str(fault), now)
            return False
        self._began += 1
        self._began_s = self._flushed_s = self._room_s = now
        self._why = ""
        return True

    def _write(self) -> bool:
        writer, tape = self._writer, self._tape
        assert writer is not None  # noqa: S101 - who calls has looked
        for _ in range(_ROUND):
            noted = tape.take()
            if noted is None:
                return False
            writer.write(RawMessage(noted.topic, noted.payload, noted.at_ns, noted.is_retained))
            self._taken, self._number = self._taken + 1, noted.number
            if writer.is_flushed:
                self._release()
        return True

    def _look_after(self, now: float) -> None:
        """Flush, look at the disk, begin the next file: each when it is due."""
        writer = self._writer
        assert writer is not None  # noqa: S101 - who calls has looked
        if not writer.is_flushed and now - self._flushed_s >= FLUSH_S:
            writer.flush()
            self._release()
        if writer.is_flushed:
            self._flushed_s = now
        if self._folder is not None and now - self._room_s >= FLUSH_S:
            self._room_s = now
            self._folder.check_room()
        is_old = now - self._began_s >= self._task.file_ns / 1e9
        if writer.messages and (is_old or writer.nbytes >= self._task.file_bytes):
            self._finish()

    def _release(self) -> None:
        self._tape.release()
        self._recorded += self._taken
        self._taken = 0

    def _finish(self) -> None:
        writer = self._writer
        if writer is None or self._folder is None:
            return
        writer.flush()
        self._release()
        writer.close()
        self._writer = None
        self._folder.finish(self._part)

    def _give_up(self, why: str, now: float) -> None:
        """The disk does not take it: what is not in a file comes again once it does, as far as the ring has room until then."""
        writer, self._writer = self._writer, None
        self._why, self._again_s = why, now + AGAIN_S
        self._tape.rewind()
        self._taken = 0
        if writer is not None:
            with suppress(TransportError):  # it is cut back to what is sound, or read as far as it is
                writer.close()
            with suppress(TransportError):  # the next process gives it its name
                if self._folder is not None and self._part.exists():
                    self._folder.finish(self._part)
        self._tell()

    def _tell(self) -> None:
        folder = self._folder
        self.report = Report(
            is_recording=self._writer is not None,
            why=self._why,
            recorded=self._recorded,
            missed=self._tape.missed,
            number=self._number,
            file=self._part.name if self._writer is not None else "",
            nbytes=(folder.nbytes if folder is not None else 0) + (self._writer.nbytes if self._writer is not None else 0),
            files=folder.files if folder is not None else 0,
            began=self._began,
        )


def record(descriptor: int) -> int:
    """Run until standard input ends.

    Args:
        descriptor: of the ring.
    """
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    is_over = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        is_over.set()

    signal.signal(signal.SIGUSR1, end)
    recorder = Recorder(task, TapeReader(RingReader(descriptor, keeps=True)))
    threading.Thread(target=_tell, args=(answers, recorder), daemon=True).start()
    looked = 0.0
    while not is_over.is_set():
        is_more = recorder.turn()
        if time.monotonic() - looked >= PERIOD_S:
            looked = time.monotonic()
            if select.select([0], [], [], 0)[0]:  # it ended: nothing more is ever sent
                break
        if not is_more:
            time.sleep(IDLE_S)
    recorder.close()
    _say(answers, recorder.report)
    return 0


def _tell(answers: int, recorder: Recorder) -> None:
    """Say what is known, also while the disk does not answer."""
    while True:
        _say(answers, recorder.report)
        time.sleep(PERIOD_S)


def _say(answers: int, report: Report) -> None:
    with suppress(OSError):  # nobody listens any more; the end of standard input says so too
        os.write(answers, msgspec.json.encode(report) + b"\n")
