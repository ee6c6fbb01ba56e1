"""How the kernels of the bridge and of its simulator are compiled: with a cache on disk that is valid for exactly their sources.

Numba's own cache looks at the time and size of one file, but a kernel has the functions of other files compiled into it; and a cache that
is damaged ends its program. Here a damaged one is told of and made anew.
"""

import hashlib
import logging
import pickle
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

_log = logging.getLogger(__name__)
_F = TypeVar("_F", bound=Callable[..., Any])
_SOURCES = [Path(__file__).with_name(name) for name in ("native.py", "kernels.py", "protocol.py", "fields.py")]

# Numba's cache index is a pickle. What reading a cut or foreign one raises; a compile error is none of these.
_CACHE_FAULTS = (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, OSError, ValueError)


class _Cache(FunctionCache):
    """Numba's cache under the digest of all sources."""

    def __init__(self, function: Callable[..., Any], sources: Sequence[Path]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        digest = hashlib.sha256()
        for path in (Path(__file__), *sources):
            digest.update(path.read_bytes())
        self._cache_file = IndexDataCacheFile(  # type: ignore[no-untyped-call]
            cache_path=self._cache_path, filename_base=self._impl.filename_base, source_stamp=digest.hexdigest()
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """As Numba does; from a damaged cache, nothing."""
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except _CACHE_FAULTS as fault:
            _log.warning("the kernel cache of %s is damaged (%s): rebuilding it", self._name, fault)
            with suppress(OSError):
                self.flush()  # type: ignore[no-untyped-call]
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """As Numba does; where it cannot be written, the next process compiles again."""
        with suppress(*_CACHE_FAULTS):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


def cached(function: _F, sources: Sequence[Path]) -> _F:
    """A kernel that is compiled at first use; without a writable cache folder in every process.

    Args:
        function: of numbers and arrays.
        sources: every file whose text is compiled into it.
    """
    dispatcher: Any = njit(error_model="numpy")(function)
    with suppress(RuntimeError):  # Numba: "cannot cache function: no locator available"
        dispatcher._cache = _Cache(function, sources)
    return cast("_F", dispatcher)


def kernel(signature: str) -> Callable[[_F], _F]:
    """Compile a function of the bridge for one signature, now."""

    def compiled(function: _F) -> _F:
        dispatcher: Any = cached(function, _SOURCES)
        dispatcher.compile(signature)
        dispatcher.disable_compile()
        return cast("_F", dispatcher)

    return compiled
