"""The figures of the card: how good the model is, beside what needs no model and beside logistic regression."""

import numpy as np
from _common import Array, table
from sklearn.metrics import confusion_matrix, f1_score, recall_score

SURE = 0.9  # the rules' threshold


def macro_f1(truth: Array, probability: Array) -> float:
    """Mean over classes of the F1 score.

    Args:
        truth: class of each window.
        probability: (n, classes).
    """
    return float(f1_score(truth, probability.argmax(1), average="macro", zero_division=0))


def measure(said: dict[str, Array], truth: Array, majority: int, labels: list[str]) -> dict[str, object]:
    """Figures on the held-out subjects.

    Args:
        said: probabilities (n, classes) of the variants ``mlp`` and ``linear``.
        truth: class of each window.
        majority: the class with most windows in training.
        labels: names of the classes.
    """
    always = np.zeros((len(truth), len(labels)))
    always[:, majority] = 1
    said = said | {"majority": always}
    guess, is_sure = said["mlp"].argmax(1), said["mlp"].max(1) >= SURE
    return {
        "windows": len(truth),
        "macro_f1": {name: macro_f1(truth, probability) for name, probability in said.items()},
        "accuracy": {name: float((probability.argmax(1) == truth).mean()) for name, probability in said.items()},
        "recall": dict(zip(labels, recall_score(truth, guess, average=None).tolist(), strict=True)),
        "confusion": confusion_matrix(truth, guess).tolist(),
        "sure": {"share": float(is_sure.mean()), "right": float((guess == truth)[is_sure].mean())},
    }


def text(metrics: dict) -> str:
    """The figures of the card, as Markdown."""
    held, alone, labels = metrics["held_out"], metrics["leave_one_subject_out"], metrics["labels"]
    f1, accuracy = held["macro_f1"], held["accuracy"]
    models = (
        ("majority class", "majority"),
        ("logistic regression: variant `linear`", "linear"),
        ("network 48-64-32-7: variant `mlp`", "mlp"),
    )
    rows = [(name, f1[key], accuracy[key], *(_spread(alone[key]) if key in alone else ("", "", ""))) for name, key in models]
    confusion = [(name, *row, held["recall"][name]) for name, row in zip(labels, held["confusion"], strict=True)]
    subjects = ", ".join(map(str, metrics["test_subjects"]))
    sure, demo = held["sure"], metrics["demo"]
    return "\n\n".join(
        (
            f"**Held-out subjects {subjects}**, {held['windows']} windows: the shipped model, trained on subjects "
            "1 to 7. Beside it **leave one subject out**: trained ten times on nine subjects, tested on the tenth.",
            table(("", "macro F1", "accuracy", "one out: mean macro F1", "worst subject", "best subject"), rows),
            "Macro F1 of `mlp` for each subject left out: "
            + ", ".join(f"{subject}: {score:.2f}" for subject, score in enumerate(alone["mlp"], 1)) + ".",
            "Confusion of `mlp` on the held-out subjects (rows: what it was; columns: what was said), and recall:",
            table(("", *labels, "recall"), confusion),
            f"Where `mlp` gives {SURE} or more, {sure['share']:.0%} of the windows, it is right in {sure['right']:.1%}.",
            f"On the demo's recording, where exercises follow one another without a break and a window may hold parts of two, "
            f"{demo['accuracy']:.1%} of {demo['predictions']} predictions name the exercise of their newest sample.",
        )
    )  # fmt: skip


def _spread(scores: list[float]) -> tuple[float, float, float]:
    return float(np.mean(scores)), min(scores), max(scores)
