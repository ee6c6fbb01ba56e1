"""Tensors that a model carries from one vector to the next, one copy a lane. Owns their memory; what goes wrong is never kept."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.inference.manifest import State


class States:
    """The states of every lane, shared by all variants of a model: what one variant carried on, another one goes on from.

    Args:
        states: of the manifest.
        lanes: devices.

    Attributes:
        taken, given: what a graph reads and writes, one array a state; sessions bind them.
    """

    def __init__(self, states: Sequence[State], lanes: int) -> None:
        self.taken: list[npt.NDArray[Any]] = [np.zeros(state.shape, state.dtype) for state in states]
        self.given: list[npt.NDArray[Any]] = [np.zeros(state.shape, state.dtype) for state in states]
        self._kept: list[npt.NDArray[Any]] = [np.zeros((lanes, *state.shape), state.dtype) for state in states]
        self._real = [given for given in self.given if given.dtype.kind == "f"]

    @property
    def nbytes(self) -> int:
        """Of all lanes."""
        return sum(kept.nbytes for kept in self._kept)

    def take(self, lane: int) -> None:
        """Lay out what a lane carries, for a graph to read."""
        for taken, kept in zip(self.taken, self._kept, strict=True):
            taken[...] = kept[lane]

    def keep(self, lane: int) -> bool:
        """Keep what a graph wrote, if all of it is finite; otherwise the lane carries on what it had."""
        for given in self._real:
            if not math.isfinite(float(np.add.reduce(given, axis=None, dtype=np.float64))) and not np.isfinite(given).all():
                return False
        for given, kept in zip(self.given, self._kept, strict=True):
            kept[lane] = given
        return True

    def reset(self, lane: int) -> None:
        """A lane begins anew, with zeros."""
        for kept in self._kept:
            kept[lane] = 0
