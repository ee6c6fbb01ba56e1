"""`edge service`: a pipeline file as a systemd service. Writes units and calls systemctl, journalctl and systemd-run."""

import grp
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli.service_checks import check_password, check_reachable, checked_name
from edge.errors import TransportError

if TYPE_CHECKING:
    from edge.config.types import RuntimeConfig

UNITS = ("edge@.service", "edge-safe@.service")
STATE = "/var/lib/edge"
_HOMES = ("/home", "/root", "/run/user")
_SERIAL_GROUPS = ("dialout", "uucp")
# Of a unit: what is about its life, not its rights; and the run folder, which would be taken from the daemon when the other unit ends.
_LIFE = ("Type", "NotifyAccess", "ExecReload", "ExecStop", "Watchdog", "Timeout", "Restart", "RuntimeDirectory", "Standard", "User")

service = typer.Typer(help="A pipeline file as a systemd service.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="of the service: edge@NAME", callback=checked_name, show_default=False)]


@service.command("install")
def install(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="pipeline file; it stays where it is", show_default=False)],
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", callback=checked_name, help="of the service; default: the file's `name`"),
    ] = None,
    units: Annotated[Path, typer.Option("--unit-dir", metavar="DIR", help="where units are written")] = Path("/etc/systemd/system"),
    start: Annotated[bool, typer.Option("--start/--no-start", help="enable and start it")] = True,
) -> None:
    """Check a pipeline file, write its units, and start it now and at every boot."""
    from edge.config.load import load

    config = load(file)
    instance = name or config.name
    place = config.process
    target = file.resolve()
    check_reachable(target)
    if config.model is not None:
        check_reachable(target.parent / config.model.bundle)
    if (wanted := check_password(config, instance, units)) and start:
        raise TransportError(f"{wanted}, and install again")
    folder = units / f"edge@{instance}.service.d"
    try:
        for unit in UNITS:
            units.mkdir(parents=True, exist_ok=True)
            (units / unit).write_text(unit_text(unit))
        for drop_in, option in ((folder, ""), (units / f"edge-safe@{instance}.service.d", "--safe ")):
            drop_in.mkdir(parents=True, exist_ok=True)
            (drop_in / "10-file.conf").write_text(drop_in_text(target, option, place.priority))
    except OSError as fault:
        raise TransportError(f"{units}: cannot be written: {fault.strerror}; run this as root, or give --unit-dir") from fault
    for key, path in written_elsewhere(config, target.parent, instance):
        typer.echo(
            f"warning: {key}: the daemon writes to {path}, and its unit lets it write below {STATE}/{instance} only: "
            f"put it there, or give it a User= and ReadWritePaths={path} (systemctl edit edge@{instance})"
        )
    if wanted:
        typer.echo(f"warning: {wanted}, before it is started")
    typer.echo(f"wrote {', '.join(str(units / unit) for unit in UNITS)} and {folder}/10-file.conf")
    if start:
        _systemctl("daemon-reload")
        _systemctl("enable", "--now", f"edge@{instance}.service")
        typer.echo(f"edge@{instance} is started, now and at every boot: {own_command()} service status {instance}")


@service.command("status")
def status(name: Name) -> None:
    """What systemd knows of a service; exit code of `systemctl status`: 0 it runs, 3 it does not, 4 there is no such unit."""
    tool = _tool("systemctl")
    raise typer.Exit(subprocess.run([tool, "--no-pager", "--lines=5", "status", f"edge@{name}.service"], check=False).returncode)  # noqa: S603


@service.command("logs")
def logs(
    name: Name,
    stream: Annotated[str | None, typer.Option("--stream", metavar="NAME", help="only what concerns this stream")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="how many")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on until Ctrl-C")] = False,
) -> None:
    """Log lines of a service, and of its safe mode."""
    tool = _tool("journalctl")
    command = [tool, "--no-pager", f"--lines={lines}", f"--unit=edge@{name}.service", f"--unit=edge-safe@{name}.service"]
    command += ["--follow"] if follow else []
    command += [f"EDGE_STREAM={stream}"] if stream else []
    raise typer.Exit(subprocess.run(command, check=False).returncode)  # noqa: S603


@service.command("doctor")
def doctor(
    name: Name,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, max=3600, help="how long to measure how late this machine wakes")] = 2.0,
) -> None:
    """`edge doctor` of a service's file, as the service's user, with the rights and limits of its unit; as root, also while it runs."""
    tool = _tool("systemd-run")
    unit = f"edge@{name}.service"
    text, user = _systemctl("cat", unit), _systemctl("show", "--property=User", "--value", unit).strip()
    options = [f"--seconds={seconds:g}", *(["--json"] if as_json else [])]
    command = [tool, "--quiet", "--wait", "--pipe", "--collect", *(["--property=User=" + user] if user else []), *doctor_call(text, name)]
    raise typer.Exit(subprocess.run([*command, *options], check=False).returncode)  # noqa: S603


