"""Unpacks LZF, the compression of binary PCD files. Every read and write is checked: the bytes come from anybody.

Source: the format of Marc Lehmann's liblzf. A control byte below 32 is followed by that many plus one literal bytes; others are a
copy of what was written up to 8192 bytes ago.
"""

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel

_LITERALS = 32  # control bytes below begin literals
_LONG = 7  # a copy whose length goes on in another byte


@kernel("int64(uint8[::1], uint8[::1])")
def unpack_lzf(packed: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8]) -> int:
    """Unpack a block.

    Args:
        packed: uint8 (n,).
        out: uint8 (m,), written to.

    Returns:
        Bytes written; -1 when the block is cut off, refers to what lies before its beginning, or holds more than ``out`` takes.
    """
    n, size = len(packed), len(out)
    i = o = 0
    while i < n:
        control = np.int64(packed[i])
        i += 1
        if control < _LITERALS:
            length = control + 1
            if i + length > n or o + length > size:
                return -1
            for _ in range(length):
                out[o] = packed[i]
                i += 1
                o += 1
            continue
        length = control >> 5
        if length == _LONG:
            if i >= n:
                return -1
            length += np.int64(packed[i])
            i += 1
        if i >= n:
            return -1
        source = o - ((control & 31) << 8) - np.int64(packed[i]) - 1
        i += 1
        length += 2
        if source < 0 or o + length > size:
            return -1
        for _ in range(length):  # byte by byte: the two places may overlap, which repeats a pattern
            out[o] = out[source]
            source += 1
            o += 1
    return o
