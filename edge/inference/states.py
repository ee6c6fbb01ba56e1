"""Tensors that a model carries from one vector to the next, one copy a lane. Owns their memory; what goes wrong is never kept.

All states of a lane lie in one piece, so that one copy lays them out and one keeps them. Measured, four states of 64 float32: 1.6 us a
vector, where an array for each state took 10 us.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.inference.manifest import Manifest, State
from edge.inference.parts import seal, unseal

_SAVED = 1  # version of what is saved of a lane
_ALIGNED = 64  # bytes; every state begins on such a place


class States:
    """The states of every lane, shared by all variants of a model: what one variant carried on, another one goes on from.

    Args:
        states: of the manifest.
        lanes: devices.
        owner: whose they are: what was saved under another one is not taken.

    Attributes:
        taken, given: what a graph reads and writes, one array a state; sessions bind them.
    """

    def __init__(self, states: Sequence[State], lanes: int, owner: bytes = b"") -> None:
        self._digest = hashlib.sha256(owner + msgspec.json.encode(list(states))).digest()
        places, checked, size = _laid_out(states)
        taken, given = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        kept = np.zeros((lanes, size), np.uint8)
        self.taken: list[npt.NDArray[Any]] = [_view(taken, at, state) for at, state in zip(places, states, strict=True)]
        self.given: list[npt.NDArray[Any]] = [_view(given, at, state) for at, state in zip(places, states, strict=True)]
        # Copies between memoryviews of bytes take a tenth of those between arrays.
        self._to: Any = taken.data
        self._from: Any = given.data
        self._lanes: list[Any] = [row.data for row in kept]
        self._zeros = bytes(size)
        self.nbytes = kept.nbytes
        numbers: list[npt.NDArray[Any]] = [given[first:last].view(dtype) for first, last, dtype in checked]
        self._checks = [(array, np.empty(array.shape, np.bool_)) for array in numbers]

    @classmethod
    def of(cls, manifest: Manifest, lanes: int) -> "States | None":
        """The states of a version of a model; None where it has none."""
        owner = msgspec.json.encode([manifest.name, manifest.version, manifest.files])  # its weights with it: they are hashes
        return cls(manifest.states, lanes, owner) if manifest.states else None

    def take(self, lane: int) -> None:
        """Lay out what a lane carries, for a graph to read."""
        self._to[:] = self._lanes[lane]

    def keep(self, lane: int) -> bool:
        """Keep what a graph wrote, if all of it is finite; otherwise the lane carries on what it had."""
        for array, is_good in self._checks:
            np.isfinite(array, is_good)
            if b"\0" in is_good.tobytes():  # a quarter of what a reduction takes
                return False
        self._lanes[lane][:] = self._from
        return True

    def save(self, lane: int) -> bytes:
        """What a lane carries: a version, the digest of model, version and layout, a checksum, and the bytes."""
        return seal(_SAVED, self._digest, bytes(self._lanes[lane]))

    def restore(self, lane: int, state: bytes) -> None:
        """Let a lane carry on what was saved.

        Raises:
            ValueError: it is damaged, or of another model, version or layout; nothing has changed.
        """
        self._lanes[lane][:] = unseal(_SAVED, self._digest, state, "state of the model")

    def reset(self, lane: int) -> None:
        """A lane begins anew, with zeros."""
        self._lanes[lane][:] = self._zeros


def _laid_out(states: Sequence[State]) -> tuple[list[int], list[tuple[int, int, np.dtype[Any]]], int]:
    """Where each state begins, which bytes hold floating point numbers of which type, and how many bytes there are."""
    places, checked, at = [0] * len(states), [], 0
    for dtype in sorted({np.dtype(state.dtype) for state in states}, key=str):
        first = at
        for i, state in enumerate(states):
            if state.dtype == dtype:
                places[i] = at
                at += -(-math.prod(state.shape) * dtype.itemsize // _ALIGNED) * _ALIGNED
        if dtype.kind == "f":
            checked.append((first, at, dtype))
    return places, checked, at


def _view(flat: npt.NDArray[np.uint8], at: int, state: State) -> npt.NDArray[Any]:
    size = math.prod(state.shape) * np.dtype(state.dtype).itemsize
    return flat[at : at + size].view(state.dtype).reshape(state.shape)
