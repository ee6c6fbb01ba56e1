"""Bundles to scores. Owns manifests, admission and sessions; the only room that knows onnxruntime. Trusts no file it has not hashed."""

import os

# onnxruntime 1.32 keeps a database of events under ~/.cache and a thread that sends them to its maker, from the moment it is imported.
# A device speaks with those whom its owner named. It is asked by the environment because nothing else is early enough.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
