"""How the simulator's kernels are compiled: at first use, with a cache on disk that is valid for exactly these sources.

Numba's own cache looks at one file only, but a kernel has the functions of other files compiled into it.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

_F = TypeVar("_F", bound=Callable[..., Any])
_KERNEL_FILES = ("jit.py", "hits.py", "flat.py", "ground.py", "cast.py", "sense.py")


def _stamp() -> str:
    """Digest of every file that kernels are compiled from."""
    digest = hashlib.sha256()
    for name in _KERNEL_FILES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()


class _Cache(FunctionCache):
    """Numba's cache under the digest of all kernel files."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._cache_file = IndexDataCacheFile(  # type: ignore[no-untyped-call]
            cache_path=self._cache_path, filename_base=self._impl.filename_base, source_stamp=_stamp()
        )


def kernel(function: _F) -> _F:
    """Compile a function that Python calls; without a writable cache folder it is compiled in every process."""
    dispatcher: Any = njit(error_model="numpy")(function)
    try:
        dispatcher._cache = _Cache(function)
    except RuntimeError:  # Numba: "cannot cache function: no locator available"
        return cast("_F", dispatcher)
    return cast("_F", dispatcher)


def part(function: _F) -> _F:
    """Compile a function that only kernels call."""
    return cast("_F", njit(error_model="numpy")(function))
