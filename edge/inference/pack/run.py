"""Runs an original, as its toolkit would, over the samples: the truth that a bundle is held against."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.errors import BundleError
from edge.inference.pack.original import SEQUENCE, Original, call
from edge.inference.pack.roles import Roles

Array = npt.NDArray[Any]
Feeds = dict[str, Array]


def feeds_of(roles: Roles, rows: Array) -> Feeds:
    """Inputs for so many rows, without states.

    Args:
        roles: see roles_of.
        rows: float32 (n, F).
    """
    n, at = len(rows), 0
    feeds: Feeds = dict(roles.constants)
    for tensor, shape, size in zip(roles.features, roles.shapes, roles.sizes, strict=True):
        part = rows[:, at : at + size]
        part = np.rint(part) if np.dtype(tensor.dtype).kind in "iu" else part
        if roles.is_turned:  # the graph as it is takes (time, channels)
            part = part.reshape(n, shape[2], shape[1]).transpose(0, 2, 1)
        feeds[tensor.name] = np.ascontiguousarray(part.reshape(_rows_of(shape, n)), tensor.dtype)
        at += size
    return feeds


def _rows_of(shape: tuple[int, ...], n: int) -> tuple[int, ...]:
    return shape if n == 1 else (n, *shape[1:])


def zero_states(roles: Roles) -> Feeds:
    """States as a sequence begins."""
    return {state.input: np.zeros(state.shape, state.dtype) for state in roles.states}


def say(original: Original, roles: Roles, sequences: list[Array], classes: dict[str, list[Any]]) -> Array:
    """Scores of every row.

    Args:
        original: the model.
        roles: what its tensors are for.
        sequences: float32 (n, F) each; states begin anew with each.
        classes: of outputs that are maps, their keys in order.

    Returns:
        Float64 (all rows, scores).

    Raises:
        BundleError: it fails on a row, or what it gives cannot be taken apart by row.
    """
    found: list[Array] = []
    for feeds, n in _calls(roles, sequences):
        if feeds is None:
            states = zero_states(roles)
            continue
        names = [*roles.scores, *(state.output for state in roles.states)]
        values = call(original.session, original.where, names, feeds | states)
        states = {state.input: value for state, value in zip(roles.states, values[len(roles.scores) :], strict=True)}
        for state in roles.states:
            if states[state.input].shape != state.shape:
                raise BundleError(
                    f"{original.where}: state {state.input!r} goes in as {list(state.shape)} and comes out of {state.output!r} as "
                    f"{list(states[state.input].shape)}; both must be equal, is the pair right? See --state"
                )
        parts = [_by_row(original, name, value, roles.batch, classes) for name, value in zip(roles.scores, values, strict=False)]
        found.append(np.concatenate(parts, axis=1)[:n])
    return np.concatenate(found)


def _calls(roles: Roles, sequences: list[Array]) -> Iterator[tuple[Feeds | None, int]]:
    """Inputs of each call, and how many of its rows count; None where a sequence begins."""
    for rows in sequences:
        yield None, 0
        for first in range(0, len(rows), roles.batch):
            some = rows[first : first + roles.batch]
            missing = roles.batch - len(some)
            yield feeds_of(roles, np.concatenate([some, np.repeat(some[-1:], missing, axis=0)]) if missing else some), len(some)


def _by_row(original: Original, name: str, value: Any, batch: int, classes: dict[str, list[Any]]) -> Array:
    """Float64 (batch, values)."""
    if original.output(name).dtype == SEQUENCE:
        keys = classes[name]
        return np.array([[row[key] for key in keys] for row in value], np.float64)
    array = np.asarray(value)
    if batch > 1 and (not array.ndim or len(array) != batch):
        raise BundleError(f"{original.where}: output {name!r} has shape {list(array.shape)} for {batch} rows; one row for each is right")
    return array.reshape(batch, -1).astype(np.float64)
