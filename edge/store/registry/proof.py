"""What must hold before a version is taken in or made active. The one place that runs a model on behalf of the registry."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge.errors import TooSlowError


class Wanted(msgspec.Struct, frozen=True):
    """What a pipeline asks of its model; None: not asked.

    Args:
        names, feature_hash: of its feature vector.
        budget_ns: of one inference; the manifest's holds as well.
    """

    names: tuple[str, ...] | None = None
    feature_hash: str | None = None
    budget_ns: int | None = None


Prove = Callable[[Path, str, Wanted], None]  # folder of the bundle, version, what is asked; raises BundleError


def prove(folder: Path, version: str, wanted: Wanted) -> None:
    """Admit a version on this device, in a child process: hashes, graph, golden outputs, features and budget.

    Raises:
        BundleError: it does not hold.
    """
    from edge.inference.proving import prove as prove_in_child

    prove_in_child(folder, version, wanted.names, wanted.feature_hash, wanted.budget_ns)


def prove_content(prove: Prove, folder: Path, version: str) -> None:
    """What an install asks: everything but the budget, because a device may be busy now; ``activate`` asks for that.

    Raises:
        BundleError: it does not hold.
    """
    with contextlib.suppress(TooSlowError):
        prove(folder, version, Wanted())
