"""How the simulator's kernels are compiled: at first use, for whatever they are called with; see firmware_bridge.jit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

from firmware_bridge.jit import cached

_F = TypeVar("_F", bound=Callable[..., Any])
_SOURCES = [Path(__file__).with_name(name) for name in ("hits.py", "flat.py", "ground.py", "cast.py", "sense.py")]


def kernel(function: _F) -> _F:
    """Compile a function that Python calls."""
    return cached(function, _SOURCES)


def part(function: _F) -> _F:
    """Compile a function that only kernels call."""
    return cast("_F", njit(error_model="numpy")(function))
