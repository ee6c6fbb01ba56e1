"""`edge features` and `edge parity`: recordings and real tables in, the vectors of the device out, and clear words about bad files."""

import gzip
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

import edge
from edge.cli.main import main
from edge.features import compute
from edge.messages import RawMessage
from edge.pipeline.batch import BatchRun
from edge.pipeline.engine import LargeBlocks
from edge.store.recording import RecordingWriter, read
from tests.integration.test_store_replay import PIPELINE, script

ROOT = Path(__file__).parents[2]
WATCH = ROOT / "models/activity-watch/pipeline.toml"
RECORDING = ROOT / "models/activity-watch/held-out.mcap"
DATA = ROOT.parent / "shared/data"
SECOND = 1_000_000_000


def data(name):
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is not there")
    return DATA / name


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def vectors_of(path):
    table = pq.read_table(path)
    values = np.stack([table.column(name).to_numpy() for name in table.column_names[2:]], axis=1)
    return table.column("device").to_pylist(), table.column("t").to_pylist(), values


def decided(file, recording):
    """What live decides on, device by device."""
    pipeline = edge.load(file)
    found = {}
    for raw in read(recording):
        pipeline.decisions.kept = []
        pipeline.step(raw)
        for one in pipeline.decisions.kept:
            found.setdefault(one.device, []).append((one.stamp_ns, one.features.tobytes()))
    return found


def test_a_recording_gives_the_vectors_that_live_decides_on(tmp_path, capsys):
    out = tmp_path / "o.parquet"
    code, printed, _ = run(capsys, "features", WATCH, RECORDING, "-o", out)
    assert code == 0
    assert "37200 received = 37200 used" in printed
    assert "3660 of 3 devices" in printed
    devices, stamps, values = vectors_of(out)
    found = {}
    for device, stamp, vector in zip(devices, stamps, values, strict=True):
        found.setdefault(device, []).append((stamp, vector.tobytes()))
    assert found == decided(WATCH, RECORDING)
    facts = {key.decode(): value.decode() for key, value in pq.read_schema(out).metadata.items()}
    plan = edge.load_features(WATCH).plan
    assert facts["edge.feature_hash"] == plan.hash
    assert json.loads(facts["edge.names"]) == list(plan.names)
    assert json.loads(facts["edge.units"]) == list(plan.units)
    assert pq.read_schema(out).field(2).metadata[b"unit"] == plan.units[0].encode()


def many_devices(path, rows=20_000, devices=5):
    generator = np.random.default_rng(3)
    columns = {name: generator.normal(size=rows).astype(np.float32) for name in ("ax", "ay", "az", "wx", "wy", "wz")}
    stamps = np.arange(rows) // devices * 20_000_000
    pq.write_table(pa.table({"t": stamps, "device": [f"d{i % devices}" for i in range(rows)], **columns}), path)
    return path


@pytest.mark.timeout(300)
def test_the_bytes_do_not_depend_on_the_number_of_processes(tmp_path, capsys):
    inputs = [RECORDING, many_devices(tmp_path / "many.parquet")]
    outs = []
    for jobs in (1, 3):
        outs.append(tmp_path / f"{jobs}.parquet")
        code, printed, error = run(capsys, "features", WATCH, *inputs, "-o", outs[-1], "--jobs", jobs)
        assert (code, error) == (0, "")
        assert "57200 received = 57200 used" in printed
        assert "761 messages on topics of no stream" in printed
        assert "of 8 devices" in printed
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.parquet", "3.parquet", "many.parquet"]


@pytest.mark.timeout(300)
def test_a_process_says_what_is_wrong_with_its_file(tmp_path, capsys):
    bad = tmp_path / "bad.csv"
    bad.write_text("t,ax,ay,az,wx,wy,wz\n1,x,2,3,4,5,6\n")
    code, _, error = run(capsys, "features", WATCH, RECORDING, bad, "-o", tmp_path / "o.parquet", "--jobs", 2)
    assert code == 4
    assert error.startswith(f"edge: {bad}: ")
    assert not (tmp_path / "o.parquet").exists()


