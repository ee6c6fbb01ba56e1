"""The table ``clean`` of a stream: each mistake is one problem at the key that must change; what is right becomes steps and channels."""

from pathlib import Path

import numpy as np
import pytest

from edge.build import feature_plan, pipeline_of
from edge.config.cleaning import STEPS, effective_channels, effective_rate_hz, has_quality, steps_of, waiting_rows
from edge.config.load import loads
from edge.config.types import Clean
from edge.errors import ConfigError
from edge.messages import RawMessage
from edge.pipeline.status import status
from edge.units import UNITS, conversion, convertible

BASE = """\
name = "guard"
budget_ms = 50
[streams.car]
topic = "car/{device}"
format = "json"
rate_hz = 100
channels = { ax = "m/s^2", ay = "m/s^2", az = "m/s^2", speed = "km/h", temp = "degC" }
"""
AXES = 'channels = ["ax", "ay", "az"]'
MISTAKES = [
    ("calibrate = { ap = { scale = 2 } }", "calibrate.ap", "no channel 'ap'"),
    ("calibrate = { ax = { scale = 0 } }", "calibrate.ax.scale", "not 0"),
    ("calibrate = { ax = { scale = inf } }", "calibrate.ax.scale", "finite"),
    ("calibrate = { ax = { offset = nan } }", "calibrate.ax.offset", "finite"),
    (f"matrix = [{{ {AXES}, rows = [[1, 0, 0], [2, 0, 0], [0, 0, 1]] }}]", "matrix[0].rows", "inverted"),
    (f"matrix = [{{ {AXES}, rows = [[1, 0, 0], [0, 0, 0], [0, 0, 1]] }}]", "matrix[0].rows", "inverted"),
    (f"matrix = [{{ {AXES}, rows = [[1, 0, nan], [0, 1, 0], [0, 0, 1]] }}]", "matrix[0].rows[0][2]", "finite"),
    (f"matrix = [{{ {AXES}, rows = [[1, 0], [0, 1, 0], [0, 0, 1]] }}]", "matrix[0].rows", "three rows of three"),
    ('matrix = [{ channels = ["ax", "ay", "temp"], rows = [[1, 0, 0], [0, 1, 0], [0, 0, 1]] }]', "matrix[0].channels", "one unit"),
    ('matrix = [{ channels = ["ax", "ay", "aq"], rows = [[1, 0, 0], [0, 1, 0], [0, 0, 1]] }]', "matrix[0].channels[2]", "no channel 'aq'"),
    ('matrix = [{ channels = ["ax", "ay", "ay"], rows = [[1, 0, 0], [0, 1, 0], [0, 0, 1]] }]', "matrix[0].channels", "mixed once"),
    ('convert = { sped = "m/s" }', "convert.sped", "did you mean 'speed'"),
    ('convert = { speed = "m" }', "convert.speed", "cannot be converted"),
    ('convert = { speed = "m/S" }', "convert.speed", "did you mean 'm/s'"),
    ("max_rate = { a = 1 }", "max_rate.a", "no channel 'a'"),
    ("max_rate = { ax = 0 }", "max_rate.ax", ""),
    ("max_rate = { ax = inf }", "max_rate.ax", "finite"),
    ("spike = { window = 2 }", "spike.window", ""),
    ('spike = { channels = ["ax", "b"] }', "spike.channels[1]", "no channel 'b'"),
    ("spike = { floor = { b = 1 } }", "spike.floor.b", "no channel 'b'"),
    ("spike = { floor = { ax = 0 } }", "spike.floor.ax", "more than 0"),
    ('spike = { channels = ["ay"], floor = { ax = 1 } }', "spike.floor.ax", "not among"),
    ('stuck = { ms = 5, channels = ["b"] }', "stuck.channels[0]", "no channel 'b'"),
    ("stuck = { ms = 0 }", "stuck.ms", ""),
    ('missing = { policy = "hold" }', "missing.max_age_ms", "how old"),
    ("missing = { max_age_ms = 5 }", "missing.max_age_ms", "hold"),
    ('missing = { policy = "constant" }', "missing.values", "which value"),
    ("missing = { values = { ax = 1 } }", "missing.values", "constant"),
    ('missing = { policy = "constant", values = { b = 1 } }', "missing.values.b", "no channel 'b'"),
    ('missing = { policy = "constant", values = { ax = nan } }', "missing.values.ax", "finite"),
    ('missing = { policy = "linear" }', "missing.policy", "lateness_ms"),
    ('missing = { policy = "lineal" }', "missing.policy", "linear"),
    ("resample = { rate_hz = 50 }", "resample", "max_gap_ms"),
    ("max_gap_ms = 100\nresample = { rate_hz = 3.14159 }", "resample.rate_hz", "three decimals"),
    ("max_gap_ms = 1e9\nresample = { rate_hz = 50 }", "resample.rate_hz", "rows"),
    ("derive = { ax = ['ay', 'az'] }", "derive.ax", "already"),
    ("derive = { quality = ['ay', 'az'] }", "derive.quality", "built-in"),
    ("derive = { '' = ['ay', 'az'] }", 'derive.""', "name"),
    ("derive = { a = ['ax', 'aw'] }", "derive.a[1]", "no channel 'aw'"),
    ("derive = { a = ['ax', 'ax'] }", "derive.a", "twice"),
    ("derive = { a = ['ax', 'temp'] }", "derive.a", "one unit"),
    ("derive = { a = [] }", "derive.a", ""),
]


