"""What the thread that looks after models asks of a version before it may act: whether it fits, whether it holds, and the model itself."""

from collections.abc import Callable
from pathlib import Path

from edge.daemon.orders import Asked
from edge.daemon.trial import Setting
from edge.errors import BundleError
from edge.inference.bundle import read_manifest
from edge.inference.proving import Limits, Proof, prove
from edge.inference.sealed import load_proved
from edge.inference.shadow import Report
from edge.inference.variants import Inference

NICE = 15  # of the process that proves beside a daemon at work: at equal rights on two cores, one deadline in twenty was missed meanwhile


class Loader:
    """Proves and loads versions of one bundle for one pipeline.

    Args:
        folder: of the bundle.
        setting, asked: of the pipeline.
    """

    def __init__(self, folder: Path, setting: Setting, asked: Asked) -> None:
        self._folder, self._setting, self._asked = folder, setting, asked

    def is_alike(self, version: str) -> bool:
        """Whether a version takes the vector, and gives the scores, of those at work.

        Raises:
            BundleError: its manifest cannot be used.
        """
        manifest = read_manifest(self._folder, version)
        return (manifest.feature_hash, manifest.labels) == (self._asked.feature_hash, self._setting.labels)

    def check_labels(self, version: str) -> None:
        """Rules read scores by their place.

        Raises:
            BundleError: it gives other scores than those at work.
        """
        labels = read_manifest(self._folder, version).labels
        if labels != self._setting.labels:
            given, wanted = ", ".join(labels), ", ".join(self._setting.labels)
            raise BundleError(f"has the labels {given}; those at work are {wanted}: train it for them, or restart the daemon with it")

    def prove(self, version: str, is_over: Callable[[], bool]) -> Proof:
        """Prove a version in a process of its own.

        Args:
            version: to prove.
            is_over: nobody waits for it any more; looked at between two checks.

        Raises:
            BundleError: it does not hold.
            InterruptedError: it is over; the process was ended.
        """

        def report(_check: str, _detail: str) -> None:
            if is_over():
                raise InterruptedError(f"{version} is not proved any further: the daemon stops, or reads its file again")

        asked, limits = self._asked, Limits(nice=NICE)
        return prove(self._folder, version, asked.features, asked.feature_hash, self._setting.budget_ns, report=report, limits=limits)

    def load(self, proof: Proof) -> Inference:
        """Load what was proved.

        Raises:
            BundleError: it is not what was proved.
        """
        model = load_proved(self._folder, proof, self._setting.lanes)
        if self._asked.cascade is not None:
            model.set_cascade(*self._asked.cascade)
        return model

    def budget_ns(self, version: str) -> int:
        """Of one run: the pipeline's, or the manifest's if that is less."""
        return min(self._setting.budget_ns, read_manifest(self._folder, version).budget_ns)


def is_fit(report: Report, asked: Asked) -> bool:
    """Whether a candidate showed enough to be promoted by itself."""
    is_sound = not report.not_finite and not report.failed and not report.is_frozen
    return (
        is_sound
        and _is_right(report, asked)
        and report.n >= asked.min_frames
        and report.agreement >= asked.agreement
        and report.p99_ms <= asked.p99_ms
    )


def _is_right(report: Report, asked: Asked) -> bool:
    """Whether it is as often right as it is asked to be, where labels say so."""
    if asked.min_accuracy is None and asked.max_worse is None:
        return True
    is_known = report.labelled >= max(asked.min_labels, 1)
    is_good = asked.min_accuracy is None or report.accuracy >= asked.min_accuracy
    return is_known and is_good and (asked.max_worse is None or report.accuracy >= report.active_accuracy - asked.max_worse)
