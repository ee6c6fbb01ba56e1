"""`edge models install, list, activate, pin, unpin, rollback, rm, shadow, canary, promote, history`: the registry from the command line."""

import getpass
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edge.store.registry import Registry, Wanted

Folder = Annotated[Path | None, typer.Option("--registry", "--into", metavar="DIR", help="folder of the versions, such as models/fan")]
Pipeline = Annotated[
    Path | None, typer.Option("--pipeline", metavar="FILE", help="take the folder from its [model], and prove for its features and budget")
]
VersionName = Annotated[str, typer.Argument(metavar="VERSION", help="such as 1.2.0", show_default=False)]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="for the history")]
Who = Annotated[str | None, typer.Option("--who", metavar="NAME", help="for the history; default: this user")]


def open_registry(folder: Path | None, pipeline: Path | None) -> "Registry":
    """The registry that a command is about.

    Raises:
        typer.BadParameter: neither or both were given, or the pipeline file has no model.
        ConfigError: the pipeline file is wrong.
    """
    from edge.store.registry import Registry

    if (folder is None) == (pipeline is None):
        raise typer.BadParameter("say which registry: give exactly one of --registry and --pipeline", param_hint="--registry")
    if folder is not None:
        return Registry(folder)
    home, wanted = _of_pipeline(pipeline or Path())
    return Registry(home, wanted)


def _of_pipeline(path: Path) -> "tuple[Path, Wanted]":
    from edge.config.load import load
    from edge.config.plan import feature_plan
    from edge.store.registry import Wanted

    config = load(path, with_model=False)
    if config.model is None:
        raise typer.BadParameter(f"{path}: has no [model]", param_hint="--pipeline")
    plan = feature_plan(config)
    return Path(config.model.bundle), Wanted(tuple(plan.names), plan.hash, round(config.budget_ms * 1e6))


def me(who: str | None) -> str:
    """Who does it, for the history."""
    if who:
        return who
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return f"uid {os.getuid()}"


def install(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="folder of a version, or .tar, .tar.gz, .zip", show_default=False)],
    folder: Folder = None,
    pipeline: Pipeline = None,
    why: Why = "",
    who: Who = None,
) -> None:
    """Take in a version after it was verified and proved. It becomes active only if it is the first one."""
    registry = open_registry(folder, pipeline)
    before = registry.versions()
    version = registry.install(source, me(who), why)
    active = registry.state().active
    typer.echo(
        f"{version} {'was there already' if version in before else 'is installed'}"
        + (" and active" if active == version else f"; {active} stays active")
    )


def activate(version: VersionName, folder: Folder = None, pipeline: Pipeline = None, why: Why = "", who: Who = None) -> None:
    """Make a version the one to run, after it was proved on this device. A running daemon tries it first, on live vectors."""
    open_registry(folder, pipeline).activate(version, me(who), why)
    typer.echo(f"{version} is active in the registry; what a running daemon makes of it is in its alerts and in edge models report")


def pin(version: VersionName, folder: Folder = None, pipeline: Pipeline = None, why: Why = "", who: Who = None) -> None:
    """Make a version active and keep it so."""
    open_registry(folder, pipeline).pin(version, me(who), why)
    typer.echo(f"{version} is active and pinned")


def unpin(folder: Folder = None, pipeline: Pipeline = None, why: Why = "", who: Who = None) -> None:
    """Allow other versions again."""
    open_registry(folder, pipeline).pin(None, me(who), why)
    typer.echo("nothing is pinned")


def rollback(
    folder: Folder = None,
    pipeline: Pipeline = None,
    why: Why = "",
    who: Who = None,
    force: Annotated[bool, typer.Option("--force", help="also away from a pinned version")] = False,
) -> None:
    """Go back to the version that ran well last."""
    typer.echo(f"{open_registry(folder, pipeline).rollback(me(who), why, force=force)} is active")


def remove(version: VersionName, folder: Folder = None, pipeline: Pipeline = None, why: Why = "", who: Who = None) -> None:
    """Delete a version that is not needed."""
    open_registry(folder, pipeline).remove(version, me(who), why)
    typer.echo(f"{version} is removed")


def shadow(version: VersionName, folder: Folder = None, pipeline: Pipeline = None, why: Why = "", who: Who = None) -> None:
    """Let a version compute beside the active one without being heard."""
    open_registry(folder, pipeline).set_candidate(version, "shadow", who=me(who), why=why)
    typer.echo(f"{version} is on trial in the shadow")


def canary(
    version: VersionName,
    share: Annotated[float, typer.Option("--share", min=0, max=1, help="of the devices")] = 0.1,
    folder: Folder = None,
    pipeline: Pipeline = None,
    why: Why = "",
    who: Who = None,
) -> None:
    """Let a version decide for a share of the devices."""
    open_registry(folder, pipeline).set_candidate(version, "canary", share, me(who), why)
    typer.echo(f"{version} is on trial with {share:.0%} of the devices")


def promote(folder: Folder = None, pipeline: Pipeline = None, why: Why = "", who: Who = None) -> None:
    """Make the version on trial the active one."""
    typer.echo(f"{open_registry(folder, pipeline).promote(me(who), why)} is active")


def show_list(folder: Folder = None, pipeline: Pipeline = None) -> None:
    """List the versions and what they are."""
    from edge.store.registry.changes import use

    registry = open_registry(folder, pipeline)
    state = registry.state()
    rows: list[tuple[str, ...]] = []
    for version in registry.versions():
        roles = [use(state, version)] if use(state, version) else []
        if state.candidate is not None and state.candidate.version == version:
            share = f" {state.candidate.share:.0%}" if state.candidate.mode == "canary" else ""
            roles.append(f"{state.candidate.mode}{share}")
        roles += ["rolled back from"] if version in state.rejected else []
        rows.append((version, ", ".join(roles)))
    print_table(("version", "is"), rows)
    if state.trouble:
        typer.echo(f"edge: {state.trouble}", err=True)


def show_history(
    folder: Folder = None,
    pipeline: Pipeline = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="the last so many")] = 50,
) -> None:
    """List what was done to the versions, by whom and why; oldest first."""
    entries = open_registry(folder, pipeline).history()[-lines:]
    rows: list[tuple[str, ...]] = [(str(e.number), e.when, e.what, e.version, e.active, e.who, e.why) for e in entries]
    print_table(("no", "when", "what", "version", "active", "who", "why"), rows)


def print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A table on a terminal; elsewhere lines with tabs, for scripts. What came over the wire cannot move the cursor."""
    rows = [tuple("".join(c if c.isprintable() else "?" for c in cell) for cell in row) for row in rows]
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def join(models: typer.Typer) -> None:
    """Add the commands."""
    commands: tuple[Callable[..., None], ...] = (install, activate, pin, unpin, rollback, shadow, canary, promote)
    for command in commands:
        models.command(command.__name__)(command)
    models.command("list")(show_list)
    models.command("rm")(remove)
    models.command("history")(show_history)