def config_of(clean, extra="", base=BASE):
    return loads(f"{base}[streams.car.clean]\n{clean}\n{extra}", Path())


def problems_of(clean, extra="", base=BASE):
    with pytest.raises(ConfigError) as caught:
        config_of(clean, extra, base)
    return {problem.path: str(problem) for problem in caught.value.problems}


@pytest.mark.parametrize(("clean", "path", "said"), MISTAKES)
def test_one_mistake_is_one_problem(clean, path, said):
    found = problems_of(clean)
    assert list(found) == [f"streams.car.clean.{path}"]
    assert said in found[f"streams.car.clean.{path}"]


def test_every_mistake_is_found_in_one_go():
    found = problems_of(
        'convert = { speed = "m" }\nmissing = { policy = "hold" }\nresample = { rate_hz = 5 }\nderive = { a = ["ax", "b"] }'
    )
    assert len(found) == 4


def test_the_name_quality_is_taken():
    found = problems_of("", base=BASE.replace("temp =", "quality ="))
    assert list(found) == ["streams.car.channels.quality"]


def test_more_columns_than_marks_are_refused():
    names = ", ".join(f'c{i} = "m"' for i in range(63))
    found = problems_of("stuck = { ms = 5 }", base=BASE.replace('ax = "m/s^2"', f'{names}, ax = "m/s^2"'))
    assert list(found) == ["streams.car.channels"]
    assert "at most 63" in found["streams.car.channels"]


def test_a_scan_has_nothing_to_clean():
    base = BASE.replace('format = "json"\nrate_hz = 100\n', 'kind = "scan"\n').replace(BASE.splitlines()[-1], "")
    found = problems_of('stuck = { ms = 5 }\nmissing = { policy = "hold", max_age_ms = 5 }', base=base)
    assert set(found) == {"streams.car.clean.stuck", "streams.car.clean.missing"}


def test_a_plain_stream_stays_as_it_is():
    config = config_of("range = { ax = [-1, 1] }\nmax_gap_ms = 5")
    assert not has_quality(config, "car")
    assert steps_of(config, "car") is None
    assert effective_channels(config, "car") == config.streams["car"].channels


FEATURES = """
[[features]]
stream = "car"
channels = ["speed", "a", "quality"]
window = "1s"
stats = ["mean"]
"""


def test_features_see_converted_units_derived_channels_quality_and_the_new_rate():
    clean = 'convert = { speed = "m/s" }\nderive = { a = ["ax", "ay", "az"] }\nmax_gap_ms = 100\nresample = { rate_hz = 25 }'
    config = config_of(clean, FEATURES)
    assert list(effective_channels(config, "car")) == ["ax", "ay", "az", "speed", "temp", "a", "quality"]
    assert effective_rate_hz(config.streams["car"]) == 25
    plan = feature_plan(config)
    assert plan.names == ("car.speed.mean.1s", "car.a.mean.1s", "car.quality.mean.1s")
    assert plan.units == ("m/s", "m/s^2", "1")


def test_a_feature_of_quality_turns_cleaning_on():
    config = config_of("", FEATURES.replace('"a", ', ""))
    assert has_quality(config, "car")
    assert steps_of(config, "car").columns == 6


def test_an_unknown_channel_of_a_feature_is_compared_with_derived_ones():
    found = problems_of('derive = { norm = ["ax", "ay"] }', FEATURES.replace('"a"', '"nom"'))
    assert found.keys() == {"features[0].channels[1]"}
    assert "did you mean 'norm'" in found["features[0].channels[1]"]