def test_every_format_gives_the_same(tmp_path, capsys):
    many = many_devices(tmp_path / "in.parquet", 3000, 2)
    table = pq.read_table(many)
    pc.write_csv(table, tmp_path / "in.csv")
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress((tmp_path / "in.csv").read_bytes()))
    lines = (tmp_path / "in.csv").read_text().replace('"', "").splitlines()
    (tmp_path / "odd.csv").write_text(
        "\r\n".join([lines[0].replace(",", ";"), *(line.replace(",", " ; ") + ";" for line in lines[1:])]) + "\r\n"
    )
    matrix = np.stack([table.column(name).to_numpy() for name in ("ax", "ay", "az", "wx", "wy", "wz")], axis=1)
    np.savez(tmp_path / "in.npz", t=table.column("t").to_numpy(), x=matrix, device=np.array(table.column("device").to_pylist()))
    expected = None
    for name in ("in.parquet", "in.csv", "in.csv.gz", "odd.csv", "in.npz"):
        maps = [f"--map={channel}=x[{i}]" for i, channel in enumerate(("ax", "ay", "az", "wx", "wy", "wz"))] if name == "in.npz" else []
        code, _, error = run(capsys, "features", WATCH, tmp_path / name, "-o", tmp_path / "o.parquet", *maps)
        assert (code, error) == (0, ""), name
        expected = expected or (tmp_path / "o.parquet").read_bytes()
        assert (tmp_path / "o.parquet").read_bytes() == expected, name


COLUMNS = "t,ax,ay,az,wx,wy,wz\n"
ROW = "20000000,1,2,3,4,5,6\n"


def spoil(folder):
    good = many_devices(folder / "good.parquet", 300)
    (folder / "cut.parquet").write_bytes(good.read_bytes()[:-100])
    (folder / "empty.csv").write_bytes(b"")
    (folder / "header.csv").write_text(COLUMNS.strip())
    (folder / "no-rows.csv").write_text(COLUMNS)
    (folder / "text.csv").write_text(COLUMNS + ROW.replace("2,", "two,", 1).replace("two0", "20"))
    (folder / "word.csv").write_text(COLUMNS + "20000000,one,2,3,4,5,6\n")
    (folder / "ragged.csv").write_text(COLUMNS + ROW + "40000000,1\n")
    (folder / "columns.csv").write_text(COLUMNS.replace("wx", "WX") + ROW)
    (folder / "stamps.csv").write_text(COLUMNS + ROW.replace("20000000", "noon"))
    (folder / "seconds.csv").write_text(COLUMNS + ROW.replace("20000000", "0.02"))
    (folder / "latin.csv").write_bytes(COLUMNS.encode().replace(b"ax", b"\xe4x") + ROW.encode())
    (folder / "junk.mcap").write_text("this is no recording")
    (folder / "binary.dat").write_bytes(bytes(range(256)) * 10)
    (folder / "cut.csv.gz").write_bytes(
        gzip.compress((COLUMNS + "".join(f"{i * 10**7},1,2,3,4,5,{i % 7}\n" for i in range(9000))).encode())[:-2000]
    )
    np.savez(folder / "lengths.npz", t=np.arange(3), x=np.zeros((4, 6)))
    np.savez(folder / "objects.npz", t=np.array([{}], dtype=object))
    (folder / "cut.npz").write_bytes((folder / "lengths.npz").read_bytes()[:100])
    with RecordingWriter(folder / "none.mcap"):
        pass


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.csv", "No such file"),
        ("", "is a folder"),
        ("empty.csv", "is empty"),
        ("header.csv", "has a header and no rows"),
        ("no-rows.csv", "holds no rows"),
        ("word.csv", "invalid value 'one'"),
        ("ragged.csv", "Expected 7 columns, got 2"),
        ("columns.csv", "no column 'wx' for channel 'wx' (did you mean 'WX'?)"),
        ("stamps.csv", "no stamp, such as 'noon'"),
        ("seconds.csv", "say what their unit is"),
        ("latin.csv", "no text in UTF-8"),
        ("cut.parquet", "Parquet magic bytes not found"),
        ("junk.mcap", "is no recording"),
        ("binary.dat", "is no recording"),
        ("cut.csv.gz", "runcated"),
        ("lengths.npz", "arrays differ in length"),
        ("objects.npz", "Object arrays cannot be loaded"),
        ("cut.npz", "zip"),
        ("none.mcap", "holds no messages"),
    ],
)
def test_a_bad_input_is_one_clear_line(tmp_path, capsys, name, says):
    spoil(tmp_path)
    maps = [f"--map={channel}=x[{i}]" for i, channel in enumerate(("ax", "ay", "az", "wx", "wy", "wz"))] if name == "lengths.npz" else []
    code, printed, error = run(capsys, "features", WATCH, tmp_path / name, "-o", tmp_path / "o.parquet", *maps)
    assert code == 4, error
    assert says in error
    assert error.startswith(f"edge: {tmp_path / name}: ")
    assert error.count("\n") == 1
    assert printed == ""
    assert not [path for path in tmp_path.iterdir() if "o.parquet" in path.name]


