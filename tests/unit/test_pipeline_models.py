"""Models that carry states, and cascades, in a whole pipeline: whose state, from when, and who answered."""

import msgpack
import numpy as np
import pytest

from edge.build import load
from edge.messages import RawMessage
from tests.unit import inference_models as models
from tests.unit.test_inference_states import leaky, leaky_expected

MS = 1_000_000
STEP_NS = 20 * MS
TEXT = """
name = "test"
budget_ms = 500
lanes = {lanes}

[streams.imu]
topic = "d/{{device}}/imu"
channels = {{ ax = "m/s^2", ay = "m/s^2", az = "m/s^2" }}
rate_hz = 50
[streams.imu.clean]
max_gap_ms = 200

[[features]]
stream = "imu"
channels = ["ax", "ay", "az"]
window = "40ms"
hop = "20ms"
stats = ["mean", "std"]

[model]
bundle = "bundle"
{model}

[[rules]]
name = "note"
score = "{score}"
enter = 1e9
exit = 1e8
emit = "alert"
topic = "d/{{device}}/alerts"
"""
NAMES = [name.replace("2s", "40ms") for name in models.NAMES]


def bundle_writer(tmp_path):
    made = models.writer(tmp_path / "bundle")
    made.set_features(NAMES, models.UNITS)
    return made


@pytest.fixture
def stateful(tmp_path):
    made, inputs = bundle_writer(tmp_path), models.golden_inputs()
    made.add_state("h", "hn", [1, 1], "what it remembers")
    made.add_constant("rate", np.array(3, np.int64), "of sampling")
    made.add_variant("full", leaky().SerializeToString(), leaky_expected(inputs))
    made.write(inputs)

    def make(lanes=2):
        return pipeline(tmp_path, lanes=lanes)

    return make


def pipeline(tmp_path, model="", score="calm", lanes=2):
    path = tmp_path / "pipeline.toml"
    path.write_text(TEXT.format(lanes=lanes, model=model, score=score))
    made = load(path, boot_id="b")
    made.decisions.kept = []
    return made


def send(made, seq, value=1.0, device="a", at_ns=None):
    """One row; the scores of the first label that were made of it."""
    stamp_ns = seq * STEP_NS if at_ns is None else at_ns
    x = np.full((1, 3), value, "<f4").tobytes()
    made.decisions.kept.clear()
    made.step(RawMessage(f"d/{device}/imu", msgpack.packb({"v": 1, "seq": seq, "t": stamp_ns, "dt": STEP_NS, "x": x}), stamp_ns + 1))
    return [round(float(kept.scores["calm"]), 5) for kept in made.decisions.kept]


def run(made, seqs, value=1.0, device="a"):
    return [score for seq in seqs for score in send(made, seq, value, device)]


def test_a_state_goes_on_from_vector_to_vector_and_is_each_lanes_own(stateful):
    made = stateful()
    a, b = [], []
    for seq in range(1, 8):
        a += send(made, seq, 1.0, "a")
        b += send(made, seq, 2.0, "b")
    expected = [3.0, 4.5, 5.25, 5.625]
    assert a[:4] == expected
    assert b[:4] == [2 * score for score in expected]


def test_after_a_gap_a_state_begins_anew_and_after_a_short_step_it_does_not(stateful):
    made = stateful()
    first = run(made, range(1, 8))
    assert first[-1] > 5.5
    beyond_ns = 7 * STEP_NS + 260 * MS
    later = [score for i in range(6) for score in send(made, 8 + i, at_ns=beyond_ns + i * STEP_NS)]
    assert later == first[: len(later)]
    assert len(later) >= 3


def test_another_device_on_the_lane_begins_anew(stateful):
    made = stateful(lanes=1)
    a = run(made, range(1, 8))
    b = run(made, range(8, 14), device="b")
    assert b == a[: len(b)]
    assert run(made, range(14, 20)) == a[: len(b)]


def test_a_vector_that_makes_the_state_infinite_is_a_failure_and_forgotten(stateful):
    made = stateful()
    before = run(made, range(1, 8))[-1]
    for seq in range(8, 11):  # times 3 is infinite
        assert send(made, seq, 3e38) == []
    assert made.decisions.failed["not_finite"] >= 2
    lost = made.decisions.failed["not_finite"]
    after = [score for seq in range(11, 15) for score in send(made, seq)]
    assert len(after) >= 3
    assert np.isfinite(after).all()
    assert made.decisions.failed["not_finite"] - lost == 4 - len(after)
    assert after[-1] == pytest.approx(0.5 * after[-2] + 3)
    assert after[-1] > before - 1e-3, "it went on from what was kept before"


