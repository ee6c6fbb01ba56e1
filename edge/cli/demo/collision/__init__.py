"""`edge demo collision`: a simulated car with a LIDAR drives towards something, and the runtime brakes it, or is left out."""
