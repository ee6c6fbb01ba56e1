"""The recipe and what it needs: bytes and the time in, messages out. Does no I/O and reads no clock of its own."""
