"""How the bridge's kernels are compiled: with explicit signatures and a cache on disk that is valid for exactly these sources."""

import hashlib
import logging
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

_log = logging.getLogger(__name__)
_F = TypeVar("_F", bound=Callable[..., Any])
_SOURCES = ("jit.py", "native.py", "kernels.py", "protocol.py", "fields.py")

# Numba's cache index is a pickle. What reading a cut or foreign one raises; a compile error is none of these.
_CACHE_FAULTS = (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, OSError, ValueError)


def _stamp() -> str:
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()


class _Cache(FunctionCache):
    """Numba's cache under the digest of all sources: its own looks at the time and size of one file."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._cache_file = IndexDataCacheFile(  # type: ignore[no-untyped-call]
            cache_path=self._cache_path, filename_base=self._impl.filename_base, source_stamp=_stamp()
        )


def kernel(signature: str) -> Callable[[_F], _F]:
    """Compile a function for one signature. A damaged cache is made anew; without a writable folder it is compiled in every process."""

    def compiled(function: _F) -> _F:
        cache: _Cache | None = None
        with suppress(RuntimeError):  # Numba: "cannot cache function: no locator available"
            cache = _Cache(function)
        try:
            return _compile(function, signature, cache)
        except _CACHE_FAULTS as fault:
            if cache is None:
                raise
            _log.warning("the kernel cache of %s is damaged (%s): rebuilding it", function.__name__, fault)
            return _compile(function, signature, _emptied(cache))

    return compiled


def _compile(function: _F, signature: str, cache: _Cache | None) -> _F:
    dispatcher: Any = njit(error_model="numpy")(function)
    if cache is not None:
        dispatcher._cache = cache
    dispatcher.compile(signature)
    dispatcher.disable_compile()
    return cast("_F", dispatcher)


def _emptied(cache: _Cache) -> _Cache | None:
    try:
        cache.flush()  # type: ignore[no-untyped-call]
    except OSError:
        return None
    return cache
