"""`edge view`: pictures of scans from above, as the runtime sees them."""

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import typer

from edge.build.scans import chain_of
from edge.cli.scans import timed
from edge.cli.view import plan
from edge.config.load import load
from edge.config.types import RuntimeConfig, Stream
from edge.errors import ConfigError, EdgeError, Problem, TransportError
from edge.lidar.chain import ScanChain, Scene
from edge.lidar.ego import Ego
from edge.messages import Scan

ALL = "all"
_SHOWN, _UNSEEN = 0, 1  # lanes: the scans', and one for a first look, which is slow because its memory is new
_OFF_M = 0.2  # of the ground; less is no fault of the mount


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn, and how.

    Args:
        pipeline: file whose stream says what is looked for; None: defaults.
        stream: its name; None: the first scan stream.
        mount_height_m: of the sensor, instead of the file's or of the default.
        frame: number of a scan, counted from 0, or "all"; None: the last.
        labels: of boxes: "none", "class" or "id".
        reach_m: how far around the vehicle; None: what the points need.
        width_px: of a picture.
        speed_mps: of the vehicle, negative in reverse; None: not known, velocities are relative to the vehicle.
        rate_hz: scans a second; None: by their stamps.
        metadata: JSON of an Ouster sensor, when it does not lie beside the capture.
    """

    pipeline: Path | None = None
    stream: str | None = None
    mount_height_m: float | None = None
    frame: str | None = None
    labels: str = "id"
    reach_m: float | None = None
    width_px: int = 900
    speed_mps: float | None = None
    rate_hz: float | None = None
    metadata: Path | None = None


class Seen(msgspec.Struct, gc=False):
    """A scan and what it was found to be; ``scene`` is overwritten by the next."""

    number: int
    scan: Scan
    scene: Scene
    took_s: float


class Viewer:
    """The chain that looks at scans of any size, with defaults or with a pipeline's settings.

    Args:
        options: see there.

    Raises:
        EdgeError: the pipeline file or its classifier is refused.
    """

    def __init__(self, options: Options) -> None:
        if options.stream is not None and options.pipeline is None:
            raise typer.BadParameter("--stream names a stream of --pipeline, which is not given")
        self._budget_ms = 0.0
        stream = Stream(topic="view", kind="scan")
        self._may_grow = options.pipeline is None
        if options.pipeline is not None:
            config = load(options.pipeline, with_model=False)
            stream, self._budget_ms = _scan_stream(options.pipeline, config, options.stream), config.budget_ms
        if options.mount_height_m is not None:
            mount = msgspec.structs.replace(stream.scan.mount, z_m=options.mount_height_m)
            stream = msgspec.structs.replace(stream, scan=msgspec.structs.replace(stream.scan, mount=mount))
        self._stream = stream
        self.ego = Ego() if options.speed_mps is None else Ego(options.speed_mps)
        self.chain = self._made(stream)

    def look(self, scans: Iterator[Scan]) -> Iterator[Seen]:
        """Take scans one by one; all of them, so that objects keep their numbers.

        Raises:
            TransportError: a scan is larger than the pipeline file allows.
        """
        for number, scan in enumerate(scans):
            self._make_room(len(scan.points))
            scan.points = np.ascontiguousarray(scan.points)  # a capture's lie column by column
            if number == 0:
                self.chain.run(scan, _UNSEEN, self.ego)
            started_s = time.perf_counter()
            scene = self.chain.run(scan, _SHOWN, self.ego)
            yield Seen(number, scan, scene, time.perf_counter() - started_s)

    def _make_room(self, points: int) -> None:
        most = self._stream.max_points
        if points <= most:
            return
        if not self._may_grow:
            raise TransportError(f"a scan of {points} points; the stream's max_points is {most}")
        self._stream = msgspec.structs.replace(self._stream, max_points=points)
        tracker = self.chain.tracker
        self.chain = self._made(self._stream)
        self.chain.tracker = tracker

    def _made(self, stream: Stream) -> ScanChain:
        return chain_of(stream, 2, self._budget_ms)


def _scan_stream(file: Path, config: RuntimeConfig, name: str | None) -> Stream:
    names = [each for each, stream in config.streams.items() if stream.kind == "scan"]
    if not names:
        raise ConfigError([Problem("streams", 'there is none of kind = "scan"')], str(file))
    if name is not None and name not in names:
        raise typer.BadParameter(f"{file}: the scan streams are {', '.join(names)}; not {name}")
    return config.streams[name or names[0]]


def view_scans(path: Path, out: Path | None, options: Options) -> int:
    """Writes a picture of a scan, or of all.

    Args:
        path: file or folder of scans.
        out: PNG file; with ``frame`` "all": NAME-000.png and on. None: named after ``path``, in the working folder.
        options: what is drawn, and how.

    Returns:
        The exit code.

    Raises:
        EdgeError: a file cannot be read, used or written, or Pillow is missing.
        typer.BadParameter: options that cannot be.
    """
    try:
        import PIL.Image  # noqa: F401 - whether it is there
    except ImportError as fault:
        raise EdgeError("pictures need Pillow, which is not installed: pip install 'edge-runtime[view]'") from fault
    out = out or Path(f"{path.name.split('.')[0] or 'scan'}.png")
    if out.suffix.lower() != ".png":
        raise typer.BadParameter(f"{out}: pictures are written as .png")
    wanted = _wanted(options.frame)
    viewer, reach_m, last = Viewer(options), 0.0, None
    for last in viewer.look(timed([path], options.rate_hz, options.metadata)):
        if options.frame == ALL:
            reach_m = max(reach_m, plan.reach(last.scene))
            _write(viewer, last, path, out.with_name(f"{out.stem}-{last.number:03d}.png"), options, reach_m)
        elif last.number == wanted:
            break
    if last is None:
        raise TransportError(f"no scans in {path}")
    if wanted is not None and last.number != wanted:
        raise TransportError(f"{path}: scans are numbered from 0 to {last.number}; there is no {wanted}")
    if options.frame != ALL:
        _write(viewer, last, path, out, options, plan.reach(last.scene))
    _hint(viewer, last)
    return 0


def _wanted(frame: str | None) -> int | None:
    if frame is None or frame == ALL:
        return None
    if not frame.isdecimal():
        raise typer.BadParameter(f"--frame {frame}: a number from 0 on, or {ALL}")
    return int(frame)


def _write(viewer: Viewer, seen: Seen, path: Path, out: Path, options: Options, reach_m: float) -> None:
    from PIL import Image

    from edge.cli.view.colours import LEGEND, palette
    from edge.cli.view.picture import render

    caption = (*captions(viewer.chain, seen, path), LEGEND)
    picture = render(
        seen.scene,
        viewer.chain.settings,
        ego=viewer.ego,
        caption=caption,
        labels=options.labels,
        reach_m=options.reach_m or reach_m,
        width_px=options.width_px,
    )
    colours = Image.new("P", (1, 1))
    colours.putpalette(palette())
    try:
        # Dithering would scatter the points' colours, and make the file three times as large.
        picture.quantize(palette=colours, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    except OSError as error:
        raise TransportError(f"{out}: {error.strerror or error}") from error
    typer.echo(f"{out}: {caption[0]}; {caption[1]}")


def captions(chain: ScanChain, seen: Seen, path: Path) -> tuple[str, str]:
    """Two lines about a scan."""
    settings, row = chain.settings, plan.facts(seen.scene, chain.settings)
    ahead, first_s = row["objects.nearest_ahead"], row["objects.min_ttc"]
    ahead_words = f"nearest ahead {ahead:.1f} m" if ahead < settings.vehicle.range_m else "nothing ahead"
    first_words = f"time to collision {first_s:.1f} s" if first_s < settings.vehicle.horizon_s else "no collision foreseen"
    return (
        f"{path.name} scan {seen.number}, {len(seen.scan.points)} points, {int(row['objects.count'])} objects",
        f"{ahead_words}, {first_words}, {seen.took_s * 1e3:.1f} ms",
    )


def _hint(viewer: Viewer, seen: Seen) -> None:
    height_m = viewer.chain.settings.mount.z_m
    error_m = plan.ground_error(seen.scene)
    if abs(error_m) > _OFF_M:
        typer.echo(
            f"the ground lies {abs(error_m):.2f} m {'above' if error_m > 0 else 'below'} where a mount height of {height_m:g} m puts it; "
            f"try {height_m - error_m:.2f}"
        )
