"""What goes out can be read by anyone, whatever the numbers and names in it."""

import json
import math

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.messages import Alert, Cause, Command, Prediction
from edge.wire.outgoing import Encoder

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
TIMES = st.integers(0, 1 << 62)


def no_constant(text):
    raise AssertionError(f"{text} is not JSON")


def strict(payload):
    return json.loads(payload, parse_constant=no_constant)


LOADS = {"json": strict, "msgpack": msgpack.unpackb}
each_encoding = pytest.mark.parametrize("encoding", ["json", "msgpack"])


def finite(value):
    return value if math.isfinite(value) else None


@each_encoding
@given(NAMES, NAMES, NUMBERS, NUMBERS, TIMES, st.integers(-(1 << 61), 1 << 61))
def test_any_alert_and_command_can_be_read_back(encoding, device, name, value, score, issued_ns, offset_ns):
    encoder, cause = Encoder(encoding, 5.0), Cause(name, score, "m", "1", "v", "b-m1")
    alert = LOADS[encoding](
        encoder.alert(Alert("i", device, "b", 1, issued_ns, name, "cleared", "info", value, cause, 7, "t"), 1.5, offset_ns)
    )
    command = LOADS[encoding](
        encoder.command(Command("i", device, "b", 1, issued_ns, issued_ns + 9, name, value, "1", cause, "t"), 1.5, offset_ns)
    )
    for message in (alert, command):
        assert (message["v"], message["device"], message["name"], message["boot_id"], message["seq"]) == (1, device, name, "b", 1)
        assert message["value"] == finite(value)
        assert message["cause"] == {
            "rule": name,
            "score": finite(score),
            "model": "m",
            "version": "1",
            "variant": "v",
            "deployment": "b-m1",
        }
        assert message["issued_ns"] == issued_ns + offset_ns
        assert (message["age_ms"], message["budget_ms"]) == (1.5, 5.0)
    assert command["expires_ns"] - command["issued_ns"] == 9


@each_encoding
@given(st.dictionaries(NAMES, st.floats(0, 1), max_size=4), st.lists(st.floats(width=32, allow_nan=True), max_size=40))
def test_any_prediction_can_be_read_back(encoding, scores, features):
    encoder = Encoder(encoding, 5.0)
    vector = np.array(features, np.float32)
    message = LOADS[encoding](encoder.prediction(Prediction("d", 3, 9, 0, scores, vector, "m", "1", "v")))
    assert message["scores"] == scores
    assert message["features"] == [finite(value) for value in vector.tolist()]
    assert "features" not in LOADS[encoding](encoder.prediction(Prediction("d", 3, 9, 0, scores)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_feature_that_is_not_finite_is_null_and_the_others_stay(bad):
    largest = float(np.finfo(np.float32).max)
    vector = np.array([largest, -largest, bad, largest, 0.5], np.float32)
    for encoding, load in LOADS.items():
        assert load(Encoder(encoding, 5.0).prediction(Prediction("d", 3, 9, 0, {}, vector)))["features"] == [
            largest,
            -largest,
            None,
            largest,
            0.5,
        ]


def test_a_score_that_is_not_finite_is_still_json():
    payload = Encoder("json", 5.0).prediction(Prediction("d", 3, 9, 0, {"a": math.nan, "b": math.inf}))
    assert strict(payload)["scores"] == {"a": None, "b": None}


def test_a_value_that_cannot_be_encoded_leaves_the_encoder_usable():
    for encoding, load in LOADS.items():
        encoder = Encoder(encoding, 5.0)
        with pytest.raises((OverflowError, ValueError)):
            encoder.prediction(Prediction("d", 1 << 70, 9, 0, {"a": 0.5}) if encoding == "msgpack" else Prediction("\ud800", 1, 9, 0, {}))
        assert load(encoder.prediction(Prediction("d", 3, 9, 0, {"a": 0.5})))["scores"] == {"a": 0.5}
