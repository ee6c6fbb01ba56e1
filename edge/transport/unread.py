"""How many bytes wait in a socket, without reading any."""

import fcntl
import struct
import sys
import termios


def unread_bytes(descriptor: int) -> int:
    """Bytes that the kernel has for a socket.

    Args:
        descriptor: of it; -1: none.
    """
    if descriptor < 0 or sys.platform == "win32":
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0])
    except OSError:  # it is gone, which who reads it finds out
        return 0
