"""How the bridge's kernels are compiled: with explicit signatures and a cache on disk that is valid for exactly these sources."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

_F = TypeVar("_F", bound=Callable[..., Any])
_SOURCES = ("jit.py", "native.py", "kernels.py", "protocol.py", "fields.py")


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
    """Compile a function for one signature; without a writable cache folder in every process anew."""

    def compiled(function: _F) -> _F:
        dispatcher: Any = njit(error_model="numpy")(function)
        with suppress(RuntimeError):  # Numba: "cannot cache function: no locator available"
            dispatcher._cache = _Cache(function)
        dispatcher.compile(signature)
        dispatcher.disable_compile()
        return cast("_F", dispatcher)

    return compiled
