"""The demo's parts that need no process: the tape, what is heard, what is shown."""

import io
import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from edge.cli.demo import view
from edge.cli.demo.command import has_kernels
from edge.cli.demo.heard import Heard
from edge.cli.demo.player import Tape
from edge.messages import RawMessage

PERIOD_NS = 20_000_000
BOOT_NS = 5_000_000_000


def _tape(rounds: int = 3) -> Tape:
    raws = []
    for i in range(rounds):
        for device, origin in (("left", 0), ("right", 77)):
            fields = {"v": 1, "seq": 40 + i, "t": origin + i * PERIOD_NS, "x": bytes([i]) * 24}
            raws.append(RawMessage(f"watch/{device}/imu", msgspec.msgpack.encode(fields), BOOT_NS + i * PERIOD_NS))
    return Tape(raws)


def test_a_tape_goes_on_for_ever_with_rising_stamps_and_counters() -> None:
    played = list(itertools.islice(_tape().play(start_ns=1_000), 18))
    left = [(due_ns, msgspec.msgpack.decode(payload)) for due_ns, topic, payload in played if topic == "watch/left/imu"]
    assert [fields["seq"] for _due, fields in left] == list(range(9))
    assert [due_ns for due_ns, _fields in left] == [i * PERIOD_NS for i in range(9)]
    assert [fields["t"] for _due, fields in left] == [1_000 + i * PERIOD_NS for i in range(9)]
    assert [fields["x"] for _due, fields in left] == [bytes([i % 3]) * 24 for i in range(9)]


def test_every_device_keeps_its_own_origin() -> None:
    played = list(itertools.islice(_tape().play(start_ns=0), 2))
    assert [msgspec.msgpack.decode(payload)["t"] for _due, _topic, payload in played] == [0, 0]


def test_a_payload_that_is_no_map_is_played_as_it_is() -> None:
    tape = Tape([RawMessage("a", b"\xc1", 0), RawMessage("a", b"\x01", 10)])
    assert [payload for _due, _topic, payload in itertools.islice(tape.play(0), 3)] == [b"\xc1", b"\x01", b"\xc1"]


def test_an_empty_recording_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        Tape([])


def _status(received: int, uptime_s: float) -> dict[str, Any]:
    counts = {"received": received, "used": received - 3, "held": 0, "late": 1, "duplicate": 0, "invalid": {"not_finite": 2}, "dropped": {}}
    return {
        "uptime_s": uptime_s,
        "state": "running",
        "streams": {"imu": counts},
        "decisions": {"made": 5, "skipped": {"overrun": 2}, "failed": {}},
        "budget": {"met": 5, "missed": 0, "withheld": 0},
        "commands": {"sent": 1, "withheld": {}, "blocked": {"not_listed": 1}},
        "latency_us": {"total": {"p50": 120.0, "p99": 310.0, "max": 900.0, "count": 5}},
        "rss_mb": 120.4,
    }


def _heard() -> Heard:
    heard = Heard()
    heard.hear("status", json.dumps(_status(100, 1.0)).encode(), 1.0)
    heard.hear("status", json.dumps(_status(200, 3.0)).encode(), 3.0)
    heard.hear("prediction", json.dumps({"device": "left", "scores": {"ROW": 0.9, "PEN": 0.1}, "features": [1.5, 2.5]}).encode(), 3.1)
    heard.hear(
        "alert", json.dumps({"device": "left", "name": "wrong", "state": "raised", "severity": "warning", "value": 0.9}).encode(), 3.2
    )
    command = {"device": "left", "name": "buzz", "value": 0.5, "unit": "1", "issued_ns": 0, "expires_ns": 300_000_000}
    heard.hear("command", msgspec.msgpack.encode(command), 3.3)
    return heard


def test_what_is_heard_is_counted() -> None:
    heard = _heard()
    assert heard.samples_per_s == 50.0
    assert (heard.predictions, heard.alerts, heard.commands, heard.malformed) == (1, 1, 1, 0)
    assert heard.first_prediction_s == 3.1
    assert (heard.devices["left"].label, heard.devices["left"].score) == ("ROW", 0.9)
    assert view.accounting(heard.status) == {"received": 200, "used": 197, "late": 1, "duplicate": 0, "invalid": 2, "dropped": 0, "held": 0}


@pytest.mark.parametrize("payload", [b"", b"{", b"\xc1", b"[1]", b"\x93\x01\x02\x03", b'{"a": \xff}'])
def test_a_message_that_cannot_be_read_is_only_counted(payload: bytes) -> None:
    heard = Heard()
    heard.hear("alert", payload, 1.0)
    assert heard.malformed == 1


def test_the_screen_fits_80_by_24_and_shows_what_matters() -> None:
    heard = _heard()
    for device in "bcd":
        heard.hear("prediction", json.dumps({"device": device, "scores": {"ROW": 0.9}, "features": [0.0]}).encode(), 4.0)
    console = Console(width=80, height=24, record=True, file=io.StringIO())
    about = view.About("activity-watch", "mosquitto 127.0.0.1:1883", "held-out.mcap", 5.0, ("imu.ax.mean.2s", "imu.ax.std.2s"))
    console.print(view.screen(about, heard, 12.0, console.size))
    text = console.export_text()
    assert len(text.splitlines()) <= 24
    for part in ("activity-watch", "running", "12 s", "310", "ROW", "0.90", "imu.ax.mean.2s", "buzz", "raised (warning)", "120 MB"):
        assert part in text


def test_the_screen_can_be_drawn_before_anything_is_heard() -> None:
    console = Console(width=80, height=24, record=True, file=io.StringIO())
    about = view.About("activity-watch", "mosquitto 127.0.0.1:1883", "held-out.mcap", 5.0)
    console.print(view.screen(about, Heard(), 0.0, console.size))
    console.print(view.screen(about, Heard(), 0.0, console.size, "the daemon is starting"))
    assert "the daemon is starting" in console.export_text()


def test_commands_that_go_on_are_one_line() -> None:
    heard = Heard()
    for now_s, device, value in ((1.0, "a", 0.2), (1.2, "b", 0.3), (1.4, "a", 0.4), (5.0, "a", 0.2)):
        command = {"device": device, "name": "buzz", "value": value, "unit": "1", "issued_ns": 0, "expires_ns": 500_000_000}
        heard.hear("command", json.dumps(command).encode(), now_s)
    assert [(event.device, event.times, event.text[:4]) for event in heard.events] == [("a", 2, "0.40"), ("b", 1, "0.30"), ("a", 1, "0.20")]
    assert (heard.commands, heard.noted) == (4, 3)


def test_agreement_counts_only_what_was_said_while_the_truth_was_known() -> None:
    heard = Heard()
    said = json.dumps({"device": "a", "scores": {"ROW": 0.9, "PEN": 0.1}}).encode()
    heard.hear("prediction", said, 1.0)
    heard.hear("truth", b'{"label": "ROW"}', 1.1, "a")
    heard.hear("prediction", said, 1.2)
    heard.hear("truth", b'{"label": "PEN"}', 1.3, "a")
    heard.hear("prediction", said, 1.4)
    assert (heard.devices["a"].predictions, heard.devices["a"].agreed) == (2, 1)


def test_there_is_no_latency_before_there_is_one() -> None:
    assert (view._us({}, "p50"), view._us({"p50": 12.4}, "p50")) == ("-", "12 us")


def test_a_first_start_is_one_without_compiled_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert not has_kernels()
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "a.nbi").touch()
    assert has_kernels()
