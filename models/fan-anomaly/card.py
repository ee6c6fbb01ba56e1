"""The figures of the card: the model beside what one would try first, and beside what would look good for the wrong reason."""

from collections.abc import Callable
from typing import Any

import numpy as np
from _common import Array, roc_auc, table

ENTER = 0.8  # the alert rule's threshold
WEAKER = 0.9  # vibration that a sensor which was taped on anew might feel, in terms of before
WHAT = {
    "rms": "rms of all axes above a threshold, gravity included",
    "ac_rms": "the same without gravity (std): what one would try first",
    "ac_rms_two_sided": "the same, too high or too low for the nearest speed",
    "level": "variant `level`: std of each axis",
    "shape": "variant `shape`: std and peaks of each axis",
    "ratios": "ratios of the axes' std alone: which way it shakes, not how much",
    "tilt": "mean of each axis alone: how the sensor was taped on. **Not used**",
}


def measure(
    models: dict[str, Any], unseen: dict[str, Any], fitted: list[Array], normal: dict[str, Array], faulty: dict[str, Array]
) -> dict[str, Any]:
    """Figures on normal recordings that the models were neither fitted nor calibrated on, and on faulty ones.

    Args:
        models: variants by name, with ``score``.
        unseen: by speed, a model that was not shown that speed.
        fitted: feature vectors (n, 12) of each speed that the models were fitted on.
        normal, faulty: feature vectors (n, 12) by speed.
    """
    scores = {name: model.score for name, model in models.items()} | {
        "rms": lambda v: np.sqrt((_of(v, 0) ** 2 + _of(v, 1) ** 2).sum(1)),
        "ac_rms": _level,
        "ac_rms_two_sided": lambda v: _off(v, fitted, lambda x: np.log(_level(x))[:, None]),
        "ratios": lambda v: _off(v, fitted, lambda x: np.log(_of(x, 1)[:, :2] / _of(x, 1)[:, 2:])),
        "tilt": lambda v: _off(v, fitted, lambda x: _of(x, 0)),
    }
    shape = models["shape"]
    return {
        "windows": {"normal": {k: len(v) for k, v in normal.items()}, "faulty": {k: len(v) for k, v in faulty.items()}},
        "auc": {name: {speed: roc_auc(score(normal[speed]), score(faulty[speed])) for speed in faulty} for name, score in scores.items()},
        "false": {speed: float((shape.score(vectors) >= ENTER).mean()) for speed, vectors in normal.items()},
        "found": {speed: float((shape.score(vectors) >= ENTER).mean()) for speed, vectors in faulty.items()},
        "false_unseen": {speed: float((model.score(normal[speed]) >= ENTER).mean()) for speed, model in unseen.items()},
        "false_weaker": {speed: float((shape.score(_scaled(vectors, WEAKER)) >= ENTER).mean()) for speed, vectors in normal.items()},
        "level_g": {
            "normal": {speed: float(np.median(_level(vectors))) for speed, vectors in normal.items()},
            "faulty": {speed: float(np.median(_level(vectors))) for speed, vectors in faulty.items()},
        },
    }


def text(metrics: dict[str, Any]) -> str:
    """The figures of the card, as Markdown."""
    normal, faulty = metrics["windows"]["normal"], metrics["windows"]["faulty"]
    level = metrics["level_g"]
    rates = [
        (
            "vibration without gravity, median rms, g",
            *(f"{level['normal'][s]:.4f}" for s in normal),
            *(f"{level['faulty'][s]:.4f}" for s in faulty),
        ),
        (f"`shape` says {ENTER} or more", *(f"{metrics['false'][s]:.1%}" for s in normal), *(f"{metrics['found'][s]:.1%}" for s in faulty)),
        ("the same, a speed that training did not have", *(f"{metrics['false_unseen'][s]:.1%}" for s in normal), *("" for _ in faulty)),
        (f"the same, vibration times {WEAKER}", *(f"{metrics['false_weaker'][s]:.1%}" for s in normal), *("" for _ in faulty)),
    ]
    tested = "; ".join(f"{speed}: {normal[speed]} normal, {faulty[speed]} with the coin" for speed in faulty)
    aucs = [(what, *(metrics["auc"][name][speed] for speed in faulty)) for name, what in WHAT.items()]
    return "\n\n".join(
        (
            "Area under the ROC curve: one second a decision, the coin against no coin at the same speed, on seconds that had no part in "
            f"training ({tested}).",
            table(("score", *faulty), aucs),
            "Share of these seconds at or above the alert rule's threshold:",
            table(("", *(f"normal, {speed}" for speed in normal), *(f"coin, {speed}" for speed in faulty)), rates),
        )
    )


def _of(vectors: Array, stat: int) -> Array:
    """One statistic of the three axes: 0 mean, 1 std, 2 min, 3 max."""
    return vectors[:, stat::4].astype(np.float64)


def _scaled(vectors: Array, factor: float) -> Array:
    """What the features would be if everything but gravity were so many times as strong."""
    means = np.repeat(vectors[:, ::4], 4, axis=1)
    means[:, 1::4] = 0
    scaled: Array = means + (vectors - means) * factor
    return scaled


def _level(vectors: Array) -> Array:
    return np.sqrt((_of(vectors, 1) ** 2).sum(1))


def _off(vectors: Array, fitted: list[Array], quantity: Callable[[Array], Array]) -> Array:
    """Distance of a quantity from its mean at the nearest speed, in standard deviations."""
    x = quantity(vectors)
    return np.min([np.sqrt((((x - at.mean(0)) / at.std(0)) ** 2).sum(1)) for at in map(quantity, fitted)], axis=0)
