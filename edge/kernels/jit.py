"""The one way a kernel is compiled: explicit signature, on-disk cache, no Python fallback.

With a signature, the first call costs 12 us instead of 200 ms and a wrong dtype is a TypeError instead of a 60 ms compilation in
the middle of a stream (measured on two cores).
"""

import hashlib
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.runtime.nrt import rtsys

_log = logging.getLogger(__name__)
_F = TypeVar("_F", bound=Callable[..., Any])

# Numba's cache index is a pickle. What reading a truncated or foreign one raises; a compile error is none of these.
_CACHE_FAULTS = (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, OSError, ValueError)


def _room_stamp() -> str:
    """Digest of every source in this folder."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_STAMP = _room_stamp()


class _RoomCache(FunctionCache):
    """Numba's cache, valid for exactly these sources.

    Numba itself looks at the time and size of one file, but a kernel has the constants and the inlined kernels of other files
    compiled into it: after an update of the layout alone it would write to the wrong places.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._cache_file = IndexDataCacheFile(  # type: ignore[no-untyped-call]
            cache_path=self._cache_path, filename_base=self._impl.filename_base, source_stamp=_STAMP
        )

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Load without what only compiling needs.

        Numba would first import and register every function that it can compile: 44 MB and 0.15 s that a device with a good cache
        never uses. A miss returns None, and the compiler makes up for it.
        """
        rtsys.initialize(target)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(signature, target)  # type: ignore[no-untyped-call]


def kernel(signature: str) -> Callable[[_F], _F]:
    """Compile a function for exactly one signature, from the cache when it is good.

    A damaged cache is emptied and rewritten; without a writable cache folder the kernel is compiled at every start.

    Args:
        signature: Numba signature with contiguous arrays, such as ``"int64(float32[:, ::1], int64)"``.
    """

    def decorate(function: _F) -> _F:
        try:
            cache: _RoomCache | None = _RoomCache(function)
        except RuntimeError:  # Numba: "cannot cache function: no locator available"
            _log.warning("no writable kernel cache (set NUMBA_CACHE_DIR): compiling %s at every start", function.__name__)
            cache = None
        try:
            return _compile(function, signature, cache)
        except _CACHE_FAULTS as fault:
            if cache is None:
                raise
            _log.warning("the kernel cache of %s is damaged (%s): rebuilding it", function.__name__, fault)
            return _compile(function, signature, _emptied(cache))

    return decorate


def part(function: _F) -> _F:
    """A function that only kernels call: compiled into them, never cached or called on its own."""
    return cast("_F", njit(error_model="numpy")(function))


def _compile(function: _F, signature: str, cache: _RoomCache | None) -> _F:
    dispatcher: Any = njit(error_model="numpy")(function)
    if cache is not None:
        dispatcher._cache = cache  # what Numba's own enable_caching does
    dispatcher.compile(signature)
    dispatcher.disable_compile()
    return cast("_F", dispatcher)


def _emptied(cache: _RoomCache) -> _RoomCache | None:
    try:
        cache.flush()  # type: ignore[no-untyped-call]
    except OSError:
        return None
    return cache
