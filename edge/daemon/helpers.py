"""Whether the threads and processes that help the loop do their work: each looked at by the sign of life that fits it."""

from edge.daemon.health import Helper
from edge.daemon.heartbeat import Heartbeat, Progress
from edge.daemon.keeper import Keeper
from edge.daemon.recorder import Recorder
from edge.store.outbox import Outbox

Found = tuple[str, str, str]


def of_outbox(outbox: Outbox) -> Helper:
    """Alerts on their way: stuck while some wait and none is written, failing while the disk does, denied while the broker says no."""
    progress = Progress("outbox")

    def look(now_ns: int) -> Found | None:
        journal, denied = outbox.journal, outbox.denied
        if journal is None:
            return ("outbox", "denied", f"{denied} alerts") if denied else ("outbox", "ok", "")
        if journal.fault:
            return "outbox", "failing", journal.fault
        if not journal.is_alive:
            return "outbox", "dead", "its thread has ended"
        waits = journal.backlog
        if progress.is_stuck(journal.done, is_waiting=waits > 0, now_ns=now_ns):
            return "outbox", "stuck", "writing alerts to disk"
        return ("outbox", "denied", f"{denied} alerts") if denied else ("outbox", "ok", "")

    return look


def of_heartbeat(heartbeat: Heartbeat) -> Helper:
    """A thread that says by when it will be heard of again."""

    def look(now_ns: int) -> Found:
        is_late = heartbeat.is_late(now_ns)
        return heartbeat.name, "stuck" if is_late else "ok", heartbeat.doing if is_late else ""

    return look


def of_keeper(keeper: Keeper) -> Helper:
    """The thread that writes checkpoints: failing while the last one could not be written."""
    progress = Progress("checkpoint", keeper.every_s)

    def look(now_ns: int) -> Found:
        done, is_busy = keeper.pulse()
        is_stuck = progress.is_stuck(done, is_waiting=is_busy, now_ns=now_ns)
        if keeper.fault and not is_stuck:
            return "checkpoint", "failing", keeper.fault
        return "checkpoint", "stuck" if is_stuck else "ok", "writing the state to disk" if is_stuck else ""

    return look


def of_recorder(recorder: Recorder) -> Helper:
    """The recording companion, and the thread that looks after it."""

    def look(now_ns: int) -> Found:
        if recorder.heartbeat.is_late(now_ns):
            return "recording", "stuck", "its thread does not look after the companion"
        return "recording", *recorder.state

    return look
