"""Frames to one float32 vector in manifest order. Owns windows, the plan and the names of features; never guesses a missing value."""
