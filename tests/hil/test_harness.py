"""Parts of the harness that need no board: faults, frames, scenario files, reports."""

import random
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import framing, messages
from firmware_bridge.hil.faults import Faults
from firmware_bridge.hil.frames import Reader, make_frame, stuff, unstuff
from firmware_bridge.hil.report import write_report
from firmware_bridge.hil.result import Check, Result, Series
from firmware_bridge.hil.scenario import ScenarioError, load_scenario, shipped
from firmware_bridge.hil.timeline import Timeline


@given(st.binary(max_size=700))
def test_cobs_comes_back_and_has_no_zero_inside(data):
    line = stuff(data)
    assert 0 not in line[1:-1]
    assert unstuff(line[1:-1]) == data


@given(st.lists(st.binary(max_size=60), max_size=5), st.integers(1, 40))
def test_frames_are_found_in_pieces_of_any_size_and_the_runtime_reads_them_too(garbage, step):
    frames = [make_frame(messages.Log(1, f"line {i}"), seq=i, stamp_us=i) for i in range(len(garbage))]
    line = b"".join(noise + b"\0" + frame for noise, frame in zip(garbage, frames, strict=True))
    reader, decoder = Reader(), framing.Decoder()
    found = [frame for at in range(0, len(line), step) for frame in reader.feed(line[at : at + step])]
    assert [frame.message.text for frame in found] == [f"line {i}" for i in range(len(frames))]
    assert [frame.seq for frame in decoder.feed(line)] == [frame.seq for frame in found]


def test_faults_are_repeatable_and_in_proportion():
    data = bytes(range(256)) * 100
    one, two = (Faults(flip=0.01).damage(data, random.Random(7)) for _ in range(2))
    assert one == two
    assert 100 < sum(a != b for a, b in zip(one, data, strict=True)) < 500
    assert Faults(silent=True).damage(data, random.Random(7)) == b""
    assert len(Faults(drop=0.5).damage(data, random.Random(7))) < 0.6 * len(data)
    assert Faults(duplicate=1.0).damage(b"ab", random.Random(7)) == b"abab"
    assert Faults(truncate=1.0).damage(b"abcd", random.Random(7)) == b"ab"
    assert Faults().is_clean()
    with pytest.raises(ValueError, match="flip is a share from 0 to 1, not 2"):
        Faults(flip=2)


@pytest.mark.parametrize("name", shipped())
def test_shipped_scenarios_load_and_their_pipeline_is_there(name):
    scenario, file = load_scenario(name)
    assert scenario.name == name
    assert (file.parent / scenario.pipeline).exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name="x"\ntitle="x"\nduration_s=1.0', "nothing is expected"),
        ('name="x"\ntitle="x"\nduration_s=1.0\nspeed=1', "unknown field `speed`"),
        ('name="x"\ntitle="x"\nduration_s=1.0\n[[step]]\nat_s=2.0\ndo="mark"', "not within"),
        ('name="x"\ntitle="x"\nduration_s=1.0\n[[expect]]\nwhat="w"\nchannel="a.b"', "below, above or equals"),
        ('name="x"\ntitle="x"\nduration_s=1.0\n[[expect]]\nwhat="w"\nchannel="a.b"\nafter="nil"\nabove=1', "no step is named 'nil'"),
    ],
)
def test_a_wrong_scenario_is_refused_with_the_place(tmp_path, text, words):
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(ScenarioError, match=words):
        load_scenario(file)


def test_time_goes_on_over_a_reset():
    line = Timeline()
    assert line.begin(1, 1000, 5_001_000)
    assert line.hear(2_001_000, 7_001_000) == 2_000_000
    assert not line.begin(1, 2_001_000, 7_001_000)
    assert line.begin(2, 500, 8_001_000)
    assert line.place(500) == 3_000_000
    assert line.hear(1_000_500, 9_001_000) == 4_000_000


def test_a_report_stands_alone_and_names_what_failed(tmp_path):
    result = Result("x", "A <title>", "qemu", 1, checks=[Check("it holds", "1", True), Check("it fails", "2", False)])
    result.series = [Series("motor.speed", "rpm", [i / 1000 for i in range(5000)], [float(i % 7) for i in range(5000)])]
    result.latencies_ms, result.marks = [1.0, 2.0, 2.5], [(1.0, "kill")]
    page = write_report([result], tmp_path).read_text()
    assert "A &lt;title&gt;" in page
    assert "<polyline" in page
    assert "http" not in page
    suite = ET.parse(tmp_path / "junit.xml").getroot()[0]  # noqa: S314 - written by ourselves
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert not result.passed
