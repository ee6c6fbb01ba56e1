"""What `edge models` does."""

from pathlib import Path

import typer

from edge.errors import BundleError


def check_bundle(folder: Path, version: str = "latest") -> int:
    """Verify a bundle and time it on this machine, in a process of its own; prints one line per check.

    Args:
        folder: of all versions of a model, or of one version.
        version: which one, if the folder is that of all versions.

    Returns:
        0 if the bundle can be admitted, otherwise 1.
    """
    from edge.inference.manifest import MANIFEST
    from edge.inference.proving import prove

    if (folder / MANIFEST).is_file():
        folder, version = folder.resolve().parent, folder.resolve().name
    try:
        prove(folder, version, report=_print)
    except BundleError as e:
        for line in str(e).splitlines():
            typer.echo(f"{'FAILED':<18} {line}")
        return 1
    return 0


def _print(check: str, detail: str) -> None:
    typer.echo(f"{'OK ' + check:<18} {detail}")
