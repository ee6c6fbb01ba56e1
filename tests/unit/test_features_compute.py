"""edge.features.compute: the vectors of live frames, from arrays and tables, and clear words about tables that do not fit."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import edge
from edge.errors import EdgeError
from edge.features import compute

PIPELINE = """
name = "guard"
budget_ms = 500

[streams.vib]
topic = "plant/{device}/vib"
channels = { ax = "g", ay = "g" }
rate_hz = 100
clean = { range = { ax = [-8, 8] }, max_gap_ms = 500, lateness_ms = 40, max_ahead_ms = 20000 }

[streams.temp]
topic = "plant/{device}/temp"
channels = { celsius = "degC" }
rate_hz = 10

[[features]]
stream = "vib"
channels = ["ax", "ay"]
window = "300ms"
hop = 3
stats = ["mean", "std", "slope", "ewma"]

[[features]]
stream = "temp"
channels = ["celsius"]
window = 4
stats = ["mean", "last"]
"""
ALONE = PIPELINE[: PIPELINE.index("[streams.temp]")] + PIPELINE[PIPELINE.index("[[features]]") : PIPELINE.rindex("[[features]]")]
PERIOD = 10_000_000


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    (tmp_path / "alone.toml").write_text(ALONE)
    return tmp_path / "alone.toml"


@pytest.fixture
def guard(tmp_path: Path) -> Path:
    (tmp_path / "guard.toml").write_text(PIPELINE)
    return tmp_path / "guard.toml"


def damaged(n, seed):
    """Rows as they come from the field: gaps, repeats, rows out of order, a clock set back, a stamp from the future, and bad values."""
    rng = random.Random(seed)
    generator = np.random.default_rng(seed)
    stamps = np.arange(n) * PERIOD + 5_000_000_000 + generator.integers(0, 3_000_000, n)
    rows = generator.normal(size=(n, 2)).astype(np.float32)
    for _ in range(n // 40):
        at = rng.randrange(10, n - 10)
        match rng.randrange(7):
            case 0:
                rows[at] = np.nan
            case 1:
                rows[at, 0] = rng.choice([9, -9, np.inf])
            case 2:
                stamps[at] = stamps[at - 1]
            case 3:
                stamps[[at, at + 2]] = stamps[[at + 2, at]]
            case 4:
                stamps[at:] += rng.choice([2, 7, 40, 3000]) * 100 * PERIOD // 100
            case 5:
                stamps[at] += 30_000_000_000
            case 6:
                stamps[at:] -= rng.choice([20, 500]) * PERIOD
    return stamps, rows


def live(file, pushes):
    """Vectors of the pipeline itself, one message after the other."""
    pipeline = edge.load(file)
    found = {}
    for stream, device, stamps, rows, seq in pushes:
        received = None if seq < 0 else int(stamps[-1]) + 1
        for one in pipeline.push(stream, rows, device=device, stamps=stamps, seq=seq, received_ns=received).predictions:
            found.setdefault(one.device, []).append((one.stamp_ns, one.features.tobytes()))
    return found, pipeline.counts()


def by_device(vectors):
    return {
        str(device): [(int(s), v.tobytes()) for s, v, d in zip(vectors.stamps, vectors.values, vectors.device, strict=True) if d == device]
        for device in sorted(set(vectors.device.tolist()))
    }


def accounts(counts):
    return {name: (c.received, c.used, c.late, c.duplicate, c.invalid, c.dropped, c.resyncs, c.is_balanced) for name, c in counts.items()}


@pytest.mark.parametrize("seed", range(6))
def test_rows_give_the_vectors_of_one_message_a_row(alone, seed):
    stamps, rows = damaged(6000, seed)
    expected, counts = live(alone, [("vib", "", stamps[i : i + 1], rows[i : i + 1], -1) for i in range(len(stamps))])
    vectors = compute(edge.load_features(alone), (stamps, rows))
    assert by_device(vectors) == {"guard": expected["guard"]}
    assert len(vectors) > 200
    assert accounts(vectors.counts) == accounts(counts)
    assert counts["vib"].late + counts["vib"].duplicate > 5
    assert vectors.names == tuple(f"vib.{channel}.{stat}.300ms" for channel in ("ax", "ay") for stat in ("mean", "std", "slope", "ewma"))


CLEANING = {
    "linear": 'missing = { policy = "linear" }',
    "hold": 'missing = { policy = "hold", max_age_ms = 60 }\nmax_rate = { ax = 300 }',
    "spikes": 'spike = { window = 7, sigmas = 3 }\nmissing = { policy = "hold", max_age_ms = 60 }\nderive = { norm = ["ax", "ay"] }',
    "resample": "resample = { rate_hz = 64 }",
}


@pytest.mark.parametrize("name", CLEANING)
def test_rows_are_cleaned_as_one_message_a_row(alone, name):
    alone.write_text(
        ALONE.replace("clean = { range", "\n[streams.vib.clean]\nrange", 1)
        .replace(", max_gap_ms", "\nmax_gap_ms")
        .replace(", lateness_ms", "\nlateness_ms")
        .replace(", max_ahead_ms", "\nmax_ahead_ms")
        .replace("20000 }", "20000\n" + CLEANING[name])
    )
    stamps, rows = damaged(3000, 4)
    pipeline = edge.load(alone)
    expected = []
    for i in range(len(stamps)):
        result = pipeline.push("vib", rows[i : i + 1], stamps=stamps[i : i + 1], received_ns=max(int(stamps[: i + 1].max()), 0) + 1)
        expected += [(one.stamp_ns, one.features.tobytes()) for one in result.predictions]
    vectors = compute(edge.load_features(alone), (stamps, rows))
    found = by_device(vectors)["guard"]
    assert found[: len(expected)] == expected
    assert len(found) - len(expected) <= 10  # rows that waited at the end
    assert len(found) > 100


def test_several_streams_merge_by_stamp(guard):
    stamps, rows = damaged(3000, 11)
    stamps = np.sort(stamps)
    slow = stamps[::9] + 1_000
    degrees = np.linspace(0, 50, len(slow), dtype=np.float32)[:, None]
    order = sorted([(s, 1, i) for i, s in enumerate(stamps.tolist())] + [(s, 0, i) for i, s in enumerate(slow.tolist())])
    pushes = [
        ("vib", "", stamps[i : i + 1], rows[i : i + 1], -1) if kind else ("temp", "", slow[i : i + 1], degrees[i : i + 1], -1)
        for _, kind, i in order
    ]
    expected, counts = live(guard, pushes)
    vectors = compute(edge.load(guard), {"temp": (slow, degrees), "vib": (stamps, rows)})
    assert by_device(vectors) == expected
    assert accounts(vectors.counts) == accounts(counts)
    assert len(vectors) > 300


def test_rows_that_share_a_number_are_one_message(alone):
    stamps, rows = damaged(3000, 5)
    seq = np.arange(3000) // 3
    order = np.arange(3000).reshape(-1, 3)
    order[[100, 101]] = order[[101, 100]]
    order[[200, 203]] = order[[203, 200]]
    order = np.concatenate([order[:400], order[398:399], order[410:]])
    expected, counts = live(alone, [("vib", "d7", stamps[i], rows[i], int(seq[i[0]])) for i in order])
    flat = order.reshape(-1)
    columns = {"t": stamps[flat], "ax": rows[flat, 0], "ay": rows[flat, 1], "seq": seq[flat], "device": ["d7"] * len(flat)}
    table = pa.table(columns)
    pieces = pa.Table.from_batches(table.to_batches(max_chunksize=100))
    for whole in (table, pieces):
        vectors = compute(edge.load_features(alone), whole)
        assert by_device(vectors) == expected
        assert accounts(vectors.counts) == accounts(counts)
    assert counts["vib"].duplicate == 3


def test_every_kind_of_table_gives_the_same(alone):
    stamps, rows = damaged(2000, 3)
    batch = edge.load_features(alone)
    expected = compute(batch, (stamps, rows))
    columns = {"t": stamps, "ax": rows[:, 0], "ay": rows[:, 1]}
    tables = {
        "arrow": pa.table(columns),
        "batch": pa.record_batch(columns),
        "dates": pa.table(columns | {"t": pa.array(stamps).cast(pa.timestamp("ns", tz="UTC"))}),
        "doubles": pa.table({name: pa.array(column).cast(pa.float64()) if name != "t" else column for name, column in columns.items()}),
        "chunks": pa.Table.from_batches(pa.table(columns).to_batches(max_chunksize=7)),
    }
    for name, table in tables.items():
        found = compute(batch, table)
        assert found.values.tobytes() == expected.values.tobytes(), name
        assert found.stamps.tolist() == expected.stamps.tolist(), name
    renamed = pa.table({"time": stamps // 1000, "acc x": rows[:, 0], "ay": rows[:, 1]})
    assert len(compute(batch, renamed, stamps="time", stamp_unit="us", columns={"ax": "acc x"})) > 0
    assert compute(batch, rows, rate_hz=50).stamps[0] % 20_000_000 == 0


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames(alone, library):
    frames = pytest.importorskip(library, reason=f"{library} is not installed")
    stamps, rows = damaged(2000, 3)
    frame = frames.DataFrame({"t": stamps, "ax": rows[:, 0], "ay": rows[:, 1]})
    batch = edge.load_features(alone)
    assert compute(batch, frame).values.tobytes() == compute(batch, (stamps, rows)).values.tobytes()


def test_devices_are_kept_apart(alone):
    stamps, rows = damaged(2000, 9)
    batch = edge.load_features(alone)
    each = compute(batch, (stamps, rows))
    table = pa.table({"t": np.repeat(stamps, 2), "ax": np.repeat(rows[:, 0], 2), "ay": np.repeat(rows[:, 1], 2), "car": [4, 2] * 2000})
    both = compute(batch, table, columns={"device": "car"})
    assert by_device(both) == {"2": by_device(each)["guard"], "4": by_device(each)["guard"]}
    assert set(compute(batch, table, device="mine").device.tolist()) == {"mine"}


def test_vectors_become_an_arrow_table(alone):
    vectors = compute(edge.load_features(alone), damaged(500, 2), device="d1")
    table = vectors.to_arrow()
    assert table.column_names == ["device", "t", *vectors.names]
    assert table.column("t").to_numpy().tolist() == vectors.stamps.tolist()
    assert table.column(2).to_numpy().tobytes() == vectors.values[:, 0].tobytes()
    assert table.schema.metadata[b"edge.feature_hash"].decode() == vectors.hash
    assert table.schema.field(2).metadata == {b"unit": b"g"}


def test_the_pipelines_own_state_is_untouched(alone):
    stamps, rows = damaged(500, 2)
    pipeline = edge.load(alone)
    first = compute(pipeline, (stamps, rows))
    assert pipeline.counts()["vib"].received == 0
    assert compute(pipeline, (stamps, rows)).values.tobytes() == first.values.tobytes()


def test_a_gap_of_a_century_costs_nothing(alone):
    stamps, rows = damaged(500, 2)
    stamps[250:] += 3_000_000_000_000_000_000
    assert len(compute(edge.load_features(alone), (stamps, rows))) > 0


def test_nothing_gives_nothing(alone):
    vectors = compute(edge.load_features(alone), (np.empty(0, np.int64), np.empty((0, 2), np.float32)))
    assert vectors.values.shape == (0, 8)
    assert vectors.to_arrow().num_rows == 0


GOOD = {"t": [1, 2], "ax": [1.0, 2.0], "ay": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("data", "options", "says"),
    [
        (pa.table(GOOD).drop_columns("ay").append_column("Ay", [[1, 2]]), {}, "no column 'ay' for channel 'ay' .did you mean 'Ay'"),
        (pa.table(GOOD).drop_columns("t"), {}, "no column 't' of stamps"),
        (pa.table(GOOD | {"ax": ["1", "2"]}), {}, "column 'ax' holds string; numbers are due"),
        (pa.table(GOOD | {"t": [1.0, 2.0]}), {}, "whole ns or dates"),
        (pa.table(GOOD | {"t": [1, None]}), {}, "'t' is empty in 1 rows"),
        (pa.table(GOOD | {"t": ["now", "then"]}), {}, "no stamp, such as 'now'"),
        (pa.table(GOOD | {"t": [1 << 62, 2]}), {"stamp_unit": "s"}, "is the unit right"),
        (pa.table(GOOD | {"device": ["a", None]}), {}, "1 rows without a device"),
        (pa.table(GOOD | {"device": ["a", ""]}), {}, "empty text"),
        (pa.table(GOOD), {"columns": {"az": "ax"}}, "no channel 'az'; it has ax, ay .did you mean 'a"),
        (pa.table(GOOD), {"columns": {"device": "car"}}, "no column 'car' for 'device'"),
        (pa.table(GOOD), {"stream": "vibe"}, "unknown stream 'vibe'"),
        (pa.table(GOOD), {"stamp_unit": "days"}, "'days' is none of"),
        (pa.table([[1], [1], [2], [3]], ["t", "ax", "ax", "ay"]), {}, "2 columns 'ax'"),
        ((np.arange(3), np.zeros((3, 3))), {}, r"shape \(3, 3\); expected \(n, 2\)"),
        ((np.arange(2), np.zeros((3, 2))), {}, r"stamps have shape \(2,\)"),
        ((np.arange(3) * 0.5, np.zeros((3, 2))), {}, "whole ns or dates"),
        (np.array([["a", "b"]]), {}, "numbers are due"),
        (7, {}, "int is no table"),
    ],
)
def test_what_does_not_fit_is_said(alone, data, options, says):
    with pytest.raises(ValueError, match=says):
        compute(edge.load_features(alone), data, **options)


def test_a_table_for_several_streams_must_say_for_which(guard):
    with pytest.raises(ValueError, match="say which one"):
        compute(edge.load_features(guard), pa.table(GOOD))


def test_without_pyarrow_the_extra_is_named(alone, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    table = pa.table(GOOD)
    with pytest.raises(EdgeError, match=r"pip install 'edge-runtime\[offline\]'"):
        compute(edge.load_features(alone), table)


def test_a_pipeline_made_by_hand_says_what_to_do(alone):
    pipeline = edge.load(alone)
    pipeline.make_batch = None
    with pytest.raises(ValueError, match=r"edge\.load_features"):
        compute(pipeline, (np.arange(3), np.zeros((3, 2))))
