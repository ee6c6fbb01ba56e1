"""Tables keyed by device: read whole or refused, joined into vectors, and read again while frames go on."""

import os
import sqlite3
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import edge
import edge.build
import edge.config.tables
from edge.build import plan_of
from edge.config.load import load, loads
from edge.daemon.tables import TableWatcher
from edge.errors import ConfigError, TransportError
from edge.features import compute
from edge.pipeline.status import status
from edge.store import table as store
from edge.store.table import TableSpec, read_table, version_of

PIPELINE = """
name = "fleet"
budget_ms = 500
lanes = 2

[streams.can]
topic = "fleet/{device}/can"
channels = { speed = "m/s" }
rate_hz = 10

[tables.vehicle]
path = "vehicles.csv"
columns = { mass = "kg", length = "m" }

[[features]]
stream = "can"
channels = ["speed"]
window = 2
stats = ["mean"]

[[features]]
table = "vehicle"
columns = ["length", "mass"]
"""
CSV = "device,mass,length\nv1,1200,4.5\nv2,18000.5,12\n"
SPEC = TableSpec(Path("vehicles.csv"), "device", ("mass", "length"))


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    (tmp_path / "vehicles.csv").write_text(CSV)
    (tmp_path / "fleet.toml").write_text(PIPELINE)
    return tmp_path / "fleet.toml"


def push(pipeline, device, n=2):
    rows = np.ones((n, 1), np.float32)
    pipeline.stamp = getattr(pipeline, "stamp", 0) + 1_000_000_000
    return [list(p.features) for p in pipeline.push("can", rows, device=device, stamps=pipeline.stamp + np.arange(n)).predictions]


def spec(tmp_path, name, **changes):
    return TableSpec(tmp_path / name, "device", ("mass", "length"), **changes)


def as_sqlite(path):
    with sqlite3.connect(path) as connection:
        connection.execute('CREATE TABLE "the cars" (device TEXT, "length" REAL, mass INTEGER, other TEXT)')
        connection.execute("INSERT INTO \"the cars\" VALUES ('v1', 4.5, 1200, 'x'), ('v2', 12, 18000.5, 'y')")
    connection.close()


def test_every_kind_of_file_gives_the_same(tmp_path):
    (tmp_path / "t.csv").write_text("\ufeff" + CSV, encoding="utf-8")
    pq.write_table(pa.table({"length": [4.5, 12], "device": ["v1", "v2"], "mass": [1200, 18000.5]}), tmp_path / "t.parquet")
    as_sqlite(tmp_path / "t.db")
    tables = [read_table(spec(tmp_path, "t.csv")), read_table(spec(tmp_path, "t.parquet"))]
    tables.append(read_table(spec(tmp_path, "t.db", sql_table="the cars")))
    for table in tables:
        assert table.index == {"v1": 0, "v2": 1}
        assert table.values.tolist() == [[1200, 4.5], [18000.5, 12]]
        assert table.row("v2", [1, 0]).tolist() == [12, 18000.5]
        assert table.row("v3", [0]) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("device,mass,length\nv1,1,2\nv1,3,4\n", "device 'v1' is there twice, in rows 1 and 2"),
        ("device,mass\nv1,1\n", "no column 'length'; it has device, mass"),
        ("id,mass,length\nv1,1,2\n", "no column 'device'"),
        ("device,mass,length\nv1,heavy,2\n", "column 'mass' of device 'v1' is 'heavy'; a number is due"),
        ("device,mass,length\nv1,,2\n", "column 'mass' of device 'v1' is ''"),
        ("device,mass,length\nv1,nan,2\n", "a finite number is due"),
        ("device,mass,length\nv1,1e39,2\n", "a finite number is due"),
        ("device,mass,length\n ,1,2\n", "row 1 has no device"),
        ("device,mass,length\nv1,1\n", "line 2 has 2 fields; the header has 3"),
        ("device,mass,length\n", "has no rows"),
        ("", "no column 'device'; it has none"),
        ('device,mass,length\n"v1,1,2\n', "t.csv: "),
    ],
)
def test_a_bad_table_is_refused_whole(tmp_path, text, says):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(TransportError, match=says):
        read_table(spec(tmp_path, "t.csv"))


