"""Parts of a checkpoint: bytes with their version, the digest of what they belong to, and a checksum. Knows nothing of what is in them."""

import math
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_HEADER = struct.Struct("<H32sI")


def seal(version: int, digest: bytes, body: bytes) -> bytes:
    """Bytes as a part.

    Args:
        version: of how they are laid out, 0 to 65535.
        digest: sha256 of what they belong to.
        body: the bytes.
    """
    return _HEADER.pack(version, digest, zlib.crc32(body)) + body


def unseal(version: int, digest: bytes, part: bytes, what: str) -> bytes:
    """What ``seal`` was given.

    Args:
        version, digest: known here.
        part: as ``seal`` gave it.
        what: it is, in words, for the message.

    Raises:
        ValueError: it is damaged, of another version, or belongs to something else.
    """
    if len(part) < _HEADER.size:
        raise ValueError(f"the {what} is cut off")
    found, owner, check = _HEADER.unpack_from(part)
    body = part[_HEADER.size :]
    if zlib.crc32(body) != check:
        raise ValueError(f"the {what} is damaged")
    if found != version:
        raise ValueError(f"the {what} has version {found}; {version} is known here")
    if owner != digest:
        raise ValueError(f"the {what} belongs to another model or version of it")
    return body


def joined(arrays: Sequence[npt.NDArray[Any]]) -> bytes:
    """Arrays as bytes, one after the other."""
    return b"".join(array.tobytes() for array in arrays)


def parted(data: bytes, likes: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """The arrays that ``joined`` was given.

    Args:
        data: as ``joined`` gave it.
        likes: arrays of the same types and shapes.

    Raises:
        ValueError: the sizes differ.
    """
    if len(data) != sum(like.nbytes for like in likes):
        raise ValueError(f"{len(data)} bytes; {sum(like.nbytes for like in likes)} are due")
    arrays, at = [], 0
    for like in likes:
        arrays.append(np.frombuffer(data, like.dtype, math.prod(like.shape), at).reshape(like.shape).copy())
        at += like.nbytes
    return arrays
