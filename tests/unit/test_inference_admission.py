"""A model runs only if it computes what was trained, from the features the pipeline has, within its budget on this machine."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from inference_models import (
    FEATURES,
    LABELS,
    NAMES,
    UNITS,
    Array,
    endless,
    golden_inputs,
    linear,
    linear_expected,
    slow,
    write_bundle,
    writer,
)
from onnx import helper

from edge.errors import BundleError
from edge.inference import admission
from edge.inference.admission import admit, time_runs
from edge.inference.bundle import load_bundle
from edge.inference.golden import MAX_ROWS, GoldenVectors, read_golden
from edge.inference.manifest import feature_hash

HASH = feature_hash(list(zip(NAMES, UNITS, strict=True)))
MS = 1_000_000


def test_an_admitted_model_scores_as_trained(tmp_path: Path) -> None:
    told: list[str] = []
    write_bundle(tmp_path / "watch")
    model = admit(load_bundle(tmp_path / "watch"), NAMES, HASH, 500 * MS, report=lambda check, detail: told.append(check))
    assert (model.name, model.version, model.labels, model.features) == ("watch", "1.0.0", LABELS, NAMES)
    variant = model.choose(500 * MS, may_go_smaller=True)
    assert variant is not None
    assert variant.name == "full"
    assert 0 < variant.p99_ns < 500 * MS
    vectors = golden_inputs(20)
    np.testing.assert_allclose([variant.run(vector) for vector in vectors], linear_expected(vectors), rtol=1e-5)
    assert told == ["features", "tensors", "golden", "p99"]


def test_the_stored_bundle_of_format_1_is_still_admitted() -> None:
    """Written once by an earlier version of this code; what is deployed must stay readable."""
    bundle = load_bundle(Path(__file__).parents[1] / "golden" / "watch-linear")
    assert bundle.manifest.version == "1.0.0"
    assert admit(bundle, NAMES, HASH).labels == LABELS


def changed_names(change: Callable[[list[str]], object]) -> tuple[list[str], str]:
    names = list(NAMES)
    change(names)
    return names, feature_hash([(name, "m/s^2") for name in names])


def swap(names: list[str]) -> None:
    names[1], names[4] = names[4], names[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda names: names.pop(2), rf"missing {NAMES[2]}; change \[\[features\]\] to the manifest's list"),
        (lambda names: names.append("imu.az.max.2s"), "not expected imu.az.max.2s;"),
        (lambda names: names.__setitem__(0, "imu.ax.mean.1s"), r"missing imu\.ax\.mean\.2s; not expected imu\.ax\.mean\.1s"),
        (swap, rf"in another order: {NAMES[4]} at 1 where {NAMES[1]} is expected, {NAMES[1]} at 4 where {NAMES[4]} is expected"),
        (lambda names: names.append(names[0]), "7 where 6 are expected"),
        (lambda names: names.clear(), "missing imu.ax.mean.2s"),
    ],
)
def test_other_features_are_refused_by_name(tmp_path: Path, change: Callable[[list[str]], object], message: str) -> None:
    write_bundle(tmp_path / "watch")
    bundle = load_bundle(tmp_path / "watch")
    names, other_hash = changed_names(change)
    with pytest.raises(BundleError, match=rf"manifest\.toml: the pipeline's features are not those the model was trained on: .*{message}"):
        admit(bundle, names, other_hash)


def test_another_unit_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "watch")
    with pytest.raises(BundleError, match="names agree, but units differ"):
        admit(load_bundle(tmp_path / "watch"), NAMES, feature_hash([(name, "g") for name in NAMES]))
    with pytest.raises(BundleError, match="the hashes differ"):
        admit(load_bundle(tmp_path / "watch"), None, "0" * 64)


def test_a_long_list_of_differences_is_cut(tmp_path: Path) -> None:
    write_bundle(tmp_path / "watch")
    names = [f"other.{i}" for i in range(30)]
    with pytest.raises(BundleError, match=r"other\.7 and 22 more"):
        admit(load_bundle(tmp_path / "watch"), names, "0" * 64)


def off(amount: float) -> Callable[[Array], Array]:
    def expected(inputs: Array) -> Array:
        right = linear_expected(inputs)
        right[5, 1] += amount
        return right

    return expected


def test_a_golden_output_off_in_one_place_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "near", expected=off(1e-6))
    admit(load_bundle(tmp_path / "near"))
    write_bundle(tmp_path / "far", expected=off(1e-3))
    with pytest.raises(BundleError, match=r"full\.onnx: variant 'full' does not reproduce golden\.npz: row 5, shaken: .*is allowed"):
        admit(load_bundle(tmp_path / "far"))


def test_every_variant_must_reproduce_its_own_golden_outputs(tmp_path: Path) -> None:
    other = np.ones((FEATURES, 2), np.float32)
    made, inputs = writer(tmp_path / "watch"), golden_inputs()
    made.add_variant("full", linear().SerializeToString(), linear_expected(inputs))
    made.add_variant("small", linear(weights=other).SerializeToString(), linear_expected(inputs, other))
    made.write(inputs)
    assert [variant.name for variant in admit(load_bundle(tmp_path / "watch")).variants] == ["full", "small"]
    made.add_variant("small", linear(weights=other).SerializeToString(), linear_expected(inputs))
    made.write(inputs, overwrite=True)
    with pytest.raises(BundleError, match=r"small\.onnx: variant 'small' does not reproduce"):
        admit(load_bundle(tmp_path / "watch"))


def nan_for_negative() -> onnx.ModelProto:
    return linear(weights=np.eye(FEATURES, 2, dtype=np.float32), bias=np.zeros(2, np.float32), activation="Sqrt")


def test_a_model_that_gives_nan_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "watch", models={"full": nan_for_negative()}, expected=lambda inputs: np.sqrt(np.maximum(inputs[:, :2], 0)))
    with pytest.raises(BundleError, match=r"full\.onnx: scores are .*nan.*\(on the golden inputs; a graph that gives finite scores"):
        admit(load_bundle(tmp_path / "watch"))


def test_a_graph_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_FIRST_RUN_LIMIT_S", 0.1)
    write_bundle(tmp_path / "watch", models={"full": endless()}, budget_ms=100)
    with pytest.raises(BundleError, match=r"did not end within 0\.1 s"):
        admit(load_bundle(tmp_path / "watch"))


def test_tensors_that_differ_from_the_manifest_are_refused(tmp_path: Path) -> None:
    wide = linear(weights=np.ones((FEATURES, 3), np.float32), bias=np.zeros(3, np.float32))
    write_bundle(tmp_path / "watch", models={"full": wide})
    with pytest.raises(BundleError, match=r"output 'scores' has shape \[1, 3\]; the manifest says \[1, 2\]"):
        admit(load_bundle(tmp_path / "watch"))


def test_an_operator_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    model = linear()
    model.graph.node.append(helper.make_node("NoSuchOperator", ["h"], ["unused"]))
    write_bundle(tmp_path / "watch", models={"full": model})
    with pytest.raises(BundleError, match=r"full\.onnx: onnxruntime .* refuses it: .*NoSuchOperator"):
        admit(load_bundle(tmp_path / "watch"))


def test_too_slow_for_the_budget_is_refused_with_both_numbers(tmp_path: Path) -> None:
    write_bundle(tmp_path / "watch", models={"full": slow()}, budget_ms=0.05)
    with pytest.raises(
        BundleError, match=r"no variant is fast enough on this device: full: p99 \d+\.\d{3} ms over 3 runs, budget 0\.050 ms"
    ):
        admit(load_bundle(tmp_path / "watch"))


def test_the_smaller_of_both_budgets_counts(tmp_path: Path) -> None:
    write_bundle(tmp_path / "watch", models={"full": slow()})
    bundle = load_bundle(tmp_path / "watch")
    with pytest.raises(BundleError, match=r"budget 0\.010 ms"):
        admit(bundle, budget_ns=10_000)


def test_a_variant_that_is_too_slow_is_left_out_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    write_bundle(tmp_path / "watch", models={"full": slow(), "small": linear()}, budget_ms=5)
    with caplog.at_level(logging.INFO, "edge.inference"):
        model = admit(load_bundle(tmp_path / "watch"), report=lambda check, detail: told.append(check))
    assert [variant.name for variant in model.variants] == ["small"]
    assert told[-2:] == ["excluded", "p99"]
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "watch 1.0.0, variant full: p99" in warnings[0]
    assert "excluded, too slow on this device" in warnings[0]


class Runs:
    """A run that spins for given times, over and over."""

    def __init__(self, *took_ns: int) -> None:
        self.took_ns, self.runs = took_ns, 0

    def __call__(self, vector: Array, lane: int) -> list[float]:
        import time

        until = time.perf_counter_ns() + self.took_ns[self.runs % len(self.took_ns)]
        self.runs += 1
        while time.perf_counter_ns() < until:
            pass
        return [0.0]


def test_a_fast_run_is_timed_many_times() -> None:
    run = Runs(0)
    timing = time_runs(run, golden_inputs(), 1000 * MS)
    assert timing.runs >= admission.LEAST_RUNS
    assert run.runs == timing.runs + 20
    assert timing.shortest_ns <= timing.p99_ns


def test_a_hopeless_run_is_given_up_after_three() -> None:
    run = Runs(2 * MS)
    timing = time_runs(run, golden_inputs(), MS)
    assert timing.runs == 3
    assert timing.p99_ns >= timing.shortest_ns >= 2 * MS


def test_an_unlucky_timing_is_repeated_at_most_twice() -> None:
    run = Runs(*[10] * 9, 2 * MS)
    timing = time_runs(run, golden_inputs(), MS)
    assert timing.p99_ns > MS
    assert run.runs <= 3 * (20 + admission.LEAST_RUNS)


def test_the_99th_percentile_passes_over_one_in_a_hundred() -> None:
    assert [admission._rank(n) for n in (1, 3, 100, 101, 200, 1000)] == [1, 3, 99, 100, 198, 990]


GOOD = GoldenVectors(golden_inputs(4), {"full": np.zeros((4, 2), np.float32)})


def save(**arrays: np.ndarray) -> bytes:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_golden_vectors_are_the_same_bytes_each_time_and_read_back() -> None:
    assert GOOD.encode() == GOOD.encode()
    read = read_golden(GOOD.encode(), "g", FEATURES, LABELS, ["full"])
    np.testing.assert_array_equal(read.inputs, GOOD.inputs)


WRONG_GOLDEN = [
    (b"", "not readable as npz"),
    (b"PK\x03\x04 nonsense", "not readable as npz"),
    (GOOD.encode()[:-30], "not readable as npz"),
    (save(inputs=np.array([{"a": 1}], dtype=object)), "not readable as npz without pickle"),
    (save(), "has no 'inputs', only nothing"),
    (save(inputs=GOOD.inputs), r"has no 'outputs\.full', only inputs; float32 \(4, 2\) is right"),
    (save(inputs=GOOD.inputs.astype(float)), r"'inputs' is float64 \(4, 6\); float32 \(N, 6\) is right"),
    (save(inputs=np.zeros((4, 5), np.float32)), r"'inputs' is float32 \(4, 5\)"),
    (save(inputs=np.float32(1)), r"'inputs' is float32 \(\)"),
    (save(inputs=np.zeros((0, 6), np.float32)), "inputs has 0 rows; 1 to 256 are right"),
    (save(inputs=np.zeros((MAX_ROWS + 1, 6), np.float32)), "inputs has 257 rows"),
    (save(**{"inputs": GOOD.inputs, "outputs.full": np.zeros((3, 2), np.float32)}), r"'outputs\.full' is float32 \(3, 2\)"),
    (save(**{"inputs": GOOD.inputs, "outputs.full": np.full((4, 2), np.nan, np.float32)}), "holds NaN or infinity"),
    (save(inputs=np.full((4, 6), np.inf, np.float32)), "holds NaN or infinity"),
]


@pytest.mark.parametrize(("data", "message"), WRONG_GOLDEN)
def test_wrong_golden_vectors_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=rf"^g\.npz: .*{message}"):
        read_golden(data, "g.npz", FEATURES, LABELS, ["full"])


def test_golden_vectors_that_unpack_to_very_much_are_not_unpacked() -> None:
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inputs.npy", bytes(65 << 20))
    with pytest.raises(BundleError, match="unpacks to 68157440 bytes; at most 67108864 are read"):
        read_golden(buffer.getvalue(), "g", FEATURES, LABELS, ["full"])


def test_damaged_golden_vectors_raise_one_type() -> None:
    rng, healthy = np.random.default_rng(1), GOOD.encode()
    for _ in range(500):
        data = bytearray(healthy)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            read_golden(bytes(data), "g", FEATURES, LABELS, ["full"])
        except BundleError:
            continue
