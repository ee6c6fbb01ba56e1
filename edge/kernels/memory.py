"""Arrays and functions by address, inside kernels.

Handing an array to a kernel costs 0.15 us, and the window kernel works on fourteen. Their addresses never change, so they lie in one
table (the desk) and the kernel makes views of them: a call costs a third (measured: 0.96 us against 2.87 us, slow machine).
"""

from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import ir
from numba import carray, types  # type: ignore[attr-defined]
from numba.core import cgutils
from numba.extending import intrinsic as _intrinsic

from edge.kernels.jit import part

_F = TypeVar("_F", bound=Callable[..., Any])
_void: Any = types.void
_pointer_to: Any = types.CPointer


def intrinsic(build: _F) -> Any:
    """Numba's own, without types: what it makes is called without the context that it is defined with."""
    return _intrinsic(build)


@intrinsic
def _float32_at(_context: Any, address: Any) -> Any:
    return _pointer(types.float32)


@intrinsic
def _float64_at(_context: Any, address: Any) -> Any:
    return _pointer(types.float64)


@intrinsic
def _int64_at(_context: Any, address: Any) -> Any:
    return _pointer(types.int64)


def _pointer(kind: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return _pointer_to(kind)(types.int64), build


@part
def float32s(address: int, n: int) -> Any:
    """A view of n float32 at an address."""
    return carray(_float32_at(address), n)


@part
def float64s(address: int, n: int) -> Any:
    """A view of n float64 at an address."""
    return carray(_float64_at(address), n)


@part
def int64s(address: int, n: int) -> Any:
    """A view of n int64 at an address."""
    return carray(_int64_at(address), n)


@part
def int64_table(address: int, rows: int, columns: int) -> Any:
    """A view of a C-contiguous (rows, columns) int64 table at an address."""
    return carray(_int64_at(address), (rows, columns))


@part
def float32_table(address: int, rows: int, columns: int) -> Any:
    """A view of a C-contiguous (rows, columns) float32 table at an address."""
    return carray(_float32_at(address), (rows, columns))


@part
def float64_table(address: int, rows: int, columns: int) -> Any:
    """A view of a C-contiguous (rows, columns) float64 table at an address."""
    return carray(_float64_at(address), (rows, columns))


@intrinsic
def call_window_function(_context: Any, function: Any, x: Any, t: Any, n: Any) -> Any:
    """``double (*)(float *x, int64 *t, int64 n)`` at an address, called with arrays at addresses."""

    def build(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, x_at, t_at, n_rows = arguments
        word, real = ir.IntType(64), ir.DoubleType()
        floats, words = ir.FloatType().as_pointer(), word.as_pointer()
        kind = ir.FunctionType(real, [floats, words, word])
        target = builder.inttoptr(address, kind.as_pointer())
        return builder.call(target, [builder.inttoptr(x_at, floats), builder.inttoptr(t_at, words), n_rows])

    return types.float64(types.int64, types.int64, types.int64, types.int64), build


@part
def float32_pointer(address: int) -> Any:
    """Like ``float32s``, without a length.

    Indices of an array may be negative, which costs a comparison at each access and keeps loops from becoming vector instructions;
    those of a pointer may not (searching 256 sorted values: 31 ns instead of 300 ns).
    """
    return _float32_at(address)


@part
def float64_pointer(address: int) -> Any:
    """The same for float64."""
    return _float64_at(address)


@part
def int64_pointer(address: int) -> Any:
    """The same for int64."""
    return _int64_at(address)


@intrinsic
def move_within(_context: Any, pointer: Any, to: Any, source: Any, n: Any) -> Any:
    """Move n items behind a pointer; the two places may overlap. A loop over overlapping items costs 2.7 ns an item, this 0.1 ns."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = arguments[0]
        size = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
        copy: Any = cgutils.raw_memmove
        copy(builder, builder.gep(data, [arguments[1]]), builder.gep(data, [arguments[2]]), arguments[3], size)
        return context.get_dummy_value()

    return _void(pointer, types.int64, types.int64, types.int64), build
