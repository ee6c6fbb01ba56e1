"""Signing: keyed BLAKE2s with a counter, and the file that holds the key. Owns who may be believed."""

import hashlib
import hmac
import os
import stat
from pathlib import Path
from struct import Struct

from firmware_bridge.errors import LinkError
from firmware_bridge.protocol import KEY_BYTES, TAG_BYTES

_PREFIX = Struct("<BQQ")


def tag(key: bytes, *, is_to_board: bool, boot_id: int, session: int, data: bytes) -> bytes:
    """Tag of a frame.

    Args:
        key: 32 bytes.
        is_to_board: direction.
        boot_id: the board's.
        session: the host's; not used to the board.
        data: header, payload and counter.
    """
    prefix = _PREFIX.pack(is_to_board, boot_id, 0 if is_to_board else session)
    return hashlib.blake2s(prefix + data, digest_size=TAG_BYTES, key=key).digest()


def is_right(told: bytes, made: bytes) -> bool:
    """Whether two tags are the same; takes as long for one wrong byte as for eight."""
    return hmac.compare_digest(told, made)


def read_key(path: Path) -> bytes:
    """Key of a file that holds 64 hexadecimal digits.

    Raises:
        LinkError: there is none, others may read it, or it holds something else.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(256)
    except OSError as fault:
        raise LinkError(f"key file {path}: {fault.strerror}") from None
    if mode & 0o077:
        raise LinkError(f"key file {path} has mode {mode:04o}: others may read or change it; run `chmod 600 {path}`")
    try:
        key = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise LinkError(f"key file {path} must hold {2 * KEY_BYTES} hexadecimal digits; make one with `openssl rand -hex {KEY_BYTES}`")
    return key
