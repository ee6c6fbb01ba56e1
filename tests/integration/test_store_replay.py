"""`edge replay`: the same bytes each time, the numbers of the live run, and clear words about bad files."""

import json
import math
import os
import random
import re
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge.build import daemon, load
from edge.cli.main import main
from edge.cli.replay import line, run
from edge.messages import Outgoing, RawMessage
from edge.store.recording import RecordingWriter, read
from tests.broker import Mosquitto, broker, needs_mosquitto  # noqa: F401 - a fixture

PIPELINE = """
name = "guard"
budget_ms = 500
tick_ms = 10

[streams.temp]
topic = "plant/{device}/temp"
format = "json"
channels = { celsius = "degC" }
rate_hz = 100
clean = { range = { celsius = [-50, 200] }, lateness_ms = 30 }

[streams.vib]
topic = "plant/{device}/vib"
channels = { ax = "g", ay = "g" }
rate_hz = 1000

[streams.lidar]
topic = "plant/{device}/scan"
kind = "scan"

[[features]]
stream = "temp"
channels = ["celsius"]
window = 4
stats = ["mean", "std", "slope"]

[[features]]
stream = "vib"
channels = ["ax", "ay"]
window = "50ms"
stats = ["rms", "last"]

[[rules]]
name = "hot"
score = "temp.celsius.mean.4"
enter = 60
exit = 50
hold_ms = 20
emit = "alert"
topic = "plant/{device}/alerts"

[[rules]]
name = "cool-down"
score = "temp.celsius.mean.4"
enter = 60
exit = 50
emit = "command"
actuator = "fan"
value = 0.8

[actuators.fan]
topic = "plant/{device}/cmd/fan"
unit = "1"
min = 0.0
max = 0.8
slew_per_s = 2.0
ttl_ms = 600
safe_value = 0.3
stale_ms = 500
rearm_ms = 0

[publish.predictions]
topic = "plant/{device}/pred"
features = true
"""
OFFSET_NS = 1_700_000_000_000_000_000


@pytest.fixture
def guard(tmp_path: Path) -> Path:
    file = tmp_path / "guard.toml"
    file.write_text(PIPELINE)
    return file


def temperature(i: int, device: str, celsius: object) -> tuple[str, bytes]:
    return f"plant/{device}/temp", json.dumps({"celsius": celsius, "t": i * 10_000_000, "seq": i}).encode()


