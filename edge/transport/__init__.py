"""Bytes in, bytes out. Owns sockets and links; knows no schema."""
