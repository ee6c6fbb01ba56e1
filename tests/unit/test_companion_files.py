"""Files of the recorder: rotation, bounds, a disk that is full, what an earlier process left; its supervisor."""

import os
import resource
import signal
import sys

import msgspec
import pytest

from edge.companion.folder import Folder
from edge.companion.recording import AGAIN_S, Recorder
from edge.daemon import sidecar as sidecars
from edge.daemon.sidecar import Sidecar
from edge.errors import TransportError
from edge.store.reading import info, read
from edge.store.ring import RingReader, RingWriter
from edge.store.tape import TapeReader, TapeWriter, Task

MB = 1_000_000


class Rig:
    """A recorder in this process, on a clock of ours."""

    def __init__(self, folder, **terms):
        self.now = 100.0
        self.folder = folder
        wanted = {"file_bytes": MB, "file_ns": 60 * 10**9, "keep_bytes": 10 * MB, "free_bytes": 0, "compression": "zstd"} | terms
        self.task = Task(str(folder), "guard", **wanted)
        self.ring = RingWriter(4096, 1024)
        self.tape = TapeWriter(self.ring)
        self.readers = []
        self.recorder = self.attach()

    def attach(self):
        self.readers.append(RingReader(os.dup(self.ring.descriptor), keeps=True))
        return Recorder(self.task, TapeReader(self.readers[-1]), lambda: self.now)

    def note(self, n, size=100):
        for _ in range(n):
            self.tape.note(0, 10**9 + self.tape.noted, "plant/a/temp", os.urandom(size))

    def turn(self, seconds=0.0):
        self.now += seconds
        while self.recorder.turn():
            pass

    def files(self):
        return sorted(path.name for path in self.folder.iterdir() if ".mcap" in path.name)

    def close(self):
        self.recorder.close()
        for reader in self.readers:
            reader.close()
        self.ring.close()


@pytest.fixture
def rig(tmp_path):
    made = []

    def make(**terms):
        made.append(Rig(tmp_path / "recordings", **terms))
        return made[-1]

    yield make
    for one in made:
        one.close()


def messages(path):
    with path.open("rb"):
        return list(read(path))


def test_a_file_has_no_final_name_before_it_is_closed_and_then_holds_everything(rig):
    one = rig()
    one.note(50)
    one.turn()
    assert [name.endswith(".mcap.part") for name in one.files()] == [True]
    one.recorder.close()
    (name,) = one.files()
    assert name.startswith("guard-000001-")
    assert name.endswith(".mcap")
    found = messages(one.folder / name)
    assert [raw.topic for raw in found] == ["plant/a/temp"] * 50
    assert one.recorder.report.recorded == 50
    assert not info(one.folder / name).is_truncated


def test_files_are_rotated_by_size_and_by_time_and_the_oldest_make_room(rig):
    one = rig(file_bytes=200_000, keep_bytes=700_000)
    for _ in range(12):
        one.note(200, 1000)  # 200 kB that cannot be compressed
        one.turn()
    names = one.files()
    assert one.recorder.report.began > len(names)
    assert names[0] > "guard-000002"
    assert sum((one.folder / name).stat().st_size for name in names) < 700_000 + 262_144 + 100_000
    assert one.recorder.report.recorded + one.readers[0].held >= 2400 - 300
    one.note(1)
    one.turn()
    before = one.recorder.report.began
    one.note(1)
    one.turn(61.0)
    one.turn()
    assert one.recorder.report.began == before + 1


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none"])
def test_every_compression_can_be_read_again(rig, compression):
    one = rig(compression=compression)
    one.note(20)
    one.turn()
    one.recorder.close()
    assert len(messages(one.folder / one.files()[0])) == 20


def test_a_killed_recorder_leaves_a_readable_file_and_the_next_goes_on_with_what_was_not_in_it(rig):
    one = rig()
    one.note(30)
    one.turn()
    one.turn(2.0)  # flushed, and with that released
    one.note(20)
    one.turn()  # in memory only
    one.recorder._folder.close()  # what the end of the process does
    one.recorder._writer._file.close()
    one.recorder = one.attach()
    one.note(5)
    one.turn()
    one.recorder.close()
    first, second = one.files()
    assert len(messages(one.folder / first)) == 30
    assert info(one.folder / first).is_truncated
    assert len(messages(one.folder / second)) == 25


