"""Models as training tools write them, made into bundles. For a desk, not for a device: needs the `onnx` package; no daemon imports it."""
