"""Bundles to scores. Owns manifests, admission and sessions; the only room that knows onnxruntime. Trusts no file it has not hashed."""
