"""The collision demo itself: starts the broker, the daemon and the car, watches them, shows what is heard, ends them all."""

import math
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from rich.console import Console

from edge.cli.demo.broker import HOST, Kind, start_broker
from edge.cli.demo.children import Child, Children, python_module
from edge.cli.demo.collision.car import TOPICS, Record
from edge.cli.demo.collision.files import find_pipeline, stretched
from edge.cli.demo.collision.heard import Drive
from edge.cli.demo.collision.scene import Scenery, check_picture
from edge.cli.demo.collision.screen import About, Screen, summary
from edge.cli.demo.collision.vehicle import TRUTH
from edge.cli.demo.command import Stage, Stopped, StopSignals, has_kernels
from edge.cli.demo.listener import Listener, topics_of
from edge.config.types import RuntimeConfig
from edge.errors import EdgeError, TransportError
from edge.topics import TopicTemplate
from firmware_bridge.simulator import PRESETS, SCENARIOS, scenario

_READY_S = 300.0  # the first start compiles the kernels of a LIDAR
_LAST_STATUS_S = 1.5  # the daemon tells its latencies every second
_MQTT_PORT = 1883


class CollisionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for.

    Args:
        scenario, sensor, seed: what is simulated.
        seconds: at most so long, or None until it is decided.
        with_runtime: False: nobody brakes.
        picture: image file of the last scene, or None.
        url: of a broker that runs already, or None to start one.
        broker: which one to start.
        port: of the broker that is started, or 0 for a free one.
    """

    scenario: str = "stopped_car"
    sensor: str = "spin40"
    seed: int = 1
    seconds: float | None = None
    with_runtime: bool = True
    picture: Path | None = None
    url: str | None = None
    broker: Kind = "auto"
    port: int = 0


class Ears(Drive):
    """Hears everything, and shows the scans to the scenery.

    Args:
        scenery: or None.
    """

    def __init__(self, scenery: Scenery | None) -> None:
        super().__init__()
        self._scenery = scenery

    def hear(self, kind: str, payload: bytes, now_s: float, device: str = "") -> None:
        """Takes one message in."""
        if kind not in (TOPICS.lidar, TOPICS.motion):
            super().hear(kind, payload, now_s, device)
        elif self._scenery is not None:
            self._scenery.take(kind, payload)


def run_collision(options: CollisionOptions, console: Console) -> int:
    """Runs the demo until the drive is decided, its time is over or the user asks to stop.

    Args:
        options: what the user asked for.
        console: where to show it.

    Returns:
        0: as expected; 1: not, or not known.

    Raises:
        EdgeError: something needed is not there, or a child ended by itself.
    """
    from edge.config.link import with_broker
    from edge.config.load import load

    _check(options)
    pipeline = find_pipeline()
    config = load(pipeline)
    if options.url is not None:
        config = with_broker(config, options.url)
    with StopSignals() as stop, tempfile.TemporaryDirectory(prefix="edge-demo-") as name, Children(Path(name)) as children:
        try:
            pipeline = stretched(pipeline, Path(name))
            host, port, kind = _broker(options, children, Path(name), stop)
            daemon = None
            if options.with_runtime:
                address = f"mqtt://{host}:{port}"
                daemon = children.start("daemon", python_module("edge", "run", str(pipeline), "--broker-url", address))
            arguments = (host, str(port), options.scenario, str(options.seed), options.sensor)
            car = children.start("car", python_module("edge.cli.demo.collision.vehicle", *arguments), talks=True)
            expectation = scenario(options.scenario, options.seed).expectation
            about = About(options.scenario, options.sensor, expectation, f"{kind} {host}:{port}", options.with_runtime)
            return _watch(options, console, about, Parts(children, car, daemon, config, pipeline, host, port), stop)
        except Stopped:
            console.print("stopped before it began")
            return 1


class Parts(msgspec.Struct, frozen=True):
    """What has been started."""

    children: Children
    car: Child
    daemon: Child | None
    config: RuntimeConfig
    pipeline: Path
    host: str
    port: int


def _watch(options: CollisionOptions, console: Console, about: About, parts: Parts, stop: StopSignals) -> int:
    scenery = Scenery(parts.pipeline) if console.is_terminal or options.picture is not None else None
    drive, began_s = Ears(scenery), time.monotonic()
    listener = Listener(drive, _topics(parts.config, scenery), began_s)  # type: ignore[arg-type]  # it only calls hear
    listener.open(parts.host, parts.port)
    with Screen(console, about, drive, scenery) as screen:
        stage = Stage(parts.children, listener, screen, stop, began_s)  # type: ignore[arg-type]  # it only calls show
        _await_ready(stage, drive, parts, stop)
        parts.car.stdin.write(b"go\n")
        parts.car.stdin.flush()
        until_s = time.monotonic() + options.seconds if options.seconds is not None else math.inf
        if not stage.run_until(lambda: drive.is_over, until_s) and not stop.is_asked:
            parts.car.stdin.write(b"enough\n")
            parts.car.stdin.flush()
            stage.run_until(lambda: drive.is_over, time.monotonic() + _READY_S)
        screen.show(0.0)
        if parts.daemon is not None and not stop.is_asked:
            listener.listen(time.monotonic() + _LAST_STATUS_S)
    parts.children.forget(parts.car)
    if parts.daemon is not None:
        stage.drain(parts.daemon)
    listener.close()
    return _finish(options, console, about, drive, scenery)


def _finish(options: CollisionOptions, console: Console, about: About, drive: Drive, scenery: Scenery | None) -> int:
    record = drive.record()
    if record is None:
        console.print("stopped before it began")
        return 1
    is_as_expected = holds(about, record, is_decided=drive.is_decided)
    lines = summary(about, drive, record, is_as_expected=is_as_expected)
    if scenery is not None and options.picture is not None:
        scenery.save(options.picture, lines[:1])
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    return 0 if is_as_expected else 1


def holds(about: About, record: Record, *, is_decided: bool) -> bool:
    """Whether a drive went as expected: with the runtime, or without it, where what must stop is hit.

    Args:
        about: what was driven.
        record: what became of it.
        is_decided: the drive came to its own end.
    """
    if about.with_runtime:
        return is_decided and record.is_as_expected
    return is_decided and record.collided == (about.expectation == "must_stop")


def _check(options: CollisionOptions) -> None:
    for name, value, known in (("--scenario", options.scenario, SCENARIOS), ("--sensor", options.sensor, PRESETS)):
        if value not in known:
            raise EdgeError(f"{name} {value}: there is no such; there are {', '.join(known)}")
    if options.picture is not None:
        check_picture(options.picture)


def _broker(options: CollisionOptions, children: Children, folder: Path, stop: StopSignals) -> tuple[str, int, str]:
    if options.url is None:
        broker = start_broker(children, folder, kind=options.broker, port=options.port, poll=stop.poll)
        return HOST, broker.port, broker.kind
    url = urlsplit(options.url)
    if url.scheme != "mqtt" or not url.hostname:
        raise TransportError(f"--url {options.url}: the demo's car speaks mqtt://host:port only")
    return url.hostname, url.port or _MQTT_PORT, "broker"


def _topics(config: RuntimeConfig, scenery: Scenery | None) -> list[tuple[str, TopicTemplate]]:
    topics = [*topics_of(config), ("truth", TopicTemplate(TRUTH))]
    if scenery is not None:
        topics += [(topic, TopicTemplate(topic)) for topic in (TOPICS.lidar, TOPICS.motion)]
    return topics


def _await_ready(stage: Stage, drive: Drive, parts: Parts, stop: StopSignals) -> None:
    note = "the car and the daemon are starting" if parts.daemon is not None else "the car is starting"
    if not has_kernels():
        note += "; the first start on a machine compiles kernels, which takes a minute or two"

    def is_online() -> bool:
        return parts.daemon is None or drive.availability == "online" or bool(drive.status)

    if not stage.run_until(is_online, time.monotonic() + _READY_S, note):
        stop.poll()
        raise EdgeError(f"the daemon was not ready within {_READY_S:.0f} s")
    import select

    def is_ready() -> bool:
        return bool(select.select([parts.car.stdout], [], [], 0.0)[0])

    if not stage.run_until(is_ready, time.monotonic() + _READY_S, note):
        stop.poll()
        raise EdgeError(f"the car was not ready within {_READY_S:.0f} s")
    parts.children.check()