def test_the_larger_variant_answers_where_the_smaller_one_is_unsure(tmp_path):
    made, inputs = bundle_writer(tmp_path), models.golden_inputs()
    other = np.array([3.0, -3.0], np.float32)
    made.add_variant("full", models.linear(bias=other).SerializeToString(), models.linear_expected(inputs, bias=other))
    made.add_variant("small", models.linear().SerializeToString(), models.linear_expected(inputs))
    made.write(inputs)
    whole = pipeline(tmp_path, '[model.cascade]\nfirst = "small"\nthen = "full"\nscore = "calm"\nunsure = [0.4, 0.6]')
    small = [float(models.linear_expected(np.array([[v, 0] * 3], np.float32))[0, 0]) for v in np.linspace(-3, 3, 25)]
    assert any(0.4 < score < 0.6 for score in small)
    seq = 0
    for value, score in zip(np.linspace(-3, 3, 25), small, strict=True):
        for _ in range(4):
            seq += 1
            send(whole, seq, float(value))
        (kept,) = whole.decisions.kept
        assert kept.variant == ("full" if 0.4 < score < 0.6 else "small")
    counts = whole.decisions.host.active.model.cascade.summary()
    assert whole.decisions.by_variant == {"small": counts["settled"], "full": counts["escalated"]}
    assert counts["no_time"] == 0
    assert whole.decisions.made == counts["settled"] + counts["escalated"]


def watched(made):
    """What a version on trial is told: lane, how often the lane began anew, and whether the active model answered."""
    told = []
    made.decisions.host.feed = lambda lane, begun, stamp_ns, scores, vector: told.append((lane, begun, bool(np.isfinite(scores).all())))
    return told


def test_a_version_on_trial_hears_when_states_began_anew(stateful):
    made = stateful(lanes=1)
    told = watched(made)
    run(made, range(1, 6))
    for i in range(3):
        send(made, 6 + i, at_ns=5 * STEP_NS + 260 * MS + i * STEP_NS)
    run(made, range(30, 35), device="b")
    assert {(lane, answered) for lane, _, answered in told} == {(0, True)}
    numbers = [begun for _, begun, _ in told]
    assert sorted(set(numbers)) == [1, 2, 3]
    assert numbers == sorted(numbers)


def test_a_version_on_trial_sees_vectors_that_the_active_model_cannot_answer(stateful):
    made = stateful(lanes=1)
    told = watched(made)
    run(made, range(1, 4))
    answered = len(told)
    assert run(made, range(4, 8), 3e38) == []  # finite, but times 3 it is not
    assert [ok for *_, ok in told] == [True] * answered + [False] * (len(told) - answered)
    assert len(told) > answered
    made.decisions.host.active.model.variants[0].p99_ns = made.decisions.host.active.model.variants[0].best_ns = 1 << 60
    before, skipped = len(told), made.decisions.skipped.get("overrun", 0)
    run(made, range(8, 12))
    assert len(told) - before == made.decisions.skipped["overrun"] - skipped > 0


def test_the_variant_that_fits_the_time_left_answers_and_the_preferred_one_comes_back(tmp_path):
    made, inputs = bundle_writer(tmp_path), models.golden_inputs()
    for name in ("full", "small"):
        made.add_variant(name, models.linear().SerializeToString(), models.linear_expected(inputs))
    made.write(inputs)
    path = tmp_path / "pipeline.toml"
    path.write_text('on_overrun = ["smaller_model", "skip"]\n' + TEXT.format(lanes=2, model="", score="calm"))
    whole = load(path, boot_id="b")
    whole.decisions.kept = []
    full, small = whole.decisions.host.active.model.variants
    run(whole, range(1, 6))
    assert set(whole.decisions.by_variant) == {"full"}
    answered = whole.decisions.by_variant["full"]
    full.p99_ns = full.best_ns = 600 * MS  # of 500
    run(whole, range(6, 10))
    assert whole.decisions.by_variant == {"full": answered, "small": 4}
    assert whole.decisions.kept[-1].variant == "small"
    assert full.excluded == 4
    small.p99_ns = small.best_ns = 600 * MS
    assert run(whole, range(10, 13)) == []
    assert whole.decisions.skipped == {"overrun": 3}
    full.p99_ns = full.best_ns = MS
    run(whole, range(13, 15))
    assert whole.decisions.by_variant == {"full": answered + 2, "small": 4}
