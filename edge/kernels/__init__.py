"""Compiled loops over preallocated arrays. Owns the arithmetic; imports numpy and numba only.

Kernels check nothing: the rooms above them check everything once. Outputs come last, nothing is allocated, and a wrong dtype or
layout is refused at the call instead of being compiled for.
"""
