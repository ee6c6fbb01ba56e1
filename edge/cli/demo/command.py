"""The demo itself: starts the broker, the daemon and the player, watches them, shows what is heard, ends them all."""

import math
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import msgspec
from rich.console import Console
from rich.live import Live

import edge
from edge.cli.demo import view
from edge.cli.demo.broker import HOST, Broker, Kind, start_broker
from edge.cli.demo.children import STOP_S, Child, Children, python_module
from edge.cli.demo.data import DemoFiles, find_demo_files
from edge.cli.demo.heard import Heard
from edge.cli.demo.listener import Listener, feature_names, topics_of
from edge.errors import EdgeError, TransportError
from edge.topics import TopicTemplate

_READY_S = 180.0  # the first start compiles the kernels; a small board takes its time
_FRAME_S = 0.2
_LINE_S = 1.0
_LAST_GASP_S = 1.0  # a process that was killed loses its sockets some time before it can be waited for
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """The user asked to stop before the demo had begun to play."""


class StopSignals:
    """While it is entered, SIGINT, SIGTERM and SIGHUP only set ``is_asked``; children and files are then cleaned up in order."""

    def __init__(self) -> None:
        self.is_asked = False
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        self._before = [signal.signal(number, self._note) for number in _SIGNALS]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in zip(_SIGNALS, self._before, strict=True):
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.is_asked = True

    def poll(self) -> None:
        """Raises Stopped once it has been asked for."""
        if self.is_asked:
            raise Stopped


class Screen:
    """Shows progress: a live screen on a terminal, otherwise one line a second and one for each alert and command.

    Args:
        console: where to.
        about: constants of the demo.
        heard: what to show.
    """

    def __init__(self, console: Console, about: view.About, heard: Heard) -> None:
        self._console = console
        self._about = about
        self._heard = heard
        self._live = Live(console=console, auto_refresh=False, screen=False) if console.is_terminal else None
        self._next_line_s = 0.0
        self._shown = 0
        self._note = ""

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, now_s: float, note: str = "") -> None:
        """Draws the state of affairs.

        Args:
            now_s: seconds since the demo's start.
            note: what is being waited for, if anything.
        """
        if self._live is not None:
            self._live.update(view.screen(self._about, self._heard, now_s, self._console.size, note), refresh=True)
        elif note:
            self._say_once(note)
        else:
            self._print_lines(now_s)

    def _say_once(self, note: str) -> None:
        if note != self._note:
            self._note = note
            self._print(note)

    def _print_lines(self, now_s: float) -> None:
        heard = self._heard
        fresh = heard.noted - self._shown
        for event in list(heard.events)[-fresh:] if fresh else []:
            self._print(view.plain_event(event))
        self._shown = heard.noted
        if now_s >= self._next_line_s and heard.predictions:
            self._print(view.plain_line(heard, now_s))
            self._next_line_s = now_s + _LINE_S

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)


class Stage:
    """The running demo: its children, its ears and its screen.

    Args:
        children: the processes.
        listener: the subscription.
        screen: what the user sees.
        stop: whether the user wants it to end.
        started_s: time.monotonic of the start.
    """

    def __init__(self, children: Children, listener: Listener, screen: Screen, stop: StopSignals, started_s: float) -> None:
        self._children = children
        self._listener = listener
        self._screen = screen
        self._stop = stop
        self._started_s = started_s

    def run_until(self, is_done: Callable[[], bool], until_s: float, note: str = "") -> bool:
        """Watches and shows until something holds, the time is over, or the user asks to stop.

        Args:
            is_done: asked at every frame.
            until_s: time.monotonic, may be infinite.
            note: what is being waited for.

        Returns:
            Whether ``is_done`` holds.

        Raises:
            ChildFailed: a child ended by itself.
        """
        while not is_done():
            now_s = time.monotonic()
            if self._stop.is_asked or now_s >= until_s:
                return False
            self._screen.show(now_s - self._started_s, note)
            try:
                self._listener.listen(min(now_s + _FRAME_S, until_s))
            except TransportError:
                self._children.check_within(_LAST_GASP_S)  # a broker that died is the better explanation of a lost connection
                raise
            self._children.check()
        return True

    def drain(self, daemon: Child) -> None:
        """Ends the daemon and hears its last words."""
        daemon.ask_to_stop()
        until_s = time.monotonic() + STOP_S
        while daemon.is_running and time.monotonic() < until_s:
            self._listener.listen(time.monotonic() + 0.05)


