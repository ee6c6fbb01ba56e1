"""TOML to a frozen, typed RuntimeConfig. Owns every key, its default and its meaning; refuses what it does not know."""
