"""What Numba has no word for: 8 bytes at any place of a byte array at once, and the processor's own CRC-32C.

Owns no rule of the protocol. Nothing here looks at bounds or at negative places: the caller's promise is its own proof.
"""

import sys
from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

_BYTE, _WORD = ir.IntType(8), ir.IntType(64)


def _features() -> tuple[str, frozenset[str]]:
    """Architecture and instruction sets that Numba compiles for: with NUMBA_CPU_NAME not those of this processor."""
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()[:3]
    return str(triple).split("-")[0], frozenset(part[1:] for part in str(features).split(",") if part.startswith("+"))


_ARCHITECTURE, _FEATURES = _features()
IS_X86 = _ARCHITECTURE == "x86_64" and "sse4.2" in _FEATURES
IS_ARM = _ARCHITECTURE in ("aarch64", "arm64") and "crc" in _FEATURES
HAS_CRC = IS_X86 or IS_ARM


def _word(function: Callable[..., Any]) -> Callable[..., Any]:
    """Numba's decorator, without its type: the checker would want the typing context from the caller, too."""
    return cast("Callable[..., Any]", intrinsic(function))


def _place(context: Any, builder: Any, kind: Any, arguments: Any) -> Any:
    array = cgutils.create_struct_proxy(kind)(context, builder, arguments[0])  # type: ignore[no-untyped-call]
    return builder.bitcast(builder.gep(array.data, [arguments[1]]), _WORD.as_pointer())


def _declared(builder: Any, kind: Any, name: str) -> Any:
    return cgutils.get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]


def _little(builder: Any, word: Any) -> Any:
    return builder.bswap(word) if sys.byteorder == "big" else word


@_word
def load(_typing: Any, data: Any, _at: Any) -> Any:
    """``data[at:at + 8]`` as a little-endian uint64."""

    def made(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _little(builder, builder.load(_place(context, builder, signature.args[0], arguments), align=1))

    return types.uint64(data, types.int64), made


@_word
def store(_typing: Any, data: Any, _at: Any, _word: Any) -> Any:
    """Write a uint64 to ``data[at:at + 8]``, little-endian."""

    def made(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(_little(builder, arguments[2]), _place(context, builder, signature.args[0], arguments), align=1)
        return context.get_dummy_value()

    return types.void(data, types.int64, types.uint64), made


@_word
def first_bit(_typing: Any, _value: Any) -> Any:
    """Place of the lowest bit that is set, or 64."""

    def made(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), made


@_word
def crc_word(_typing: Any, _crc: Any, _data: Any) -> Any:
    """CRC-32C of 8 more bytes by one instruction; only where ``HAS_CRC``."""

    def made(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        state, data = arguments
        if IS_ARM:
            half = ir.IntType(32)
            kind = ir.FunctionType(half, [half, _WORD])
            function = _declared(builder, kind, "llvm.aarch64.crc32cx")
            return builder.zext(builder.call(function, [builder.trunc(state, half), data]), _WORD)
        kind = ir.FunctionType(_WORD, [_WORD, _WORD])
        return builder.call(_declared(builder, kind, "llvm.x86.sse42.crc32.64.64"), [state, data])

    return types.uint64(types.uint64, types.uint64), made
