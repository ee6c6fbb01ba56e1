"""`edge demo`: a broker, a player of a real recording, the daemon, and a live view, each in its own process."""