def test_a_disk_that_fails_stops_it_and_it_starts_again_without_a_loss(rig):
    one = rig()
    one.note(10)
    one.turn()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
        one.note(40, 500)
        one.turn(2.0)
        assert not one.recorder.report.is_recording
        assert "large" in one.recorder.report.why
        one.turn(AGAIN_S / 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    one.turn(AGAIN_S)
    assert one.recorder.report.is_recording
    one.recorder.close()
    assert sum(len(messages(one.folder / name)) for name in one.files()) == 50
    assert one.recorder.report.recorded == 50


def test_it_leaves_the_disk_the_room_that_others_need(rig, monkeypatch):
    one = rig(free_bytes=50 * MB)
    free = [10 * MB]
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": free[0]}))
    one.turn()
    assert "10 MB left" in one.recorder.report.why
    assert "recording.free_mb is 50" in one.recorder.report.why
    assert one.files() == []
    free[0] = 60 * MB
    one.note(3)
    one.turn(AGAIN_S)
    free[0] = 40 * MB
    one.turn(2.0)
    assert not one.recorder.report.is_recording
    free[0] = 60 * MB
    one.turn(AGAIN_S)
    one.recorder.close()
    assert one.recorder.report.recorded == 3


def test_two_processes_do_not_write_to_one_folder_under_one_name(tmp_path):
    first = Folder(tmp_path, "guard", MB, 0)
    with pytest.raises(TransportError, match="another process records guard there"):
        Folder(tmp_path, "guard", MB, 0)
    Folder(tmp_path, "other", MB, 0).close()
    first.close()
    Folder(tmp_path, "guard", MB, 0).close()


def test_files_of_others_are_left_alone(tmp_path):
    kept = ["notes.txt", "guard-x.mcap", "guard2-000001-20260101T000000Z.mcap"]
    for name in kept:
        (tmp_path / name).write_bytes(bytes(5000))
    (tmp_path / "guard-000001-20260101T000000Z.mcap").write_bytes(bytes(5000))
    folder = Folder(tmp_path, "guard", 1000, 0)
    part = folder.begin(1000)
    folder.close()
    assert part.name.startswith("guard-000002-")
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == sorted(kept)


# -- the supervisor --------------------------------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def side():
    made = []

    def make(code, clock):
        said = []
        one = Sidecar("edge", [], b"task", (), said.append, clock)
        one._command = [sys.executable, "-c", code]
        made.append(one)
        return one, said

    yield make
    for one in made:
        one._clock = __import__("time").monotonic
        one.close(5.0)


def wait(one):
    one._process.wait(30)


def test_one_that_dies_is_started_again_with_growing_waits_and_so_often_an_hour(side):
    clock = Clock()
    one, _ = side("raise SystemExit(3)", clock)
    gaps, before = [], clock.now
    while one.state != "given up":
        starts = len(one._starts)
        one.poll()
        if len(one._starts) > starts:
            gaps.append(clock.now - before)
            before = clock.now
            wait(one)
        clock.now += 0.25
        assert clock.now < 1000 + sidecars.HOUR_S
    assert len(gaps) == sidecars.STARTS_PER_HOUR
    assert gaps[2] > gaps[1]
    assert max(gaps) <= sidecars.WAIT_S[1] + 1
    assert "ended with code 3; 12 starts within an hour" in one.why
    one.poll()
    assert one.pid == 0
    clock.now += sidecars.HOUR_S
    one.poll()
    assert one.pid
    assert one.state == "running"


def test_one_that_is_stopped_is_seen_ended_and_replaced(side):
    clock = Clock()
    one, said = side("import sys; print(sys.stdin.readline(), flush=True); sys.stdin.read()", clock)
    one.poll()
    first = one.pid
    for _ in range(3000):
        one.poll()
        if said:
            break
        __import__("time").sleep(0.01)
    assert said[0] == b"task"
    os.kill(first, signal.SIGSTOP)
    clock.now += sidecars.SILENCE_S + 1
    one.poll()
    assert one.state == "silent"
    wait(one)
    one.poll()
    assert one.state == "waiting"
    assert "said nothing" in one.why
    clock.now += 1
    one.poll()
    assert one.pid not in (0, first)


def test_the_task_is_what_the_companion_reads():
    task = Task("/x", "guard", 1, 2, 3, 4, "zstd")
    assert msgspec.json.decode(msgspec.json.encode(task), type=Task) == task
