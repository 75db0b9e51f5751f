"""tim-server: a Matrix homeserver with healthcare trust extensions."""

__version__ = "0.1.0"
