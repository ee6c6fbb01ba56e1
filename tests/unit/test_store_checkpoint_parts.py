"""What models carry and what is counted against their references, saved and put back: the same bits follow, and nothing else is taken."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

import edge
from edge.daemon.keeper import SLICE_NS, Keeper
from edge.inference.drift import DriftMonitor, DriftSettings
from edge.inference.manifest import State
from edge.inference.parts import joined, parted, seal, unseal
from edge.inference.states import States
from edge.pipeline.checkpoint import put_whole, take_whole
from edge.store.checkpoint import CheckpointWriter, read
from tests.unit.test_drift import _reference

MODELS = Path(__file__).parents[2] / "models"
S = 1_000_000_000
SHAPES = [
    State(input="h", output="hn", dtype="float32", shape=[2, 3], meaning="m"),
    State(input="n", output="nn", dtype="int64", shape=[1], meaning="m"),
]


def filled(owner=b"a"):
    states = States(SHAPES, 2, owner)
    states.given[0][...] = np.arange(6).reshape(2, 3)
    states.given[1][...] = 7
    assert states.keep(1)
    return states


def carried(states, lane):
    states.take(lane)
    return [array.tolist() for array in states.taken]


def test_a_lane_carries_on_what_was_saved_of_another():
    states, other = filled(), States(SHAPES, 2, b"a")
    other.restore(0, states.save(1))
    assert carried(other, 0) == [[[0, 1, 2], [3, 4, 5]], [7]]
    assert carried(other, 1) == [[[0, 0, 0], [0, 0, 0]], [0]]


@pytest.mark.parametrize(
    ("states", "cut", "why"),
    [
        (States(SHAPES, 1, b"another version"), slice(None), "another model or version"),
        (States(SHAPES[:1], 1, b"a"), slice(None), "another model or version"),
        (States(SHAPES, 1, b"a"), slice(-1), "damaged"),
        (States(SHAPES, 1, b"a"), slice(20), "cut off"),
    ],
)
def test_the_state_of_something_else_is_refused_and_nothing_changes(states, cut, why):
    before = carried(states, 0)
    with pytest.raises(ValueError, match=why):
        states.restore(0, filled().save(1)[cut])
    assert carried(states, 0) == before


def test_parts_with_any_byte_flipped_are_refused():
    part = seal(1, bytes(32), b"body")
    assert unseal(1, bytes(32), part, "part") == b"body"
    for at in range(len(part)):
        with pytest.raises(ValueError, match="the part"):
            unseal(1, bytes(32), part[:at] + bytes([part[at] ^ 1]) + part[at + 1 :], "part")
    with pytest.raises(ValueError, match="are due"):
        parted(joined([np.zeros(3)]), [np.zeros(4)])


SETTINGS = DriftSettings(window_frames=200, window_ns=10 * S)


def monitor(mean=0.0, settings=SETTINGS):
    one = _reference(np.random.default_rng(0).normal(mean, size=5_000).astype(np.float32))
    return DriftMonitor([(f"f{i}", one) for i in range(4)], [("s", one)], settings)


def play(watch, rows, first=0, offset_ns=0):
    events = []
    for i, row in enumerate(rows, first):
        watch.update(row[:4], (float(row[4]),))
        events += watch.look(offset_ns + i * S // 20)
    return events


def stream(n, shift_at):
    rows = np.random.default_rng(3).normal(size=(n, 5)).astype(np.float32)
    rows[shift_at : shift_at + 900, 1] += 3
    return rows


@pytest.mark.parametrize("cut", [0, 17, 199, 205, 260, 700, 990, 1431, 1907])
def test_the_same_alarms_follow_at_the_same_frames(cut):
    rows, whole, half, rest = stream(2400, 600), monitor(), monitor(), monitor()
    expected = play(whole, rows)
    assert {event.state for event in expected} == {"raised", "cleared"}
    before = play(half, rows[:cut])
    now_ns, elsewhere_ns = cut * S // 20, 77 * S  # the clock has begun anew
    while (saved := half.save(now_ns)) is None:  # a window is being judged: some frames later
        before += play(half, rows[cut : cut + 1], cut)
        cut, now_ns = cut + 1, (cut + 1) * S // 20
    rest.restore(saved, elsewhere_ns)
    assert before + play(rest, rows[cut:], cut, elsewhere_ns - now_ns) == expected
    assert rest.report() == whole.report()
    assert rest.windows == whole.windows > 5


def test_a_window_that_is_being_judged_is_not_saved():
    watch, rows = monitor(), stream(400, 400)
    saved = [watch.save(i * S // 20) for i, row in enumerate(rows) if not play(watch, [row], i)]
    assert 3 <= saved.count(None) <= 10


def test_digests_tell_references_and_settings_apart():
    assert monitor().digest == monitor().digest
    assert len({monitor().digest, monitor(mean=0.1).digest, monitor(settings=msgspec.structs.replace(SETTINGS, persist=3)).digest}) == 3


@pytest.fixture
def make(tmp_path):
    def made(more="", name="activity-watch"):
        bundle = MODELS / name
        text = (bundle / "pipeline.toml").read_text().replace('bundle = "."', f'bundle = "{bundle}"')
        (tmp_path / "pipeline.toml").write_text(text + f"\n[drift]\nenabled = true\nwindow_frames = 100\nwindow_s = 1\n{more}")
        return edge.load(tmp_path / "pipeline.toml", boot_id="b")

    return made


def push(pipeline, first, last, scale=3):
    rng = np.random.default_rng(first)
    told = []
    for second in range(first, last):
        found = pipeline.push("imu", rng.normal(size=(50, 6)) * scale, device="left", seq=second)
        told += [alert for alert in found.alerts if "-drift" in alert.cause.rule]
    return told


def test_an_alarm_that_is_on_is_not_told_again_and_its_end_is_told(make):
    before, after = make(), make()
    told = push(before, 0, 200)
    assert told
    assert not put_whole(after, take_whole(before, before.decisions.at_ns), 5)
    watch = after.decisions.monitoring
    assert watch.status()["drift"]["n_drifting"] == len(told)
    assert not [alert for alert in push(after, 200, 240) if any(alert.detail.split()[1] == one.detail.split()[1] for one in told)]
    after.decisions.watch_with(None, out := [])
    assert {one.message.detail.split()[1] for one in out} >= {one.detail.split()[1] for one in told}
    assert all(one.message.state == "cleared" or "-over" in one.message.cause.rule for one in out)


def test_what_was_counted_otherwise_is_left_out_and_named(make):
    before = make()
    push(before, 0, 30)
    parts = take_whole(before, before.decisions.at_ns)
    assert list(parts) == ["drift"]
    after = make("persist = 3\n")
    assert "another model or version" in put_whole(after, parts, 0)["drift"]
    damaged = {"drift": parts["drift"][:-1] + bytes([parts["drift"][-1] ^ 1])}
    assert "damaged" in put_whole(make(), damaged, 0)["drift"]
    assert put_whole(make(), {}, 0) == {}
    assert after.decisions.monitoring.status()["drift"]["frames"] == 0


def test_the_keeper_writes_it_and_shares_the_tick_with_the_lanes(make, tmp_path, monkeypatch):
    pipeline = make()
    push(pipeline, 0, 30)
    keeper = Keeper(pipeline, CheckpointWriter(tmp_path / "c"), S)
    times = iter(range(0, 1 << 62, SLICE_NS))  # every look at the clock is a slice later: one part a tick
    monkeypatch.setattr("edge.daemon.keeper.time.monotonic_ns", lambda: next(times))
    now_ns = pipeline.decisions.at_ns
    keeper.look(now_ns)
    assert keeper.rounds == 0, "the lane took the whole slice"
    keeper.look(now_ns)
    assert keeper.rounds == 1
    keeper._writer.close()
    found = read(tmp_path / "c")
    assert set(found.lanes) == {"left"}
    assert set(found.whole) == {"drift"}