def doctor_call(text: str, instance: str) -> list[str]:
    """Options and command for systemd-run that examine a machine with the rights of a unit.

    Args:
        text: of the unit and its drop-ins, as ``systemctl cat`` prints them.
        instance: of the unit.
    """
    kept: list[tuple[str, str]] = []
    call, section = "", ""
    for line in text.replace("\\\n", " ").splitlines():
        key, is_setting, value = (part.strip() for part in line.partition("="))
        if line.startswith("["):
            section = line.strip()
        elif section != "[Service]" or not is_setting or line.startswith(("#", ";")):
            continue
        elif key == "ExecStart":
            call = value
        elif not key.startswith(_LIFE):
            kept = [(other, said) for other, said in kept if value or other != key]  # an empty one takes back the earlier ones
            kept.append((key, _expanded(value, instance)))
    command = [_expanded(word, instance).replace("$$", "$") for word in shlex.split(call)]
    if "run" not in command:
        raise TransportError(f"edge@{instance}: its ExecStart= is no `edge run FILE`: {call}")
    command[command.index("run")] = "doctor"
    # To ask the kernel how its clock is, is a call that could set it, too: nobody can without a capability, and the unit has none.
    kept += [
        ("ProtectClock", "no"),
        *([("SystemCallFilter", "adjtimex clock_adjtime")] if any(key == "SystemCallFilter" for key, _ in kept) else []),
    ]
    return [*(f"--property={key}={value}" for key, value in kept), "--", *command]


def _expanded(value: str, instance: str) -> str:
    """With what systemd puts in the place of specifiers, of those that are of use here."""
    known = {"%%": "%", "%i": instance, "%S": "/var/lib", "%C": "/var/cache", "%L": "/var/log", "%t": "/run"}
    return re.sub("%.", lambda found: known.get(found[0], found[0]), value)


def own_command() -> str:
    """How a person calls this `edge`: with its path, for it is on nobody's PATH in /opt, and sudo has a PATH of its own."""
    script = Path(sys.executable).with_name("edge")
    return str(script) if script.exists() else "edge"


def unit_text(unit: str) -> str:
    """A unit as it is shipped: beside this module in a wheel, in deploy/ in a checkout."""
    here = Path(__file__)
    for folder in (here.parent / "units", here.parents[2] / "deploy"):
        if (folder / unit).is_file():
            return (folder / unit).read_text()
    raise TransportError(f"{unit} is missing from this installation")


def drop_in_text(file: Path, option: str, priority: int | None) -> str:
    """What makes an instance: whose interpreter, which file, and how much of the machine.

    Args:
        file: absolute.
        option: before the file, with a space after it.
        priority: real-time priority that the file asks for.
    """
    # The name in the virtual environment, not what it links to: only that one finds the packages.
    python = shutil.which(sys.executable) or sys.executable
    lines = ["[Service]", "ExecStart=", f"ExecStart={_quoted(python)} -m edge run {option}{_quoted(str(file))}"]
    if any(path.startswith(_HOMES) for path in (str(file), python, sys.prefix, sys.base_prefix)):
        lines.append("ProtectHome=read-only")
    if group := next((one for one in _SERIAL_GROUPS if _has_group(one)), None):
        lines.append(f"SupplementaryGroups={group}")
    if priority is not None:
        lines.append(f"LimitRTPRIO={priority}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """For ExecStart=, which knows % and $ and C escapes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") + '"'


def written_elsewhere(config: "RuntimeConfig", base: Path, instance: str) -> list[tuple[str, Path]]:
    """What the daemon is to write outside of the folder that its unit leaves writable: (key of the file, path)."""
    wanted = [("outbox.path", config.outbox.path), ("checkpoint.path", config.checkpoint.path), ("recording.path", config.recording.path)]
    if config.model is not None and config.model.version == "active":
        wanted.append(("model.bundle", config.model.bundle))  # which version acts, and how its starts went, is written beside them
    own = Path(STATE) / instance
    paths = [(key, base / path) for key, path in wanted if path]
    return [(key, path) for key, path in paths if not path.is_relative_to(own)]


def _has_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _systemctl(*arguments: str) -> str:
    done = subprocess.run([_tool("systemctl"), *arguments], check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise TransportError(f"systemctl {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None or not os.path.isdir("/run/systemd/system"):
        raise TransportError(f"{name}: systemd does not run here; the units are in deploy/, for a machine on which it does")
    return found
