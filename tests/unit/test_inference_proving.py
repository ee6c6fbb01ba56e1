"""A bundle that bombs, hangs, crashes or lies ends the process in which it is proved, in one line, and nothing else."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge.errors import BundleError
from edge.inference import proving
from edge.inference.bundle import load_bundle
from edge.inference.proving import Limits, prove
from tests.unit.inference_models import (
    LABELS,
    NAMES,
    endless,
    golden_inputs,
    linear,
    linear_expected,
    model_of,
    slow,
    tensor,
    write_bundle,
    writer,
)

MS = 1_000_000
TIGHT = Limits(memory_bytes=400 << 20, cpu_s=5, wall_s=60, longest_s=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "watch")
    return tmp_path / "watch"


def forge(folder: Path, file: str, data: bytes) -> None:
    """Replace a file, and give it its right hash, as whoever can write the folder can."""
    home = folder / "1.0.0"
    old = hashlib.sha256((home / file).read_bytes()).hexdigest()
    (home / file).write_bytes(data)
    text = (home / "manifest.toml").read_text()
    (home / "manifest.toml").write_text(text.replace(old, hashlib.sha256(data).hexdigest()))


def lie(folder: Path, old: str, new: str) -> None:
    path = folder / "1.0.0" / "manifest.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(folder: Path, limits: Limits = TIGHT) -> str:
    with pytest.raises(BundleError) as caught:
        prove(folder, budget_ns=500 * MS, limits=limits)
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)
    return str(caught.value)


def test_a_sound_bundle_is_proved_and_measured(folder: Path) -> None:
    told: list[str] = []
    found = prove(folder, budget_ns=500 * MS, report=lambda check, detail: told.append(check))
    assert (found.name, found.version, [v.name for v in found.variants], found.excluded) == ("watch", "1.0.0", ["full"], [])
    assert told == ["manifest", "hashes", "self-contained", "tensors", "golden", "p99"]
    assert 0 < found.variants[0].p99_ns < 500 * MS
    assert found.manifest_sha256 == load_bundle(folder).manifest_sha256
    assert 0 < found.resident_bytes <= found.peak_bytes < 200 << 20


def test_what_is_too_slow_is_named(tmp_path: Path) -> None:
    write_bundle(tmp_path / "watch", models={"full": slow(), "small": linear()})
    found = prove(tmp_path / "watch", budget_ns=2 * MS)
    assert ([v.name for v in found.variants], found.excluded) == (["small"], ["full"])


def test_refusals_are_those_of_an_admission(folder: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.toml: the pipeline's features are not those .*: missing imu\.ax\.mean\.2s"):
        prove(folder, feature_names=NAMES[1:], feature_hash="0" * 64)
    with pytest.raises(BundleError, match=r"no version '9'; it holds 1\.0\.0"):
        prove(folder, "9")
    with pytest.raises(BundleError, match="there is no such folder"):
        prove(folder / "nothing")


def large(*nodes: onnx.NodeProto, **constants: object) -> onnx.ModelProto:
    """A graph that makes ``big`` from one feature and takes its largest value as both scores."""
    return model_of(
        [
            helper.make_node("Slice", ["features", "from", "to", "axis"], ["one"]),
            *nodes,
            helper.make_node("ReduceMax", ["big"], ["top"], keepdims=0),
            helper.make_node("Reshape", ["top", "shape"], ["top2"]),
            helper.make_node("Concat", ["top2", "top2"], ["scores"], axis=1),
        ],
        [tensor(name, value) for name, value in ({"from": [0], "to": [1], "axis": [1], "shape": [1, 1]} | constants).items()],
    )


BOMBS = {
    "ConstantOfShape": large(helper.make_node("ConstantOfShape", ["size"], ["zeros"]), helper.make_node("Add", ["zeros", "one"], ["big"]),
                             size=[1 << 14, 1 << 15]),
    "Expand": large(helper.make_node("Expand", ["one", "size"], ["big"]), size=[1 << 14, 1 << 15]),
    "Tile": large(helper.make_node("Tile", ["one", "size"], ["big"]), size=[1 << 14, 1 << 15]),
    "Range": large(helper.make_node("Range", ["zero", "end", "step"], ["many"]), helper.make_node("Add", ["many", "one"], ["big"]),
                   zero=np.float32(0), end=np.float32(1 << 29), step=np.float32(1)),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_model_that_wants_gigabytes_is_refused(tmp_path: Path, name: str) -> None:
    write_bundle(tmp_path / "watch", models={"full": BOMBS[name]})
    said = refused(tmp_path / "watch")
    assert "more than the 400 MiB that are allowed" in said or "was killed" in said


def test_a_model_without_end_is_stopped_by_the_clock(tmp_path: Path) -> None:
    write_bundle(tmp_path / "watch", models={"full": endless()})
    said = refused(tmp_path / "watch", Limits(wall_s=2.5, cpu_s=60, longest_s=0))
    assert "its process did not end within 2.5 s and was stopped after" in said
    assert said.endswith(("the last thing done was tensors", "was self-contained", "was start"))  # on a busy machine it comes less far


def test_one_product_that_cannot_be_interrupted_is_stopped(tmp_path: Path) -> None:
    size = [4096, 4096]
    nodes = [helper.make_node("Expand", ["one", "size"], ["m"]), helper.make_node("MatMul", ["m", "m"], ["m2"])]
    nodes += [helper.make_node("MatMul", ["m2", "m"], ["m3"]), helper.make_node("MatMul", ["m3", "m"], ["m4"])]
    nodes += [helper.make_node("MatMul", ["m4", "m"], ["m5"]), helper.make_node("MatMul", ["m5", "m"], ["big"])]
    write_bundle(tmp_path / "watch", models={"full": large(*nodes, size=size)})
    said = refused(tmp_path / "watch", Limits(cpu_s=2, longest_s=0))
    assert "had used the 2 s of processor time" in said


def test_an_opset_of_the_future_is_refused(tmp_path: Path) -> None:
    model = linear()
    model.opset_import[0].version = 9999
    write_bundle(tmp_path / "watch", models={"full": model})
    assert "full.onnx: onnxruntime" in refused(tmp_path / "watch")


@pytest.mark.parametrize("domain", ["evil.example", "ai.onnx.training", "com.microsoft.nchwc", "\u00e9"])
def test_operators_of_somebody_else_are_refused(tmp_path: Path, domain: str) -> None:
    model = linear()
    model.graph.node[1].domain = domain
    model.opset_import.append(helper.make_opsetid(domain, 1))
    with pytest.raises(BundleError, match=rf"full\.onnx: needs the operators {domain}::Softmax, which are not part of ONNX"):
        write_bundle(tmp_path / "watch", models={"full": model})


def test_functions_inside_the_model_are_operators_of_its_own(tmp_path: Path) -> None:
    model = linear()
    model.graph.node[1].domain, model.graph.node[1].op_type = "mine", "Soft"
    model.opset_import.append(helper.make_opsetid("mine", 1))
    body = [helper.make_node("Softmax", ["x"], ["y"])]
    model.functions.append(helper.make_function("mine", "Soft", ["x"], ["y"], body, [helper.make_opsetid("", 17)]))
    write_bundle(tmp_path / "watch", models={"full": model})
    assert prove(tmp_path / "watch", budget_ns=500 * MS).variants[0].name == "full"


def test_cut_off_files_with_right_hashes_are_refused(folder: Path) -> None:
    """At every kind of place: empty, inside the first field, in nodes, in weights, before the last byte."""
    for file in ("full.onnx", "golden.npz"):
        whole = (folder / "1.0.0" / file).read_bytes()
        for size in (0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1):
            forge(folder, file, whole[:size])
            assert f"{file}: " in refused(folder) or "hash" in refused(folder)
        forge(folder, file, whole)
    path = folder / "1.0.0" / "manifest.toml"
    text = path.read_bytes()
    for size in (0, 1, len(text) // 2, len(text) - 20):
        path.write_bytes(text[:size])
        with pytest.raises(BundleError, match=r"manifest\.toml: "):
            load_bundle(folder)


LIES = [
    ('labels = ["calm", "shaken"]', 'labels = ["shaken", "calm"]', "its columns are calm, shaken; the manifest's labels are shaken, calm"),
    ('labels = ["calm", "shaken"]', 'labels = ["calm", "still"]', "golden.npz: its columns are calm, shaken"),
    ('shape = [1, 2], labels = ["calm", "shaken"]', 'shape = [1, 3], labels = ["calm", "shaken", "x"]',
     "'outputs.full' is float32 (8, 2); float32 (8, 3) is right"),
    ('shape = [1, 2], labels = ["calm", "shaken"]', 'shape = [2], labels = ["calm", "shaken"]', "has shape [1, 2]; the manifest says [2]"),
    ('shape = [1, 6]', 'shape = [6]', "has shape [1, 6]; the manifest says [6]"),
    ('name = "features", dtype = "float32"', 'name = "features", dtype = "int32"', "is tensor(float); the manifest says tensor(int32)"),
    ('name = "features"', 'name = "other"', "the graph's inputs are features; the manifest's inputs are other"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), LIES)
def test_lies_of_the_manifest_are_found_out(folder: Path, old: str, new: str, message: str) -> None:
    lie(folder, old, new)
    assert message in refused(folder)


def test_a_variant_that_exchanges_its_scores_is_found_out(tmp_path: Path) -> None:
    made = writer(tmp_path / "watch")
    inputs = golden_inputs()
    made.add_variant("full", linear().SerializeToString(), linear_expected(inputs)[:, ::-1])
    made.write(inputs)
    assert f"does not reproduce golden.npz: row 0, {LABELS[0]}: " in refused(tmp_path / "watch")


def npz(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def header(shape: str, descr: str = "'<f4'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + len(text.ljust(117) + "\n").to_bytes(2, "little") + text.ljust(117).encode() + b"\n"


ZIPS = [
    (npz("inputs.npy", bytes(65 << 20)), "unpacks to 68157440 bytes"),
    (npz("inputs.npy", header("(1099511627776,)")), "golden.npz: "),
    (npz("inputs.npy", header("(4, 6)", "'|O'") + b"cos\nsystem\n"), "without pickle"),
    (npz("../../inputs.npy", header("(4, 6)") + bytes(96)), "has no 'inputs'"),
]


@pytest.mark.parametrize(("data", "message"), ZIPS)
def test_golden_vectors_that_are_bombs_are_refused(folder: Path, data: bytes, message: str) -> None:
    forge(folder, "golden.npz", data)
    assert message in refused(folder)


@pytest.mark.parametrize("location", ["/etc/passwd", "../secret", "*/_ORT_MEM_ADDR_/*"])
def test_data_outside_of_the_model_is_refused(folder: Path, location: str) -> None:
    model = linear()
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "48")):
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    forge(folder, "full.onnx", model.SerializeToString())
    assert "full.onnx: tensor 'w' has external data" in refused(folder)


def test_links_cannot_lead_out_and_hard_links_are_files(folder: Path, tmp_path: Path) -> None:
    model = folder / "1.0.0" / "full.onnx"
    outside = tmp_path / "outside.onnx"
    model.rename(outside)
    os.link(outside, model)
    assert prove(folder, budget_ns=500 * MS).variants[0].name == "full"
    model.unlink()
    model.symlink_to(outside)
    assert "outside of the bundle" in refused(folder)
    model.unlink()
    os.mkfifo(model)
    assert "is not a regular file" in refused(folder)


DEATHS: list[tuple[str, str]] = [
    ("os.kill(os.getpid(), signal.SIGSEGV)", r"crashed \(SIGSEGV\) after"),
    ("os.kill(os.getpid(), signal.SIGKILL)", r"was killed \(SIGKILL\), as a device does that has no memory left"),
    ("os.abort()", r"crashed \(SIGABRT\)"),
    ("os._exit(3)", "ended with code 3 and without an answer"),
    ("raise ValueError('no')", r"ended with code 1 and without an answer \(ValueError: no\)"),
    ("os.write(1, b'not JSON\\n')", "said what is not understood"),
    ("os.write(1, b'{' * (9 << 20))", "said what is not understood"),
    ("time.sleep(60)", "did not end within 1 s and was stopped"),
    ("os.close(1); time.sleep(60)", "said nothing more and did not end"),
]


@pytest.mark.parametrize(("death", "message"), DEATHS)
def test_however_the_process_ends_it_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, death: str, message: str
) -> None:
    (tmp_path / "some_other_child.py").write_text(f"import os, signal, sys, time\nsys.stdin.read()\n{death}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(proving, "CHILD", "some_other_child")
    monkeypatch.setattr(proving, "_TO_DIE_S", 1.0)
    with pytest.raises(BundleError, match=rf"^{folder} latest: while it was proved, its process {message}"):
        prove(folder, limits=Limits(wall_s=1.0 if death == "time.sleep(60)" else 50.0))


def test_nothing_is_left_when_the_one_who_asked_is_killed(tmp_path: Path) -> None:
    """The process dies with its parent, also in the middle of a graph that never ends."""
    write_bundle(tmp_path / "watch", models={"full": endless()})
    code = (
        "import sys; from pathlib import Path; from edge.inference.proving import prove\n"
        "prove(Path(sys.argv[1]), report=lambda check, detail: print(check, flush=True))"
    )
    root = str(Path(__file__).parents[2])
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "watch")], stdout=subprocess.PIPE, cwd=root) as parent:
        assert parent.stdout is not None
        for line in parent.stdout:
            if line.strip() == b"tensors":
                break
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        if not children.exists():
            parent.kill()
            pytest.skip("needs a Linux that lists the children of a process")
        (child,) = map(int, children.read_text().split())
        parent.kill()
    assert ended_within(lambda: not Path(f"/proc/{child}").exists() or Path(f"/proc/{child}/stat").read_text().split()[2] == "Z", 10.0)


def ended_within(is_true: Callable[[], bool], limit_s: float) -> bool:
    import time

    until = time.monotonic() + limit_s
    while not is_true():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_the_process_tells_nothing_of_what_libraries_print(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prove(folder, budget_ns=500 * MS)
    forge(folder, "full.onnx", b"\x3a\x00nonsense")
    refused(folder)
    assert capfd.readouterr() == ("", "")
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
