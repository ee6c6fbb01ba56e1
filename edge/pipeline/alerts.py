"""What a rule noticed, or what became of a model, as an alert: plain values, nothing is counted or sent here."""

from edge.messages import Alert, Cause, Origin, Severity
from edge.policy import Notice


def alert_of(notice: Notice, device: str, boot_id: str, seq: int, issued_ns: int, stamp_ns: int) -> Alert:
    """The alert of a rule that became active or inactive.

    Args:
        notice: what the rule said.
        device: whose.
        boot_id, seq: make its id.
        issued_ns: CLOCK_MONOTONIC.
        stamp_ns: of the sample that decided.
    """
    return Alert(
        id=f"{boot_id}-a{seq}",
        device=device,
        boot_id=boot_id,
        seq=seq,
        issued_ns=issued_ns,
        name=notice.rule,
        state=notice.state,
        severity=notice.severity,
        value=notice.cause.score,
        cause=notice.cause,
        stamp_ns=stamp_ns,
        topic=notice.topic.replace("{device}", device),
    )


def announcement(boot_id: str, seq: int, issued_ns: int, name: str, severity: Severity, detail: str, origin: Origin, topic: str) -> Alert:
    """An alert that no rule raised, and that nothing clears. It speaks of no device.

    Args:
        boot_id, seq: make its id.
        issued_ns: CLOCK_MONOTONIC.
        name: of what happened.
        severity: of it.
        detail: in words.
        origin: the model that it is about.
        topic: where it goes.
    """
    return Alert(
        id=f"{boot_id}-a{seq}",
        device="",
        boot_id=boot_id,
        seq=seq,
        issued_ns=issued_ns,
        name=name,
        state="raised",
        severity=severity,
        value=0.0,
        cause=Cause(name, 0.0, origin.model, origin.version, origin.variant, origin.deployment),
        stamp_ns=0,
        topic=topic,
        detail=detail,
    )