def test_a_wrong_command_line_is_said(tmp_path, capsys):
    good = many_devices(tmp_path / "good.parquet", 300)
    assert run(capsys, "features", WATCH, good, "-o", good)[0] == 4
    assert run(capsys, "features", WATCH, good, "-o", tmp_path / "no" / "o.parquet")[0] == 4
    assert run(capsys, "features", WATCH, good, "-o", tmp_path / "o", "--map", "ax")[0] == 2
    assert run(capsys, "features", WATCH, good)[0] == 2
    assert run(capsys, "features", tmp_path / "none.toml", good, "-o", tmp_path / "o")[0] == 3
    code, _, error = run(capsys, "features", WATCH, good, "-o", tmp_path / "o", "--stream", "imo")
    assert (code, "unknown stream 'imo'" in error) == (4, True)
    (tmp_path / "two.toml").write_text(PIPELINE)
    code, _, error = run(capsys, "features", tmp_path / "two.toml", good, "-o", tmp_path / "o")
    assert (code, "say which one" in error) == (4, True)
    code, _, error = run(capsys, "features", WATCH, good, "-o", tmp_path / "o", "--rate", "50")
    assert (code, "need stamps of their own" in error) == (4, True)


def test_a_recording_that_was_cut_is_used_up_to_there(tmp_path, capsys):
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(RECORDING.read_bytes()[:600_000])
    code, printed, _ = run(capsys, "features", WATCH, cut, "-o", tmp_path / "o.parquet")
    assert code == 0
    assert "cut: its writer was killed" in printed
    code, printed, _ = run(capsys, "features", WATCH, RECORDING, "-o", tmp_path / "o.parquet", "--device", "subject-9")
    assert code == 0
    assert "of 1 devices" in printed


def test_no_vectors_are_explained(tmp_path, capsys):
    (tmp_path / "two.toml").write_text(PIPELINE)
    table = tmp_path / "t.csv"
    table.write_text("t,celsius\n" + "".join(f"{i * 10_000_000},20\n" for i in range(50)))
    code, printed, _ = run(capsys, "features", tmp_path / "two.toml", table, "-o", tmp_path / "o.parquet", "--stream", "temp")
    assert code == 1
    assert "no row of vib was used" in printed
    assert pq.read_table(tmp_path / "o.parquet").num_rows == 0
    short = tmp_path / "short.csv"
    short.write_text(COLUMNS + ROW)
    assert "no window was ever full" in run(capsys, "features", WATCH, short, "-o", tmp_path / "o.parquet")[1]


def test_a_progress_bar_only_on_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    code, _, error = run(capsys, "features", WATCH, RECORDING, "-o", tmp_path / "o.parquet")
    assert code == 0
    assert "features" in error


# -- parity --------------------------------------------------------------------------------------------------------------------


