"""The slow processes beside the daemon: they may block, die and be restarted, and no frame is lost by it."""
