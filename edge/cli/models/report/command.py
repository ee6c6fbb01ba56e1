"""`edge models report`: its options, and what becomes of the facts."""

import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli.models.registry import Folder

if TYPE_CHECKING:
    from edge.cli.models.report.facts import Facts
    from edge.transport.link import Settings

WAIT_S = 5.0


def report(  # noqa: PLR0913 - one for each option
    folder: Folder = None,
    pipeline: Annotated[Path | None, typer.Option("--pipeline", metavar="FILE", help="take registry, broker and name from it")] = None,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="broker of a running daemon")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="of the pipeline; needed if several report")] = None,
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", min=0.1, max=3600, help="longest wait for its status")] = WAIT_S,
    saved: Annotated[Path | None, typer.Option("--status", metavar="FILE", help="a saved status, instead of a daemon")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="OUT", help="write it as one page")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print it as JSON")] = False,
    insecure: Annotated[bool, typer.Option("--insecure", help="allow plaintext to another machine")] = False,
) -> None:
    """Report what runs, since when and why, how fast and how good it is, and what drifts. See docs/models-report.md."""
    from edge.cli.models.report import terminal

    if folder is not None and pipeline is not None:
        raise typer.BadParameter("give one of --registry and --pipeline", param_hint="--registry")
    if saved is not None and url is not None:
        raise typer.BadParameter("give one of --url and --status", param_hint="--status")
    if folder is None and pipeline is None and saved is None and url is None:
        raise typer.BadParameter("say of what: give --pipeline, --registry, --url or --status", param_hint="--pipeline")
    facts = _gather(folder, pipeline, url, name, saved, seconds, insecure)
    if html is not None:
        _write(html, facts)
    if as_json:
        import msgspec

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(facts)).decode() + "\n")
    elif html is None:
        terminal.show(facts)


def _gather(
    folder: Path | None, pipeline: Path | None, url: str | None, name: str | None, saved: Path | None, seconds: float, insecure: bool
) -> "Facts":
    from edge.cli.models.post import link_of, topics
    from edge.cli.models.report.collect import of_registry, read_saved
    from edge.cli.models.report.facts import Facts, live_of
    from edge.store.registry import Registry

    topic, notes = "", list[str]()
    settings = link_of(url, insecure=insecure) if url is not None else None
    if name is not None:
        topics(name)  # raises if it cannot be a level of a topic
    if pipeline is not None:
        folder, name, topic, own = _of_pipeline(pipeline, name)
        if settings is None and saved is None:
            settings = own
    versions = of_registry(Registry(folder)) if folder is not None else None
    status: dict[str, Any] | None = None
    sources = [f"registry {folder}"] if folder is not None else []
    if saved is not None:
        status = read_saved(saved)
        sources.append(f"status saved in {saved}")
    elif settings is not None:
        status = _listen(settings, name, topic, seconds, None if url is not None or versions is None else notes)
        sources += ["the daemon's status"] if status is not None else []
    elif versions is not None:
        notes.append("no daemon was asked (--url or --pipeline does): this is what the registry alone knows")
    if versions is not None and versions.trouble:
        notes.append(versions.trouble)
    live = live_of(status, notes) if status is not None else None
    called = (live.name if live is not None else "") or name or (folder.resolve().name if folder is not None else "models")
    made = datetime.now(UTC).isoformat(timespec="seconds")
    return Facts(name=called, source=", ".join(sources), made=made, versions=versions, live=live, notes=notes)


def _listen(settings: "Settings", name: str | None, topic: str, seconds: float, notes: list[str] | None) -> dict[str, Any] | None:
    """A status; without one, the reason goes to the notes, if there are any, and is raised otherwise."""
    from edge.cli.models.report.collect import listen
    from edge.errors import TransportError

    logging.getLogger("edge").addHandler(logging.NullHandler())  # what the link says of itself is in the error
    try:
        return listen(settings, name, topic, seconds)
    except TransportError as e:
        if notes is None:
            raise
        notes.append(f"{e}: this is what the registry alone knows")
        return None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _of_pipeline(path: Path, name: str | None) -> "tuple[Path, str, str, Settings]":
    """Folder, name, topic of the status, and link."""
    import msgspec

    from edge.cli.models.post import MAX_PACKET
    from edge.config.link import link_settings
    from edge.config.load import load

    config = load(path, with_model=False)
    if config.model is None:
        raise typer.BadParameter(f"{path}: has no [model]", param_hint="--pipeline")
    own = link_settings(config.broker, "models", MAX_PACKET)
    settings = msgspec.structs.replace(own, client_id=f"{own.client_id}-report"[:64], availability_topic="")
    return Path(config.model.bundle), name or config.name, config.publish.status.topic or "", settings


def _write(path: Path, facts: "Facts") -> None:
    from edge.cli.models.report.page import page
    from edge.errors import TransportError

    try:
        path.write_text(page(facts), encoding="utf-8")
    except OSError as e:
        raise TransportError(f"{path}: cannot be written: {e.strerror}; give a file in a folder that is there") from None
    typer.echo(f"{path} is written", err=True)