def test_live_and_batch_are_equal_on_a_real_recording(capsys):
    code, printed, _ = run(capsys, "parity", WATCH, RECORDING, "--damage", "7")
    assert code == 0, printed
    assert "intact      3660 vectors of 48 features, 3 devices: equal to the last bit" in printed
    assert "damaged     seed 7: " in printed


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_live_and_batch_are_equal_whatever_comes(tmp_path, capsys, seed):
    """JSON and MessagePack, two streams of two devices, rubbish, lateness; and on top of it losses, repeats, disorder and bad values."""
    file = tmp_path / "guard.toml"
    file.write_text(PIPELINE.replace("rate_hz = 1000", "rate_hz = 1000\nclean = { max_gap_ms = 50 }"))
    rng = random.Random(seed)
    at_ns = 5_000_000_000
    with RecordingWriter(
        tmp_path / "r.mcap", {"started_ns": "0", "monotonic_offset_ns": "1700000000000000000"}, clock=lambda: at_ns
    ) as writer:
        for topic, payload in script(900, seed):
            at_ns += rng.choice([0, 1_000_000, 4_000_000, 9_000_000]) + (rng.random() < 0.003) * 70_000_000
            writer.write(RawMessage(topic, payload, at_ns))
    code, printed, _ = run(capsys, "parity", file, tmp_path / "r.mcap", "--damage", seed)
    assert code == 0, printed
    assert printed.count("equal to the last bit") == 2


def recorded(path, pipeline, messages):
    """A recording of what a sender of one stream said: (stamps int64 (n,), rows (n, C)) of each of its messages."""
    intake = pipeline.intakes[0]
    topic = intake.topic.subscription.replace("+", "unit")
    with RecordingWriter(path) as writer:
        for seq, (stamps, rows) in enumerate(messages):
            fields = {"v": 1, "seq": seq, "t": int(stamps[0]), "ts": (stamps - stamps[0]).astype("<i8").tobytes()}
            payload = msgpack.packb(fields | {"x": np.ascontiguousarray(rows, "<f4").tobytes()})
            writer.write(RawMessage(topic, payload, int(stamps[-1]) + SECOND))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("lateness_ms", [0, 40])
