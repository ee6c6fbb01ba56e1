"""The round-trip benchmark: telemetry in, 32 rolling features, a small model, scores out, measured from outside."""
