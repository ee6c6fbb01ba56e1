"""Drift and labels through a whole pipeline with the shipped model: what is told, what is counted, and what `edge check` refuses."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

import edge
from edge.messages import Alert, RawMessage
from edge.pipeline.recipe import Pipeline
from edge.pipeline.status import status

_MODELS = Path(__file__).parents[2] / "models"
_MORE = """
[drift]
enabled = true
window_frames = 100
window_s = 1

[labels]
topic = "watch/{device}/labels"
"""


def _pipeline(tmp_path: Path, more: str) -> Pipeline:
    text = (_MODELS / "activity-watch" / "pipeline.toml").read_text().replace('bundle = "."', f'bundle = "{_MODELS / "activity-watch"}"')
    path = tmp_path / "pipeline.toml"
    path.write_text(text + more)
    return edge.load(path, boot_id="b")


def test_labels_and_drift_of_a_whole_pipeline(tmp_path: Path) -> None:
    pipeline = _pipeline(tmp_path, _MORE)
    rng = np.random.default_rng(1)
    told: list[Alert] = []
    seqs: list[int] = []
    for second in range(200):
        result = pipeline.push("imu", rng.normal(size=(50, 6)) * 3, device="left", seq=second)
        told += [alert for alert in result.alerts if alert.cause.rule.endswith("-drift")]
        seqs += [prediction.seq for prediction in result.predictions]
    assert told
    assert all(alert.severity == "warning" and "differs from training" in alert.detail for alert in told)
    assert len({alert.detail.split()[1] for alert in told}) == len(told)  # each once
    now = pipeline.decisions.at_ns
    for payload in (b'{"seq":%d,"label":"PEN"}' % seqs[-1], b'{"seq":%d,"label":"PEN"}' % seqs[-1], b'{"seq":5,"label":"no"}'):
        pipeline.step(RawMessage("watch/left/labels", payload, now))
    pipeline.step(RawMessage("watch/nobody/labels", b'{"seq":1,"label":"PEN"}', now))
    report = status(pipeline, 0)["monitoring"]
    assert report["labels"] == {"received": 4, "joined": 1, "late": 0, "duplicate": 1, "unknown": 1, "invalid": 1}
    assert report["quality"]["n"] == 1
    assert report["drift"]["n_drifting"] == len(told)
    assert len(msgspec.json.encode(report)) < 4096
    assert pipeline.unrouted == 0


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ('[labels]\ntopic = "watch/{device}/imu"\n', "labels.topic"),
        ('[labels]\ntopic = "watch/all/labels"\n', "labels.topic"),
        ('[labels]\ntopic = "watch/{device}/alerts"\n', "labels.topic"),
        ('[drift]\ntopic = "edge/{device}/x"\n', "drift.topic"),
        ("[drift]\nks = 2\n", "drift.ks"),
        ("[model.shadow]\nmin_accuracy = 0.9\n", "model.shadow.min_accuracy"),
        ("[model.shadow]\nmax_worse = 0.1\n", "model.shadow.max_worse"),
    ],
)
def test_mistakes_are_found(tmp_path: Path, more: str, where: str) -> None:
    with pytest.raises(edge.ConfigError) as caught:
        _pipeline(tmp_path, more)
    assert [problem.path for problem in caught.value.problems] == [where]


def test_drift_is_off_unless_asked_for(tmp_path: Path) -> None:
    assert _pipeline(tmp_path, "").decisions.monitoring is None
