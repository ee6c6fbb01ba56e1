"""What can go wrong on a serial line, as one type."""


class LinkError(Exception):
    """A line, its settings or its key cannot be used; the message says why and what would be right."""
