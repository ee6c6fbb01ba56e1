"""`edge models receive`: its options."""

from pathlib import Path
from typing import Annotated

import typer

from edge.cli.models.registry import Folder, open_registry


def receive(
    pipeline: Annotated[Path | None, typer.Argument(metavar="[PIPELINE]", help="whose model it is", show_default=False)] = None,
    folder: Folder = None,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="broker; default: the pipeline file's")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="in the topics; default: the pipeline's")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="allow plaintext to another machine")] = False,
    most_mb: Annotated[float, typer.Option("--most-mb", metavar="MB", min=0.001, max=1024, help="largest archive that is taken")] = 256.0,
    expire_s: Annotated[float, typer.Option("--expire", metavar="S", min=1, help="keep half an upload for so long")] = 86_400.0,
) -> None:
    """Take versions and orders for a registry from MQTT, until Ctrl-C or SIGTERM. See docs/registry.md."""
    import msgspec

    from edge.cli.models.post import MAX_PACKET, link_of
    from edge.cli.models.receive import serve

    registry = open_registry(folder, pipeline)
    settings = link_of(url, insecure=insecure) if url is not None else None
    if pipeline is not None:
        from edge.config.link import link_settings
        from edge.config.load import load

        config = load(pipeline, with_model=False)
        name = name or config.name
        if settings is None:
            own = link_settings(config.broker, "models", MAX_PACKET)
            settings = msgspec.structs.replace(own, client_id=f"edge-models-{name}", availability_topic="")
    if settings is None or name is None:
        raise typer.BadParameter("--registry needs --url and --name", param_hint="--url")
    serve(registry, name, settings, round(most_mb * 1e6), expire_s)
