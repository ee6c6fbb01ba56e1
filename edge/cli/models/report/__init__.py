"""`edge models report`: what runs, why, and how well, on the terminal, as JSON, or as one page."""