def test_how_many_rows_may_wait():
    config = config_of('missing = { policy = "linear" }\nlateness_ms = 100')
    assert waiting_rows(config.streams["car"]) == 17
    config = config_of('missing = { policy = "linear" }\nlateness_ms = 100', base=BASE.replace("rate_hz = 100\n", ""))
    assert waiting_rows(config.streams["car"]) == 1024


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("km/h", "m/s", 90, 25), ("m/s", "km/h", 25, 90), ("mph", "km/h", 60, 96.56064), ("kn", "km/h", 1, 1.852),
        ("degC", "K", 0, 273.15), ("degF", "degC", 212, 100), ("degC", "degF", -40, -40), ("K", "degF", 273.15, 32),
        ("g", "m/s^2", 1, 9.80665), ("deg/s", "rad/s", 180, np.pi), ("rpm", "rad/s", 60, 2 * np.pi), ("bar", "psi", 1, 14.503773773),
        ("kWh", "J", 1, 3.6e6), ("gauss", "uT", 1, 100), ("l/min", "m^3/h", 1000, 60), ("%", "1", 50, 0.5), ("V", "V", 3, 3),
    ],
)  # fmt: skip
def test_units_convert(source, target, value, expected):
    factor, shift = conversion(source, target)
    assert factor * value + shift == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("unit", sorted({unit for units in UNITS.values() for unit in units}))
def test_every_conversion_has_a_way_back(unit):
    for other in convertible(unit):
        (factor, shift), (back, shift_back) = conversion(unit, other), conversion(other, unit)
        assert (factor * 7.5 + shift) * back + shift_back == pytest.approx(7.5, rel=1e-9)


@pytest.mark.parametrize(("source", "target"), [("m", "s"), ("dB", "dBm"), ("V", "A"), ("furlong", "m"), ("g", "kg")])
def test_units_of_two_quantities_do_not_convert(source, target):
    with pytest.raises(ValueError, match="cannot be converted"):
        conversion(source, target)


def test_a_pipeline_cleans_and_reports():
    clean = """\
calibrate = { ax = { offset = 0.5, scale = 2 } }
convert = { speed = "m/s", temp = "K" }
range = { temp = [200, 400] }
missing = { policy = "hold", max_age_ms = 100 }
derive = { a = ["ax", "ay", "az"] }
"""
    features = (
        FEATURES.replace('"speed", "a", "quality"', '"ax", "speed", "temp", "a", "quality"')
        .replace('"mean"', '"last"')
        .replace('"1s"', "1")
    )
    pipeline = pipeline_of(config_of(clean, features))
    payloads = [
        b'{"t": 10000000, "ax": 2, "ay": 4, "az": 0, "speed": 36, "temp": 20}',
        b'{"t": 20000000, "ax": null, "az": 0, "ay": 4, "speed": 72, "temp": 999}',
        b'{"t": 30000000, "speed": [18], "ay": [4], "az": [0], "ax": [1e300], "temp": [null]}',
        b'{"t": 40000000}',
        b'{"t": 50000000, "dt": 10000000, "ax": [2, null], "ay": [4, 4], "az": [0, 0], "speed": [36, 36]}',
    ]
    kept = pipeline.decisions.kept = []
    for i, payload in enumerate(payloads):
        pipeline.step(RawMessage("car/a", payload, (i + 1) * 10_000_000))
    vectors = [prediction.features.tolist() for prediction in kept]
    expected = [[3, 10, 293.15, 5], [3, 20, 293.15, 5], [3, 5, 293.15, 5], [3, 10, 293.15, 5], [3, 10, 293.15, 5]]
    np.testing.assert_allclose([vector[:4] for vector in vectors], expected, rtol=1e-6)
    quality = 1.0
    for share, lost, vector in zip((1, 0.6, 0.6, 0.8, 0.6), (0, 0, 0, 1, 0), vectors, strict=True):
        quality *= 0.99**lost  # the message that was refused is a period without a row
        quality += (share - quality) / 100
        assert vector[4] == pytest.approx(quality, rel=1e-6)
    stream = status(pipeline, 0)["streams"]["car"]
    assert stream["cleaning"] == {
        "not_finite": {"ax": 3, "temp": 3},
        "range": {"temp": 1},
        "hold": {"ax": 3, "temp": 4},
        "resampled": 0,
        "lowest_quality": round(quality, 4),
    }
    assert (stream["received"], stream["used"], stream["invalid"]) == (6, 5, {"missing_field": 1})


def test_the_example_of_the_page_passes_the_check_and_shows_every_option():
    page = (Path(__file__).parents[2] / "docs" / "cleaning.md").read_text(encoding="utf-8")
    config = loads(page.split("```toml\n")[1].split("```")[0], Path())
    plan = feature_plan(config)
    assert plan.units[:4] == ("m/s", "m/s", "m/s^2", "m/s^2")
    shown = {name for name in STEPS if getattr(config.streams["car"].clean, name) != getattr(Clean(), name)}
    assert shown == set(STEPS)
    assert pipeline_of(config).intakes[0].gate.cleaner is not None
