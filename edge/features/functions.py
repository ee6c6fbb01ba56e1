"""A user's own statistics: Python functions over a window, compiled when the pipeline file is loaded.

    import edge

    @edge.feature(unit="m/s^2")
    def trimmed_mean(x, t):
        x = np.sort(x)
        return x[2:-2].mean()

``x`` is float32 (n,), the window's samples in order; ``t`` is int64 (n,), their stamps in ns. Both are contiguous copies that may be
changed. A vector is due with n >= 1. What the function returns becomes the feature; a NaN, an exception or an index out of bounds makes the
decision fail and is counted.
"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from edge.units import KNOWN

_F = TypeVar("_F", bound=Callable[..., Any])
_MARK = "__edge_feature__"
_TRIES = (1, 2, 3, 16, 100)  # rows of the windows that a function is tried on


class UserFunction(msgspec.Struct, frozen=True):
    """A compiled function.

    Args:
        title: its part of the feature's name: the function's name, followed by ``@version`` from version 2 on.
        unit: pattern of the result's unit; ``{}`` is the channel's.
        address: of ``double (*)(float *, int64 *, int64)``.
        keeps: what must live as long as the address is used.
    """

    title: str
    unit: str
    address: int
    keeps: Any = None


def feature(*, unit: str = "{}", version: int = 1) -> Callable[[_F], _F]:
    """Mark a function as a statistic; it stays an ordinary function.

    Args:
        unit: of the result; ``{}`` stands for the channel's.
        version: raise it when the function's meaning changes: models trained with the old one are then refused.
    """

    def mark(function: _F) -> _F:
        setattr(function, _MARK, (unit, version))
        return function

    return mark


def load_functions(path: Path) -> dict[str, UserFunction]:
    """Compile the marked functions of a Python file.

    Args:
        path: of the file; it is executed.

    Raises:
        ValueError: the file cannot be read or executed, has no marked function, or one does not compile; says which and why.
    """
    module = _execute(path)
    marked = {name: value for name, value in vars(module).items() if callable(value) and hasattr(value, _MARK)}
    if not marked:
        raise ValueError(f"{path.name} has no function marked with @edge.feature()")
    return {name: compiled(function, where=path.name) for name, function in marked.items()}


def compiled(function: Callable[..., Any], where: str = "") -> UserFunction:
    """Compile one marked function.

    Args:
        function: marked with ``feature``.
        where: file, for messages.

    Raises:
        ValueError: it does not compile, fails on small windows, or has an impossible unit.
    """
    from numba import carray, cfunc, njit  # type: ignore[attr-defined]  # not before it is needed: checking a file must stay quick

    unit, version = getattr(function, _MARK)
    name = f"{where}: {function.__name__}" if where else function.__name__
    bare = unit.replace("({})", "").replace("{}", "").strip("*/^2s ")
    if "{}" not in unit and unit not in KNOWN:
        raise ValueError(f"{name}: unknown unit {unit!r}; '1' is none, '{{}}' is the channel's")
    if "{}" in unit and any(letter in bare for letter in "{}"):
        raise ValueError(f"{name}: {unit!r} is not a unit; '{{}}' is the channel's")
    try:
        call = njit("float64(float32[::1], int64[::1])", error_model="numpy", boundscheck=True)(function)
    except TypeError as fault:
        raise ValueError(f"{name} must take the window's samples and stamps, (x, t): {fault}") from fault
    except Exception as fault:  # a compiler error, of one of several kinds that have no common base
        raise ValueError(f"{name} does not compile for (x: float32[n], t: int64[n]) -> float64: {_first_lines(fault)}") from fault
    for n in _TRIES:
        try:
            call(np.linspace(-1.0, 1.0, n, dtype=np.float32), np.arange(1, n + 1, dtype=np.int64) * 10_000_000)
        except Exception as fault:
            raise ValueError(f"{name} fails on a window of {n} samples: {type(fault).__name__}: {fault}") from fault

    def entry(x: Any, t: Any, n: Any) -> Any:
        try:
            return call(carray(x, n), carray(t, n))
        except Exception:  # noqa: BLE001 - a user's function can raise anything
            return np.nan  # as good as no value: the decision fails and is counted

    raw = cfunc("float64(CPointer(float32), CPointer(int64), int64)", error_model="numpy")(entry)
    title = function.__name__ if version == 1 else f"{function.__name__}@{version}"
    return UserFunction(title, unit, int(raw.address or 0), (raw, call))


def _execute(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"edge_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # the folder of a pipeline file may be read-only
    try:
        spec.loader.exec_module(module)
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except Exception as fault:
        raise ValueError(f"{path.name} cannot be executed: {type(fault).__name__}: {fault}") from fault
    finally:
        sys.dont_write_bytecode = before
    return module


def _first_lines(fault: BaseException) -> str:
    lines = [line.strip() for line in str(fault).splitlines() if line.strip() and not line.startswith("Failed in")]
    return " ".join(lines[:3])[:400]
