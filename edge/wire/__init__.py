"""Bytes to messages and back: one codec per format, with caps on every size and strict types. Trusts no sender."""
