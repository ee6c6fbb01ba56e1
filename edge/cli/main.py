"""The commands, their options, and what their failures look like: one clear line and a documented exit code, never a traceback."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from edge.cli.hil import hil
from edge.cli.models.app import models
from edge.cli.service import service
from edge.errors import BundleError, ConfigError, EdgeError, TooSlowError, TransportError

EXIT_FOUND, EXIT_REFUSED, EXIT_UNUSABLE, EXIT_SLOW = 1, 3, 4, 5  # typer itself ends with 2 (wrong command line) and 130 (Ctrl-C)

app = typer.Typer(
    name="edge",
    help="Edge inference runtime: telemetry in, ONNX within a millisecond budget, alerts and guarded commands out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: importing rich would take half of the time that --help has
)
app.add_typer(models, name="models")
app.add_typer(hil, name="hil")

app.add_typer(service, name="service")

PipelineFile = Annotated[Path, typer.Argument(metavar="FILE", help="pipeline file (TOML), see docs/pipeline.md", show_default=False)]
BrokerUrl = Annotated[
    str | None, typer.Option("--broker-url", metavar="URL", help="use this broker instead of the file's, such as mqtt://127.0.0.1:1883")
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], typer.Option("--log-level", envvar="EDGE_LOG_LEVEL", help="least severe lines to log")
]


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"edge {version('edge-runtime')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and exit")] = False,
) -> None:
    """What comes before the command."""


@app.command()
def run(
    file: PipelineFile,
    broker_url: BrokerUrl = None,
    log_level: LogLevel = "info",
    safe: Annotated[bool, typer.Option("--safe", help="safe mode: link, status and stored alerts only; no model, rule or command")] = False,
) -> None:
    """Run a pipeline file as a daemon until SIGTERM or Ctrl-C. SIGHUP reads the file again."""
    from edge.cli.run import run_daemon

    raise typer.Exit(run_daemon(file, broker_url, log_level, is_safe=safe))


@app.command()
def check(
    file: PipelineFile,
    show: Annotated[bool, typer.Option("--show", help="print the effective file, defaults included")] = False,
) -> None:
    """Print everything that is wrong with a pipeline file, its model and its features; exit code 1 if anything is."""
    from edge.cli.check import check_file

    raise typer.Exit(check_file(file, show=show))


@app.command()
def doctor(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="pipeline file whose demands count", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, max=3600, help="how long to measure how late this machine wakes")] = 2.0,
) -> None:
    """Examine this machine: clock, CPU, rights, disk, broker, serial ports, cache, jitter; exit code 1 if FILE cannot be kept to."""
    from edge.cli.doctor import examine

    raise typer.Exit(examine(file, as_json=as_json, seconds=seconds))


@app.command()
def status(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="pipeline file whose daemon is meant", show_default=False)] = None,
    broker_url: Annotated[
        str | None, typer.Option("--url", "--broker-url", metavar="URL", help="default: the pipeline file's, or mqtt://127.0.0.1:1883")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="of the daemon; default: the file's, or all at the broker")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="allow plaintext to a --url that is another machine")] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=0.5, max=3600, help="longest wait for what is to be shown")] = 3.0,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    run_dir: Annotated[
        Path, typer.Option("--run-dir", metavar="DIR", help="where daemons of this machine leave word, for when the broker has none")
    ] = Path("/run/edge"),
) -> None:
    """Show how daemons are: links, lines, clock, streams, helpers, each since when; exit code 1 unless all are online and well."""
    from edge.cli.status import show_status

    raise typer.Exit(show_status(file, broker_url, name, insecure=insecure, seconds=seconds, as_json=as_json, run_dir=run_dir))


@app.command()
def replay(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="MCAP file made by `edge record`", show_default=False)],
    file: PipelineFile,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="JSONL", help="write every message the pipeline sends, one a line; - for standard output"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the summary as JSON")] = False,
) -> None:
    """Run a pipeline file on a recording, as fast as it can, and print a summary. Two runs give the same bytes."""
    from edge.cli.replay import replay_file

    raise typer.Exit(replay_file(recording, file, out, as_json=as_json))


@app.command()
def features(  # noqa: PLR0913 - the options of a command
    file: PipelineFile,
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="recordings (MCAP) and tables (CSV, CSV.gz, Parquet, npz)", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="PARQUET", help="file to write", show_default=False)],
    stream: Annotated[str | None, typer.Option("--stream", metavar="NAME", help="whose rows the tables have, if there are several")] = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="tables: whose rows they are; recordings: the only device wanted")
    ] = None,
    stamps: Annotated[str, typer.Option("--stamps", metavar="COLUMN", help="column of stamps in tables")] = "t",
    stamp_unit: Annotated[Literal["ns", "us", "ms", "s"], typer.Option("--stamp-unit", help="of stamps that are numbers")] = "ns",
    rate_hz: Annotated[float | None, typer.Option("--rate", metavar="HZ", min=1e-6, help="tables without stamps: rows a second")] = None,
    columns: Annotated[
        list[str] | None, typer.Option("--map", metavar="CHANNEL=COLUMN", help="where names differ; also seq= and device=; repeatable")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="processes; default: all cores, one for little data")] = None,
) -> None:
    """Compute the feature vectors of stored data, bit for bit those of the device, as a Parquet file to train on."""
    from edge.cli.feature_options import compute_features

    options = {"stream": stream, "device": device, "stamps": stamps, "stamp_unit": stamp_unit, "rate_hz": rate_hz}
    raise typer.Exit(compute_features(file, inputs, out, columns or [], jobs, options))


@app.command()
def parity(
    file: PipelineFile,
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="MCAP file made by `edge record`", show_default=False)],
    damage: Annotated[
        int | None, typer.Option("--damage", metavar="SEED", help="also compare on a copy with losses, repeats, disorder and bad values")
    ] = None,
) -> None:
    """Show that a recording gives the same features live and in batch, bit for bit; exit code 1 if it does not."""
    from edge.cli.parity import compare_file

    raise typer.Exit(compare_file(file, recording, damage))


@app.command()
def record(
    output: Annotated[Path, typer.Argument(metavar="RECORDING", help="MCAP file to create", show_default=False)],
    topics: Annotated[list[str] | None, typer.Option("--topic", metavar="FILTER", help="topic filter to record; repeatable")] = None,
    pipeline: Annotated[
        Path | None, typer.Option("--pipeline", metavar="FILE", help="record the inputs of a pipeline file, from its broker")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="with --pipeline: also its alerts, commands and predictions")] = False,
    broker_url: Annotated[
        str | None, typer.Option("--url", "--broker-url", metavar="URL", help="default: the pipeline file's, or mqtt://127.0.0.1:1883")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="allow plaintext to a --url that is another machine")] = False,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.1, help="stop after so long; default: at Ctrl-C")] = None,
    force: Annotated[bool, typer.Option("--force", help="replace an existing RECORDING")] = False,
) -> None:
    """Record what arrives on topics, byte for byte, until Ctrl-C, SIGTERM or the end of --seconds."""
    from edge.cli.record import record_topics

    raise typer.Exit(
        record_topics(
            output, topics or [], pipeline, everything=everything, url=broker_url, insecure=insecure, seconds=seconds, overwrite=force
        )
    )


@app.command()
def scans(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="files (.pcd .bin .npz .pcap .mcap, also .gz) and folders of them", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RECORDING", help="MCAP file to create", show_default=False)],
    topic: Annotated[str, typer.Option("--topic", help="topic of the messages, such as car/7/lidar", show_default=False)],
    rate_hz: Annotated[
        float | None, typer.Option("--rate-hz", metavar="HZ", min=1e-3, max=1e6, help="scans a second; default: by their stamps")
    ] = None,
    metadata: Annotated[
        Path | None, typer.Option("--metadata", metavar="JSON", help="of an Ouster sensor; default: NAME.json beside NAME.pcap")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="replace an existing RECORDING")] = False,
) -> None:
    """Make a recording of LIDAR scans in point files, packet captures and other recordings."""
    from edge.cli.scans import write_scans

    raise typer.Exit(write_scans(paths, out, topic, rate_hz, metadata, overwrite=force))


@app.command()
def view(  # noqa: PLR0913 - the options of a command
    path: Annotated[
        Path,
        typer.Argument(
            metavar="SCANS", help="file (.pcd .bin .npz .pcap .mcap, also .gz), recording, or folder of files", show_default=False
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="PNG", help="file to write; default: named after SCANS, in this folder")
    ] = None,
    pipeline: Annotated[
        Path | None, typer.Option("--pipeline", metavar="FILE", help="look with the settings of this pipeline file; default: with defaults")
    ] = None,
    stream: Annotated[str | None, typer.Option("--stream", metavar="NAME", help="of that file; default: its first scan stream")] = None,
    mount_height_m: Annotated[
        float | None,
        typer.Option(
            "--mount-height", metavar="M", min=-1000, max=1000, help="of the sensor above the ground; default: the file's, or 1.8"
        ),
    ] = None,
    frame: Annotated[
        str | None, typer.Option("--frame", metavar="N|all", help="which scan, from 0; all: PNG-000.png and on; default: the last")
    ] = None,
    labels: Annotated[Literal["none", "class", "id"], typer.Option("--labels", help="of boxes; id: class and track")] = "id",
    reach_m: Annotated[
        float | None, typer.Option("--reach", metavar="M", min=5, max=1000, help="how far around the vehicle; default: as the points need")
    ] = None,
    speed_mps: Annotated[
        float | None, typer.Option("--speed", metavar="M/S", min=-100, max=100, help="of the vehicle; default: not known")
    ] = None,
    width_px: Annotated[int, typer.Option("--width-px", metavar="PX", min=200, max=4000, help="of the picture")] = 900,
    rate_hz: Annotated[
        float | None, typer.Option("--rate-hz", metavar="HZ", min=1e-3, max=1e6, help="scans a second; default: by their stamps")
    ] = None,
    metadata: Annotated[
        Path | None, typer.Option("--metadata", metavar="JSON", help="of an Ouster sensor; default: NAME.json beside NAME.pcap")
    ] = None,
) -> None:
    """Draw LIDAR scans from above as the runtime sees them: ground, obstacles, objects with their tracks, path, free space."""
    from edge.cli.view.command import Options, view_scans

    options = Options(
        pipeline=pipeline,
        stream=stream,
        mount_height_m=mount_height_m,
        frame=frame,
        labels=labels,
        reach_m=reach_m,
        speed_mps=speed_mps,
        width_px=width_px,
        rate_hz=rate_hz,
        metadata=metadata,
    )
    raise typer.Exit(view_scans(path, out, options))


@app.command()
def demo(  # noqa: PLR0913 - the options of a command
    show: Annotated[
        Literal["recording", "collision"],
        typer.Argument(metavar="[collision]", help="collision: a simulated car with a LIDAR, which the runtime brakes", show_default=False),
    ] = "recording",
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, help="play so long; default: until Ctrl-C, collision: until it is decided")
    ] = None,
    broker: Annotated[
        Literal["auto", "mosquitto", "amqtt"], typer.Option("--broker", help="auto: mosquitto where it is installed")
    ] = "auto",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="TCP port of the broker on 127.0.0.1; 0: a free one")] = 0,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="write the last screen as a picture")] = None,
    scenario: Annotated[
        str | None,
        typer.Option("--scenario", metavar="NAME", help="collision: where to drive, see docs/collision-guard.md; default: stopped_car"),
    ] = None,
    sensor: Annotated[str | None, typer.Option("--sensor", metavar="NAME", help="collision: the LIDAR; default: spin40")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="collision: of places, shapes and noise; default: 1")] = None,
    without_runtime: Annotated[bool, typer.Option("--without-runtime", help="collision: nobody brakes")] = False,
    picture: Annotated[Path | None, typer.Option("--picture", metavar="PNG", help="collision: write the last scene as a picture")] = None,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="collision: a broker that runs already")] = None,
) -> None:
    """Show it at work: a broker, a real recording played in real time or a simulated car, the daemon, and a live view."""
    from rich.console import Console

    chosen = {"scenario": scenario, "sensor": sensor, "seed": seed, "picture": picture, "url": url}
    given = {name: value for name, value in chosen.items() if value is not None}
    if show == "collision":
        if svg is not None:
            raise typer.BadParameter("is for the recording; use --picture", param_hint="--svg")
        from edge.cli.demo.collision.command import CollisionOptions, run_collision

        options = CollisionOptions(seconds=seconds, broker=broker, port=port, with_runtime=not without_runtime, **given)  # type: ignore[arg-type]
        raise typer.Exit(run_collision(options, Console()))
    if given or without_runtime:
        name = next(iter(given), "without_runtime").replace("_", "-")
        raise typer.BadParameter("is for `edge demo collision`", param_hint=f"--{name}")
    from edge.cli.demo.command import Options, run_demo

    run_demo(Options(seconds, broker, port, svg), Console())


@app.command()
def bridge(
    port: Annotated[str, typer.Argument(metavar="PORT", help="/dev/ttyUSB0 or serial:///dev/ttyUSB0?baud=921600", show_default=False)],
    mqtt: Annotated[str, typer.Option("--mqtt", metavar="URL", help="the broker")] = "mqtt://127.0.0.1:1883",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="the board's level in topics: serial/NAME/STREAM")] = "board",
    key_file: Annotated[Path | None, typer.Option("--key-file", metavar="FILE", help="with the board's key: commands are signed")] = None,
    log_level: LogLevel = "info",
) -> None:
    """Carry a board on a serial line to MQTT topics, and commands back to it, without a pipeline."""
    from edge.cli.bridge import run_bridge

    raise typer.Exit(run_bridge(port, mqtt, name, key_file, log_level))


@app.command()
def schema() -> None:
    """Print the JSON Schema of pipeline files, for editors."""
    import json

    from edge.config.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line.

    Args:
        arguments: without the program's name; default: the process's.

    Returns:
        The exit code, see docs/running.md.
    """
    try:
        app(arguments, prog_name="edge")
    except SystemExit as end:  # typer ends every command with one
        return end.code if isinstance(end.code, int) else 0
    except EdgeError as error:
        sys.stderr.write(f"edge: {error}\n")
        return exit_code(error)
    return 0


def exit_code(error: EdgeError) -> int:
    """The documented exit code of a failure."""
    if isinstance(error, TooSlowError):
        return EXIT_SLOW
    if isinstance(error, ConfigError | BundleError):
        return EXIT_REFUSED
    return EXIT_UNUSABLE if isinstance(error, TransportError) else int(getattr(error, "exit_code", EXIT_FOUND))
