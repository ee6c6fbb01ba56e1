"""What the original says of the samples, and which of them become golden vectors. Everything a bundle claims is compared with this."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import BundleError
from edge.inference.pack.original import Original
from edge.inference.pack.roles import Roles
from edge.inference.pack.run import say
from edge.inference.pack.samples import Samples

MOST_SCORED = 2000  # rows
MOST_GOLDEN, MOST_GOLDEN_BYTES = 32, 8 << 20  # every start of a daemon runs them all
_PATIENCE_S = 30.0  # for the original to score the samples
_FEW = 20

Array = npt.NDArray[Any]


class Truth(msgspec.Struct, frozen=True):
    """What the original says.

    Args:
        sequences: rows that were scored, float32 (n, F) each; one sequence of rows picked evenly where there are no states.
        scores: float32 (all of them, labels).
        golden: indices of the golden rows.
    """

    sequences: list[npt.NDArray[np.float32]]
    scores: npt.NDArray[np.float32]
    golden: npt.NDArray[np.int64]

    @property
    def rows(self) -> npt.NDArray[np.float32]:
        """All that was scored, float32 (n, F)."""
        return np.concatenate(self.sequences)

    @property
    def golden_rows(self) -> npt.NDArray[np.float32]:
        """Float32 (n, F)."""
        return self.rows[self.golden]


def ask(original: Original, roles: Roles, samples: Samples, classes: dict[str, list[Any]]) -> Truth:
    """Let the original score the samples.

    Raises:
        BundleError: it fails, or gives what is not finite.
    """
    check_range(original, roles, samples)
    first = samples.sequences[0][: roles.batch]
    began = time.perf_counter()
    say(original, roles, [first], classes)
    each_s = (time.perf_counter() - began) / len(first)
    most = int(min(MOST_SCORED, max(_PATIENCE_S / max(each_s, 1e-9), MOST_GOLDEN)))
    sequences = _begun(samples.sequences, most) if roles.states else [_spread(samples.rows, most)]
    scores = say(original, roles, sequences, classes)
    with np.errstate(over="ignore"):
        narrow = scores.astype(np.float32)
    if not np.isfinite(narrow).all():
        row = int(np.argwhere(~np.isfinite(narrow))[0][0])
        raise BundleError(
            f"{original.where}: says {scores[row].tolist()[:4]} of sample {row}; a model whose scores are finite numbers can be used, "
            "look at that sample or at the model's training"
        )
    golden = max(1, min(MOST_GOLDEN, MOST_GOLDEN_BYTES // (4 * samples.rows.shape[1])))
    count = len(sequences[0]) if roles.states else len(narrow)
    # A sequence is golden from its beginning on: states start from zero.
    chosen = np.arange(min(golden, count)) if roles.states else np.unique(np.linspace(0, count - 1, min(golden, count)).astype(np.int64))
    return Truth(sequences, narrow, chosen)


def check_range(original: Original, roles: Roles, samples: Samples) -> None:
    """Whether the samples are numbers that the input can hold."""
    kind = np.dtype(roles.features[0].dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        low, high = float(samples.rows.min()), float(samples.rows.max())
        if low < limits.min or high > limits.max:
            raise BundleError(f"{original.where}: samples from {low:g} to {high:g} do not fit into the input's {kind.name}")


def few(samples: Samples) -> bool:
    """Whether there are too few samples for a reference or a calibration to mean much."""
    return len(samples.rows) < _FEW


def _spread(rows: Array, most: int) -> Array:
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _begun(sequences: Sequence[Array], most: int) -> list[Array]:
    """Whole sequences, the last one cut, with so many rows together."""
    found, left = [], most
    for rows in sequences:
        if left > 0:
            found.append(rows[:left])
            left -= len(found[-1])
    return found
