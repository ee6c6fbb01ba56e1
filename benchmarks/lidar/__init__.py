"""Rolling features beside what one would use instead."""