class Options(msgspec.Struct, frozen=True):
    """What the user asked for.

    Args:
        seconds: how long to play, or None for ever.
        broker: which one.
        port: TCP port of the broker, or 0 for a free one.
        svg: file to write the last screen to, as a picture, or None.
    """

    seconds: float | None = None
    broker: Kind = "auto"
    port: int = 0
    svg: Path | None = None


def run_demo(options: Options, console: Console) -> None:
    """Runs the demo until its time is over or the user asks to stop.

    Args:
        options: what the user asked for.
        console: where to show it.

    Raises:
        EdgeError: something needed is not there, or a child ended by itself.
    """
    from edge.config.load import load

    started_s = time.monotonic()
    files = find_demo_files()
    config = load(files.pipeline)
    heard = Heard()
    with StopSignals() as stop, tempfile.TemporaryDirectory(prefix="edge-demo-") as name, Children(Path(name)) as children:
        try:
            broker = start_broker(children, Path(name), kind=options.broker, port=options.port, poll=stop.poll)
            daemon, player = _start(children, files, broker)
            listener = Listener(heard, topics_of(config) + _truth(files.recording), started_s)
            listener.open(HOST, broker.port)
            about = view.About(
                config.name, f"{broker.kind} {HOST}:{broker.port}", files.recording.name, config.budget_ms, feature_names(config)
            )
            with Screen(console, about, heard) as screen:
                stage = Stage(children, listener, screen, stop, started_s)
                _await_daemon(stage, heard, stop)
                played_s = _play(stage, player, options.seconds)
            children.forget(player)
            if options.svg is not None:
                view.save_picture(options.svg, about, heard, time.monotonic() - started_s)
            stage.drain(daemon)
            listener.close()
            view.print_summary(console, about, heard, played_s)
        except Stopped:
            console.print("stopped before it began")


def _truth(recording: Path) -> list[tuple[str, TopicTemplate]]:
    from edge.store.recording import info

    topic = info(recording).metadata.get("truth_topic")
    return [("truth", TopicTemplate(topic))] if topic else []


def _start(children: Children, files: DemoFiles, broker: Broker) -> tuple[Child, Child]:
    daemon = children.start("daemon", python_module("edge", "run", str(files.pipeline), "--broker-url", broker.url))
    player = children.start("player", python_module("edge.cli.demo.player", str(files.recording), str(broker.port)), talks=True)
    return daemon, player


def has_kernels() -> bool:
    """Whether compiled kernels are kept where the daemon will look for them."""
    folder = os.environ.get("NUMBA_CACHE_DIR")
    kept = Path(folder) if folder else Path(edge.__file__).parent / "kernels" / "__pycache__"
    return next(kept.rglob("*.nbi"), None) is not None


def _play(stage: Stage, player: Child, seconds: float | None) -> float:
    player.stdin.write(b"go\n")
    player.stdin.flush()
    began_s = time.monotonic()
    stage.run_until(lambda: False, began_s + seconds if seconds is not None else math.inf)
    return time.monotonic() - began_s


def _await_daemon(stage: Stage, heard: Heard, stop: StopSignals) -> None:
    note = "the daemon is starting"
    if not has_kernels():
        note += "; its first start on a machine compiles the kernels, which takes some seconds"
    if not stage.run_until(lambda: heard.availability == "online" or bool(heard.status), time.monotonic() + _READY_S, note):
        stop.poll()
        raise EdgeError(f"the daemon was not ready within {_READY_S:.0f} s")
