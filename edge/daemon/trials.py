"""The one version on trial beside the active one, as a shadow or on probation: when it begins, what it showed, what follows from that.

Owns its process and the judgement. Changes no registry and loads nothing; used from the models' thread alone.
"""

import logging
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from edge.daemon.loading import is_fit
from edge.daemon.orders import Asked, Order
from edge.daemon.trial import Setting, Trial
from edge.inference.proving import Proof
from edge.inference.shadow import Report

_log = logging.getLogger(__name__)


class Verdict(msgspec.Struct, frozen=True):
    """What became of a version on trial.

    Args:
        kind: ``passed``: its probation, so that it may act. ``fit``: a shadow that showed enough to be promoted. ``refused``.
        proof: of the version.
        why: in words.
    """

    kind: Literal["passed", "fit", "refused"]
    proof: Proof
    why: str


class Trials:
    """At most one trial at a time.

    Args:
        setting: for shadows.
        asked: see Asked.
        order: hands something to the loop.

    Attributes:
        is_probation: of an active version that has not acted yet; otherwise the one on trial is a candidate.
    """

    def __init__(self, setting: Setting, asked: Asked, order: Callable[[Order], None]) -> None:
        self._setting, self._asked, self._order = setting, asked, order
        self._trial: Trial | None = None
        self._shown: Report | None = None
        self.is_probation = False

    @property
    def version(self) -> str:
        """That is on trial; "" for none."""
        return self._trial.version if self._trial is not None else ""

    @property
    def mode(self) -> str:
        """Of the trial, in a word."""
        return "probation" if self.is_probation else "shadow"

    def begin(self, proof: Proof, budget_ns: int, active: str, *, is_probation: bool) -> None:
        """Start one; there must be none.

        Args:
            proof: of the version.
            budget_ns: of one run.
            active: version that it is compared with.
            is_probation: see above.
        """
        self._trial, self._shown = Trial(self._setting, proof, budget_ns), None
        self.is_probation = is_probation
        self._order(Order("feed", trial=self._trial))
        what = f"answers {self._asked.probation.frames} live vectors beside" if is_probation else "is a shadow of"
        _log.info("model %s %s %s", proof.version, what, active)

    def end(self) -> None:
        """End it; nothing happens without one."""
        trial, self._trial = self._trial, None
        self.is_probation, self._shown = False, None
        if trial is not None:
            self._order(Order("feed"))
            trial.close()

    def look(self, active: str) -> Verdict | None:
        """Hear the process, publish what is new, and judge. With a verdict the trial is over.

        Args:
            active: version that it is compared with.
        """
        trial = self._trial
        if trial is None:
            return None
        trial.poll()
        before, report = self._shown, trial.report
        self._shown = report
        if report is not None and report is not before:
            payload = {"v": 1, "mode": self.mode, "model": self._asked.name, "active": active} | msgspec.to_builtins(report)
            self._order(Order("publish", payload=msgspec.json.encode(payload)))
        verdict = self._judge_probation(trial, report) if self.is_probation else self._judge_shadow(trial, report)
        if verdict is not None:
            self.end()
        return verdict

    def status(self) -> dict[str, Any] | None:
        """What is known of the version on trial; None without one."""
        trial, report = self._trial, self._shown
        if trial is None:
            return None
        known = msgspec.to_builtins(report) if report is not None else {"version": trial.version, "n": 0}
        return known | {"mode": self.mode, "pid": trial.pid, "restarts": trial.deaths}

    def _judge_probation(self, trial: Trial, report: Report | None) -> Verdict | None:
        probation = msgspec.structs.replace(self._asked.probation, budget_ms=trial.budget_ns / 1e6)
        reason = trial.failure or (probation.trouble(report) if report is not None else "")
        if reason:
            return Verdict("refused", trial.proof, f"{reason}: it never acted")
        if report is not None and probation.is_passed(report):
            return Verdict("passed", trial.proof, f"answered {report.n} live vectors")
        return None

    def _judge_shadow(self, trial: Trial, report: Report | None) -> Verdict | None:
        if trial.failure:
            return Verdict("refused", trial.proof, f"gave up being a shadow: {trial.failure}")
        if report is not None and self._asked.promotes and is_fit(report, self._asked):
            why = f"agreed on {report.agreement:.2%} of {report.n} vectors, p99 {report.p99_ms:.3f} ms"
            if report.labelled:
                why += f", right on {report.accuracy:.2%} of {report.labelled} labels ({report.active_accuracy:.2%} of the active one)"
            return Verdict("fit", trial.proof, why)
        return None
