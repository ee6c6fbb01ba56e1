"""The bytes, the C function and the JSON that docs/wire.md shows are what the decoders take."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgpack
import pytest

from edge.errors import Reason
from edge.messages import Alert, Block, Cause, Command
from edge.wire.json_fields import JsonCodec
from edge.wire.outgoing import Encoder
from edge.wire.telemetry import TelemetryCodec

PAGE = (Path(__file__).parents[2] / "docs" / "wire.md").read_text(encoding="utf-8")


def shown(language, containing):
    return next(text for text in re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.S | re.M) if containing in text)


def decoded(payload, codec):
    block = Block(2, 8)
    codec.decode(payload, block)
    return block.seq, block.stamps[: block.n].tolist(), block.rows[: block.n].tolist()


def test_the_bytes_byte_by_byte():
    lines = shown("", "map of 4").splitlines()
    payload = bytes.fromhex("".join(re.match(r"(?:[0-9a-f]{2} +)+", line)[0] for line in lines))
    assert payload == msgpack.packb({"v": 1, "seq": 7, "t": 5_000_000_000, "x": bytes.fromhex("0000803f000000c0")})
    assert decoded(payload, TelemetryCodec(2, 8, 4096)) == (7, [5_000_000_000], [[1, -2]])


def test_the_c_function(tmp_path):
    source = tmp_path / "sender.c"
    source.write_text(
        "#include <stdint.h>\n#include <stdio.h>\n#include <string.h>\n"
        + shown("c", "telemetry(")
        + """
int main(void)
{
    const float x[6] = {1, -2, 3, 4, 5, 6.5f};
    uint8_t out[128];
    size_t size = telemetry(out, 4000000000u, 1700000000000000000u, 2000000000u, x, sizeof x);
    return fwrite(out, 1, size, stdout) == size ? 0 : 1;
}
"""
    )
    binary = tmp_path / "sender"
    subprocess.run(["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-o", binary, source], check=True, timeout=60)
    payload = subprocess.run([binary], check=True, capture_output=True, timeout=10).stdout
    first, period = 1_700_000_000_000_000_000, 2_000_000_000
    stamps = [first, first + period, first + 2 * period]
    assert decoded(payload, TelemetryCodec(2, 8, 4096)) == (4_000_000_000, stamps, [[1, -2], [3, 4], [5, 6.5]])


def test_the_json_with_its_field_map():
    stream = tomllib.loads(shown("toml", "fields ="))["streams"]["imu"]
    payload = re.search(r"-m '(.*)'", shown("sh", "accel"))[1].encode()
    codec = JsonCodec(tuple(stream["channels"]), stream["fields"], {"ms": 1_000_000}[stream["stamp_unit"]], 8, 4096)
    seq, stamps, rows = decoded(payload, codec)
    assert (seq, stamps) == (41, [1_700_000_000_123_000_000])
    assert rows[0] == pytest.approx([0.1, 9.7])


def test_the_line_for_a_shell():
    program = re.match(r"python3 -c '(.*)' \|", shown("sh", "python3"))[1]
    payload = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=30).stdout
    assert decoded(payload, TelemetryCodec(2, 8, 4096))[2] == [[1, -2]]


def test_the_alert_and_the_command_are_what_the_encoder_makes():
    encoder, score = Encoder("json", 5.0), {"model": "fan-anomaly", "version": "1.0.0", "variant": "fp32", "deployment": "5f1c-m1"}
    alert = Alert(
        "5f1c-a3",
        "7",
        "5f1c",
        3,
        0,
        "imbalance",
        "raised",
        "warning",
        0.83,
        Cause("imbalance", 0.83, **score),
        1_700_000_000_121_000_000,
        "",
    )
    made = encoder.alert(alert, 0.412, 1_700_000_000_123_456_789)
    assert list(json.loads(made).items()) == list(json.loads(shown("json", "raised")).items())
    command = Command("5f1c-fan_speed-7-41", "7", "5f1c", 41, 0, 300_000_000, "fan_speed", 0.5, "1", Cause("slow-down", 0.96, **score), "")
    made = encoder.command(command, 0.398, 1_700_000_000_123_456_789)
    assert list(json.loads(made).items()) == list(json.loads(shown("json", "expires_ns")).items())


def test_every_reason_is_explained():
    explained = set(re.findall(r"`(\w+)`", PAGE[PAGE.index("## Why a message is refused") :]))
    assert {reason.value for reason in Reason} - explained == set()