def test_other_bad_files_are_refused(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and nothing else")
    (tmp_path / "t.db").write_bytes(b"no database" * 100)
    (tmp_path / "t.csv").write_bytes(b"device,mass,length\nv\xff,1,2\n")
    as_sqlite(tmp_path / "good.db")
    for name in ("t.parquet", "t.db", "t.csv", "none.csv", "good.db"):
        with pytest.raises(TransportError, match=name):
            read_table(spec(tmp_path, name, sql_table="cars"))
    monkeypatch.setattr(store, "MAX_ROWS", 1)
    (tmp_path / "t.csv").write_text(CSV)
    with pytest.raises(TransportError, match="more than 1 rows"):
        read_table(spec(tmp_path, "t.csv"))
    monkeypatch.setattr(store, "MAX_BYTES", 10)
    with pytest.raises(TransportError, match="at most 10 are read"):
        read_table(spec(tmp_path, "t.csv"))


def test_an_unknown_column_is_no_text_to_sqlite(tmp_path):
    as_sqlite(tmp_path / "t.db")
    with pytest.raises(TransportError, match="no column 'weight'; it has device, length, mass, other"):
        read_table(TableSpec(tmp_path / "t.db", "device", ("weight",), "the cars"))


def test_vectors_have_the_columns_of_their_device(fleet):
    pipeline = edge.load(fleet)
    assert push(pipeline, "v1") == [[1, 4.5, 1200]]
    assert push(pipeline, "v2") == [[1, 12, 18000.5]]
    assert push(pipeline, "v3") == []
    assert push(pipeline, "v1")[0][1:] == [4.5, 1200]
    assert pipeline.lanes.evictions == 2
    report = status(pipeline, 0)
    assert report["tables"]["vehicle"]["rows"] == 2
    assert report["no_vector"]["unjoined"] > 0


def test_defaults_stand_in_for_a_missing_row(fleet, tmp_path):
    text = PIPELINE.replace("path =", 'missing = "default"\ndefaults = { mass = 1500, length = 4 }\npath =')
    fleet.write_text(text)
    assert push(edge.load(fleet), "v9") == [[1, 4, 1500]]


def test_batch_joins_the_same(fleet):
    pipeline = edge.load(fleet)
    stamps, rows = np.arange(6), np.arange(6, dtype=np.float32)[:, None]
    live = [p.features.tobytes() for i in range(6) for p in pipeline.push("can", rows[i : i + 1], device="v2", stamps=[i]).predictions]
    vectors = compute(edge.load_features(fleet), (stamps, rows), device="v2")
    assert [v.tobytes() for v in vectors.values] == live
    assert len(live) == 5
    assert len(compute(edge.load_features(fleet), (stamps, rows), device="v3")) == 0


@pytest.mark.parametrize(
    ("change", "path", "says"),
    [
        (('path = "vehicles.csv"', 'path = "vehicles.xls"'), "tables.vehicle.path", "none of .parquet, .csv, .sqlite, .db"),
        (('path = "vehicles.csv"', 'path = "cars.csv"'), "tables.vehicle.path", "No such file"),
        (('path = "vehicles.csv"', 'path = "cars.db"'), "tables.vehicle.sql_table", "is missing"),
        (('path = "vehicles.csv"', 'path = "vehicles.csv"\nsql_table = "x"'), "tables.vehicle.sql_table", "belongs to SQLite"),
        (('mass = "kg"', 'mass = "stone"'), "tables.vehicle.columns.mass", "unknown unit"),
        (("columns = { mass", 'key = "mass"\ncolumns = { mass'), "tables.vehicle.columns.mass", "is the key"),
        (("columns = { mass", "defaults = { mass = 1 }\ncolumns = { mass"), "tables.vehicle.defaults", 'missing = "default" only'),
        (("columns = { mass", 'missing = "default"\ncolumns = { mass'), "tables.vehicle.defaults", "no value for mass, length"),
        (
            ("columns = { mass", 'missing = "default"\ndefaults = { mas = 1, mass = 1, length = 1 }\ncolumns = { mass'),
            "tables.vehicle.defaults.mas",
            "no column 'mas'",
        ),
        (("length = ", "width = "), "tables.vehicle.path", "no column 'width'"),
    ],
)
def test_the_check_says_what_is_wrong(fleet, tmp_path, change, path, says):
    with pytest.raises(ConfigError) as caught:
        loads(PIPELINE.replace(*change).replace('["length", "mass"]', '["mass"]'), tmp_path)
    assert [problem.path for problem in caught.value.problems] == [path]
    assert says in caught.value.problems[0].reason


def rewrite(path, text):
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)