def test_every_shipped_pipeline_is_equal_on_its_recordings(tmp_path, capsys, seed, lateness_ms):
    """Losses, repeats, disorder and NaN; a wait close to the budget is no difference either."""
    fan = np.load(data("esp32-fan") / "fan_0_med_1_weight.npz")["x"][:80]
    watch = np.load(data("activity-watch") / "watch.npz", allow_pickle=False)
    flat = next(np.asarray(watch[key], np.float32) for key in watch.files if watch[key].ndim == 2 and watch[key].shape[1] >= 6)[:6000, :6]
    rows = {"fan-anomaly": fan.reshape(-1, 3), "activity-watch": flat}
    for name, table in rows.items():
        text = (ROOT / "models" / name / "pipeline.toml").read_text()
        stream = re.search(r"\[streams\.(\w+)\]", text)[1]
        if lateness_ms and f"[streams.{stream}.clean]" in text:
            text = text.replace(f"[streams.{stream}.clean]", f"[streams.{stream}.clean]\nlateness_ms = {lateness_ms}")
        elif lateness_ms:
            text = text.replace("[[features]]", f"[streams.{stream}.clean]\nlateness_ms = {lateness_ms}\n[[features]]", 1)
        text = re.sub(r"budget_ms = \d+", "budget_ms = 50", text, count=1).replace("ttl_ms = ", "ttl_ms = 1")
        file = tmp_path / f"{name}.toml"
        file.write_text(re.sub(r'bundle = "([^"]+)"', f'bundle = "{ROOT}/models/{name}"', text))
        at = np.arange(1, len(table) + 1) * (SECOND // (200 if name == "fan-anomaly" else 50))
        blocks = [(at[i : i + 10], table[i : i + 10]) for i in range(0, len(table), 10)]
        recorded(tmp_path / f"{name}.mcap", edge.load(file), blocks)
        code, printed, _ = run(capsys, "parity", file, tmp_path / f"{name}.mcap", "--damage", seed)
        assert code == 0, printed
        assert printed.count("equal to the last bit") == 2


def test_a_difference_is_found_and_placed(capsys, monkeypatch):
    compute_block = LargeBlocks._run

    def one_bit_off(self, *arguments):
        take = self.on_vectors

        def spoiled(lane, stamps, vectors):
            if stamps[0] > 50_000_000_000:
                vectors.view(np.uint32)[0, 3] ^= 1
            take(lane, stamps, vectors)

        self.on_vectors = spoiled
        compute_block(self, *arguments)
        self.on_vectors = take

    monkeypatch.setattr(LargeBlocks, "_run", one_bit_off)
    code, printed, _ = run(capsys, "parity", WATCH, RECORDING)
    assert code == 1
    assert "DIFFERENT, " in printed
    assert "device 'subject-" in printed
    assert "imu.ax.max.4s is " in printed
    assert "stamp " in printed


def test_vectors_on_one_side_only_are_found(capsys, monkeypatch):
    monkeypatch.setattr(BatchRun, "finish", lambda self, end_ns: None)
    code, printed, _ = run(capsys, "parity", WATCH, RECORDING)
    assert code == 1
    assert "vectors that batch does not make" in printed


def test_parity_needs_vectors_and_a_recording(tmp_path, capsys):
    with RecordingWriter(tmp_path / "none.mcap") as writer:
        writer.write(RawMessage("other", b"x", 1_000_000_000))
    code, printed, _ = run(capsys, "parity", WATCH, tmp_path / "none.mcap")
    assert (code, "nothing was compared" in printed) == (1, True)
    assert run(capsys, "parity", WATCH, tmp_path / "missing.mcap")[0] == 4
    (tmp_path / "few.toml").write_text(
        WATCH.read_text().replace('bundle = "."', f'bundle = "{WATCH.parent}"').replace("budget_ms = 5\n", "budget_ms = 5\nlanes = 1\n")
    )
    code, printed, _ = run(capsys, "parity", tmp_path / "few.toml", RECORDING)
    assert code == 1
    assert "batch makes a vector that live does not make" in printed
    assert "lanes = 1 is too little" in printed


# -- real tables ---------------------------------------------------------------------------------------------------------------


def pipeline(tmp_path, channels, rate_hz, window, extra=""):
    names = ", ".join(f'{name} = "{unit}"' for name, unit in channels.items())
    quoted = ", ".join(f'"{name}"' for name in channels)
    file = tmp_path / "p.toml"
    file.write_text(
        f'name = "car"\nbudget_ms = 100\n[streams.in]\ntopic = "car/{{device}}/in"\nrate_hz = {rate_hz}\n'
        f"channels = {{ {names} }}\n{extra}\n"
        f'[[features]]\nstream = "in"\nchannels = [{quoted}]\nwindow = "{window}"\nstats = ["mean", "std", "slope", "zero_crossings"]\n'
    )
    return file


def test_obd_logs_with_a_comma_too_many(tmp_path, capsys):
    folder = data("obd-carobd")
    file = pipeline(tmp_path, {"rpm": "rpm", "speed": "km/h"}, 1, "20s")
    drives = [folder / f"drive{i}.csv.gz" for i in (1, 2, 3)]
    options = ["--map", "rpm=ENGINE_RPM ()", "--map", "speed=VEHICLE_SPEED ()"]
    code, printed, error = run(capsys, "features", file, *drives, "-o", tmp_path / "o.parquet", *options, "--rate", "1")
    assert (code, error) == (0, "")
    rows = sum(len(gzip.decompress(path.read_bytes()).splitlines()) - 1 for path in drives)
    assert f"{rows} received = {rows} used" in printed
    stamps = ["--stamps", "ENGINE_RUN_TINE ()", "--stamp-unit", "s"]
    code, printed, _ = run(capsys, "features", file, drives[0], "-o", tmp_path / "o.parquet", *options, *stamps)
    assert code == 0
    assert "duplicate" in printed


def test_car_imu_with_fractions_of_a_millisecond(tmp_path, capsys):
    folder = data("imu-gps-car")
    file = pipeline(tmp_path, {"ax": "m/s^2", "yawrate": "deg/s"}, 50, "1s", 'clock = "synced"')
    path = folder / "2014-03-26-000-Data.csv.gz"
    code, printed, error = run(capsys, "features", file, path, "-o", tmp_path / "o.parquet", "--stamps", "millis", "--stamp-unit", "ms")
    assert (code, error) == (0, "")
    assert "10800 received" in printed
    table = pc.read_csv(path)
    vectors = compute(edge.load_features(file), table, stamps="millis", stamp_unit="ms")
    _, stamps, values = vectors_of(tmp_path / "o.parquet")
    assert stamps == vectors.stamps.tolist()
    assert values.tobytes() == vectors.values.tobytes()
    assert len(stamps) > 10_000


def test_can_arrays(tmp_path, capsys):
    folder = data("can-comma2k19")
    file = pipeline(tmp_path, {"fl": "m/s", "rr": "m/s"}, 83, "1s")
    path = folder / "CAN_wheel_speed.npz"
    options = ["--map", "fl=value[0]", "--map", "rr=value[3]", "--stamp-unit", "s"]
    code, printed, error = run(capsys, "features", file, path, "-o", tmp_path / "o.parquet", *options)
    assert (code, error) == (0, "")
    with np.load(path) as arrays:
        stamps = np.rint(arrays["t"] * 1e9).astype(np.int64)
        vectors = compute(edge.load_features(file), (stamps, arrays["value"][:, [0, 3]]))
    assert f"{len(stamps)} received" in printed
    assert vectors_of(tmp_path / "o.parquet")[2].tobytes() == vectors.values.tobytes()


def test_flight_logs(tmp_path, capsys):
    folder = data("px4-ulog")
    file = pipeline(tmp_path, {"gx": "rad/s", "az": "m/s^2"}, 250, "200ms")
    path = folder / "sample_appended_multiple.sensor_combined.csv.gz"
    options = ["--map", "gx=gyro_rad[0]", "--map", "az=accelerometer_m_s2[2]", "--stamps", "timestamp", "--stamp-unit", "us"]
    code, _, error = run(capsys, "features", file, path, "-o", tmp_path / "o.parquet", *options)
    assert (code, error) == (0, "")
    assert len(vectors_of(tmp_path / "o.parquet")[1]) > 1000


# -- memory --------------------------------------------------------------------------------------------------------------------

RESIDENT = """
import sys
from edge.cli import feature_jobs
from edge.cli.main import main
from edge.daemon.memory import resident_mb
settle = feature_jobs._settle
def watched(outcome, run):
    settle(outcome, run)
    print("resident", resident_mb(), flush=True)
feature_jobs._settle = watched
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.timeout(400)
def test_memory_does_not_grow_with_the_input(tmp_path):
    """110 MB of CSV: the second half of it adds nothing to what the first half needed."""
    generator = np.random.default_rng(1)
    noise = {name: generator.normal(size=80_000).astype(np.float32).round(3) for name in ("ax", "ay", "az", "wx", "wy", "wz")}
    table = tmp_path / "large.csv"
    with pc.CSVWriter(table, pa.schema([("t", pa.int64()), *((key, pa.float32()) for key in noise)])) as writer:
        for i in range(25):
            writer.write_table(pa.table({"t": (np.arange(80_000) + i * 80_000) * 20_000_000, **noise}))
    out = tmp_path / "o.parquet"
    command = [sys.executable, "-c", RESIDENT, "features", str(WATCH), str(table), "-o", str(out), "--jobs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    sizes = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("resident")]
    assert table.stat().st_size > 100e6
    assert pq.read_metadata(out).num_rows == 199_980
    assert len(sizes) > 20
    assert max(sizes[len(sizes) // 2 :]) < max(sizes[: len(sizes) // 2]) + 25, sizes
