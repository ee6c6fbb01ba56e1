"""Which samples are used. Owns the order of frames and the accounting of every sample; changes no value."""
