"""The `edge` command. Thin: every command imports what it needs when it runs, so that `edge --help` answers at once."""
