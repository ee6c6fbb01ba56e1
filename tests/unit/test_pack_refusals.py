"""What cannot be packed is said in one line, with what would be right; nothing is written."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from inference_models import info, linear, model_of, tensor
from onnx import TensorProto, helper

from edge.cli.main import main
from edge.inference.bundle import load_bundle
from edge.inference.pack.publish import LEAST_BUDGET_MS

GOOD = np.random.default_rng(1).normal(0, 1, (40, 6)).astype(np.float32)
NAMES = [f"f{i}" for i in range(6)]


@pytest.fixture
def work(tmp_path):
    (tmp_path / "model.onnx").write_bytes(linear("N").SerializeToString())
    np.savez(tmp_path / "samples.npz", samples=GOOD)
    (tmp_path / "features.txt").write_text("\n".join(NAMES))
    return tmp_path


def pack(work, *options, model="model.onnx", samples="samples.npz", out="models/fan"):
    arguments = [str(work / model), "--samples", str(work / samples), "--out", str(work / out)]
    return main(["models", "pack", *arguments, "--features", str(work / "features.txt"), *options])


def refused(work, capsys, says, *options, **files):
    assert pack(work, *options, **files) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("FAILED"), lines
    assert [line for line in lines if line.startswith("FAILED")] == lines[-1:]
    assert says in lines[-1]
    assert not list(work.glob("models/fan/*")), "something was written"
    assert not list(work.glob("models/.*")), "something was left behind"


def saved(work, model, name="model.onnx"):
    (work / name).write_bytes(model if isinstance(model, bytes) else model.SerializeToString())


def test_what_is_right_is_packed(work, capsys):
    assert pack(work, "--labels", "calm,shaken") == 0, capsys.readouterr().out
    assert load_bundle(work / "models/fan").manifest.budget_ms >= LEAST_BUDGET_MS
    assert not list(work.glob("models/.*"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not a model, but a text that someone saved with the wrong name\n", "is not an ONNX model"),
        (b"", "holds no graph"),
        (b"\x80\x04pickle", "is not an ONNX model"),
        (linear("N").SerializeToString()[:90], "is not an ONNX model"),
    ],
)
def test_a_file_that_is_no_model(work, capsys, content, says):
    saved(work, content)
    refused(work, capsys, says)


def test_a_model_that_is_not_there(work, capsys):
    refused(work, capsys, "there is no such file", model="other.onnx")


def test_weights_that_are_not_beside_it(work, capsys):
    model = linear("N")
    onnx.save(model, work / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    (work / "weights.bin").unlink()
    refused(work, capsys, "its weights are in another file that cannot be read")


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.zeros((40, 5), np.float32), "have 5 values each; 6 features are named"),
        (np.where(np.arange(240).reshape(40, 6) == 45, np.nan, 1.0), "row 7, f3 is nan; 1 of 40 rows"),
        (np.full((4, 6), np.inf), "row 0, f0 is inf"),
        (np.full((4, 6), 1e300), "row 0, f0 is 1e+300"),
        (np.full((4, 6), "a"), "numbers are right"),
        (np.zeros((0, 6)), "holds no sample"),
        (np.full((4, 6), 1 << 40), "lose digits as float32"),
    ],
)
def test_samples_that_a_model_cannot_be_given(work, capsys, samples, says):
    np.savez(work / "samples.npz", samples=samples)
    refused(work, capsys, says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("f0,f1,f2,f3,f4\n1,2,3,4,5\n", "has no column f5; its columns are f0, f1, f2, f3 and 1 more"),
        ("f0,f1,f2,f3,f4,f5\n1,2,3,4,5,6\n1,2,x,4,5,6\n", "line 3: could not convert"),
        ("f0,f1,f2,f3,f4,f5\n1,2,,4,5,6\n", "row 0, f2 is nan"),
        ("f0,f1,f2,f3,f4,f5\n1,2,3\n", "line 2"),
        ("1,2,3\n4,5,6\n", "have 3 values each"),
        ("", "holds no sample"),
    ],
)
def test_tables_that_do_not_fit(work, capsys, text, says):
    (work / "samples.csv").write_text(text)
    refused(work, capsys, says, samples="samples.csv")


def test_files_of_samples_that_cannot_be_read(work, capsys):
    (work / "cut.npz").write_bytes((work / "samples.npz").read_bytes()[:80])
    refused(work, capsys, "cannot be read as samples", samples="cut.npz")
    np.savez(work / "objects.npz", samples=np.array([{"a": 1}], object))
    refused(work, capsys, "cannot be read as samples", samples="objects.npz")
    np.savez(work / "two.npz", a=GOOD, b=GOOD)
    refused(work, capsys, "name the array of samples 'samples'", samples="two.npz")
    (work / "x.parquet").write_bytes(b"PAR1")
    refused(work, capsys, "cannot be read as samples", samples="x.parquet")
    (work / "x.xlsx").write_bytes(b"")
    refused(work, capsys, "samples are read from .npz, .npy, .csv, .parquet files", samples="x.xlsx")
    refused(work, capsys, "there is no such file", samples="nowhere.npz")


@pytest.mark.parametrize(
    ("labels", "says"),
    [("calm", "--labels names 1 (calm); the model gives 2 scores"), ("a,a", "each needs a name of its own"), ("a,,b", "has an empty name")],
)
def test_labels_that_do_not_match(work, capsys, labels, says):
    refused(work, capsys, says, "--labels", labels)


def test_operators_that_are_not_known(work, capsys):
    def with_node(node, *opsets):
        model = model_of(
            [node, helper.make_node("Identity", ["h"], ["scores"])], takes=[info("features", ["N", 6])], gives=[info("scores", ["N", 6])]
        )
        del model.opset_import[:]
        model.opset_import.extend(helper.make_opsetid(*opset) for opset in opsets)
        return model

    saved(work, with_node(helper.make_node("Twist", ["features"], ["h"], domain="my.company"), ("", 17), ("my.company", 1)))
    refused(work, capsys, "has no operator Twist of domain 'my.company'")
    saved(work, with_node(helper.make_node("Softmaxx", ["features"], ["h"]), ("", 17)))
    refused(work, capsys, "has no operator Softmaxx of domain 'ai.onnx' in opset 17; export with a lower opset")
    saved(work, with_node(helper.make_node("Gelu", ["features"], ["h"]), ("", 17)))
    refused(work, capsys, "has no operator Gelu of domain 'ai.onnx' in opset 17")
    saved(work, with_node(helper.make_node("Tanh", ["features"], ["h"]), ("", 99)))
    refused(work, capsys, "uses opset 99 of ai.onnx")
    saved(work, with_node(helper.make_node("ATen", ["features"], ["h"], domain="org.pytorch.aten"), ("", 17), ("org.pytorch.aten", 1)))
    refused(work, capsys, "the exporter found no ONNX operator for it")


def test_a_format_that_is_too_new(work, capsys):
    model = linear("N")
    model.ir_version = 99
    saved(work, model)
    refused(work, capsys, "lower model.ir_version")


def test_a_sequence_that_no_zipmap_made(work, capsys):
    value = helper.make_tensor_sequence_value_info("scores", TensorProto.FLOAT, ["N", 6])
    saved(
        work, model_of([helper.make_node("SequenceConstruct", ["features"], ["scores"])], takes=[info("features", ["N", 6])], gives=[value])
    )
    refused(work, capsys, "is a sequence made by SequenceConstruct, which is no tensor; only ZipMap can be taken away")


def test_texts_are_no_scores_and_no_features(work, capsys):
    texts = tensor("t", np.array(["a"]))
    nodes = [helper.make_node("Identity", ["t"], ["scores"]), helper.make_node("Identity", ["features"], ["x"])]
    saved(work, model_of(nodes, [texts], [info("features", ["N", 6])], [info("scores", [1], TensorProto.STRING)]))
    refused(work, capsys, "no output gives numbers")
    saved(work, model_of([helper.make_node("Identity", ["features"], ["scores"])], takes=[info("features", ["N", 6], TensorProto.STRING)],
                         gives=[info("scores", ["N", 6], TensorProto.STRING)]))  # fmt: skip
    refused(work, capsys, "takes string; features are numbers")


def test_sizes_that_nothing_tells(work, capsys):
    nodes = [helper.make_node("GlobalAveragePool", ["features"], ["scores"])]
    saved(work, model_of(nodes, takes=[info("features", ["N", 1, "h", "w"])], gives=[info("scores", ["N", 1, 1, 1])]))
    refused(work, capsys, "leaves sizes open that 6 features do not tell; give samples of shape (N, 1, ?, ?) or say --shape")
    refused(work, capsys, "does not agree with input", "--shape", "1,1,2,2")
    assert pack(work, "--shape", "1,1,2,3") == 0, capsys.readouterr().out


def test_a_width_that_is_not_the_models(work, capsys):
    saved(work, linear("N", weights=np.ones((7, 2), np.float32)))
    refused(work, capsys, "takes 7 values a row; 6 features were named")


def test_scores_that_are_no_numbers(work, capsys):
    nodes = [helper.make_node("Log", ["features"], ["scores"])]
    saved(work, model_of(nodes, takes=[info("features", ["N", 6])], gives=[info("scores", ["N", 6])]))
    refused(work, capsys, "a model whose scores are finite numbers can be used")


def test_a_batch_that_means_something(work, capsys):
    """Every row of a call is multiplied by numbers of its own."""
    np.savez(work / "samples.npz", samples=GOOD)
    nodes = [helper.make_node("Mul", ["features", "w"], ["scores"])]
    weights = tensor("w", np.arange(12, dtype=np.float32).reshape(2, 6))
    saved(work, model_of(nodes, [weights], [info("features", [2, 6])], [info("scores", [2, 6])]))
    refused(work, capsys, "the batch of 2 means something to it")


@pytest.mark.parametrize("name", ["", "../1.0.0", "a b", "1/2", "-1"])
def test_versions_that_are_no_folders(work, capsys, name):
    refused(work, capsys, "cannot be that of a bundle", "--version", name)


def test_what_is_there_already_stays(work, capsys):
    assert pack(work) == 0
    before = (work / "models/fan/1.0.0/manifest.toml").read_bytes()
    capsys.readouterr()
    assert pack(work, "--labels", "a,b") == 1
    assert "is already there; give another --version" in capsys.readouterr().out
    assert (work / "models/fan/1.0.0/manifest.toml").read_bytes() == before
    (work / "models/file").write_text("")
    assert pack(work, out="models/file") == 1


def test_a_budget_that_is_not_met(work, capsys):
    refused(work, capsys, "--budget-ms 0.001; give more", "--budget-ms", "0.001")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--state", "h=hn"), "--state: there is no input 'h', only features"),
        (("--constant", "sr=16000"), "--constant: there is no input 'sr'"),
        (("--output", "scors"), "did you mean 'scores'?"),
        (("--input", "feature"), "did you mean 'features'?"),
        (("--channels-last",), "is not (batch, time, channels)"),
        (("--smaller", "nowhere.onnx"), "there is no such file"),
    ],
)
def test_tensors_that_the_graph_does_not_have(work, capsys, options, says):
    refused(work, capsys, says, *options)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no feature"),
        ("a\na\n", "a is there more than once"),
        ("a[5-2]\n", "a range rises"),
        ("\n".join(NAMES[:5]), "have 6 values each; 5 features are named"),
    ],
)
def test_names_of_features_that_do_not_fit(work, capsys, text, says):
    (work / "features.txt").write_text(text)
    refused(work, capsys, says)


def test_a_disk_that_is_full_leaves_nothing(work):
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300));"
        "from edge.cli.main import main; sys.dont_write_bytecode = True; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["models", "pack", str(work / "model.onnx"), "--samples", str(work / "samples.npz"), "--out", str(work / "models/fan")]
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--features", str(work / "features.txt")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1, run.stderr
    assert "cannot be written: File too large" in run.stdout.splitlines()[-1]
    assert "Traceback" not in run.stdout + run.stderr
    assert not list(work.glob("models/*"))
    assert not list(work.glob("models/.*"))
