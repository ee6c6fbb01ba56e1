"""The monkey's vocabulary. A fault is a generator: it begins, yields while it lasts, and heals; what it returns must come true as well."""

import contextlib
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import msgspec

from tests.system.monkey_stage import pipeline

Ends = Callable[[], bool]
Fault = Generator[None, None, Ends | None]


def _stopped(stage, kind: str, pause: Callable[[], None], resume: Callable[[], None]) -> Fault:  # type: ignore[no-untyped-def]
    begin_ns = time.time_ns()
    pause()
    yield
    resume()
    stage.window(kind, begin_ns)
    return None


def daemon_killed(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    if stage.proxy.mode == "pass" and rng.random() < 0.7:  # with alerts that nobody has acknowledged
        held = link_held_one_way(stage, rng)
        next(held)
        time.sleep(rng.uniform(0.0, 2.0))
        stage.kill()
        next(held, None)
    else:
        stage.kill()
    yield
    while rng.random() < 0.25:  # some before they are ready
        stage.daemon.start()
        time.sleep(rng.uniform(0.0, 2.5))
        stage.kill()
    stage.daemon.start()
    return None


def daemon_stopped(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    signals = stage.daemon.signal
    return (yield from _stopped(stage, "daemon stopped", lambda: signals(signal.SIGSTOP), lambda: signals(signal.SIGCONT)))


def broker_stopped(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    return (yield from _stopped(stage, "broker stopped", stage.broker.pause, stage.broker.resume))


def _broker_away(stage, end: Callable[[], None], *, is_forgotten: bool) -> Fault:  # type: ignore[no-untyped-def]
    stage.proxy.is_shut = True  # until the stranger listens again: what a broker takes for nobody, it may forget
    end()
    yield
    if is_forgotten:
        stage.broker.database.unlink(missing_ok=True)
    stage.reader.is_subscribed = False
    stage.broker.start()
    stage.wait_for(lambda: stage.reader.is_subscribed, "the stranger did not come back")
    stage.proxy.is_shut = False
    return None


def broker_killed(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    return (yield from _broker_away(stage, stage.broker.kill, is_forgotten=False))


def broker_killed_forgets(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    return (yield from _broker_away(stage, stage.broker.kill, is_forgotten=True))


def broker_restarted(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    return (yield from _broker_away(stage, stage.broker.end, is_forgotten=False))


def _partition(stage, mode: str, kind: str) -> Fault:  # type: ignore[no-untyped-def]
    return (yield from _stopped(stage, kind, lambda: stage.proxy.turn(mode), lambda: stage.proxy.turn("pass")))


def link_held(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    return (yield from _partition(stage, "hold", "link held"))


def link_held_one_way(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    return (yield from _partition(stage, "hold away", "link held"))


def link_dropped_one_way(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    return (yield from _partition(stage, "drop away", "link dropped"))


def link_dropped(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    return (yield from _partition(stage, "drop", "link dropped"))


def link_reset(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    return (yield from _partition(stage, "reset", "link reset"))


def link_cut(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    for _ in range(rng.randrange(1, 5)):
        stage.proxy.cut()
        time.sleep(rng.uniform(0.0, 0.5))
    yield
    return None


def disk_full(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    process = stage.daemon.process
    limits = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (rng.choice([0, 4096, 20_000]), limits[1]))
    yield
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limits)
    return lambda: stage.told() and stage.reader.status["outbox"]["kept"].startswith("in /")


def _companion(stage, number: int) -> None:  # type: ignore[no-untyped-def]
    pid = stage.reader.status.get("recording", {}).get("pid") if stage.told() else None
    with contextlib.suppress(OSError):
        if pid and b"edge.companion" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, number)


def companion_killed(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    _companion(stage, signal.SIGKILL)
    yield
    return None


def companion_stopped(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    return (
        yield from _stopped(
            stage, "companion stopped", lambda: _companion(stage, signal.SIGSTOP), lambda: _companion(stage, signal.SIGCONT)
        )
    )


def input_corrupt(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    for _ in range(rng.randrange(50, 400)):
        stage.sensor.odd(rng)
        if rng.random() < 0.1:
            time.sleep(rng.uniform(0.0, 0.05))
    yield
    return None


def input_flood(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    stage.sensor.pace = 5.0
    yield
    stage.sensor.pace = 1.0
    return None


def input_silent(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    stage.sensor.pace = 0.0
    yield
    stage.sensor.pace = 1.0
    return None


def sender_clock_leaps(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    stage.sensor.skew_ns = rng.choice([-1, 1]) * rng.choice([1, 60, 3600, 86_400 * 3650]) * 1_000_000_000
    yield
    stage.sensor.skew_ns = 0
    return None


def reloaded(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    life = stage.daemon.life
    before = life.reloads
    stage.write(pipeline(stage.url, stage.gps.path, rng.randrange(400, 600)))
    stage.daemon.signal(signal.SIGHUP)
    yield
    return lambda: life.reloads > before


def reload_refused(stage, rng: random.Random) -> Fault:  # type: ignore[no-untyped-def]
    life, good = stage.daemon.life, stage.daemon.file.read_text()
    before = life.refusals
    bad = rng.choice(
        [good.replace("budget_ms =", "budget_mss ="), good[: len(good) // 2], "\0", good.replace("ttl_ms = 500", "ttl_ms = 0")]
    )
    stage.write(bad)
    stage.daemon.signal(signal.SIGHUP)
    stage.wait_for(lambda: life.refusals > before, "a file that is not valid was not refused")
    yield
    stage.write(good)
    return None


FAULTS: dict[str, list[Callable[..., Fault]]] = {  # by whom they befall: two at once befall two of them
    "daemon": [
        daemon_killed,
        daemon_killed,
        daemon_stopped,
        disk_full,
        companion_killed,
        companion_stopped,
        reloaded,
        reload_refused,
    ],
    "broker": [broker_stopped, broker_killed, broker_killed_forgets, broker_restarted],
    "link": [link_held, link_held_one_way, link_dropped, link_dropped_one_way, link_reset, link_cut],
    "sensor": [input_corrupt, input_flood, input_silent, sender_clock_leaps],
}


class Prank(msgspec.Struct, frozen=True):
    """After a pause, one or two faults, each with a seed of its own and a while until the next thing happens."""

    pause_s: float
    names: tuple[str, ...]
    seeds: tuple[int, ...]
    lasts_s: tuple[float, ...]


def pranks(seed: int, longest_s: float) -> Iterator[Prank]:
    """What a seed has in store; the machine has no say in it."""
    rng = random.Random(seed)
    while True:
        victims = rng.sample(sorted(FAULTS), 2 if rng.random() < 0.25 else 1)
        names = tuple(rng.choice(FAULTS[victim]).__name__ for victim in victims)
        lasts_s = tuple(rng.uniform(0.1, longest_s) * rng.random() for _ in names)
        yield Prank(rng.uniform(0.2, 2.0), names, tuple(rng.getrandbits(32) for _ in names), lasts_s)