def watched(fleet):
    config = load(fleet)
    pipeline = edge.build.pipeline_of(config)
    files = {"vehicle": (edge.config.tables.spec_of(config.tables["vehicle"]), 0.01)}
    return pipeline, TableWatcher(pipeline.tables, files)


def until(watcher, condition, timeout_s=10.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        watcher.take(time.time_ns())
        time.sleep(0.005)


def test_a_changed_file_is_swapped_in_and_a_broken_one_is_not(fleet, tmp_path, caplog):
    pipeline, watcher = watched(fleet)
    table = pipeline.tables.tables["vehicle"]
    caplog.set_level("INFO")
    try:
        assert push(pipeline, "v1") == [[1, 4.5, 1200]]
        rewrite(tmp_path / "vehicles.csv", CSV.replace("1200", "1300"))
        until(watcher, lambda: table.loads == 2)
        assert push(pipeline, "v1")[-1] == [1, 4.5, 1300]
        rewrite(tmp_path / "vehicles.csv", CSV.replace("1200", "heavy"))
        until(watcher, lambda: table.failures == 1)
        assert push(pipeline, "v1")[-1] == [1, 4.5, 1300]
        assert "the old rows stay" in caplog.text
        assert "'heavy'" in caplog.text
        (tmp_path / "vehicles.csv").unlink()
        until(watcher, lambda: table.failures == 2)
        rewrite(tmp_path / "vehicles.csv", "device,mass,length\nv2,7,8\n")
        until(watcher, lambda: table.loads == 3)
        assert push(pipeline, "v1") == []
        assert push(pipeline, "v2")[-1] == [1, 8, 7]
        report = status(pipeline, 0)["tables"]["vehicle"]
        assert (report["rows"], report["loads"], report["failures"]) == (1, 3, 2)
    finally:
        watcher.close()


def test_rows_of_an_old_file_are_not_used(fleet, tmp_path, caplog):
    fleet.write_text(PIPELINE.replace("path =", "max_age_s = 100\npath ="))
    pipeline, watcher = watched(fleet)
    try:
        watcher.take(time.time_ns())
        assert len(push(pipeline, "v1")) == 1
        watcher.take(time.time_ns() + 200_000_000_000)
        assert push(pipeline, "v1") == []
        assert "max_age_s" in caplog.text
        os.utime(tmp_path / "vehicles.csv")
        until(watcher, lambda: pipeline.tables.tables["vehicle"].loads == 2)
        assert len(push(pipeline, "v1")) > 0
    finally:
        watcher.close()


def test_a_plan_ends_its_thread(fleet):
    plan = plan_of(load(fleet))
    plan.look_after_tables(time.time_ns())
    threads = [thread for thread in threading.enumerate() if thread.name == "edge-tables"]
    assert threads
    plan.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_rows_beside_an_sqlite_file_are_a_change(tmp_path):
    as_sqlite(tmp_path / "t.db")
    before = version_of(tmp_path / "t.db")
    connection = sqlite3.connect(tmp_path / "t.db")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("INSERT INTO \"the cars\" VALUES ('v3', 1, 2, '')")
    connection.commit()
    assert version_of(tmp_path / "t.db") != before
    assert len(read_table(spec(tmp_path, "t.db", sql_table="the cars")).index) == 3
    connection.close()
    assert version_of(tmp_path / "none.db") == ()


def test_reading_lets_other_threads_run(tmp_path):
    (tmp_path / "t.csv").write_text("device,mass,length\n" + "".join(f"v{i},1,2\n" for i in range(1000)))
    pauses = []
    read_table(spec(tmp_path, "t.csv"), lambda: pauses.append(None))
    assert len(pauses) > 20
