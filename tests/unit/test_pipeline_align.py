"""As-of alignment: at each trigger row, what other streams said up to its stamp, whatever the order and the size of messages."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edge
from edge.messages import Block
from edge.pipeline.align import MOST_WAITING, Aligner

TRIGGER, OTHER, THIRD = 1, 0, 2
PIPELINE = """
name = "aligned"
budget_ms = 5
[streams.gnss]
topic = "gnss"
rate_hz = 10
channels = { v = "m/s" }
asof_max_ms = 250
[streams.imu]
topic = "imu"
rate_hz = 100
channels = { a = "m/s^2" }
[[features]]
stream = "imu"
channels = ["a"]
window = 1
stats = ["last"]
[[features]]
stream = "gnss"
channels = ["v"]
window = 1
stats = ["last", "age"]
"""


def block(stamps):
    made = Block(1, len(stamps))
    made.stamps[:] = stamps
    made.rows[:, 0] = stamps
    made.n = len(stamps)
    return made


def flat(runs):
    """(stream, stamp) of every row, in the order in which they are pushed."""
    return [(stream, int(stamp)) for stream, rows, start, stop in runs for stamp in rows.stamps[start:stop]]


def test_newer_rows_wait_for_the_trigger():
    aligner = Aligner(TRIGGER, 1)
    assert flat(aligner.runs(TRIGGER, 0, block([10, 20]))) == [(1, 10), (1, 20)]
    assert flat(aligner.runs(OTHER, 0, block([15, 25, 35]))) == [(0, 15)]
    assert flat(aligner.runs(TRIGGER, 0, block([22, 30]))) == [(1, 22), (0, 25), (1, 30)]
    assert flat(aligner.runs(TRIGGER, 0, block([35]))) == [(0, 35), (1, 35)]


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_each_trigger_row_sees_what_is_not_newer_and_nothing_else(data):
    stamps = {stream: sorted(data.draw(st.sets(st.integers(0, 60), min_size=1, max_size=30))) for stream in (OTHER, TRIGGER, THIRD)}
    at = dict.fromkeys(stamps, 0)
    aligner, order, arrived = Aligner(TRIGGER, 1), [], {OTHER: [], THIRD: []}
    seen_by = {}
    while any(at[stream] < len(stamps[stream]) for stream in stamps):
        stream = data.draw(st.sampled_from([s for s in stamps if at[s] < len(stamps[s])]))
        n = data.draw(st.integers(1, len(stamps[stream]) - at[stream]))
        rows = stamps[stream][at[stream] : at[stream] + n]
        at[stream] += n
        if stream == TRIGGER:
            for stamp in rows:
                seen_by[stamp] = {s: [x for x in arrived[s] if x <= stamp] for s in arrived}
        else:
            arrived[stream] += rows
        order += flat(aligner.runs(stream, 0, block(rows)))
    pushed = {OTHER: [], THIRD: []}
    for stream, stamp in order:
        if stream == TRIGGER:
            assert pushed == seen_by[stamp], stamp
        else:
            pushed[stream].append(stamp)
    assert [stamp for stream, stamp in order if stream == TRIGGER] == stamps[TRIGGER]


def test_a_silent_trigger_does_not_let_memory_grow():
    aligner = Aligner(TRIGGER, 2)
    pushed = 0
    for i in range(200):
        pushed += len(flat(aligner.runs(OTHER, 1, block(range(100 * i, 100 * i + 100)))))
    assert pushed == aligner.early == 20_000 - MOST_WAITING // 100 * 100
    aligner.forget(1)
    assert flat(aligner.runs(TRIGGER, 1, block([10**6]))) == [(1, 10**6)]


def test_what_waits_is_not_looked_at_again_for_every_row():
    """4,000 messages of one row wait for one message of 1,000 rows: as many runs as turns, each queue's head looked at once a turn."""
    aligner = Aligner(TRIGGER, 1)
    for i in range(4000):
        aligner.runs(OTHER, 0, block([1000 + i]))
    looks = 0

    class Counted(type(aligner._waiting[0][OTHER])):
        def __getitem__(self, at):
            nonlocal looks
            looks += 1
            return super().__getitem__(at)

    aligner._waiting[0][OTHER] = Counted(aligner._waiting[0][OTHER])
    runs = aligner.runs(TRIGGER, 0, block(range(0, 4000, 4)))
    assert [stamp for stream, stamp in flat(runs) if stream == TRIGGER] == list(range(0, 4000, 4))
    assert looks < 5 * (1000 + 4000)


@pytest.mark.parametrize("gnss_first", [True, False])
def test_a_pipeline_joins_streams_as_of_the_trigger(tmp_path, gnss_first):
    path = tmp_path / "aligned.toml"
    path.write_text(PIPELINE)
    pipeline = edge.load(path)
    ms = 1_000_000
    got = []
    for tick in range(1, 61):
        jobs = [("imu", tick * 10)] + ([("gnss", tick * 10)] if tick % 10 == 0 and tick <= 30 else [])
        for stream, at in reversed(jobs) if gnss_first else jobs:
            result = pipeline.push(stream, [[at]], stamps=[at * ms], received_ns=tick * 10 * ms)
            got += [prediction.features.tolist() for prediction in result.predictions]
    # With the fix first, the trigger at 100 ms sees it; otherwise the next one does. 250 ms after the last one it is too old.
    first = 100 if gnss_first else 110
    assert got[0] == [first, 100.0, pytest.approx((first - 100) / 1e3)]
    assert got[-1] == [550.0, 300.0, pytest.approx(0.25)]
    assert len(got) == (550 - first) // 10 + 1
    assert pipeline.features.unaligned == 5