def vibration(i: int, device: str) -> tuple[str, bytes]:
    x = struct.pack("<20f", *(math.sin((10 * i + k // 2) / (3 + k % 2)) for k in range(20)))
    return f"plant/{device}/vib", msgpack.packb({"v": 1, "seq": i, "t": i * 10_000_000, "dt": 1_000_000, "x": x})


def script(count: int, seed: int = 1) -> list[tuple[str, bytes]]:
    """Two devices; frames that swap places, come twice, go missing, and all kinds of rubbish."""
    rng = random.Random(seed)
    messages: list[tuple[str, bytes]] = []
    for i in range(count):
        for device in ("d0", "d1"):
            celsius: object = 50 + 25 * math.sin(i / 15 + (device == "d1"))
            dice = rng.random()
            if dice < 0.04:
                celsius = rng.choice([None, "hot", 1e9, math.nan])
            if dice < 0.97:
                messages.append(temperature(i, device, celsius))
            messages.append(vibration(i, device))
            if dice > 0.9:
                messages.append(rng.choice([messages[-1], messages[-2], (f"plant/{device}/vib", b"\xc1"), (f"plant/{device}/temp", b"{")]))
            if 0.8 < dice < 0.85:
                messages[-1], messages[-3] = messages[-3], messages[-1]
    return messages


def record(path: Path, messages: list[tuple[str, bytes]], step_ns: int = 2_000_000, rest_ns: int = 3_000_000_000) -> Path:
    now_ns = [5_000_000_000]
    with RecordingWriter(path, {"monotonic_offset_ns": str(OFFSET_NS)}, clock=lambda: now_ns[0]) as writer:
        for topic, payload in messages:
            now_ns[0] += step_ns
            writer.write(RawMessage(topic, payload, now_ns[0]))
        now_ns[0] += rest_ns
    return path


def replayed(recording: Path, guard: Path, out: Path) -> list[dict[str, Any]]:
    assert main(["replay", str(recording), str(guard), "--out", str(out)]) == 0
    return [json.loads(text) for text in out.read_text().splitlines()]


def test_two_replays_give_the_same_bytes(guard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = record(tmp_path / "r.mcap", script(300))
    outs = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    for out in outs:
        lines = replayed(recording, guard, out)
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert {entry["kind"] for entry in lines} == {"prediction", "alert", "command"}
    assert all(set(entry) == {"t", "kind", "topic", "payload"} for entry in lines)
    text = capsys.readouterr().out
    for word in ("r.mcap: ", "guard", "x real time", "temp: ", "vib: ", "decisions", "alerts", "commands"):
        assert word in text


def test_summary_accounts_for_every_sample(guard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    messages = script(300)
    messages.insert(7, ("elsewhere", b"?"))
    recording = record(tmp_path / "r.mcap", messages)
    assert main(["replay", str(recording), str(guard), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["recording"]["messages"] == len(messages)
    assert report["recording"]["seconds"] == pytest.approx(len(messages) * 0.002 + 3)
    assert report["unrouted"] == 1
    for stream in report["streams"].values():
        parts = [stream[part] for part in ("used", "held", "late", "duplicate")]
        assert stream["received"] == sum(parts) + sum(stream["invalid"].values()) + sum(stream["dropped"].values())
        assert stream["held"] == 0
    assert report["streams"]["temp"]["duplicate"] > 0
    assert len(report["streams"]["temp"]["invalid"]) > 2


def test_summary_names_gaps_overflows_and_another_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "p.toml"
    file.write_text(
        'name = "p"\nbudget_ms = 5\n[streams.v]\ntopic = "v/{device}"\nrate_hz = 100\nchannels = { a = "g", b = "g" }\n'
        'clean = { max_gap_ms = 500 }\n[[features]]\nstream = "v"\nchannels = ["a"]\nwindow = "1s"\nstats = ["mean"]\n'
    )
    messages = []
    for i in range(300):  # 10 samples in 10 ms, and after 2 s a second is missing
        topic, payload = vibration(i if i < 200 else i + 100, "p1")
        messages.append((topic.replace("plant/", "v/").removesuffix("/vib"), payload))
    assert main(["replay", str(record(tmp_path / "r.mcap", messages)), str(file)]) == 0
    [line_] = [text for text in capsys.readouterr().out.splitlines() if text.strip().startswith("v: ")]
    assert re.fullmatch(r" +v: 1 gaps, \d+ overflows \(samples that left their windows early\), measured 1000 Hz, rate_hz = 100", line_)


def test_time_that_passes_after_the_last_message_counts(guard: Path, tmp_path: Path) -> None:
    """Silence is an event: the recording goes on for 3 s without input, so the fan goes to its safe value."""
    hot = [temperature(i, "d0", 90) for i in range(20)]
    # The second stream must have a full window before there is a vector.
    messages = [message for i, pair in enumerate(hot) for message in (vibration(i, "d0"), pair)]
    quiet = replayed(record(tmp_path / "q.mcap", messages), guard, tmp_path / "q.jsonl")
    commands = [entry for entry in quiet if entry["kind"] == "command"]
    last = commands[-1]
    assert last["payload"]["value"] == pytest.approx(0.3)
    assert last["payload"]["cause"]["rule"].startswith("envelope")
    assert last["t"] > 40 * 2_000_000 + 400_000_000
    assert [entry["t"] for entry in commands] == sorted(entry["t"] for entry in commands)


def test_a_long_silence_passes_as_it_did_live_and_a_leap_of_the_clock_does_not(guard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.pipeline.grid.LONGEST_SILENCE_NS", 10_000_000_000)
    monkeypatch.setattr("edge.cli.replay._HOUR_NS", 10_000_000_000)
    script = [message for i in range(10) for message in (vibration(i, "p1"), temperature(i, "p1", 80))]
    messages = [RawMessage(*message, 1_000_000_000 + i * 5_000_000) for i, message in enumerate(script)]
    end_ns = messages[-1].received_ns + 60_000_000_000
    sent: list[tuple[int, list[Outgoing]]] = []
    run(load(guard, boot_id="b"), messages, end_ns, lambda *entry: sent.append(entry))
    live = load(guard, boot_id="b")
    out = [outgoing for raw in messages for outgoing in live.step(raw)]
    for at_ns in range(messages[-1].received_ns, end_ns + 1, 10_000_000):
        out += live.tick(at_ns)
    out += live.stop(end_ns)
    assert [outgoing.payload for _, some in sent for outgoing in some] == [outgoing.payload for outgoing in out]
    assert len(out) > 200, "the safe value is repeated"
    sent.clear()
    run(load(guard, boot_id="b"), messages, 10**18, lambda *entry: sent.append(entry))
    assert 0 < sum(len(some) for _, some in sent) < 100


def test_newest_scan_of_a_batch_wins(guard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes that were read in one go carry one time; of the scans in it only the last is taken, as in the daemon."""
    points = struct.pack("<6f", *range(6))
    scans = [msgpack.packb({"v": 1, "seq": i, "t": i, "n": 2, "fields": ["x", "y", "z"], "x": points}) for i in range(6)]
    with RecordingWriter(tmp_path / "r.mcap", {"monotonic_offset_ns": "0"}, clock=lambda: 2_000) as writer:
        for i, payload in enumerate(scans):
            writer.write(RawMessage("plant/d0/scan", payload, 1_000 + i // 3))
    assert main(["replay", str(writer.path), str(guard), "--json"]) == 0
    lidar = json.loads(capsys.readouterr().out)["streams"]["lidar"]
    assert (lidar["received"], lidar["used"], lidar["dropped"]) == (6, 2, {"superseded": 4})


def test_lines_to_standard_output_leave_the_summary_to_stderr(
    guard: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    recording = record(tmp_path / "r.mcap", script(60))
    expected = tmp_path / "1.jsonl"
    replayed(recording, guard, expected)
    capfdbinary.readouterr()
    assert main(["replay", str(recording), str(guard), "--out", "-"]) == 0
    out, err = capfdbinary.readouterr()
    assert out == expected.read_bytes()
    assert b"real time" in err


def test_cut_recording_replays_up_to_the_cut(guard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = record(tmp_path / "r.mcap", script(3_000)).read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(data[: len(data) * 2 // 3])
    assert main(["replay", str(cut), str(guard)]) == 0
    text = capsys.readouterr().out
    assert "cut: its writer was killed" in text
    assert "0 messages" not in text


def test_empty_recording(guard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(record(tmp_path / "r.mcap", [])), str(guard)]) == 0
    assert "0 messages in 3.0 s" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"t,ax\n0,1\n", os.urandom(500)])
def test_other_files_are_refused_with_4(guard: Path, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.mcap"
    path.write_bytes(content)
    assert main(["replay", str(path), str(guard)]) == 4
    err = capsys.readouterr().err
    assert err.startswith(f"edge: {path}: ")
    assert err.count("\n") == 1


def test_damage_in_the_middle_is_refused_with_4(guard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = record(tmp_path / "r.mcap", script(300))
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x10
    path.write_bytes(data)
    assert main(["replay", str(path), str(guard)]) == 4
    assert "damaged recording" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["none/out.jsonl", "."])
def test_output_that_cannot_be_written_is_refused_with_4(
    guard: Path, tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["replay", str(record(tmp_path / "r.mcap", script(20))), str(guard), "--out", out]) == 4
    assert capsys.readouterr().err.startswith(f"edge: {Path(out)}: ")


def test_full_disk_is_refused_with_4(guard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(record(tmp_path / "r.mcap", script(300))), str(guard), "--out", "/dev/full"]) == 4
    assert "No space left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("payload", "text"),
    [(b'{"a": 1.50}', '{"a": 1.50}'), (b'{\n"a":1}', '{ "a":1}'), (b"\x81\xa1a\x01", '"gaFhAQ=="'), (b"", '""'), (b"\xff", '"/w=="')],
)
def test_payload_is_embedded_as_it_is_or_as_base64(payload: bytes, text: str) -> None:
    written = line(Outgoing("status", "t", payload), 1_500, 1_000)
    assert written == f'{{"t":500,"kind":"status","topic":"t","payload":{text}}}\n'.encode()
    json.loads(written)


def until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def plain(entry: dict[str, Any], start_ns: int) -> dict[str, Any]:
    """A payload without what names the run or measures the machine."""
    kept = {key: value for key, value in entry.items() if key not in ("id", "boot_id", "age_ms")}
    return {key: value - start_ns if key in ("issued_ns", "expires_ns") else value for key, value in kept.items()}


def is_of_a_frame(payload: dict[str, Any]) -> bool:
    return not payload.get("cause", {}).get("rule", "").startswith("envelope")


@needs_mosquitto
def test_replay_of_a_live_run_gives_what_the_live_run_gave(guard: Path, tmp_path: Path, broker: Mosquitto) -> None:  # noqa: F811
    """Every prediction with its features to the last bit, every alert, every command, in order, for each topic."""
    seen: dict[str, list[dict[str, Any]]] = {}
    online, stopped = threading.Event(), threading.Event()

    def on_message(_client: object, _userdata: object, message: paho.MQTTMessage) -> None:
        if message.topic.rpartition("/")[2] == "availability":
            (online if message.payload == b"online" else stopped).set()
        if message.topic.rpartition("/")[2] in ("pred", "alerts", "fan"):
            seen.setdefault(message.topic, []).append(json.loads(message.payload))

    peer = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    peer.on_message = on_message
    peer.connect("127.0.0.1", broker.port)
    peer.subscribe([("plant/#", 1), ("edge/+/availability", 1)])
    peer.loop_start()
    with RecordingWriter(tmp_path / "live.mcap") as writer:
        running = daemon(guard, broker_url=broker.url, tap=writer.write)
        thread = threading.Thread(target=running.run)
        thread.start()
        try:
            assert online.wait(30)
            messages = script(250, seed=7)
            for topic, payload in messages:
                peer.publish(topic, payload)
                time.sleep(0.0005)
            until(lambda: writer.messages == len(messages))
        finally:
            running.stop()
            thread.join(20)
    assert stopped.wait(30), "the last words of the daemon come after everything else"
    peer.disconnect()
    peer.loop_stop()
    again: dict[str, list[dict[str, Any]]] = {}
    for entry in replayed(writer.path, guard, tmp_path / "r.jsonl"):
        again.setdefault(entry["topic"], []).append(entry["payload"])
    assert len(list(read(writer.path))) == len(messages)
    assert set(again) == set(seen) == {f"plant/{device}/{what}" for device in ("d0", "d1") for what in ("pred", "alerts", "cmd/fan")}
    for topic, heard in seen.items():
        live, rerun = ([payload for payload in payloads if is_of_a_frame(payload)] for payloads in (heard, again[topic]))
        starts = [payloads[0].get("issued_ns", 0) for payloads in (live, rerun)]
        assert [plain(p, starts[0]) for p in live] == [plain(p, starts[1]) for p in rerun]
        assert len(live) > (100 if topic.endswith("pred") else 0)
