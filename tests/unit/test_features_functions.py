"""Statistics of the user's own: marked, compiled at load, called live; what is wrong with one is said."""

import textwrap

import numpy as np
import pytest

import edge
from edge.config.load import loads
from edge.errors import ConfigError
from edge.features.functions import load_functions
from edge.features.plan import FeaturePlan, Group, Span, StreamShape
from tests.kernels.windows import MS, push_all

MODULE = """
import edge
import numpy as np

SCALE = 2.0

@edge.feature(unit="{}/s")
def steepest(x, t):
    best = 0.0
    for i in range(1, len(x)):
        best = max(best, abs(x[i] - x[i - 1]) / ((t[i] - t[i - 1]) * 1e-9))
    return SCALE * best

@edge.feature(unit="1", version=3)
def spoils_its_view(x, t):
    x.sort()
    x[:] = -1.0
    return np.float64(len(x))

def not_a_feature(x):
    return x
"""
PIPELINE = """
name = "own"
budget_ms = 5
[streams.imu]
topic = "imu"
rate_hz = 100
channels = {{ a = "g", b = "g" }}
[[features]]
stream = "imu"
channels = ["a"]
window = 8
module = "{module}"
stats = ["mean", "steepest"]
"""


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(MODULE)
    return path


def test_a_function_sees_its_window_and_cannot_spoil_it(module):
    functions = load_functions(module)
    assert sorted(functions) == ["spoils_its_view", "steepest"]
    shape = StreamShape("s", {"a": "g", "b": "g"}, 1000.0, 64)
    stats = ("steepest", "spoils_its_view", "mean", "steepest")[:3]
    plan = FeaturePlan([shape], [Group("s", ("a", "b"), Span(20, by_time=False), Span(3, by_time=False), stats, functions)])
    assert plan.names[:3] == ("s.a.steepest.20", "s.a.spoils_its_view@3.20", "s.a.mean.20")
    assert plan.units[:3] == ("g/s", "1", "g")
    random = np.random.default_rng(6)
    rows = random.normal(size=(200, 2)).astype(np.float32)
    stamps = np.cumsum(random.integers(1, 3 * MS, 200)).astype(np.int64)
    got_stamps, got = push_all(plan, stamps, rows)
    assert got.tobytes() == push_all(plan, stamps, rows, cuts=range(1, 200))[1].tobytes()
    for stamp, vector in zip(got_stamps, got, strict=True):
        end = int(np.searchsorted(stamps, stamp)) + 1
        for c in range(2):
            w, t = rows[end - 20 : end, c].astype(float), stamps[end - 20 : end]
            want = (2 * np.abs(np.diff(w) / (np.diff(t) * 1e-9)).max(), 20, w.mean())
            np.testing.assert_allclose(vector[3 * c : 3 * c + 3], want, rtol=1e-5)


def test_a_pipeline_file_names_its_module(module, tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(PIPELINE.format(module="own.py"))
    pipeline = edge.load(path)
    rows = np.arange(16, dtype=np.float32).reshape(8, 2)
    result = pipeline.push("imu", rows)
    assert result.predictions[-1].features.tolist() == [7.0, pytest.approx(400.0)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import edge\n@edge.feature()\ndef f(x, t):\n    return open('x')\n", "f does not compile"),
        ("import edge\n@edge.feature()\ndef f(x):\n    return 1.0\n", r"\(x, t\)"),
        ("import edge\n@edge.feature()\ndef f(x, t):\n    return x[20]\n", "fails on a window of 1 samples"),
        ("import edge\n@edge.feature()\ndef f(x, t):\n    return x\n", "does not compile"),
        ("import edge\n@edge.feature(unit='bananas')\ndef f(x, t):\n    return 1.0\n", "unknown unit 'bananas'"),
        ("import edge\n@edge.feature()\ndef f(x, t):\n    import numpy\n    return 1.0\n", "f does not compile"),
        ("x = 1\n", "no function marked with @edge.feature"),
        ("import nosuchmodule\n", "cannot be executed: ModuleNotFoundError"),
        ("def f(:\n", "cannot be executed: SyntaxError"),
        ("raise ValueError('boo')\n", "cannot be executed: ValueError: boo"),
    ],
)
def test_what_is_wrong_with_a_module_is_said(tmp_path, text, says):
    path = tmp_path / "own.py"
    path.write_text(textwrap.dedent(text))
    with pytest.raises(ValueError, match=says):
        load_functions(path)


@pytest.mark.parametrize(
    "body",
    [
        "out = np.zeros(128)\n    out[: len(x) // 2] = 1.0\n    out[len(x) - 1] = 1.0\n    return out.sum()",
        "if len(x) > 100:\n        raise ValueError\n    return 1.0",
    ],
    ids=["beyond an array", "an exception"],
)
def test_what_fails_on_a_large_window_gives_no_value_and_harms_nothing(tmp_path, body):
    path = tmp_path / "own.py"
    path.write_text(f"import edge\nimport numpy as np\n@edge.feature()\ndef f(x, t):\n    {body}\n")
    functions = load_functions(path)
    shape = StreamShape("s", {"a": "g", "b": "g"}, 1000.0, 64)
    plan = FeaturePlan([shape], [Group("s", ("a",), Span(256, by_time=False), Span(16, by_time=False), ("f", "mean"), functions)])
    _, got = push_all(plan, np.arange(1, 601, dtype=np.int64) * MS, np.ones((600, 2), np.float32))
    assert np.isnan(got[:, 0]).all()
    assert (got[:, 1] == 1).all()


def test_a_table_cannot_trigger(tmp_path):
    (tmp_path / "t.csv").write_text("device,mass\nown,1\n")
    table = '[tables.t]\npath = "t.csv"\ncolumns = { mass = "kg" }\n[[features]]\ntable = "t"\ncolumns = ["mass"]\n'
    text = PIPELINE.format(module="own.py").replace("[[features]]", table + "[[features]]", 1)
    (tmp_path / "own.py").write_text(MODULE)
    with pytest.raises(ConfigError) as caught:
        loads(text, tmp_path)
    assert [problem.path for problem in caught.value.problems] == ["features[0].table"]


def test_a_check_says_where(tmp_path):
    (tmp_path / "bad.py").write_text("import edge\n@edge.feature()\ndef f(x, t):\n    return open('x')\n")
    with pytest.raises(ConfigError) as caught:
        loads(PIPELINE.format(module="bad.py"), tmp_path)
    problems = {problem.path: problem.reason for problem in caught.value.problems}
    assert "does not compile" in problems["features[0].module"]
    assert "Traceback" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        loads(PIPELINE.format(module="nowhere.py"), tmp_path)
    assert "features[0].module" in {problem.path for problem in caught.value.problems}
