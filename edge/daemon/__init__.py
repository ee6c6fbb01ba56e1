"""The hot process: one thread, one selector, the clock, signals, ticks, health. Owns all I/O."""
