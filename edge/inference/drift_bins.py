"""The bins in which a feature or a score is compared with its reference. Counts nothing."""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from edge.inference.manifest import DECILES, Reference

_HALF_STEP = 0.05  # an atom lies anywhere between two deciles: how far a share below it is from the middle, at most
_SAME, _SMALLEST = 1e-4, 1e-6  # relative, absolute: a value that never varied is still the same so far from itself, for it was rounded


class Bins(msgspec.Struct, frozen=True):
    """Bins of F values, padded to the same number K.

    Args:
        edges: float32 (F, K - 1); NaN beyond a row's own.
        shares: float64 (F, K), of the reference; 0 beyond a row's own.
        used: int64 (F,), bins that the row has; 1: nothing to compare.
        slack: float64 (F,), how far the reference's cumulative shares may be from the truth. Not 0 for discrete values that are known
            by deciles alone; they are judged by KS alone.
        is_constant: bool (F,), training knew one value: the bins are what is below, the value itself, and what is above.
    """

    edges: npt.NDArray[np.float32]
    shares: npt.NDArray[np.float64]
    used: npt.NDArray[np.int64]
    slack: npt.NDArray[np.float64]
    is_constant: npt.NDArray[np.bool_]


def bins_of(references: Sequence[Reference]) -> Bins:
    """Bins of references: their own, or those between their deciles."""
    rows = [_of(one) for one in references]
    width = max((len(shares) for _, shares, _ in rows), default=1)
    edges = np.full((len(rows), width - 1), np.nan, np.float32)
    shares = np.zeros((len(rows), width))
    for f, (inner, part, _) in enumerate(rows):
        edges[f, : len(inner)] = inner
        shares[f, : len(part)] = part
    used, slack = np.array([len(part) for _, part, _ in rows], np.int64), np.array([row[2] for row in rows])
    return Bins(edges, shares, used, slack, np.array([one.deciles[0] == one.deciles[-1] for one in references], np.bool_))


def _of(one: Reference) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    low, high = one.deciles[0], one.deciles[-1]
    if low == high:
        room = max(abs(low) * _SAME, _SMALLEST)
        return np.array([low - room, low + room]), np.array([0.0, 1.0, 0.0]), 0.0
    return (np.array(one.edges), np.array(one.shares), 0.0) if one.shares else _of_deciles(one.deciles)


def _of_deciles(deciles: Sequence[float]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """Inner edges, shares, and the slack of the shares below the edges."""
    edges: list[float] = []
    below: list[float] = [0.0]
    is_discrete = len(set(deciles)) < DECILES or all(value == round(value) for value in deciles)
    for value in sorted(set(deciles[1:-1])):
        first = deciles.index(value)
        if first == 0:
            continue  # nothing is below the minimum
        edges.append(value)
        below.append(first / 10 - (_HALF_STEP if is_discrete else 0.0))
    return np.array(edges), np.diff([*below, 1.0]), _HALF_STEP if is_discrete else 0.0
