"""The Matrix protocol, pure: no I/O, no clock, no randomness, no framework."""
