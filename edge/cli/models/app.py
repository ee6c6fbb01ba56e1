"""`edge models`: the commands about bundles, each in a module of its own."""

from pathlib import Path
from typing import Annotated

import typer

from edge.cli.models.pack import pack
from edge.cli.models.registry import join as join_registry
from edge.cli.models.remote import receive
from edge.cli.models.report.command import report
from edge.cli.models.send import send

models = typer.Typer(help="Model bundles.", no_args_is_help=True)
models.command("pack")(pack)


@models.command("check")
def check_model(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="folder of one version, or of all versions of a model", show_default=False)],
    version: Annotated[str, typer.Option("--version", help="which version, if DIR holds several")] = "latest",
) -> None:
    """Verify a bundle: hashes, manifest, graph, golden outputs, and its latency on this machine against its budget."""
    from edge.cli.models import check_bundle

    raise typer.Exit(check_bundle(folder, version))


join_registry(models)
models.command("send")(send)
models.command("receive")(receive)
models.command("report")(report)
